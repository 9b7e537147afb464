"""Which NextQA questions are trained on: those whose video can be read and is short enough; some videos are held out.

The published annotations do not state durations, so every video is opened. What cannot be used is dropped with a reason,
never silently.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.config.annotations import BUCKET, find_annotations
from vidreason.config.datasets import Filter
from vidreason.data import nextqa
from vidreason.data.fields import check_questions
from vidreason.data.registry import Dropped, Source, dataset_of, write_dropped
from vidreason.records import OK, ClipRef, ClipStatus, Question

WHOLE_SECONDS, EXACT = "whole_seconds", "exact"
"""What is compared with `max_seconds`: the duration without its fraction, or the exact duration. The publisher formed the
bucket of 0 to 30 s by whole seconds and does not say how durations were rounded. Dropping the fraction keeps every video that
is 30 s long when rounded down or to the nearest second (900 frames at 29.97 per second last 30.03 s)."""
NEAR_SECONDS = (0.0, 0.5, 1.0)
"""Bounds beyond `max_seconds` between which the table of durations counts videos."""
TOO_LONG = "too_long"
OVER_THE_LIMIT = "over_the_limit"


@dataclasses.dataclass(frozen=True)
class FilterFiles:
    """What the filter writes.

    Attributes:
        train: Questions to train on, JSON lines.
        validation: Questions held out, JSON lines.
        dropped: CSV of the dropped: question, video, reason, duration, detail.
        clips: A `ClipStatus` for every video, JSON lines.
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
        read: Questions in the annotation file.
        train: Questions kept for training.
        validation: Questions kept for validation.
        dropped: Reason -> number of questions dropped for it.
    """

    read: int
    train: int
    validation: int
    dropped: dict[str, int]


def filter_nextqa(
    source: Source,
    rules: Filter,
    files: FilterFiles,
    *,
    seed: int,
    frame_count: int = 16,
    expected: int | None = None,
    threads: int = 2,
) -> FilterCounts:
    """Keep the questions whose video can be read and lasts 0 < duration <= `max_seconds`; hold some videos out.

    All questions of a video are trained on or all are held out. `rules.questions_limit` keeps whole videos first.

    Args:
        source: The data set.
        rules: Which questions are kept.
        files: What is written.
        seed: Seed of the split and of the limit.
        frame_count: Frames that the model sees of a video; it is kept if these can be decoded.
        expected: Questions that the annotation file must hold; None for any number.
        threads: Videos opened at the same time.

    Raises:
        ValueError: A record is malformed, there are more or fewer questions than expected, or nothing is left to train on.
    """
    questions = nextqa.read(source)
    file = find_annotations(source.root, source.annotations, nextqa.ANNOTATIONS)
    check_questions("nextqa", questions, dataset_of("nextqa").tasks, for_training=True)
    _check_count(len(questions) + len(source.dropped), expected, file)
    clips = probe_videos(
        source.root,
        [question.clip.path for question in questions],
        rules.max_seconds,
        threads,
        rules.duration,
        frame_count,
    )
    kept = [question for question in questions if clips[question.clip.path].status == OK]
    ranked = sorted({question.clip.path for question in kept}, key=lambda video: _rank(seed, video))
    if rules.validation_fraction > 0 and len(ranked) > 1:
        held_out = set(ranked[: max(1, round(rules.validation_fraction * len(ranked)))])
    else:
        held_out = set()
    trainable = [question for question in kept if question.clip.path not in held_out]
    train = _first_videos(trainable, ranked, rules.questions_limit)
    validation = [question for question in kept if question.clip.path in held_out]
    dropped = [
        _dropped(question, clips, clips[question.clip.path].status, clips[question.clip.path].detail)
        for question in questions
        if clips[question.clip.path].status != OK
    ]
    dropped += source.dropped
    chosen = {question.id for question in train}
    dropped += [
        _dropped(question, clips, OVER_THE_LIMIT, "more questions were not asked for")
        for question in trainable
        if question.id not in chosen
    ]
    if not train:
        reasons = dict(collections.Counter(row.reason for row in dropped))
        raise ValueError(
            f"{source.root}: none of the {len(questions)} questions is left to train on; dropped: {reasons}"
        )
    write_jsonl(files.train, train)
    write_jsonl(files.validation, validation)
    write_jsonl(files.clips, clips.values())
    write_dropped(files.dropped, dropped)
    if files.durations is not None:
        _write_durations(files.durations, questions, clips, rules.max_seconds)
    return FilterCounts(
        len(questions) + len(source.dropped),
        len(train),
        len(validation),
        dict(collections.Counter(row.reason for row in dropped)),
    )


def _check_count(count: int, expected: int | None, source: Path) -> None:
    """Check that an annotation file has as many questions as the paper trained on.

    Raises:
        ValueError: The number differs; the message names the published revision that the file resembles.
    """
    if expected is None or count == expected:
        return
    if count > expected:
        guess = (
            "It looks like lmms-lab/LLaVA-Video-178K before its commit d8ee1c8, when the file had 3.98 MB and more questions: "
            "pin sources.LLaVA-Video-178K.revision to d8ee1c8 or later"
        )
    else:
        guess = (
            "Later revisions of lmms-lab/LLaVA-Video-178K have a file of 2.25 MB. Fewer questions than that: was it cut "
            "short, or is it another folder's (30_60_s_nextqa) or the open-ended one?"
        )
    raise ValueError(
        f"{source}: {count} questions in {source.stat().st_size / 1e6:.2f} MB, expected are {expected}. {guess}. If these are "
        f"the questions you mean, set datasets.nextqa.questions to {count}, or to null"
    )


def probe_videos(
    root: str | Path,
    videos: Iterable[str],
    max_seconds: float,
    threads: int,
    duration: str = WHOLE_SECONDS,
    frame_count: int = 16,
) -> dict[str, ClipStatus]:
    """Open and decode every video once.

    Args:
        root: Folder the paths are relative to.
        videos: Paths; repeats are opened once.
        max_seconds: A longer video gets the status `too_long`.
        threads: Videos opened at the same time.
        duration: `whole_seconds` or `exact`.
        frame_count: Frames that the model sees of a video; it is readable if these can be decoded.

    Returns:
        Path -> clip, sorted by path.
    """
    measure, unit = (math.floor, "whole s") if duration == WHOLE_SECONDS else (float, "s")

    from vidreason.media.extract_frames import check_clip
    from vidreason.media.probe import scan  # imported here: the graph is built from this folder without video libraries

    def check(video: str) -> ClipStatus:
        scanned = scan(Path(root) / video, key=video)
        clip = scanned.clip
        if clip.status == OK and clip.duration is not None and measure(clip.duration) > max_seconds:
            return dataclasses.replace(
                clip, status=TOO_LONG, detail=f"{clip.duration:.2f} s, allowed {max_seconds:g} {unit}"
            )
        # The same check as in frame extraction.
        return check_clip(
            Question(video, "nextqa", "multiple_choice", "", ClipRef(video), (), ""), root, frame_count, scanned
        )

    unique = sorted(set(videos))
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        return dict(zip(unique, pool.map(check, unique), strict=True))


def _rank(seed: int, video: str) -> str:
    """Sort key of a random order that depends only on the seed and the video's name."""
    name = video.removeprefix(f"{BUCKET}/")  # so that both published forms of the data are split the same way
    return sha256_text(f"{seed}:{name}")


