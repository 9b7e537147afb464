"""NextQA as training data: multiple-choice questions about videos of at most 30 seconds.

Two published forms are read, and give the same questions: the conversations of lmms-lab/LLaVA-Video-178K (folder
`0_30_s_nextqa`) and the lines of `nextqa_0-30s.jsonl` in Zhang199/TinyLLaVA-Video-R1-training-data. Neither states a
duration, so every container is opened. What cannot be used is dropped with a reason, never silently.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import write_jsonl
from vidreason.artifacts.paths import is_there
from vidreason.config.annotations import BUCKET, find_annotations
from vidreason.data.fields import need, plain_text, questions_of, read_records, video_path
from vidreason.data.options import PROMPTS, answer_letter, split_choices
from vidreason.media.frames import check_clip
from vidreason.media.video import scan
from vidreason.records import NO_OPTION, OK, ClipRef, ClipStatus, Question
from vidreason.tasks.markup import first_answer

TITLE = "NextQA (0-30 s, multiple choice)"
CITATION = "Xiao et al., NExT-QA, CVPR 2021; Zhang et al., LLaVA-Video-178K, arXiv 2410.02713"
WHOLE_SECONDS, EXACT = "whole_seconds", "exact"
"""What is compared with `max_seconds`: the duration without its fraction, or the duration itself. The publisher cut the
bucket of 0 to 30 s by a number of whole seconds and does not say how it was rounded. Dropping the fraction keeps every
video that rounding down or to the nearest calls 30 s (900 frames at 29.97 a second last 30.03 s)."""
NEAR_SECONDS = (0.0, 0.5, 1.0)
"""Bounds beyond `max_seconds` between which the table of durations counts videos."""
TOO_LONG = "too_long"
DUPLICATE = "duplicate"
NO_GOLD = "no_gold"
OVER_THE_LIMIT = "over_the_limit"
DETAILS = {
    DUPLICATE: "repeats an earlier question",
    NO_GOLD: "the words of the answer are none of the options",
    OVER_THE_LIMIT: "more questions were not asked for",
}
"""Reasons that are not the video's, in words."""

prompt = PROMPTS["nextqa"]


@dataclasses.dataclass(frozen=True)
class FilterCounts:
    """What the filter did.

    Attributes:
        asked: Questions in the annotation file.
        train: Questions kept for training.
        validation: Questions kept for validation.
        dropped: Reason -> number of questions dropped for it.
    """

    asked: int
    train: int
    validation: int
    dropped: dict[str, int]


