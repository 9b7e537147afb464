"""Annotations of temporal grounding: a video, a sentence, and when in the video it happens.

Three published forms hold them, and give the same questions:

- lines `AO8RW 0.0 6.9##a person is ...` (Charades-STA);
- an object `{"v_QOlSCBRmfWY": {"duration": 82.73, "timestamps": [[0.83, 19.86]], "sentences": ["A young woman .."]}}`
  (ActivityNet Captions, and Charades-STA as regrouped by others);
- flat records `{"video": "3MSZA.mp4", "caption": "person turn a light on.", "timestamp": [24.3, 30.4]}` as JSON, JSON lines or
  parquet (the hub's forms), with or without a `duration`.
"""

import collections
import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vidreason.artifacts.files import read_json
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.path_checks import is_there
from vidreason.artifacts.strict_json import abridged
from vidreason.data.fields import (
    UnusableRecordError,
    as_optional_text,
    questions_of,
    read_records,
    require_keys,
    video_path,
)
from vidreason.data.registry import Source
from vidreason.records import ClipRef, Question

TOLERANCE = 1.5
"""Seconds by which a segment may end beyond its video's annotated duration; it is then clipped. Of the first 1,200 segments of
Charades-STA's test split 194 do, none by more, because its annotators saw another encoding of the videos."""
CLIPPED = "with an end beyond the video, clipped to it"
EMPTY_SEGMENT = "empty_segment"
OUTSIDE_VIDEO = "outside_video"
NO_DURATION = "no_duration"


def read_moments(
    dataset: str,
    source: Source,
    file: Path,
    located: Callable[[str], str],
    durations: Mapping[str, float] | None = None,
    for_training: bool = False,
) -> list[Question]:
    """Read a file of moments.

    Args:
        dataset: Name of the data set.
        source: Counts the moments that are set aside: without length, outside their video, without a sentence, or of a video
            without a duration.
        file: The annotations, of any of the three forms.
        located: Name of a video, without its suffix -> its path in the data set.
        durations: Seconds by the name of a video, for forms without them.
        for_training: See `vidreason.data.fields.questions_of`.

    Returns:
        Questions in file order. Their `duration` is the annotated one; their ids number the moments of a video.

    Raises:
        ValueError: A record is malformed; the message names the file and the number of the record.
    """
    known: collections.Counter[str] = collections.Counter()
    paths: dict[str, str] = {}

    def parse(record: Any, index: int) -> Question:
        require_keys(record, ("video", "caption", "timestamp"))
        path = without_suffix(video_path(record["video"]))
        name = PurePosixPath(path).name
        if paths.setdefault(name, path) != path:
            raise ValueError(
                f"the videos {paths[name][:200]!r} and {path[:200]!r} have one name, by which videos are found and counted; "
                f"allowed: a name of its own for each video"
            )
        known[name] += 1
        question = Question(
            id=f"{name}-{known[name] - 1}",
            dataset=dataset,
            task="grounding",
            text=as_optional_text(record["caption"], "caption").strip(),
            clip=ClipRef(located(name)),
        )
        if not question.text:
            raise UnusableRecordError("no_text", "the caption is empty", question)
        duration = record.get("duration")
        return with_segments(
            with_duration(question, (durations or {}).get(name) if duration is None else duration),
            [record["timestamp"]],
            source,
        )

    return questions_of(file, moment_records(file), parse, for_training, source)


def moment_records(file: Path) -> list[Any]:
    """The records of a file of any of the three forms, as flat records.

    Raises:
        ValueError: A line is not `VIDEO START END##SENTENCE`, or the object does not hold lists of equal lengths.
    """
    if file.suffix == ".txt":
        lines = enumerate(
            _text_of(file).split("\n"), start=1
        )  # a sentence may hold what `splitlines` takes for a line break
        return [_of_line(file, number, line) for number, line in lines if line.strip()]
    if file.suffix == ".json" and isinstance(grouped := read_json(file), dict):
        return [record for video, entry in grouped.items() for record in _of_video(file, video, entry)]
    return read_records(file)


def _text_of(file: Path) -> str:
    check_unchanged(file)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text in UTF-8 ({error})") from error


def _of_line(file: Path, number: int, line: str) -> dict[str, Any]:
    """A line of Charades-STA as a flat record."""
    head, marks, caption = line.partition("##")
    fields = head.split()
    try:
        video, start, end = fields
        timestamp = [float(start), float(end)]
    except ValueError:
        fields = []
    if not fields or not marks:
        raise ValueError(f"{file}: line {number}: {line[:120]!r}; allowed: VIDEO START END##SENTENCE, times in seconds")
    return {"video": video, "caption": caption, "timestamp": timestamp}