def _first_videos(questions: list[Question], ranked: list[str], limit: int | None) -> list[Question]:
    """At most `limit` questions, taken video by video from the end of the ranking, in their original order."""
    if limit is None or len(questions) <= limit:
        return questions
    place = {video: number for number, video in enumerate(reversed(ranked))}
    chosen = {question.id for question in sorted(questions, key=lambda question: place[question.clip.path])[:limit]}
    return [question for question in questions if question.id in chosen]


def _dropped(question: Question, clips: dict[str, ClipStatus], reason: str, detail: str) -> Dropped:
    """The row of a question that is dropped after its video was opened."""
    return Dropped(question.id, question.clip.path, reason, detail, clips[question.clip.path].duration)


def _write_durations(
    path: str | Path, questions: list[Question], clips: dict[str, ClipStatus], max_seconds: float
) -> None:
    """Write how many videos last up to `max_seconds`, a little longer, and clearly longer, and how many were kept."""
    bounds = [0.0, *(max_seconds + beyond for beyond in NEAR_SECONDS), math.inf]
    per_video = collections.Counter(question.clip.path for question in questions)
    rows = []
    for low, high in itertools.pairwise(bounds):
        lasting = [clip for clip in clips.values() if clip.duration is not None and low < clip.duration <= high]
        kept = [clip for clip in lasting if clip.status == OK]
        counts = [len(lasting), _total(per_video, lasting), len(kept), _total(per_video, kept)]
        rows.append([f"{low:g}", "" if high == math.inf else f"{high:g}", *counts])
    write_csv(path, ["longer_than", "up_to", "videos", "questions", "videos_kept", "questions_kept"], rows)


def _total(per_video: collections.Counter[str], clips: list[ClipStatus]) -> int:
    """Questions about these clips."""
    return sum(per_video[clip.key] for clip in clips)