def filter_nextqa(
    root: str | Path,
    annotations: str | Path | None,
    max_seconds: float,
    validation_fraction: float,
    seed: int,
    train_path: str | Path,
    validation_path: str | Path,
    dropped_path: str | Path,
    clips_path: str | Path,
    limit: int | None = None,
    threads: int = 2,
    expected: int | None = None,
    duration: str = WHOLE_SECONDS,
    frame_count: int = 16,
    durations_path: str | Path | None = None,
) -> FilterCounts:
    """Keep the questions whose video can be read and lasts 0 < duration <= `max_seconds`; hold some videos out.

    Args:
        root: Folder of the data set.
        annotations: The questions, absolute or relative to `root`; None looks for the published names.
        max_seconds: Longest video kept, in seconds.
        validation_fraction: Fraction of the kept videos, 0..1, whose questions go to validation. All questions of a
            video go the same way.
        seed: Seed of the split and of `limit`.
        train_path: Questions to train on, JSON lines.
        validation_path: Questions held out, JSON lines.
        dropped_path: CSV of the dropped: question, video, reason, duration, detail.
        clips_path: A `ClipStatus` for every video asked for, JSON lines.
        limit: Keep at most so many training questions, whole videos first; None keeps all. The others are dropped as
            `over_the_limit`.
        threads: Videos opened at the same time.
        expected: Questions that the annotation file must hold; None for any number.
        duration: What is compared with `max_seconds`: `whole_seconds` (the fraction is dropped) or `exact`.
        frame_count: Frames that the model sees of a video; it is kept if these can be decoded.
        durations_path: CSV of how many videos last up to `max_seconds` and a little longer; None writes none.

    Returns:
        The counts.

    Raises:
        ValueError: A record is malformed, there are more or fewer questions than expected, or nothing is left to train on.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction is {validation_fraction}; allowed: 0 <= validation_fraction < 1")
    if duration not in (WHOLE_SECONDS, EXACT):
        raise ValueError(f"duration is {duration!r}; allowed: {WHOLE_SECONDS}, {EXACT}")
    questions, set_aside = read(root, annotations)
    _check_count(len(questions) + len(set_aside), expected, find_annotations(root, annotations, "nextqa"))
    clips = probe_videos(
        root, [question.clip.path for question in questions], max_seconds, threads, duration, frame_count
    )
    kept = [question for question in questions if clips[question.clip.path].status == OK]
    ranked = sorted({question.clip.path for question in kept}, key=lambda video: _rank(seed, video))
    if validation_fraction > 0 and len(ranked) > 1:
        held_out = set(ranked[: max(1, round(validation_fraction * len(ranked)))])
    else:
        held_out = set()
    trainable = [question for question in kept if question.clip.path not in held_out]
    train = _first_videos(trainable, ranked, limit)
    validation = [question for question in kept if question.clip.path in held_out]
    dropped = [
        (question, clips[question.clip.path].status) for question in questions if clips[question.clip.path].status != OK
    ]
    dropped += set_aside
    chosen = {question.id for question in train}
    dropped += [(question, OVER_THE_LIMIT) for question in trainable if question.id not in chosen]
    if not train:
        reasons = dict(collections.Counter(reason for _, reason in dropped))
        raise ValueError(f"{root}: none of the {len(questions)} questions is left to train on; dropped: {reasons}")
    write_jsonl(train_path, train)
    write_jsonl(validation_path, validation)
    write_jsonl(clips_path, clips.values())
    _write_dropped(dropped_path, dropped, clips)
    if durations_path is not None:
        _write_durations(durations_path, questions, clips, max_seconds)
    return FilterCounts(
        len(questions) + len(set_aside),
        len(train),
        len(validation),
        dict(collections.Counter(reason for _, reason in dropped)),
    )


def read(root: str | Path, annotations: str | Path | None = None) -> tuple[list[Question], list[tuple[Question, str]]]:
    """Read all questions, whatever their videos are like.

    Args:
        root: Folder of the data set.
        annotations: The questions, absolute or relative to `root`; None looks for the published names.

    Returns:
        The questions in file order, and those that cannot be used whatever their videos are like, each with its reason: one
        that repeats an earlier question word for word, or whose answer has words that are none of the options.

    Raises:
        ValueError: A record is malformed; the message names the file and the number of the record.
    """
    root = Path(root)
    source = find_annotations(root, annotations, "nextqa")
    numbers: collections.Counter[str] = collections.Counter()
    problem_ids: dict[object, int] = {}

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record)
        _check_problem_id(record.get("problem_id"), index + 1, problem_ids)
        # The published `id` names the video, not the question, and two videos in folders or formats of their own can have
        # the same: the questions of one name are numbered.
        number = numbers[question.id]
        numbers[question.id] += 1
        return dataclasses.replace(
            question, id=f"{question.id}-{number}", clip=ClipRef(located(root, question.clip.path))
        )

    questions: list[Question] = []
    set_aside: list[tuple[Question, str]] = []
    known: set[object] = set()
    for question in questions_of(source, read_records(source), parse, learnt=True):
        content = (question.clip.path, question.text, question.options, question.gold)
        if question.gold == NO_OPTION:
            set_aside.append((question, NO_GOLD))
        elif content in known:
            set_aside.append((question, DUPLICATE))
        else:
            questions.append(question)
        known.add(content)
    return questions, set_aside


def _check_problem_id(identity: Any, number: int, known: dict[object, int]) -> None:
    """See that a problem's number is not another's; not every problem has one."""
    if identity is None:
        return
    if not isinstance(identity, str | int):
        raise ValueError(f"problem_id is {str(identity)[:80]!a}; expected a number or a text")
    if identity in known:
        raise ValueError(f"problem_id {identity!r} was already used by record {known[identity]}")
    known[identity] = number


def _check_count(found: int, expected: int | None, source: Path) -> None:
    """See that an annotation file holds as many questions as the paper trained on.

    Raises:
        ValueError: It does not; the message says which of the published revisions it looks like.
    """
    if expected is None or found == expected:
        return
    if found > expected:
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
        f"{source}: {found} questions in {source.stat().st_size / 1e6:.2f} MB, expected are {expected}. {guess}. If these are "
        f"the questions you mean, set data.nextqa.questions to {found}, or to null"
    )


def parse_record(record: Any) -> Question:
    """Turn one published record of either form into a question.

    Args:
        record: A conversation (`conversations`, `video`) or a problem (`problem`, `solution`, `video_filename`).

    Returns:
        The question; its id is that of the video, its answer `NO_OPTION` where the answer's words are none of the options.

    Raises:
        ValueError: Something is absent, empty, or the answer names no option.
    """
    if isinstance(record, dict) and "problem" in record:
        need(record, ("problem", "solution", "video_filename"))
        question, options = split_choices(plain_text(record["problem"], "problem"))
        solved = plain_text(record["solution"], "solution")
        letter = answer_letter(first_answer(solved) or solved, options)
        video = video_path(record["video_filename"], "video_filename")
    else:
        need(record, ("conversations", "video"))
        human_text, model_text = turns(record["conversations"])
        question, options = split_choices(human_text)
        letter = answer_letter(model_text, options)
        video = video_path(record["video"])
    return Question(video_name(video), "nextqa", "multiple_choice", question, ClipRef(video), options, letter)


def video_name(video: str) -> str:
    """A video's name as the published ids have it: its folder and its file without the suffix."""
    path = PurePosixPath(video)
    return f"{path.parent.name}-{path.stem}"


