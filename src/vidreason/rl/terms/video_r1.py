"""The terms of Video-R1: a bonus where the order of the frames helped, and a reward for answers of a certain length.

Its reward is the `sum` of accuracy, format, `temporal` with weight 0.3 and `length_band` with weight 0.2. Defaults are the
article's; each parameter says where the published code has another value.

Source: arXiv 2503.21776 sections 3.2 and 3.3; tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/trainer/grpo_trainer.py.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from vidreason.records import Grade
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms import Term, register

Band = Annotated[
    list[Annotated[int, Field(ge=0, le=1_000_000)]],
    Field(min_length=2, max_length=2, description="Fewest and most tokens of a rewarded completion, both included."),
]
FewestRight = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000,
        description="Right answers that a group needs so that any is rewarded: 1 in the article, 2 in the published code.",
    ),
]
RightAbove = Annotated[
    float, Field(ge=0, le=1, description="An answer whose grade is above this value counts as right. Published: 0.1.")
]
Threshold = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="The mean grade of the ordered rollouts must be at least this factor times that of the shuffled ones: 1.0 "
        "in the article, 0.8 in the published code.",
    ),
]


@register("temporal", contrasts=True)
def temporal(threshold: Threshold = 1.0, right_above: RightAbove = 0.1) -> Term:
    """T-GRPO's bonus: 1 for right answers where the frames' order helped the group, else 0."""

    def bonus(group: RolloutGroup) -> np.ndarray:
        helped = bool(order_helped(group, threshold))
        return np.array([float(helped and right) for right in _right(group.grades, right_above)], dtype=np.float64)

    return bonus


def order_helped(group: RolloutGroup, threshold: float) -> bool | None:
    """Whether the ordered rollouts are graded at least `threshold` times as well as the shuffled ones, p >= threshold p~.

    Means and product are float32, as published: equal means can so differ in the last bit.

    Returns:
        None for a group without shuffled rollouts, for instance about a picture.
    """
    if group.contrast is None:
        return None
    return bool(_mean(group.grades) >= np.float32(threshold) * _mean(group.contrast.grades))


@register("length_band")
def length_band(
    tokens: Band = [320, 512],  # noqa: B006 (never changed; pydantic takes no other default for a list)
    min_right: FewestRight = 1,
    right_above: RightAbove = 0.1,
) -> Term:
    """Video-R1's length reward: 1 for right answers whose length is within bounds, else 0.

    Raises:
        ValueError: `tokens` is not two numbers in order.
    """
    if len(tokens) != 2 or tokens[0] > tokens[1]:
        raise ValueError(f"tokens is {list(tokens)}; allowed: the fewest and the most tokens, in this order")
    least, most = tokens

    def within(group: RolloutGroup) -> np.ndarray:
        right = _right(group.grades, right_above)
        if sum(right) < min_right:
            return np.zeros(len(right))
        lengths = [least <= completion.tokens <= most for completion in group.completions]
        return np.array([float(one and other) for one, other in zip(right, lengths, strict=True)], dtype=np.float64)

    return within


def _right(grades: Sequence[Grade], above: float) -> list[bool]:
    """Which answers count as right; compared in float32, where a grade of 0.1 is not above 0.1."""
    return [bool(np.float32(grade.value) > np.float32(above)) for grade in grades]


def _mean(grades: Sequence[Grade]) -> np.float32:
    """Mean in float32, added up in the published code's order: torch's, over the first column of a table of two."""
    import torch  # imported here: the workflow imports every term whenever it starts

    return np.float32(torch.tensor([[grade.value, 0.0] for grade in grades], dtype=torch.float32)[:, 0].mean().item())
