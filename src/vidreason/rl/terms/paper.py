"""The terms of the paper's reward: accuracy, format, and length of the thought.

Source: arXiv 2504.09641 section 3.3; tinyllava/train/train.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms import Term, register
from vidreason.tasks.markup import think_text

Characters = Annotated[
    int, Field(ge=1, le=1_000_000, description="Characters of the stripped thought at which the term is full.")
]


@register("accuracy")
def accuracy() -> Term:
    """The grade of each completion, 0 to 1."""
    return lambda group: np.array([grade.value for grade in group.grades], dtype=np.float64)


@register("format")
def well_formed() -> Term:
    """1 for a completion of the form that its task asks for, else 0 (`Grade.well_formed`)."""
    return lambda group: np.array([float(grade.well_formed) for grade in group.grades])


@register("think_length")
def think_length(full_at: Characters = 1200) -> Term:
    """Length of the thought, rising from 0 to 1: min(1, characters / full_at); 0 where the format is broken.

    Raises:
        ValueError: `full_at` is below 1.
    """
    if full_at < 1:
        raise ValueError(f"full_at is {full_at}; it must be at least 1 character")

    def lengths(group: RolloutGroup) -> np.ndarray:
        thoughts = [think_text(completion.text) or "" for completion in group.completions]
        return np.array([min(len(thought) / full_at, 1.0) for thought in thoughts])

    return lengths
