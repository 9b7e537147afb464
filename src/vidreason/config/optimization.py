"""The settings of an optimizer, and of how a training runs on a machine."""

from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from vidreason.config.types import MOST, Precision, Section, Share


class DeepSpeed(Section):
    """How DeepSpeed's ZeRO shards the training state over the processes."""

    zero_stage: Literal[1, 2, 3] = Field(
        description="What is sharded: 1 the optimizer's state, 2 the gradients too, 3 the weights too."
    )
    offload_optimizer: bool = Field(description="Keep the optimizer's state in the host's memory.")


class Optimizer(Section):
    """How weights are updated: AdamW, its schedule and its number formats."""

    learning_rate: float = Field(gt=0, le=10, description="Peak learning rate.")
    schedule: Literal["constant", "cosine"] = Field(description="Course of the learning rate after the warm-up.")
    warmup: Share = Field(description="Share of the steps over which the learning rate rises linearly.")
    weight_decay: float = Field(ge=0, le=10, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(gt=0, le=10**12, description="Gradients are scaled down to this norm.")
    precision: Precision = Field(description="Number format of activations; the weights that are updated are in fp32.")
    deepspeed: DeepSpeed | None = Field(
        description="ZeRO sharding of the training state by DeepSpeed; null for a whole copy in each process."
    )
    beta2: SkipJsonSchema[float] = 0.999
    """AdamW's decay rate of the second moment; a key of `base` alone."""
    muon: SkipJsonSchema[float | None] = None
    """Learning rate of the matrices under Muon, as a multiple of `learning_rate`; a key of `base` alone."""


class Runtime(Section):
    """How a training runs on a machine. Changing it retrains nothing."""

    gradient_checkpointing: bool = Field(
        description="Recompute activations in the backward pass, which saves memory and costs time."
    )
    micro_batch: int | None = Field(
        ge=1,
        le=65_536,
        description="Questions whose gradient a device computes together; null for all of its part of a step. The result is "
        "the same but for rounding.",
    )
    save_every: int = Field(ge=0, le=MOST, description="Steps between saved training states; 0 disables.")
    save_minutes: float = Field(ge=0, le=1_000_000, description="Minutes between saved training states; 0 disables.")
    keep_states: int = Field(ge=1, le=1000, description="Number of saved training states that are kept.")


class GrpoRuntime(Runtime):
    """How a GRPO training runs on a machine. Changing it retrains nothing."""

    rollout_batch: int | None = Field(
        ge=1,
        le=65_536,
        description="Questions that a device samples rollouts for together; null for all of its part of a step. In bf16 "
        "rounding may change a token.",
    )
    offload_reference: bool = Field(
        description="Keep the reference policy in the host's memory between its forward passes."
    )
    keep_rollouts: int = Field(ge=0, le=MOST, description="Keep the rollouts of every N-th step; 0 keeps none.")
