"""Group-relative advantages.

Letters: N completions, G rollouts of a prompt (adjacent rows).
"""

from collections.abc import Hashable, Sequence
from typing import Literal, get_args

import torch

StdKind = Literal["unbiased", "population", "none"]
STD_KINDS: tuple[str, ...] = get_args(StdKind)


def group_advantages(
    rewards: torch.Tensor,
    group: int,
    std: StdKind = "unbiased",
    eps: float = 1e-4,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """Reward relative to the group.

    A = (r - mean) / (std + eps) + noise

    Args:
        rewards: [N] float, the G rollouts of a prompt in adjacent rows.
        group: G.
        std: `unbiased` divides by G - 1 in the variance (upstream), `population` by G; `none` does not scale (Dr.GRPO).
        eps: Added to the standard deviation.
        noise: [N], added at the end. Upstream draws it from N(0, 0.02^2).

    Returns:
        [N] float.

    Raises:
        ValueError: N is not a multiple of G, G is 1 with `unbiased`, or the noise has another shape.

    Source: tinyllava/train/tinyllava_trainer_reason.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1; `none` from
        arXiv 2503.20783.
    Differs from the source: the caller draws the noise, from a seeded generator.

    Example:
        >>> group_advantages(torch.tensor([2.0, -1.0]), 2, std="none").tolist()
        [1.5, -1.5]
    """
    if std not in STD_KINDS:
        raise ValueError(f"std is {std!r}; allowed: {', '.join(STD_KINDS)}")
    if group < 1 or rewards.numel() % group or (std == "unbiased" and group < 2):
        raise ValueError(f"{rewards.numel()} rewards cannot be put in groups of {group} with std {std!r}")
    if noise is not None and noise.shape != rewards.shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}, rewards {tuple(rewards.shape)}")
    grouped = rewards.reshape(-1, group)  # [N] -> [N / G, G]
    centered = grouped - grouped.mean(dim=1, keepdim=True)
    if std != "none":
        centered = centered / (group_std(rewards, group, std)[:, None] + eps)
    advantages = centered.reshape(rewards.shape)
    return advantages if noise is None else advantages + noise


def named_group_advantages(
    rewards: torch.Tensor, names: Sequence[Hashable], std: StdKind = "unbiased", eps: float = 1e-6
) -> torch.Tensor:
    """Reward relative to the group, for groups of any sizes in any order; a group of one keeps its reward.

    Args:
        rewards: [N] float.
        names: N names of groups.
        std: As in `group_advantages`.
        eps: Added to the standard deviation.

    Returns:
        [N] float.

    Source: verl/trainer/core_algos.py of appletea233/Temporal-R1@f364f6c, where groups may differ in size. Trainings here
        have groups of `views.ordered` rollouts and use `group_advantages`.

    Example:
        >>> named_group_advantages(torch.tensor([1.0, 5.0, 3.0]), "aba", std="none").tolist()
        [-1.0, 5.0, 1.0]
    """
    advantages = rewards.clone()
    for name in set(names):
        rows = [row for row, other in enumerate(names) if other == name]
        if len(rows) > 1:
            advantages[rows] = group_advantages(rewards[rows], len(rows), std, eps)
    return advantages


def group_std(rewards: torch.Tensor, group: int, std: StdKind = "unbiased") -> torch.Tensor:
    """Standard deviation within each group, [N / G]."""
    return rewards.reshape(-1, group).std(dim=1, correction=0 if std == "population" else 1)
