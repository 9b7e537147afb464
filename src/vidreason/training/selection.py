r"""Choosing the training questions that the model about to be trained sometimes gets right and sometimes wrong.

Entry point (keyword-only): `select_by_variance(rollouts=, questions=, keep_min=, keep_max=, limit=, seed=, selected=,
dropped=, histogram=, clips=(), group_size=None)`.

With N repeated answers of which k are right, p = k/N and the variance of the correctness is p(1-p). A group that is
always right or always wrong has no variance: every advantage in it is 0, so GRPO learns nothing from it and pays for
its rollouts. Nor does a question with one option tell whether the model knows something: it can only be missed by an answer
that names no letter, so it is dropped whatever its variance.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from vidreason.artifacts.csv_files import csv_text
from vidreason.artifacts.files import read_jsonl, write_jsonl, write_text
from vidreason.records import OK, ClipStatus, Question, Rollout

ALWAYS_WRONG = "always_wrong"
ALWAYS_RIGHT = "always_right"
TOO_HARD = "too_hard"
TOO_EASY = "too_easy"
OVER_THE_LIMIT = "over_the_limit"
NO_ROLLOUTS = "no_rollouts"
ONE_OPTION = "one_option"


def variance(correct: int, group_size: int) -> float:
    """Variance p(1-p) of the correctness of one question's answers, p = correct / group_size.

    Example:
        >>> variance(4, 8), variance(8, 8)
        (0.25, 0.0)
    """
    p = correct / group_size
    return p * (1 - p)


def select_by_variance(
    *,
    rollouts: Sequence[str | Path],
    questions: str | Path,
    keep_min: int,
    keep_max: int,
    limit: int | None,
    seed: int,
    selected: str | Path,
    dropped: str | Path,
    histogram: str | Path,
    clips: Sequence[str | Path] = (),
    group_size: int | None = None,
) -> None:
    """Keep the questions whose repeated answers vary, and account for every other question.

    Args:
        rollouts: JSON lines of `Rollout`, all shards, in any order: N answers to each question, or one row with the
            reason why it was not asked.
        questions: JSON lines of `Question`, all that were asked.
        keep_min: Least number of right answers to keep a question, at least 0; the papers' reading is 1.
        keep_max: Greatest number of right answers to keep a question; N - 1.
        limit: Most questions to keep, the greatest variances first; None for all. Ties are broken by `seed`.
        seed: Seed of the tie-break.
        selected: Where to write the kept questions (JSON lines, in the order of `questions`).
        dropped: Where to write the others: question, video, reason, correct, rollouts, variance (CSV).
        histogram: Where to write how many questions had 0..N right answers: correct, questions, kept (CSV).
        clips: JSON lines of `ClipStatus` of these questions' videos. With them a question without any row is dropped with
            its clip's status as the reason, and one whose clip is fine is an error; without them the reason is
            `no_rollouts`.
        group_size: N; None to take it from the rollouts.

    Raises:
        ValueError: An incomplete group, a rollout given twice or of an unknown question, impossible bounds, or nothing kept.

    Source: Temporal-RLT (arXiv 2506.01908), variance-aware selection by repeated inference with the model about to be
        trained, discrete reward.
    Differs from the source: the paper names neither N nor thresholds, so they are settings; only multiple choice, no
        temporal IoU; the dropped questions and the histogram are kept.
    """
    asked = read_jsonl(questions, Question)
    _check_unique(asked, questions)
    groups, unasked = _groups(rollouts, {question.id: question.sha256 for question in asked}, group_size)
    size = _group_size(groups, group_size)
    if not 0 <= keep_min <= keep_max <= size:
        raise ValueError(
            f"selection: keep_min {keep_min} and keep_max {keep_max} must satisfy 0 <= keep_min <= keep_max <= {size} "
            f"(the number of rollouts per question)"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"selection: limit is {limit}; allowed is a number of at least 1, or none for no limit")

    correct = {name: sum(rollout.grade.correct for rollout in group) for name, group in groups.items()}
    reasons = _reasons_without_rollouts(asked, {*groups, *unasked}, clips) | unasked
    single = {question.id for question in asked if len(question.options) == 1}
    for name, right in correct.items():
        if name in single:
            reasons[name] = ONE_OPTION
        elif right < keep_min:
            reasons[name] = ALWAYS_WRONG if right == 0 else TOO_HARD
        elif right > keep_max:
            reasons[name] = ALWAYS_RIGHT if right == size else TOO_EASY
    kept = [question.id for question in asked if question.id not in reasons]
    if limit is not None and len(kept) > limit:
        draw = random.Random(seed)
        tie = {name: draw.random() for name in sorted(kept)}
        kept.sort(key=lambda name: (-variance(correct[name], size), tie[name]))
        reasons |= dict.fromkeys(kept[limit:], OVER_THE_LIMIT)
    if len(reasons) == len(asked):
        raise ValueError(
            f"selection: none of {len(asked)} questions is left ({dict(sorted(Counter(reasons.values()).items()))}). "
            f"The model answers every question the same way each time: raise the temperature, take more rollouts than {size}, "
            f"or widen keep_min {keep_min} .. keep_max {keep_max}"
        )
    write_jsonl(selected, (question for question in asked if question.id not in reasons))
    write_text(dropped, _dropped_table(asked, reasons, correct, size))
    write_text(histogram, _histogram_table(correct, reasons, size))


def _check_unique(asked: Sequence[Question], path: str | Path) -> None:
    """Refuse a list of questions in which an id occurs twice."""
    twice = sorted(name for name, count in Counter(question.id for question in asked).items() if count > 1)
    if twice:
        raise ValueError(
            f"{path}: question ids that occur more than once: {twice[:10]}; ids must be unique within a data set"
        )


def _groups(
    shards: Sequence[str | Path], known: Mapping[str, str], group_size: int | None
) -> tuple[dict[str, list[Rollout]], dict[str, str]]:
    """Read all rollouts, by question, and why others were not asked; refuse unknown questions and rows that come twice."""
    groups: dict[str, list[Rollout]] = defaultdict(list)
    unasked: dict[str, str] = {}
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
                unasked[rollout.question_id] = rollout.status
    both = sorted(unasked.keys() & groups.keys())
    if both:
        raise ValueError(f"selection: {both[:10]} have rollouts and a reason why they were not asked; sample again")
    return dict(groups), unasked


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


def _reasons_without_rollouts(asked: Sequence[Question], told: Set[str], clips: Sequence[str | Path]) -> dict[str, str]:
    """Why a question that no row tells of was not sampled: the status of its clip."""
    status = {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}
    reasons = {}
    lost = []
    for question in asked:
        if question.id in told:
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


def _dropped_table(asked: Sequence[Question], reasons: Mapping[str, str], correct: Mapping[str, int], size: int) -> str:
    """CSV of the dropped questions, in the order of the questions."""
    rows = []
    for question in asked:
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
        ["correct", "questions", "kept"], ([right, counts[right], kept[right]] for right in range(size + 1))
    )