def _of_video(file: Path, video: str, entry: Any) -> list[dict[str, Any]]:
    """All moments of a video as flat records."""
    try:
        require_keys(entry, ("duration", "timestamps", "sentences"))
        times, sentences = entry["timestamps"], entry["sentences"]
        if not isinstance(times, list) or not isinstance(sentences, list) or len(times) != len(sentences):
            raise ValueError("timestamps and sentences must be lists of the same length")
    except ValueError as error:
        raise ValueError(f"{file}: video {video[:80]!r}: {abridged(str(error))}") from error
    return [
        {"video": video, "duration": entry["duration"], "timestamp": time, "caption": sentence}
        for time, sentence in zip(times, sentences, strict=True)
    ]


def with_duration(question: Question, duration: Any) -> Question:
    """A question with the annotated duration of its clip.

    Raises:
        UnusableRecordError: There is none.
        ValueError: It is no positive number.
    """
    if duration is None:
        raise UnusableRecordError(NO_DURATION, f"no duration is annotated for {question.clip.path!r}", question)
    if (seconds := as_seconds(duration, "duration")) <= 0:
        raise ValueError(f"duration is {duration}; allowed: more than 0 seconds")
    return dataclasses.replace(question, duration=seconds)


def with_segments(question: Question, pairs: Any, source: Source) -> Question:
    """A question with its segments, each clipped to the clip's duration.

    Args:
        question: With a duration.
        pairs: Its segments as published, one or more `[start, end]` in seconds.
        source: Counts the questions whose segments are clipped.

    Raises:
        UnusableRecordError: A segment has no length, or lies outside the clip by more than `TOLERANCE`.
        ValueError: The pairs are malformed.
    """
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or not pairs:
        raise ValueError(f"the segments are {str(pairs)[:80]!a}; expected one or more pairs of seconds")
    duration, segments = question.duration or 0.0, []
    for pair in pairs:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"a segment is {str(pair)[:80]!a}; expected [start, end]")
        start, end = as_seconds(pair[0], "start"), as_seconds(pair[1], "end")
        if end <= start:
            raise UnusableRecordError(EMPTY_SEGMENT, f"the segment {start:g} to {end:g} s has no length", question)
        if not 0 <= start < duration or end > duration + TOLERANCE:
            raise UnusableRecordError(
                OUTSIDE_VIDEO, f"the segment {start:g} to {end:g} s lies outside a video of {duration:g} s", question
            )
        segments.append((start, min(end, duration)))
    source.repairs[CLIPPED] += any(float(pair[1]) > duration for pair in pairs)
    return dataclasses.replace(question, segments=tuple(segments))


def as_seconds(value: Any, key: str) -> float:
    """A time of a record.

    Raises:
        ValueError: It is no finite number.
    """
    # A table's half-precision number is a `Real` and no `float`.
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        seconds = float(value) if is_number else math.nan
    except OverflowError:  # a whole number of more than 308 digits
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"{key} is {str(value)[:80]!a} ({type(value).__name__}); expected a number of seconds")
    return seconds + 0.0  # of -0.0 it makes 0.0; an answer that begins with a minus sign is none


SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Suffixes of videos, in the order in which they are tried."""


def without_suffix(path: str) -> str:
    """A video's path without the suffix of a video; a name may hold other dots.

    Example:
        >>> without_suffix("a/v.mkv"), without_suffix("2I9-kvemtSU_510.0_660.0")
        ('a/v', '2I9-kvemtSU_510.0_660.0')
    """
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path


def video_finder(root: Path, folders: Sequence[str]) -> Callable[[str], str]:
    """Name of a video -> its path below the root: the first that exists, or else where it would be expected.

    Args:
        root: Folder of the data set.
        folders: Folders in which videos may be, in the order in which they are tried; `.` for the root itself.
    """
    paths: dict[str, str] = {}

    def located(name: str) -> str:
        if name not in paths:
            places = [
                (PurePosixPath(folder) / f"{name}{suffix}").as_posix() for folder in folders for suffix in SUFFIXES
            ]
            paths[name] = next((place for place in places if is_there(root / place)), places[0])
        return paths[name]

    return located


def query(question: Question) -> str:
    """The sentence as a question about time."""
    return f"When in the video does this happen: {question.text}"
