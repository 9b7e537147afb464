"""Scoring the predictions of one arm on one benchmark.

The shards are merged into `*.scored.jsonl`, one `vidreason.evaluation.scored_answers.Scored` per question, sorted by question id, and
summarized in `*.score.json`, a `vidreason.evaluation.score_record.Score`.

The denominator is the list of questions, never what the model said: an unparsable answer is a wrong answer, a question
whose video cannot be read, or whose prompt is too long for the model, is a wrong answer that `coverage` counts, and a
question without a prediction is an error.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, get_args

from vidreason.artifacts.files import read_json_lines, read_jsonl, write_json, write_jsonl
from vidreason.artifacts.typed_records import in_words, is_a, row_of
from vidreason.config.settings import Scoring
from vidreason.config.types import Style
from vidreason.data.registry import dataset_of
from vidreason.evaluation.coverage import coverage_of, refuse_missing
from vidreason.evaluation.score_record import MACRO, Majority, Part, Reading, Score, ScoringRules, rounded
from vidreason.evaluation.scored_answers import ALWAYS_RECORDED, RULES, Scored, Truth, chance_level, majority_letter
from vidreason.evaluation.statistics import Estimate, clustered_mean
from vidreason.records import NO_OPTION, OK, PROMPT_TOO_LONG, UNANSWERED, Grade, Prediction, Question, SampledAnswers
from vidreason.tasks.base import grade, rule_for, task_of
from vidreason.tasks.markup import as_answer
from vidreason.tasks.metrics import Metric
from vidreason.tasks.multiple_choice import upstream_guesses
from vidreason.tasks.option_edits import UNCHANGED, OptionEdit

Answered = TypeVar("Answered", Prediction, SampledAnswers)
NOUNS: Mapping[type, tuple[str, str]] = {
    Prediction: ("prediction", "predict"),
    SampledAnswers: ("line of sampled answers", "sample"),
}
"""What messages call a record of answers, and making it."""
STYLES: tuple[str, ...] = get_args(Style)
"""Answer styles: the letter alone, or a think block and an answer block."""


@dataclass(frozen=True)
class Subject:
    """What is scored.

    Attributes:
        benchmark: Name of the benchmark.
        arm: Name of the arm.
        style: Answer style of the arm. In `option` style the whole completion is read as the answer, unless
            it has an answer block of its own; in `reason` style only the answer block is.
        seed: The arm's seed.
    """

    benchmark: str
    arm: str
    style: str
    seed: int

    def __str__(self) -> str:
        """As messages name it."""
        return f"arm {self.arm}, seed {self.seed}, benchmark {self.benchmark}"


@dataclass(frozen=True)
class ScoreFiles:
    """What is read and written.

    Attributes:
        questions: JSON lines of `Question`, the benchmark's whole list.
        predictions: JSON lines of `Prediction`, all shards, in any order.
        scored: Where to write the scored answers.
        score: Where to write the score.
        truth: JSON lines with `dataset`, `question`, `temporal`, `caption` and `task` (the demo's world), or None.
    """

    questions: Path
    predictions: Sequence[Path]
    scored: Path
    score: Path
    truth: Path | None = None


def score(
    subject: Subject,
    files: ScoreFiles,
    settings: Scoring,
    known_missing: Mapping[str, int] | None = None,
    options: OptionEdit = UNCHANGED,
) -> None:
    """Score one arm's predictions on one benchmark and write both result files.

    Args:
        subject: Arm and benchmark.
        files: What is read and written.
        settings: Which reading of an answer counts. `unparsed: random` gives an unparsable answer a letter drawn with the
            seed and the question's id, as upstream does without a seed.
        known_missing: Category -> questions whose video is known not to be distributed; they are tolerated besides.
        options: How the options of the questions were changed before they were asked: so they are graded and written.

    Raises:
        ValueError: Questions without or with two predictions, predictions of other questions, or too many without frames.

    Source: the benchmarks' own rules, see `vidreason.data.registry`; MLVU's macro mean as in its paper and lmms-eval.
    Differs from the source: upstream draws unparsable answers from an unseeded generator, drops unreadable videos by
        crashing, and gives no intervals.
    """
    check_style(subject)
    questions = sorted(map(options.of, read_jsonl(files.questions, Question)), key=lambda question: question.id)
    if not questions:
        raise ValueError(f"{files.questions}: no questions; a score needs at least one")
    answers = merged(questions, files.predictions, str(subject), Prediction)
    # A prompt that is too long is the model's limit, not missing data: it is counted but needs no permission.
    of_clips = {name: OK if given.status == PROMPT_TOO_LONG else given.status for name, given in answers.items()}
    coverage = coverage_of(questions, of_clips)
    refuse_missing(subject.benchmark, coverage, settings.max_missing_fraction, known_missing)
    truths = _read_truth(files.truth, subject.benchmark, questions)
    rows = [
        score_answer(question, answers[question.id], subject, settings, truths.get(question.id))
        for question in questions
    ]
    write_jsonl(files.scored, rows)
    write_json(files.score, row_of(summarize(rows, subject, settings)))


def check_style(subject: Subject) -> None:
    """Refuse an answer style that nobody can read."""
    if subject.style not in STYLES:
        raise ValueError(f"arm {subject.arm}: answer style {subject.style!r}; allowed are {list(STYLES)}")


def merged(
    questions: Sequence[Question], shards: Sequence[str | Path], who: str, kind: type[Answered]
) -> dict[str, Answered]:
    """Put the shards of an arm's answers together: exactly one line for every question, made for the question as it is now.

    Args:
        questions: Questions that must have been answered.
        shards: JSON lines of all shards, in any order.
        who: Whose answers they are, for messages.
        kind: Record of a line.

    Raises:
        ValueError: Questions without or with two lines, or lines for other questions.
    """
    noun, verb = NOUNS[kind]
    by_id = {question.id: question for question in questions}
    if len(by_id) != len(questions):
        twice = [name for name, count in Counter(question.id for question in questions).items() if count > 1]
        raise ValueError(f"{who}: question ids that occur more than once: {_some(twice)}; ids must be unique")
    answers: dict[str, Answered] = {}
    for shard in shards:
        for answer in read_jsonl(shard, kind):
            question = by_id.get(answer.question_id)
            if question is None:
                raise ValueError(
                    f"{shard}: {who}: {noun} for {answer.question_id!r}, which is no question of this benchmark"
                )
            if answer.question_id in answers:
                raise ValueError(
                    f"{shard}: {who}: a second {noun} for {answer.question_id!r}; was a shard of another split left in the folder?"
                )
            if answer.question_sha256 != question.sha256:
                raise ValueError(
                    f"{shard}: {who}: the {noun} for {question.id!r} was made for another form of this question, which "
                    f"has changed since; {verb} again"
                )
            answers[answer.question_id] = answer
    absent = [question.id for question in questions if question.id not in answers]
    if absent:
        raise ValueError(
            f"{who}: {len(absent)} of {len(questions)} questions have no {noun}: {_some(absent)}. "
            f"Is a shard missing among {[str(shard) for shard in shards]}?"
        )
    return answers


def _some(names: Sequence[str], most: int = 10) -> str:
    """The first few names."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_truth(path: Path | None, benchmark: str, questions: Sequence[Question]) -> dict[str, Truth]:
    """Read what the world knows about the benchmark's questions; nothing for real data."""
    if path is None:
        return {}
    rows = [row for row in read_json_lines(path) if row.get("dataset") == benchmark]
    needed = {"question", "caption", "temporal", "task"}
    short = [row for row in rows if not needed <= set(row)]
    if short:
        raise ValueError(f"{path}: a row has the keys {sorted(short[0])}; {sorted(needed)} are needed")
    for row in rows:
        for key, kind in (("question", str), ("caption", str), ("temporal", bool), ("task", str)):
            if not is_a(row[key], kind):
                raise ValueError(
                    f"{path}: {key} of question {row['question']!r} is {row[key]!r}; needed is {in_words(kind)}"
                )
    truths = {row["question"]: Truth(row["caption"], row["temporal"], row["task"]) for row in rows}
    absent = [question.id for question in questions if question.id not in truths]
    if absent:
        raise ValueError(
            f"{path}: no truth for {len(absent)} of {len(questions)} questions of {benchmark}: {_some(absent)}; "
            f"the file and the questions come from different worlds"
        )
    return truths


def score_answer(
    question: Question,
    prediction: Prediction,
    subject: Subject,
    settings: Scoring,
    truth: Truth | None = None,
    draw: str = "",
) -> Scored:
    """Grade one answer by every rule of reading. A question that was not answered has no parsed letter, no guess, and counts as wrong.

    Args:
        question: The question.
        prediction: Its answer.
        subject: Arm and benchmark.
        settings: Which reading counts, and what becomes of an answer that cannot be read.
        truth: What the demo's world knows about the question.
        draw: Tells several answers to one question apart where letters are drawn.
    """
    task = task_of(question.task)
    rule = rule_for(task, RULES[settings.parser])
    rules = list(dict.fromkeys([*(rule_for(task, name) for name in ALWAYS_RECORDED), rule]))
    if prediction.status != OK:
        return Scored(question, prediction, rule, dict.fromkeys(rules, UNANSWERED), truth=truth)
    text = prediction.completion.text
    if subject.style == "option":
        text = as_answer(text)
    grades = {name: grade(text, question, name) for name in rules}
    guess = None
    if settings.unparsed == "random" and question.options:
        # One generator per question: the letter depends neither on the shards nor on the other answers.
        letter = random.Random(f"{subject.seed}:{question.id}{draw}").choice(question.letters)
        unread = {
            "tagged": rule == "tagged" and grades[rule].parsed is None,
            "first_block": upstream_guesses(text, question.letters),
        }
        for name in [name for name in rules if unread.get(name)]:
            right = letter == question.gold
            grades[name] = replace(grades[name], value=float(right), correct=right)
        guess = letter if unread.get(rule) else None
    return Scored(question, prediction, rule, grades, guess, truth)


def summarize(rows: Sequence[Scored], subject: Subject, settings: Scoring) -> Score:
    """Everything a table needs of one arm's answers to one benchmark. Its first task says what is measured of every answer.

    Args:
        rows: The scored answers, at least one.
        subject: Arm and benchmark; the benchmark decides whether the mean over categories is reported.
        settings: What the answers were scored with.
    """
    dataset = dataset_of(subject.benchmark)
    metrics = task_of(dataset.tasks[0]).metrics
    shown = [row for row in rows if row.has_frames]
    formed = [row for row in rows if row.well_formed]
    known = [row for row in rows if row.think_true is not None]
    letter, majority = majority_letter(rows)
    rules = dict.fromkeys(rule for row in rows for rule in row.grades)
    read = [row.grade.parsed for row in shown]
    return Score(
        benchmark=subject.benchmark,
        arm=subject.arm,
        style=subject.style,
        seed=subject.seed,
        rules=ScoringRules(settings.parser, settings.unparsed, settings.max_missing_fraction),
        n=len(rows),
        with_frames=len(shown),
        missing=dict(sorted(Counter(row.prediction.status for row in rows if not row.has_frames).items())),
        answered=sum(parsed is not None for parsed in read),
        unparsed=read.count(None),
        unread=dict(sorted(Counter(kind for row in rows for kind in row.grade.unread).items())),
        unfinished=sum(row.unfinished for row in rows),
        without_gold=sum(bool(row.question.options) and row.question.gold == NO_OPTION for row in rows),
        metrics={
            name: mean_of(rows, metric, macro)
            for metric in metrics
            for name, macro in ((metric.name, False), (f"{metric.name}{MACRO}", True))
        },
        headline=f"{metrics[0].name}{MACRO if dataset.headline == 'macro' else ''}",
        chance=_rounded_or_none(chance_level(rows)),
        majority=Majority(letter, rounded(majority)) if all(row.question.options for row in rows) else None,
        format_followed=rounded(len(formed) / len(shown)) if shown else None,
        within_well_formed=mean_of(formed, metrics[0]) if formed else None,
        think_true=rounded(sum(bool(row.think_true) for row in known) / len(known)) if known else None,
        readings={
            rule: _reading([(row.grades[rule], row.has_frames) for row in rows if rule in row.grades]) for rule in rules
        },
        disagree=sum(len({grade.parsed for grade in row.grades.values()}) > 1 for row in rows),
        categories=_parts(rows, lambda row: row.question.category, metrics[0]),
        groups=_parts(rows, lambda row: row.question.group, metrics[0]),
    )


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def _reading(grades: Sequence[tuple[Grade, bool]]) -> Reading:
    """What a rule makes of the answers that it reads: their grades, each with whether there was an answer.

    A letter that was drawn at random is not read.
    """
    right = sum(grade.correct and grade.parsed is not None for grade, _ in grades)
    return Reading(rounded(right / len(grades)), sum(shown and grade.parsed is None for grade, shown in grades))


def mean_of(rows: Sequence[Scored], metric: Metric, macro: bool = False) -> Estimate:
    """Mean of a metric with its interval clustered by video, rounded; the mean over categories if `macro`."""
    estimate = clustered_mean(
        [metric.value(row.grade) for row in rows],
        [row.question.clip.path for row in rows],
        [row.question.category for row in rows] if macro else None,
        metric.bounds,
    )
    return replace(
        estimate,
        mean=rounded(estimate.mean),
        se=rounded(estimate.se),
        low=rounded(estimate.low),
        high=rounded(estimate.high),
        trials=None if estimate.trials is None else rounded(estimate.trials),
    )


def _parts(rows: Sequence[Scored], key: Callable[[Scored], str], metric: Metric) -> tuple[Part, ...]:
    """Every part of the benchmark, sorted by name; empty where nothing is named."""
    parts: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        parts[key(row)].append(row)
    if set(parts) == {""}:
        return ()
    return tuple(
        Part(
            name,
            len(members),
            sum(row.has_frames for row in members),
            sum(row.has_frames and row.grade.parsed is None for row in members),
            mean_of(members, metric),
            _rounded_or_none(chance_level(members)),
        )
        for name, members in sorted(parts.items())
    )
