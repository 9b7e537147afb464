"""The continuous term of Temporal-RLT's dual reward: how well the answered interval fits the gold segments.

Source: arXiv 2506.01908 (abstract); appletea233/Temporal-R1@f364f6c:verl/utils/reward_score/tvg.py.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from vidreason.rl.terms import Term, register
from vidreason.tasks.intervals import overlap_part

Segments = Annotated[
    Literal["union", "hull", "best"],
    Field(
        description="How several gold segments count: `union` together, `hull` with the gaps between them, `best` the best of them alone."
    ),
]


@register("tiou")
def tiou(segments: Segments = "union") -> Term:
    """Temporal IoU of each answer, from 0 to 1; 0 without an interval, and for tasks that ask for none."""
    return lambda group: np.array([overlap_part(grade.parts, "tiou", segments) for grade in group.grades])
