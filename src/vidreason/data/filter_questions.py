"""Which questions of a training set are trained on: those whose clip can be read and is short enough; some videos are held out.

Annotations rarely state durations, and never which files are damaged, so every video is opened. What cannot be used is dropped
with a reason, never silently.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.config.datasets import Filter
from vidreason.data.fields import check_questions
from vidreason.data.registry import Dropped, Source, check_counts, dataset_of, write_dropped
from vidreason.records import OK, TOO_LONG, VIDEO, ClipStatus, Question

WHOLE_SECONDS, EXACT = "whole_seconds", "exact"
"""What is compared with `max_seconds`: the duration without its fraction, or the exact duration. NextQA's publisher formed the
bucket of 0 to 30 s by whole seconds and does not say how durations were rounded. Dropping the fraction keeps every video that
is 30 s long when rounded down or to the nearest second (900 frames at 29.97 per second last 30.03 s)."""
NEAR_SECONDS = (0.0, 0.5, 1.0)
"""Bounds beyond `max_seconds` between which the table of durations counts videos."""
OVER_THE_LIMIT = "over_the_limit"


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the clips are checked.

    Attributes:
        frame_count: Frames that the model sees of a clip; it is readable if these can be decoded.
        threads: Files opened at the same time.
    """

    frame_count: int = 16
    threads: int = 2


@dataclasses.dataclass(frozen=True)
class FilterFiles:
    """What the filter writes.

    Attributes:
        train: Questions to train on, JSON lines.
        validation: Questions held out, JSON lines.
        dropped: CSV of the others (`vidreason.data.registry.write_dropped`).
        clips: A `ClipStatus` for every clip, JSON lines.
        durations: CSV of how many videos last up to `max_seconds` and a little longer; None writes none.
    """

    train: Path
    validation: Path
    dropped: Path
    clips: Path
    durations: Path | None = None


@dataclasses.dataclass(frozen=True)
class FilterCounts:
    """What the filter did.

    Attributes:
        read: Questions in the annotation files.
        train: Questions kept for training.
        validation: Questions kept for validation.
        dropped: Reason -> number of questions dropped for it.
    """

    read: int
    train: int
    validation: int
    dropped: dict[str, int]


def filter_questions(
    name: str,
    source: Source,
    rules: Filter,
    files: FilterFiles,
    *,
    seed: int,
    expected: int | None = None,
    decoding: Decoding = Decoding(),
) -> FilterCounts:
    """Keep the questions of a training set whose clip can be read and is not too long; hold some videos out.

    All questions of a video are trained on or all are held out. `rules.questions_limit` keeps whole videos first. An image has
    no duration, so no `max_seconds` drops it.

    Args:
        name: Name of the data set.
        source: Where and how it is read.
        rules: Which questions are kept.
        files: What is written.
        seed: Seed of the split and of the limit.
        expected: Questions that the annotation files must hold; None for any number.
        decoding: How the clips are checked.

    Raises:
        ValueError: A record is malformed, there are more or fewer questions than expected, or nothing is left to train on.
    """
    dataset = dataset_of(name)
    questions = dataset.read(source)
    check_counts(name, [*questions, *source.dropped], expected, source=source)
    check_questions(name, questions, dataset.tasks, for_training=True)
    clips = check_clips(questions, source.root, rules, decoding)
    kept = [question for question in questions if clips[question.clip.key].status == OK]
    held_out, ranked = _held_out(kept, rules.validation_fraction, seed, dataset.video_name)
    trainable = [question for question in kept if question.clip.path not in held_out]
    train = _first_videos(trainable, ranked, rules.questions_limit)
    validation = [question for question in kept if question.clip.path in held_out]
    dropped = [
        _dropped(question, clip, clip.status, clip.detail)
        for question in questions
        if (clip := clips[question.clip.key]).status != OK
    ]
    dropped += source.dropped
    chosen = {question.id for question in train}
    dropped += [
        _dropped(question, clips[question.clip.key], OVER_THE_LIMIT, "more questions were not asked for")
        for question in trainable
        if question.id not in chosen
    ]
    reasons = dict(collections.Counter(row.reason for row in dropped))
    if not train:
        raise ValueError(
            f"{source.root}: none of the {len(questions)} questions is left to train on; dropped: {reasons}"
        )
    write_jsonl(files.train, train)
    write_jsonl(files.validation, validation)
    write_jsonl(files.clips, clips.values())
    write_dropped(files.dropped, dropped)
    if files.durations is not None:
        _write_durations(files.durations, questions, clips, rules.max_seconds)
    return FilterCounts(len(questions) + len(source.dropped), len(train), len(validation), reasons)


