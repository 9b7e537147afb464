"""The settings of what is read: sources, data sets, benchmarks and their frames."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from vidreason.config.types import MOST, Count, Section, Shards, Text

Part = Annotated[int, Field(ge=0, le=MOST, description="Questions of this part.")]
Pattern = Annotated[Text, Field(description="A pattern; * also matches /.")]


class Frames(Section):
    """Which pixels the model sees."""

    count: int = Field(ge=1, le=4096, description="Frames of a clip.")
    size: int = Field(ge=8, le=4096, description="Height and width of a frame in pixels.")


class Filter(Section):
    """Which training questions are kept, by their videos."""

    max_seconds: float | None = Field(
        gt=0, le=1_000_000, description="Longest video that is kept, in seconds; null for any length."
    )
    duration: Literal["whole_seconds", "exact"] = Field(
        description="What is compared with `max_seconds`: the container's true duration without its fraction, or with it."
    )
    validation_fraction: float = Field(
        ge=0, lt=1, description="Share of the videos whose questions are held out for validation."
    )
    questions_limit: Count | None = Field(description="Most training questions, drawn with `seed`; null for all.")


class FrameShards(Section):
    """Number of jobs that share the work on a data set."""

    frames: Shards = Field(description="Jobs that share the decoding of the videos.")


class BenchmarkShards(FrameShards):
    """Number of jobs that share the work on a benchmark."""

    predict: Shards = Field(description="Jobs that share the answering, for each arm and seed.")


class DataEntry(Section):
    """What every data set has."""

    root: Text = Field(description="Folder in the published layout; `{run}` stands for the run's name.")


class Demonstrations(DataEntry):
    """Annotated samples that a model imitates."""

    annotations: Text = Field(description="File in the folder, or a path of its own.")
    questions: Count | None = Field(description="Samples that the annotation file must hold; null is not checked.")
    shards: FrameShards = Field(description="Number of jobs that share the work.")


class TrainingData(DataEntry):
    """Questions to train on, from which some are held out."""

    annotations: Text | None = Field(
        description="File in the folder, or a path of its own; null for the published name."
    )
    questions: Count | None = Field(description="Questions that the annotation file must hold; null is not checked.")
    filter: Filter = Field(description="Which questions are kept.")
    shards: FrameShards = Field(description="Number of jobs that share the work.")


class BenchmarkData(DataEntry):
    """A benchmark."""

    annotations: Text | None = Field(
        default=None,
        description="File in the folder, or a path of its own, for benchmarks that are published in several forms (docs/data.md); "
        "null for the published names.",
    )
    questions: Count | Mapping[str, Part] | None = Field(
        description="Questions that the benchmark must hold, in all or by part (duration of Video-MME, category of MVBench and "
        "MLVU); null is not checked."
    )
    known_missing: Mapping[str, Part] | None = Field(
        description="Questions, by category, whose video is not distributed: they count as wrong and in coverage, and stop "
        "nothing; null for none."
    )
    shards: BenchmarkShards = Field(description="Number of jobs that share the work.")


class Archive(Section):
    """How one kind of archive is unpacked."""

    into: str = Field(
        pattern=r"^(\.|(?!\.\.?(/|$))[^/]+(/(?!\.\.?(/|$))[^/]+)*)\Z",
        description="Folder below the source's that it is unpacked to; . for the folder itself.",
    )
    members: tuple[Pattern, ...] = Field(
        strict=False, min_length=1, description="Patterns of the members that are needed; * also matches /."
    )


class SourceEntry(Section):
    """A model or data set that is fetched."""

    repo: str = Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+\Z", description="`owner/name` on the hub.")
    type: Literal["model", "dataset"] = Field(description="Kind of repository.")
    revision: Text = Field(
        description="Commit (or its beginning), tag or branch. In quotes where it could be a number."
    )
    files: tuple[Pattern, ...] = Field(
        strict=False, min_length=1, description="Patterns of the files that are needed; * also matches /."
    )
    archives: Mapping[str, Archive] = Field(description="How archives are unpacked, by a pattern of their paths.")
    asked_by: str | None = Field(
        description="Data set whose questions name the videos that are needed; null for all videos."
    )
    expected_files: Count | None = Field(description="Files to be fetched; null is not checked.")
    expected_members: Count | None = Field(description="Files to be unpacked; null is not checked.")
    licence: str = Field(description="License as its page states it.")
    gated: bool = Field(description="Whether an account must accept conditions first.")
    gigabytes: float | None = Field(
        ge=0, le=1_000_000, description="Size of the download in 10^9 bytes, where it is on record."
    )
