"""Typed settings from flat ones, as specs and `--running` still have them."""

from collections.abc import Mapping
from typing import Any

from vidreason.config.optimization import GrpoRuntime, Optimizer, Runtime
from vidreason.config.settings import Grpo, Sft, TrainingSpec


def optimizer_of(values: Mapping[str, Any]) -> Optimizer:
    """Take the optimizer's keys."""
    defaults = {"schedule": "cosine", "warmup": 0.03, "weight_decay": 0.0, "max_grad_norm": 1.0, "precision": "fp32"}
    return Optimizer.model_validate(_own(Optimizer, {**defaults, "deepspeed": None, **values}))


def runtime_of(values: Mapping[str, Any]) -> Runtime:
    """Take the runtime's keys."""
    kind = GrpoRuntime if "rollout_batch" in values else Runtime
    defaults = {"save_every": 0, "save_minutes": 0.0, "keep_states": 2}
    defaults |= {"gradient_checkpointing": False, "micro_batch": None}  # type: ignore[dict-item]
    return kind.model_validate(_own(kind, {**defaults, **values}))


def training_spec_of(values: Mapping[str, Any]) -> TrainingSpec:
    """A typed spec from a flat one."""
    own = {"epochs": values["epochs"], "batch_size": values["batch_size"], "optimizer": optimizer_of(values)}
    is_grpo = "rollouts" in values
    if is_grpo:
        own |= {
            "views": {"ordered": values["rollouts"]},
            "sampling": {name: values[name] for name in ("temperature", "top_k", "max_new_tokens")},
            "rewards": {
                "combine": "tinyllava_r1",
                "penalize_wrong": values["penalise_wrong"],
                "terms": {
                    "accuracy": {},
                    "format": {"weight": 0.5},
                    "think_length": {"weight": values["length_weight"], "full_at": values["max_think_length"]},
                },
            },
            "advantage": {name: values[f"advantage_{name}"] for name in ("std", "eps", "noise")},
            "objective": {name: values[name] for name in ("beta", "kl_clamp", "length_norm")},
            "validation": {"every": values["validate_every"], "limit": values["validation_limit"]},
        }
    return TrainingSpec(
        arm=values.get("arm", ""),
        seed=values["seed"],
        method="grpo" if is_grpo else "sft",
        style=values["answer"],
        data=values.get("data", ""),
        parent=values.get("parent", ""),
        protocol=values.get("protocol", "upstream"),
        settings=Grpo.model_validate(own) if is_grpo else Sft.model_validate(own),
    )


def _own(kind: type[Optimizer] | type[Runtime], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in kind.model_fields if name in values}
