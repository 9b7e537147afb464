"""What a GRPO training logs about its rollouts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from vidreason.config.settings import NO_VARIANCE, TEMPORAL, Grpo
from vidreason.rl.rewards import RewardTable
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks.markup import think_text
from vidreason.training.distributed import Ranks
from vidreason.training.rollouts import Sampled, StepRollouts
from vidreason.training.trainer import ROLLOUTS, Metrics

LOGGED = ("accuracy", "format")
"""Terms that every row of the metrics has anyway."""


class StepMetrics(NamedTuple):
    """Columns of a step's row that come before and after those of the loss."""

    of_rollouts: Metrics
    of_step: Metrics


def step_metrics(rollouts: StepRollouts, settings: Grpo, ranks: Ranks) -> StepMetrics:
    """What is logged about the rollouts of a step; all processes call this together.

    Means are over the groups that are learned from, which with `resample` are those after replacement.

    Returns:
        `summary` and for each term the share of groups in which it has one value; then `zero_variance`, the share of groups
        whose rewards are all equal, `temporal_fired`, the share of the groups with a contrast whose rollouts got the bonus
        (only where there are such groups), `resampled`, the share of groups that were replaced (only with `resample`), and
        `rollouts`, the number of completions that all processes sampled.
    """
    groups = rollouts.groups
    table = RewardTable.joined([group.rewards for group in groups])
    row: Metrics = {"zero_variance": _share([not group.has_variance for group in groups])}
    fired = _fired(groups)
    if settings.views.shuffled:
        row |= ranks.mean({"temporal_fired": _share(fired)}, len(fired))
    if settings.resample:
        row["resampled"] = rollouts.replaced / len(groups)
    row[ROLLOUTS] = float(rollouts.sampled * ranks.count)  # the mean over the processes is their sum
    uniform = {
        f"{name}{NO_VARIANCE}": _share([np.ptp(group.rewards.columns[name]) == 0 for group in groups])
        for name in table.columns
    }
    return StepMetrics({**summary([group.group for group in groups], table), **uniform}, row)


def _fired(groups: Sequence[Sampled]) -> list[bool]:
    """For each group with a contrast, whether some rollout got the bonus of the term `temporal`; empty without that term."""
    return [
        bool(group.rewards.columns[TEMPORAL].any())
        for group in groups
        if group.group.contrast is not None and TEMPORAL in group.rewards.columns
    ]


def _share(flags: Sequence[bool]) -> float:
    return sum(map(bool, flags)) / max(1, len(flags))


def summary(groups: Sequence[RolloutGroup], table: RewardTable) -> Metrics:
    """Means over the completions of some groups.

    Every method and every reward logs the same first six; a column of the reward table that is not among them follows under
    the name of its term.
    """
    completions = [completion for group in groups for completion in group.completions]
    grades = [grade for group in groups for grade in group.grades]
    thoughts = [think_text(completion.text) or "" for completion in completions]
    return {
        "reward": float(np.mean(table.total)),
        "accuracy": float(np.mean([grade.value for grade in grades])),
        "format": float(np.mean([grade.well_formed for grade in grades])),
        "think_characters": float(np.mean([len(thought) for thought in thoughts])),
        "tokens": _float32_mean([completion.tokens for completion in completions]),
        "finished": _float32_mean([completion.finished for completion in completions]),
        **{name: float(np.mean(column)) for name, column in table.columns.items() if name not in LOGGED},
    }


def _float32_mean(values: Sequence[float]) -> float:
    """Mean in float32, so that the metrics keep the digits they have always had."""
    return float(torch.tensor(values, dtype=torch.float32).mean())