def check_clips(
    questions: Iterable[Question], root: str | Path, rules: Filter, decoding: Decoding = Decoding()
) -> dict[str, ClipStatus]:
    """Open and decode the clip of every question once.

    Args:
        questions: The questions; a clip that several are about is opened once.
        root: Folder that the paths are relative to.
        rules: With `max_seconds`: a longer video gets the status `too_long`.
        decoding: How clips are checked.

    Returns:
        Key of the clip -> its status, sorted by key.
    """
    # Imported here: the graph is built from this folder without video libraries.
    from vidreason.media.extract_frames import check_clip
    from vidreason.media.probe import scan

    whole = rules.duration == WHOLE_SECONDS
    measure: Callable[[float], float] = math.floor if whole else float
    most = math.inf if rules.max_seconds is None else rules.max_seconds

    def check(question: Question) -> ClipStatus:
        # A video that is too long is not decoded. The rest is the same check as in frame extraction.
        is_video = question.clip.kind == VIDEO
        scanned = scan(Path(root) / question.clip.path, key=question.clip.key) if is_video else None
        if scanned and scanned.clip.status == OK and measure(scanned.clip.duration or 0.0) > most:
            detail = f"{scanned.clip.duration:.2f} s, allowed {most:g} {'whole s' if whole else 's'}"
            return dataclasses.replace(scanned.clip, status=TOO_LONG, detail=detail)
        return check_clip(question, root, decoding.frame_count, scanned)

    unique = {question.clip.key: question for question in questions}
    keys = sorted(unique)
    with ThreadPoolExecutor(max_workers=max(1, decoding.threads)) as pool:
        return dict(zip(keys, pool.map(check, map(unique.__getitem__, keys)), strict=True))


def _held_out(
    questions: Sequence[Question], share: float, seed: int, video_name: Callable[[str], str]
) -> tuple[set[str], list[str]]:
    """Files whose questions are held out, at least one less than there are, and all files in the random order that they begin."""
    ranked = sorted({question.clip.path for question in questions}, key=lambda path: _rank(seed, video_name(path)))
    count = min(max(1, round(share * len(ranked))), len(ranked) - 1) if share > 0 and ranked else 0
    return set(ranked[:count]), ranked


def _rank(seed: int, video: str) -> str:
    """Sort key of a random order that depends only on the seed and the video's name."""
    return sha256_text(f"{seed}:{video}")


def _first_videos(questions: list[Question], ranked: list[str], limit: int | None) -> list[Question]:
    """At most `limit` questions, taken video by video from the end of the ranking, in their original order."""
    if limit is None or len(questions) <= limit:
        return questions
    place = {video: number for number, video in enumerate(reversed(ranked))}
    chosen = {question.id for question in sorted(questions, key=lambda question: place[question.clip.path])[:limit]}
    return [question for question in questions if question.id in chosen]


def _dropped(question: Question, clip: ClipStatus, reason: str, detail: str) -> Dropped:
    """The row of a question that is dropped after its clip was opened."""
    return Dropped(question.id, question.clip.path, reason, detail, clip.duration)


def _write_durations(
    path: str | Path, questions: Sequence[Question], clips: Mapping[str, ClipStatus], max_seconds: float | None
) -> None:
    """Write how many videos last up to `max_seconds`, a little longer, and clearly longer, and how many were kept.

    Without `max_seconds` there is one row, of all videos.
    """
    bounds = [0.0, *([] if max_seconds is None else [max_seconds + beyond for beyond in NEAR_SECONDS]), math.inf]
    per_clip = collections.Counter(question.clip.key for question in questions)
    rows = []
    for low, high in itertools.pairwise(bounds):
        lasting = [clip for clip in clips.values() if clip.duration is not None and low < clip.duration <= high]
        kept = [clip for clip in lasting if clip.status == OK]
        counts = [len(lasting), _total(per_clip, lasting), len(kept), _total(per_clip, kept)]
        rows.append([f"{low:g}", "" if high == math.inf else f"{high:g}", *counts])
    write_csv(path, ["longer_than", "up_to", "videos", "questions", "videos_kept", "questions_kept"], rows)


def _total(per_clip: collections.Counter[str], clips: Iterable[ClipStatus]) -> int:
    """Questions about these clips."""
    return sum(per_clip[clip.key] for clip in clips)
