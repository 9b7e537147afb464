"""Building blocks of the settings: the base class of a section, and the kinds of values that several sections share."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 10**9
"""Upper bound of counts: more is a slip of the keyboard."""

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Precision = Literal["fp32", "bf16"]
Style = Literal["option", "reason"]
View = Literal["ordered", "shuffled", "gray", "times_shuffled", "none"]
Options = Literal["published", "permuted", "without_gold"]
Protocol = Literal["upstream", "paper"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Shards = Annotated[int, Field(ge=1, le=10_000)]
Text = Annotated[str, Field(min_length=1)]
Scalar = bool | int | float | str | None
Parameters = Mapping[str, Scalar | list[Scalar]]
"""Parameters of a reward term by name. Their types are those of the term (`vidreason.config.registered_names`)."""


class Section(BaseModel):
    """A section of the configuration: immutable, of exact types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, regex_engine="python-re")


class Sampling(Section):
    """How tokens are sampled."""

    temperature: float = Field(gt=0, le=100, description="Divides the logits before sampling.")
    top_k: int = Field(ge=0, le=1_000_000, description="Sample among this many most likely tokens; 0 for all.")
    top_p: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Sample among the fewest most likely tokens that hold this share of the probability, after temperature and "
        "top_k; null for all.",
    )
    max_new_tokens: int = Field(ge=1, le=131_072, description="Most tokens of an answer, end of sequence included.")


class Control(Section):
    """Another way to ask the finished weights of some arms: one further arm `<arm>_<control>` of method control for each of them.

    Keys that are absent keep what the arm has.
    """

    label: Text = Field(description="Words that follow the arm's label and a comma.")
    of: tuple[str, ...] = Field(strict=False, min_length=1, description="Names of the arms that are asked.")
    style: Style | None = Field(
        default=None, description="option: answers with the letter alone. reason: thinks first."
    )
    view: View | None = Field(
        default=None, description="What is shown instead of the frames in order; none: no video at all."
    )
    options: Options | None = Field(
        default=None,
        description="permuted: the options in another order. without_gold: None of the above in the place of the right option.",
    )
