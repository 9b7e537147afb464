"""The settings of a run that makes its own videos: the demo, and tests of the whole graph."""

from typing import Annotated, Literal

from pydantic import Field

from vidreason.config.types import Section, Share

Damage = Annotated[Literal["zero_byte", "truncated_webm", "corrupted"], Field(description="Kind of damage.")]


class VideoCounts(Section):
    """Number of videos of each data set."""

    nextqa: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    coldstart: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    video_mme: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    mvbench: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    mlvu: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    mmvu: int = Field(ge=1, le=1_000_000, description="Number for this data set.")
    charades_sta_train: int = Field(default=0, ge=0, le=1_000_000, description="Number for this data set; 0 for none.")
    charades_sta: int = Field(default=0, ge=0, le=1_000_000, description="Number for this data set; 0 for none.")
    nextgqa_val: int = Field(default=0, ge=0, le=1_000_000, description="Number for this data set; 0 for none.")
    nextgqa: int = Field(default=0, ge=0, le=1_000_000, description="Number for this data set; 0 for none.")
    video_r1_260k: int = Field(
        default=0, ge=0, le=1_000_000, description="Number for this data set, half of them pictures; 0 for none."
    )


class QuestionCounts(VideoCounts):
    """Questions about each video of a data set."""

    coldstart: int = Field(ge=1, le=1, description="The layout holds one question a video.")
    mvbench: int = Field(ge=1, le=1, description="The layout holds one question a video.")
    charades_sta_train: int = Field(default=1, ge=1, le=1, description="A clip shows one thing to ask for.")
    charades_sta: int = Field(default=1, ge=1, le=1, description="A clip shows one thing to ask for.")
    nextgqa_val: int = Field(default=1, ge=1, le=2, description="A clip allows two questions.")
    nextgqa: int = Field(default=1, ge=1, le=2, description="A clip allows two questions.")
    video_r1_260k: int = Field(default=1, ge=1, le=1, description="A picture or clip is drawn for its question.")


class World(Section):
    """Sizes of the generated data."""

    videos: VideoCounts = Field(description="Videos of each data set.")
    questions_per_video: QuestionCounts = Field(description="Questions about each video of a data set.")
    too_long_fraction: Share = Field(description="Share of the training videos that are longer than 30 s.")
    variable_fraction: Share = Field(description="Share of the training videos with a variable frame rate.")
    broken: tuple[Damage, ...] = Field(
        strict=False, description="Training files that are damaged, one of each kind named."
    )
    size: int = Field(
        ge=16,
        le=4096,
        description="Height and width of the encoded videos in pixels; letters (video_r1_260k) need at least 32.",
    )
