"""Training items of Temporal-R1: find the part of a video that a text asks for.

Layout: a list of `{dataset, video, problem, solution: [start, end], video_length}` as JSON or JSON lines. `problem` is the text of
the prompt; start and end are fractions of `video_length`, which is in seconds. The published code looks for the videos of a file in
one folder.

Source: appletea233/Temporal-R1@f364f6c:verl/utils/dataset_video.py.
Differs from the source: a bound beyond the video is clipped or set aside (`vidreason.data.moments`), and the length is always that
of the record, where the published code computes it from the sampled frames for `charades_train`.
"""

import collections
from typing import Any

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.fields import as_text, questions_of, read_records, require_keys, video_path
from vidreason.data.moments import as_seconds, video_finder, with_duration, with_segments, without_suffix
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import ClipRef, Question

FOLDERS = (".", "videos", "Charades_v1_480")
"""Folders that the paths may be relative to, below the root, in the order in which they are tried."""


def read(source: Source) -> list[Question]:
    """Read the items in file order; `category` is the record's `dataset`.

    Raises:
        ValueError: The file is absent, or a record is malformed.
    """
    file = find_annotations(source.root, source.annotations)
    located = video_finder(source.root, FOLDERS)
    known: collections.Counter[str] = collections.Counter()

    def parse(record: Any, index: int) -> Question:
        require_keys(record, ("video", "problem", "solution", "video_length"))
        name = without_suffix(video_path(record["video"]))
        known[name] += 1
        question = Question(
            id=f"{name}-{known[name] - 1}",
            dataset="temporal_r1",
            task="grounding",
            text=as_text(record["problem"], "problem"),
            clip=ClipRef(located(name)),
            category=as_text(record.get("dataset", ""), "dataset"),
        )
        question = with_duration(question, record["video_length"])
        return with_segments(question, [in_seconds(record["solution"], question.duration or 0.0)], source)

    return questions_of(file, read_records(file), parse, for_training=True, aside=source)


def in_seconds(solution: Any, duration: float) -> list[float]:
    """A solution, a pair of fractions, in seconds.

    Raises:
        ValueError: It is no pair of numbers.

    Example:
        >>> in_seconds([0.1, 0.5], 20)
        [2.0, 10.0]
    """
    if not isinstance(solution, list) or len(solution) != 2:
        raise ValueError(f"solution is {str(solution)[:80]!a}; expected [start, end] as fractions of the video")
    return [as_seconds(value, "solution") * duration for value in solution]


register(
    Dataset(
        name="temporal_r1",
        title="Temporal-R1",
        description="Temporal-R1 (temporal grounding, training items)",
        citation="Li et al., Temporal-RLT, arXiv 2506.01908",
        role="training",
        template=lambda question: question.text,
        read=read,
        annotation_files=lambda source: existing_annotations(source.root, source.annotations),
        tasks=("grounding",),
    )
)