def turns(conversations: Any) -> tuple[str, str]:
    """The text of the human turn and of the model's turn of a two-turn conversation.

    Raises:
        ValueError: It is not one human turn followed by one of the model.
    """
    plain = isinstance(conversations, list) and all(isinstance(turn, dict) for turn in conversations)
    speakers = [turn.get("from") for turn in conversations] if plain else None
    if speakers != ["human", "gpt"]:
        raise ValueError(f"expected one turn of 'human' and one of 'gpt', found {speakers}")
    human_text, model_text = (plain_text(turn.get("value"), f"the value of {turn['from']}") for turn in conversations)
    return human_text, model_text


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

    def judge(video: str) -> ClipStatus:
        scanned = scan(Path(root) / video, key=video)
        clip = scanned.clip
        if clip.status == OK and clip.duration is not None and measure(clip.duration) > max_seconds:
            return dataclasses.replace(
                clip, status=TOO_LONG, detail=f"{clip.duration:.2f} s, allowed {max_seconds:g} {unit}"
            )
        # What extraction will say of it.
        return check_clip(
            Question(video, "nextqa", "multiple_choice", "", ClipRef(video), (), ""), root, frame_count, scanned
        )

    unique = sorted(set(videos))
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        return dict(zip(unique, pool.map(judge, unique), strict=True))


def located(root: Path, video: str) -> str:
    """The path below the root: some releases name videos from the bucket's folder, some from the data set's."""
    inside = f"{BUCKET}/{video}"
    return inside if not is_there(root / video) and is_there(root / inside) else video


def _rank(seed: int, video: str) -> str:
    """A place in a random order that depends on nothing but the seed and the video's own name."""
    name = video.removeprefix(f"{BUCKET}/")  # both published forms of the data are split alike
    return sha256_text(f"{seed}:{name}")


def _first_videos(questions: list[Question], ranked: list[str], limit: int | None) -> list[Question]:
    """At most `limit` questions, taken video by video from the end of the ranking, in their first order."""
    if limit is None or len(questions) <= limit:
        return questions
    place = {video: number for number, video in enumerate(reversed(ranked))}
    chosen = {question.id for question in sorted(questions, key=lambda question: place[question.clip.path])[:limit]}
    return [question for question in questions if question.id in chosen]


def _write_dropped(path: str | Path, dropped: list[tuple[Question, str]], clips: dict[str, ClipStatus]) -> None:
    """Write the table of dropped questions."""
    rows = []
    for question, reason in dropped:
        clip = clips.get(question.clip.path)
        duration = "" if clip is None or clip.duration is None else f"{clip.duration:.3f}"
        rows.append(
            [question.id, question.clip.path, reason, duration, DETAILS.get(reason, clip.detail if clip else "")]
        )
    write_csv(path, ["question", "video", "reason", "duration", "detail"], rows)


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
