"""Memory of a GRPO step on one device, from sizes alone: what weights, optimizer and schedule keep there."""

import dataclasses

from bench.sizes import Size
from vidreason.engine.decoder import rounded_size
from vidreason.models.costs import BF16, FP32
from vidreason.models.tinyllava.costs import ModelCosts as Model
from vidreason.rl.losses import LOGITS_AT_ONCE
from vidreason.training import optimizer as training_optimizer

HELD = (
    "weights",
    "bf16 copies",
    "gradients",
    "optimizer",
    "reference",
    "cache",
    "logits",
    "activations",
    "update",
    "peak",
)
"""Parts of a device's memory, in the order of the tables, and the peak, at which not all of them are there."""
BUCKET = 500_000_000
"""Gradients that DeepSpeed collects before it reduces them, by its default; all of it is laid out for a backward pass."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """How weights and optimizer are kept.

    Attributes:
        name: Heading of the tables.
        zero: DeepSpeed's stage; 0 for plain AdamW with bf16 autocast over float32 weights.
        ranks: Devices that share a step.
        recompute: Gradient checkpointing.
        chunked: Logits a chunk at a time.
        offload: Optimizer and float32 weights in the host's memory (with `zero`).
        offload_reference: The reference in the host's memory between its passes.
    """

    name: str
    zero: int = 0
    ranks: int = 1
    recompute: bool = True
    chunked: bool = True
    offload: bool = False
    offload_reference: bool = False


SETTINGS = (
    Setting("plain AdamW, autocast", recompute=False, chunked=False),
    Setting("plain AdamW, autocast", chunked=False),
    Setting("plain AdamW, autocast"),
    Setting("plain AdamW, autocast", offload_reference=True),
    Setting("ZeRO-2, alone", zero=2),
    Setting("ZeRO-2, alone", zero=2, offload=True),
    Setting("ZeRO-2, alone", zero=2, offload=True, offload_reference=True),
    Setting("ZeRO-1 over 8", zero=1, ranks=8),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, recompute=False, chunked=False),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, recompute=False),
    Setting("ZeRO-2 over 8", zero=2, ranks=8),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, offload=True, offload_reference=True),
    Setting("ZeRO-3 over 8", zero=3, ranks=8),
    Setting("ZeRO-3 over 8", zero=3, ranks=8, offload=True, offload_reference=True),
)


def memory(size: Size, setting: Setting) -> dict[str, float]:
    """Bytes on one device, by what they hold, with our schedule and one group a backward pass.

    Args:
        size: Model and shape.
        setting: How weights and optimizer are kept.

    Returns:
        Name -> bytes, in the order of `HELD`; `update` is what the optimizer's step needs beside weights, gradients and its
        own state. The peak is what stays, and the greatest of sampling, the reference's pass, learning and the update.
        Keys and values stay where decoding is recorded, which ZeRO-3 prevents.
    """
    model, zero = Model(size.model), setting.zero
    trained, everything = model.trained_weights(), model.weights()
    share = setting.ranks
    if zero:
        weights = BF16 * (model.tower_weights() + trained / (share if zero == 3 else 1))
        gradients = BF16 * trained / (share if zero >= 2 else 1)
        optimizer = 0.0 if setting.offload else 12 * trained / share  # float32 weight and two moments
        if setting.offload and zero == 2 and share == 1:
            gradients = 0.0  # they go to the host as they come
        reference = BF16 * trained
        sampler = copies = 0.0
        # A group's gradients in one piece in bf16, and their float32 copy; then the gradient in float32 and the root of the
        # second moment, when those in bf16 are gone. In the host's memory where the optimizer is.
        group = min(trained, training_optimizer.WEIGHTS_A_GROUP)
        updating = 0.0 if setting.offload else (BF16 + FP32) * group / share
    else:
        updating = 0.0  # AdamW in one kernel
        weights, gradients, optimizer = FP32 * everything, FP32 * trained, 2 * FP32 * trained
        sampler = BF16 * trained  # matrices; what is no matrix is the policy's own
        reference = BF16 * trained + FP32 * model.vocabulary * model.width  # its embedding stays in float32
        copies = BF16 * trained  # autocast's, kept from the policy's pass to the end of the step
    # Whole while sampling, as `gathered_weights` lends them; a layer at a time while learning.
    lent = BF16 * trained * (1 - 1 / share) if zero == 3 else 0.0
    # Under ZeRO-3 all logits are computed at once (`vidreason.rl.losses.chunked_log_probs`).
    held = step_memory(size, "ours", setting.recompute, chunked_logits(setting))
    cache, logits, activations = held["cache"], held["logits"], held["activations"]
    resident = weights + sampler + optimizer + (0.0 if setting.offload_reference else reference)
    resident += cache if zero < 3 else 0.0
    # The reference's own pass comes before the policy's, when there are no activations yet.
    sampling, scoring = lent + (cache if zero == 3 else 0.0), reference if setting.offload_reference else 0.0
    learning = copies + gradients + activations + logits + (BF16 * BUCKET if zero else 0)
    return {
        "weights": weights,
        "bf16 copies": sampler + copies,
        "gradients": gradients,
        "optimizer": optimizer,
        "reference": reference,
        "cache": cache,
        "logits": logits,
        "activations": activations,
        "update": updating,
        "peak": resident + max(sampling, scoring, learning, gradients + updating),
    }


def chunked_logits(setting: Setting) -> bool:
    """Whether logits are computed a chunk at a time."""
    return setting.chunked and setting.zero < 3


def step_memory(size: Size, schedule: str, recompute: bool, chunked: bool = True) -> dict[str, float]:
    """Bytes that a schedule itself needs, beside weights and optimizer; the backward pass takes one group at a time.

    Args:
        size: Model and shape.
        schedule: `naive` or `ours`.
        recompute: Gradient checkpointing.
        chunked: Logits a chunk at a time; the naive schedule does not.

    Returns:
        `cache` while sampling (ours as a recorded decoder lays it out), and `logits` and `activations` in the backward pass,
        attention without flash-attn.
    """
    model, group, length = Model(size.model), size.rollouts, size.prompt + size.completion
    completion_logits = group * size.completion * model.vocabulary
    if schedule == "naive":
        # bf16 at every position, float32 at the completion's; and the gradients of both.
        logits = 2 * BF16 * group * length * model.vocabulary + 2 * FP32 * completion_logits
        rows, positions, tokens, repeated = 1, length, group * length, 0.0
    else:
        logits = 2 * (BF16 + FP32) * (min(completion_logits, LOGITS_AT_ONCE) if chunked else completion_logits)
        rows, positions = rounded_size(size.questions * group, length)
        tokens = size.prompt + group * (size.completion - 1)
        repeated = 2.0 * BF16 * group * (length - 1) * model.attention
    return {
        "cache": model.cache(rows * positions),
        "logits": float(logits),
        "activations": learning_activations(model, tokens, recompute, repeated),
    }


def learning_activations(model: Model, tokens: int, recompute: bool, repeated: float = 0.0) -> float:
    """Bytes that the language model's layers keep for the backward pass, in bf16 with float32 norms.

    Args:
        model: The model.
        tokens: Tokens that pass together.
        recompute: Keep every layer's input alone, and one layer at a time in full.
        repeated: What a layer keeps besides, whatever its tokens: the keys and values of the prompt with each completion,
            once for every head of queries.
    """
    layer = tokens * layer_activations(model) + repeated
    return float(model.layers * tokens * BF16 * model.width + layer if recompute else model.layers * layer)


def layer_activations(model: Model) -> float:
    """Bytes that one layer keeps for one token.

    Two norms: float32 input and normalized bf16, twice. Attention: queries and keys before and after rotation, values, the
    result. Feed-forward: gate, its SiLU, up and product. Residual sums keep nothing.
    """
    norms = 2 * (FP32 + 2 * BF16) * model.width
    attention = BF16 * (3 * model.attention + 3 * model.kv)
    return norms + attention + BF16 * 4 * model.inner
