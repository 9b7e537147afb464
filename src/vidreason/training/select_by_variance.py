"""The files of a selection: from repeated answers to the questions that a GRPO arm is trained on, and a count of all others."""

import bisect
import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from vidreason.artifacts.count_tables import CORRECT, HISTOGRAM
from vidreason.artifacts.csv_files import csv_text
from vidreason.artifacts.files import read_jsonl, write_jsonl, write_text
from vidreason.config.selection import SelectionRule, is_sampled
from vidreason.records import OK, ClipStatus, Question, Rollout
from vidreason.rl.selection import MOST_SPREAD, ONE_OPTION, Candidate, dropped_questions, worth
from vidreason.tasks.base import grade, task_of
from vidreason.tasks.metrics import ACCURACY

NO_ROLLOUTS = "no_rollouts"
SPREAD_NAMES = {"std": "std", "range": "half_range"}
"""`statistic` of the settings -> measure of the histogram."""
SPREAD_EDGES = [0.0, *(number / 20 for number in range(1, 10)), MOST_SPREAD]
SPREADS = [(0.0, 0.0), *itertools.pairwise(SPREAD_EDGES)]
"""Bins of spreads: none at all, then above the first bound and up to the second."""


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
        dropped: The others, to write: question, task, video, reason, rollouts, correct, mean, spread (CSV). What was not answered
            has no numbers.
        histogram: How many questions of each answer type had 0..N right answers, or how large a spread, to write
            (`vidreason.artifacts.count_tables.Bin`, CSV). Header only where nothing was sampled.
    """

    rollouts: Sequence[str | Path]
    questions: str | Path
    clips: Sequence[str | Path]
    selected: str | Path
    dropped: str | Path
    histogram: str | Path


def select_by_variance(
    files: SelectionFiles,
    rule: SelectionRule,
    seed: int,
    group_size: int | None = None,
    reading: str | None = None,
    style: str = "reason",
) -> None:
    """Select the questions that an arm is trained on, and account for every other question.

    Args:
        files: What is read and written.
        rule: Which questions are kept (`vidreason.rl.selection.dropped_questions`).
        seed: Seed of what is drawn.
        group_size: N; None to take it from the rollouts.
        reading: Rule of reading by which the stored completions are graded again, where the arm's rewards use another one than the
            protocol's; None keeps the stored grades.
        style: How the sampling arm was asked.

    Raises:
        ValueError: An incomplete group, a rollout given twice or of an unknown question, impossible bounds, or nothing kept.
    """
    questions = read_jsonl(files.questions, Question)
    _check_unique(questions, files.questions)
    sampled = is_sampled(rule.strategy)
    digests = {question.id: question.sha256 for question in questions}
    groups, unanswered = _groups(files.rollouts, digests, group_size) if sampled else ({}, {})
    size = _group_size(groups, group_size) if sampled else 0
    candidates = {
        question.id: _candidate(question, groups[question.id], reading, style)
        for question in questions
        if question.id in groups
    }
    if sampled:
        reasons = _reasons_without_rollouts(questions, {*groups, *unanswered}, files.clips) | unanswered
        reasons |= dropped_questions(list(candidates.values()), rule, seed)
    else:
        reasons = {question.id: ONE_OPTION for question in questions if _is_single(question)}
        reasons |= _unreadable(questions, files.clips)
    if len(reasons) == len(questions):
        raise ValueError(_nothing_left(reasons, rule, size))
    write_jsonl(files.selected, (question for question in questions if question.id not in reasons))
    write_text(files.dropped, _dropped_table(questions, reasons, candidates, rule.statistic))
    write_text(files.histogram, _histogram_table(list(candidates.values()), reasons, rule.statistic))


def _candidate(question: Question, group: Sequence[Rollout], reading: str | None, style: str) -> Candidate:
    """What the answers to a question tell about it."""
    discrete = _is_discrete(question)
    grades = [
        one.grade if reading is None else grade(one.completion.text, question, reading, style)
        for one in sorted(group, key=lambda one: one.index)
    ]
    return Candidate(
        question.id,
        question.task,
        question.clip.path,
        discrete,
        tuple(worth(one, discrete) for one in grades),
        sum(one.correct for one in grades),
        _is_single(question),
    )


def _is_discrete(question: Question) -> bool:
    """Whether its answers are right or wrong and nothing between: accuracy is what its answer type is measured by."""
    return task_of(question.task).metrics[0] == ACCURACY


def _is_single(question: Question) -> bool:
    """Whether a choice among its options is no choice. A grounded choice still asks for an interval."""
    return len(question.options) == 1 and _is_discrete(question)


def _nothing_left(reasons: Mapping[str, str], rule: SelectionRule, size: int) -> str:
    """What to do where every question was dropped."""
    counted = dict(sorted(Counter(reasons.values()).items()))
    none = f"selection: none of {len(reasons)} questions is left ({counted}). "
    if not is_sampled(rule.strategy):
        return f"{none}Are the videos there?"
    return (
        f"{none}The model answers every question the same way each time: raise the temperature, take more rollouts than {size}, "
        f"or widen keep_min {rule.keep_min} .. keep_max {rule.keep_max}, min_spread {rule.min_spread:g} or band "
        f"{rule.band[0]:g} .. {rule.band[1]:g}"
    )


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
    keys: set[tuple[str, int]] = set()  # of the rollouts so far
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
            if (rollout.question_id, rollout.index) in keys:
                raise ValueError(
                    f"{shard}: rollout {rollout.index} of question {rollout.question_id!r} comes twice; "
                    f"was a shard of another split left in the folder?"
                )
            if rollout.index < 0 or (group_size is not None and rollout.index >= group_size):
                raise ValueError(
                    f"{shard}: rollout index {rollout.index} of question {rollout.question_id!r}; "
                    f"allowed are 0 to {'N' if group_size is None else group_size} - 1"
                )
            keys.add((rollout.question_id, rollout.index))
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
    status = _statuses(clips)
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
    status = _statuses(clips)
    return {question.id: reason for question in questions if (reason := status.get(question.clip.key, OK)) != OK}


def _statuses(clips: Sequence[str | Path]) -> dict[str, str]:
    """Key of a clip -> its status."""
    return {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}


def _dropped_table(
    questions: Sequence[Question], reasons: Mapping[str, str], candidates: Mapping[str, Candidate], statistic: str
) -> str:
    """CSV of the dropped questions, in the order of the questions."""
    rows = []
    for question in questions:
        if question.id not in reasons:
            continue
        one = candidates.get(question.id)
        sampled = [0, "", "", ""]
        if one is not None:
            sampled = [len(one.values), one.correct, f"{one.mean:.6f}", f"{one.spread(statistic):.6f}"]
        rows.append([question.id, question.task, question.clip.path, reasons[question.id], *sampled])
    return csv_text(["question", "task", "video", "reason", "rollouts", "correct", "mean", "spread"], rows)


def _histogram_table(candidates: Sequence[Candidate], reasons: Mapping[str, str], statistic: str) -> str:
    """CSV of how the answered questions are spread, by answer type, and how many of each bin were kept."""
    rows: list[list[str | int]] = []
    for task in sorted({one.task for one in candidates}):
        own = [one for one in candidates if one.task == task]
        size, discrete = len(own[0].values), own[0].discrete
        bins = [(float(k), float(k)) for k in range(size + 1)] if discrete else SPREADS
        counts: Counter[int] = Counter()
        kept: Counter[int] = Counter()
        for one in own:
            place = one.correct if discrete else bisect.bisect_left(SPREAD_EDGES, one.spread(statistic))
            counts[place] += 1
            kept[place] += one.id not in reasons
        measure = CORRECT if discrete else SPREAD_NAMES[statistic]
        rows += [
            [task, measure, f"{low:g}", f"{high:g}", size, counts[place], kept[place]]
            for place, (low, high) in enumerate(bins)
        ]
    return csv_text(list(HISTOGRAM), rows)
