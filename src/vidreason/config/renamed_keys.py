"""Keys of earlier versions, and where their values stand now."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidreason.config.yaml_layers import Layer, problem_at

_SECTIONS = {
    "optimizer": "learning_rate schedule warmup weight_decay max_grad_norm precision deepspeed",
    "runtime": "gradient_checkpointing micro_batch rollout_batch offload_reference save_every save_minutes keep_states",
    "sampling": "temperature top_k max_new_tokens",
    "objective": "beta kl_clamp",
}
_HYPER = {key: f"{section}.{key}" for section, keys in _SECTIONS.items() for key in keys.split()} | {
    "rollouts": "views.ordered",
    "length_norm": "objective.name",
    "max_think_length": "rewards.terms.think_length.full_at",
    "length_weight": "rewards.terms.think_length.weight",
    "penalise_wrong": "rewards.penalize_wrong",
    "advantage_std": "advantage.std",
    "advantage_eps": "advantage.eps",
    "advantage_noise": "advantage.noise",
    "validate_every": "validation.every",
    "validation_limit": "validation.limit",
}
_NAME = "[^.]+"
RENAMED: tuple[tuple[str, str], ...] = (
    (rf"data\.({_NAME})\.(root|annotations|questions)", r"datasets.\1.\2"),
    (rf"data\.({_NAME})\.(max_seconds|duration|validation_fraction|questions_limit)", r"datasets.\1.filter.\2"),
    (rf"benchmarks\.({_NAME})", r"datasets.\1 (and its place in the table is that in evaluation.benchmarks)"),
    (rf"frames\.shards\.({_NAME})", r"datasets.\1.shards.frames"),
    (rf"evaluation\.shards\.({_NAME})", r"datasets.\1.shards.predict"),
    (rf"arms\.({_NAME})\.answer", r"arms.\1.style"),
    (rf"arms\.({_NAME})\.frames", r"arms.\1.view"),
    (r"selection\.generation\.(temperature|top_k|max_new_tokens)", r"selection.generation.sampling.\1"),
    (
        rf"(methods|arms)\.({_NAME})\.objective\.length_norm",
        r"\1.\2.objective.name (sequence is grpo, constant is dr_grpo)",
    ),
    (r"data", "datasets"),
    (r"benchmarks", "datasets (and a benchmark's place in the table is that in evaluation.benchmarks)"),
    *((rf"(methods|arms)\.({_NAME})\.{old}", rf"\1.\2.{new}") for old, new in _HYPER.items()),
)
"""Regular expression of an old key -> its new place."""
_DEPTH = 4


def renamed_problems(config: Mapping[str, Any], layers: Sequence[Layer]) -> Iterator[str]:
    """One line for every key of an earlier version, with its value and its new place."""
    renamed = {path: (value, new) for path, value in _nodes(config) if (new := new_place(".".join(map(str, path))))}
    within = {path[:length] for path in renamed for length in range(1, len(path))}
    for path, (value, new) in renamed.items():
        if path not in within:  # a section is named where none of its keys is
            shown = json.dumps(value, ensure_ascii=False, default=str)
            yield problem_at(layers, path, f"unknown key (value {shown[:80]}); it is {new} now")


def new_place(key: str) -> str | None:
    """Where the value of an old key stands now; None for a key that was never renamed.

    Example:
        >>> new_place("data.nextqa.max_seconds"), new_place("arms.r1.beta"), new_place("seed")
        ('datasets.nextqa.filter.max_seconds', 'arms.r1.objective.beta', None)
    """
    for old, new in RENAMED:
        match = re.fullmatch(old, key)
        if match:
            return match.expand(new)
    return None


def _nodes(node: Mapping[Any, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every key down to the depth of the deepest old key, with its value."""
    for key, value in node.items():
        yield (*path, key), value
        if isinstance(value, Mapping) and len(path) + 1 < _DEPTH:
            yield from _nodes(value, (*path, key))
