"""The settings of a selection: which of the answered questions a GRPO arm is trained on."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from vidreason.config.types import Count, Section, Share

Budget = Annotated[Count | None, Field(description="Most questions of this answer type; null for all.")]


class SelectionRule(Section):
    """Which questions are kept; `vidreason.rl.selection.dropped_questions` has the order of the steps."""

    strategy: Literal["informative", "top", "band", "random", "all"] = Field(
        description="informative: the questions whose answers differ enough. top: those whose answers differ most. band: those whose "
        "answers are worth neither too little nor too much. random: as many as informative. all: every question whose clip can be "
        "read, without sampling any answer. None keeps a question with one option."
    )
    keep_min: int = Field(
        ge=0,
        le=1024,
        description="informative: fewest right answers of a kept question that is answered right or wrong.",
    )
    keep_max: int = Field(ge=0, le=1024, description="informative: most right answers of such a question.")
    statistic: Literal["std", "range"] = Field(
        description="Spread of answers that are worth a value from 0 to 1: their standard deviation, or half their range."
    )
    min_spread: float = Field(
        ge=0, le=0.5, description="informative: least spread of a kept question whose answers are worth such a value."
    )
    band: tuple[Share, Share] = Field(
        strict=False, description="band: least and greatest mean worth of a kept question's answers."
    )
    limit: Count | None = Field(description="Most questions to keep, the greatest spreads first; null for all.")
    per_task: Mapping[str, Budget] = Field(
        description="Most questions to keep of an answer type, by its name, the greatest spreads first."
    )
    per_video: Count | None = Field(
        description="Most questions to keep about one video, the greatest spreads first; null for all."
    )


def is_sampled(strategy: str) -> bool:
    """Whether a strategy selects by repeated answers, which have to be sampled first."""
    return strategy != "all"
