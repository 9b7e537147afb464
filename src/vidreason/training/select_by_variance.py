"""The files of a selection: from repeated answers to the questions that a GRPO arm is trained on, and a count of all others."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from vidreason.artifacts.csv_files import csv_text
from vidreason.artifacts.files import read_jsonl, write_jsonl, write_text
from vidreason.config.settings import ArmSelection, is_sampled
from vidreason.records import OK, ClipStatus, Question, Rollout
from vidreason.rl.selection import ONE_OPTION, dropped_questions, variance

NO_ROLLOUTS = "no_rollouts"


@dataclasses.dataclass(frozen=True)
class SelectionFiles:
    """What a selection reads and writes.

    Attributes:
        rollouts: JSON lines of `Rollout`, all shards, in any order: N answers to each question, or one row with the
            reason why it was not answered.
        questions: JSON lines of `Question`, all that were sampled.
        clips: JSON lines of `ClipStatus` of these questions' videos. With them a question without any row is dropped with
            its clip's status as the reason, and one whose clip is fine is an error; without them the reason is
            `no_rollouts`.
        selected: Kept questions to write (JSON lines, in the order of `questions`).
        dropped: The others, to write: question, video, reason, correct, rollouts, variance (CSV).
        histogram: How many questions had 0..N right answers, to write: correct, questions, kept (CSV).
    """

    rollouts: Sequence[str | Path]
    questions: str | Path
    clips: Sequence[str | Path]
    selected: str | Path
    dropped: str | Path
    histogram: str | Path


def select_by_variance(files: SelectionFiles, rule: ArmSelection, seed: int, group_size: int | None = None) -> None:
    """Select the questions that an arm is trained on, and account for every other question.

    Args:
        files: What is read and written.
        rule: Which questions are kept (`vidreason.rl.selection.dropped_questions`).
        seed: Seed of what is drawn.
        group_size: N; None to take it from the rollouts.

    Raises:
        ValueError: An incomplete group, a rollout given twice or of an unknown question, impossible bounds, or nothing kept.
    """
    questions = read_jsonl(files.questions, Question)
    _check_unique(questions, files.questions)
    digests = {question.id: question.sha256 for question in questions}
    sampled = is_sampled(rule.strategy)
    groups, unanswered = _groups(files.rollouts, digests, group_size) if sampled else ({}, {})
    size = _group_size(groups, group_size) if sampled else 0
    right = {name: sum(rollout.grade.correct for rollout in group) for name, group in groups.items()}
    correct = {question.id: right[question.id] for question in questions if question.id in right}
    single = {question.id for question in questions if len(question.options) == 1}
    if sampled:
        reasons = _reasons_without_rollouts(questions, {*groups, *unanswered}, files.clips) | unanswered
        reasons |= dropped_questions(correct, single, size, rule, seed)
    else:
        reasons = dict.fromkeys(single, ONE_OPTION) | _unreadable(questions, files.clips)
    if len(reasons) == len(questions):
        raise ValueError(
            f"selection: none of {len(questions)} questions is left ({dict(sorted(Counter(reasons.values()).items()))}). "
            f"The model answers every question the same way each time: raise the temperature, take more rollouts than {size}, "
            f"or widen keep_min {rule.keep_min} .. keep_max {rule.keep_max}"
        )
    write_jsonl(files.selected, (question for question in questions if question.id not in reasons))
    write_text(files.dropped, _dropped_table(questions, reasons, correct, size))
    write_text(files.histogram, _histogram_table(correct, reasons, size))


def _check_unique(questions: Sequence[Question], path: str | Path) -> None:
    """Refuse a list of questions in which an id occurs twice."""
    twice = sorted(name for name, count in Counter(question.id for question in questions).items() if count > 1)
    if twice:
        raise ValueError(
            f"{path}: question ids that occur more than once: {twice[:10]}; ids must be unique within a data set"
        )


def _groups(
    shards: Sequence[str | Path], known: Mapping[str, str], group_size: int | None
) -> tuple[dict[str, list[Rollout]], dict[str, str]]:
    """Read all rollouts, by question, and why others were not answered; refuse unknown questions and rows that come twice."""
    groups: dict[str, list[Rollout]] = defaultdict(list)
    unanswered: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for shard in shards:
        for rollout in read_jsonl(shard, Rollout):
            if rollout.question_id not in known:
                raise ValueError(
                    f"{shard}: rollout of question {rollout.question_id!r}, which is not among the questions; sample again"
                )
            if rollout.question_sha256 != known[rollout.question_id]:
                raise ValueError(
                    f"{shard}: rollout of question {rollout.question_id!r}, which has changed since; sample again"
                )
            if (rollout.question_id, rollout.index) in seen:
                raise ValueError(
                    f"{shard}: rollout {rollout.index} of question {rollout.question_id!r} comes twice; "
                    f"was a shard of another split left in the folder?"
                )
            if rollout.index < 0 or (group_size is not None and rollout.index >= group_size):
                raise ValueError(
                    f"{shard}: rollout index {rollout.index} of question {rollout.question_id!r}; "
                    f"allowed are 0 to {'N' if group_size is None else group_size} - 1"
                )
            seen.add((rollout.question_id, rollout.index))
            if rollout.status == OK:
                groups[rollout.question_id].append(rollout)
            else:
                unanswered[rollout.question_id] = rollout.status
    both = sorted(unanswered.keys() & groups.keys())
    if both:
        raise ValueError(f"selection: {both[:10]} have rollouts and a reason why they were not answered; sample again")
    return dict(groups), unanswered


def _group_size(groups: Mapping[str, Sequence[Rollout]], group_size: int | None) -> int:
    """N, the same for every question that was sampled at all."""
    if not groups:
        raise ValueError("selection: no rollouts at all; can no clip be read, or does no prompt fit into the model?")
    size = group_size or max(len(group) for group in groups.values())
    incomplete = {name: len(group) for name, group in sorted(groups.items()) if len(group) != size}
    if incomplete:
        first = dict(list(incomplete.items())[:10])
        raise ValueError(
            f"selection: {len(incomplete)} questions do not have {size} rollouts: {first}. "
            f"A variance over fewer answers would be another statistic; sample the missing ones again"
        )
    return size


def _reasons_without_rollouts(
    questions: Sequence[Question], known: Set[str], clips: Sequence[str | Path]
) -> dict[str, str]:
    """Why a question without a row was not sampled: the status of its clip."""
    status = {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}
    reasons = {}
    lost = []
    for question in questions:
        if question.id in known:
            continue
        reasons[question.id] = status.get(question.clip.key, NO_ROLLOUTS)
        if status.get(question.clip.key) == OK:
            lost.append(question.id)
    if lost:
        raise ValueError(
            f"selection: {len(lost)} questions have frames but no rollouts: {lost[:10]}. "
            f"Is a shard of rollouts missing?"
        )
    return reasons


def _unreadable(questions: Sequence[Question], clips: Sequence[str | Path]) -> dict[str, str]:
    """Status of the clip of every question without frames."""
    status = {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}
    return {question.id: reason for question in questions if (reason := status.get(question.clip.key, OK)) != OK}


def _dropped_table(
    questions: Sequence[Question], reasons: Mapping[str, str], correct: Mapping[str, int], size: int
) -> str:
    """CSV of the dropped questions, in the order of the questions."""
    rows = []
    for question in questions:
        if question.id not in reasons:
            continue
        right = correct.get(question.id)
        sampled = ["", 0, ""] if right is None else [right, size, f"{variance(right, size):.6f}"]
        rows.append([question.id, question.clip.path, reasons[question.id], *sampled])
    return csv_text(["question", "video", "reason", "correct", "rollouts", "variance"], rows)


def _histogram_table(correct: Mapping[str, int], reasons: Mapping[str, str], size: int) -> str:
    """CSV of the number of questions with 0..N right answers, and of those how many were kept."""
    counts = Counter(correct.values())
    kept = Counter(right for name, right in correct.items() if name not in reasons)
    return csv_text(
        ["correct", "questions", "kept"],
        ([right, counts[right], kept[right]] for right in (range(size + 1) if size else ())),
    )
