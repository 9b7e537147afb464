"""Judging the predictions of one arm on one benchmark.

Entry point (keyword-only): `score(questions=, predictions=, settings=, benchmark=, arm=, answer=, seed=, truth=, scored=,
out=, known_missing=)`. It merges the shards into `scored.jsonl` (one `vidreason.evaluation.scored.Scored` per question, sorted by question id)
and writes `score.json`.

The denominator is the list of questions, never what the model said: an unparsable answer is a wrong answer, a question
whose video cannot be read, or whose prompt is too long for the model, is a wrong answer that `coverage` counts, and a
question without a prediction is an error.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json_lines, read_jsonl, write_json, write_jsonl
from vidreason.artifacts.typed import in_words, is_a
from vidreason.data.registry import dataset_of
from vidreason.evaluation.coverage import coverage_of, refuse_missing
from vidreason.evaluation.scored import RULES, Scored, Truth, chance_level, majority_letter
from vidreason.evaluation.statistics import Estimate, clustered_mean
from vidreason.records import OK, PROMPT_TOO_LONG, Grade, Prediction, Question
from vidreason.tasks.base import grade
from vidreason.tasks.markup import as_answer
from vidreason.tasks.multiple_choice import upstream_guesses

SETTINGS: dict[str, tuple[str, ...] | str] = {
    "parser": ("strict", "upstream"),
    "unparsed": ("wrong", "random"),
    "max_missing_fraction": "a number between 0 and 1",
}
"""Every key of `settings` and what it may be."""

STYLES = ("option", "reason")
"""Answer styles: the letter alone, or a think block and an answer block."""


@dataclass(frozen=True)
class _Rules:
    """The settings, checked."""

    parser: str
    unparsed: str
    max_missing_fraction: float


def score(
    *,
    questions: str | Path,
    predictions: Sequence[str | Path],
    settings: Mapping[str, Any],
    benchmark: str,
    arm: str,
    answer: str,
    seed: int,
    truth: str | Path | None,
    scored: str | Path,
    out: str | Path,
    known_missing: Mapping[str, int] | None = None,
) -> None:
    """Judge one arm's predictions on one benchmark and write both result files.

    Args:
        questions: JSON lines of `Question`, the benchmark's whole list.
        predictions: JSON lines of `Prediction`, all shards, in any order.
        settings: Exactly the keys of `SETTINGS`. `parser` decides `correct` (both parsers are always recorded);
            `unparsed: random` gives an unparsable answer a letter drawn with `seed` and the question's id, as upstream
            does without a seed; `max_missing_fraction` is the share of questions without frames that is tolerated.
        benchmark: Name of the benchmark.
        arm: Name of the arm.
        answer: Style the arm was asked for. In `option` style the whole completion is read as the answer, unless it
            has an answer block of its own; in `reason` style only the answer block is.
        seed: The arm's seed.
        truth: JSON lines with `dataset`, `question`, `temporal`, `caption` and `task` (the demo's world), or None.
        scored: Where to write the scored answers.
        out: Where to write the score.
        known_missing: Task -> questions whose video is known not to be distributed; they are tolerated besides.

    Raises:
        ValueError: Questions without or with two predictions, predictions of other questions, or too many without frames.

    Source: the benchmarks' own rules, see `vidreason.data.registry`; MLVU's macro mean as in its paper and lmms-eval.
    Differs from the source: upstream draws unparsable answers from an unseeded generator, drops unreadable videos by
        crashing, and gives no intervals.
    """
    rules = _check_settings(settings)
    if answer not in STYLES:
        raise ValueError(f"arm {arm}: answer style {answer!r}; allowed are {list(STYLES)}")
    asked = sorted(read_jsonl(questions, Question), key=lambda question: question.id)
    if not asked:
        raise ValueError(f"{questions}: no questions; a score needs at least one")
    answers = _merge(asked, predictions, f"arm {arm}, seed {seed}, benchmark {benchmark}")
    # A prompt that is too long says nothing against the data: it is counted, and needs no permission.
    of_clips = {name: OK if given.status == PROMPT_TOO_LONG else given.status for name, given in answers.items()}
    tasks = coverage_of(asked, of_clips)
    refuse_missing(benchmark, tasks, rules.max_missing_fraction, known_missing)
    truths = _read_truth(truth, benchmark, asked)
    rows = [_grade(question, answers[question.id], answer, rules, seed, truths.get(question.id)) for question in asked]
    write_jsonl(scored, rows)
    head = {"benchmark": benchmark, "arm": arm, "answer": answer, "seed": seed, "settings": asdict(rules)}
    write_json(out, head | summarise(rows, benchmark, rules.parser))


def _check_settings(settings: Mapping[str, Any]) -> _Rules:
    """Check the settings and freeze them."""
    if set(settings) != set(SETTINGS):
        raise ValueError(
            f"score settings: unknown keys {sorted(set(settings) - set(SETTINGS))}, missing keys "
            f"{sorted(set(SETTINGS) - set(settings))}; allowed are exactly {sorted(SETTINGS)}"
        )
    for key, allowed in SETTINGS.items():
        if isinstance(allowed, tuple) and settings[key] not in allowed:
            raise ValueError(f"score settings: {key} is {settings[key]!r}; allowed are {list(allowed)}")
    fraction = settings["max_missing_fraction"]
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ValueError(f"score settings: max_missing_fraction is {fraction!r}; allowed is a number between 0 and 1")
    return _Rules(str(settings["parser"]), str(settings["unparsed"]), float(fraction))


def _merge(asked: Sequence[Question], shards: Sequence[str | Path], who: str) -> dict[str, Prediction]:
    """Put the shards together: exactly one prediction per question, made for the question as it is now."""
    by_id = {question.id: question for question in asked}
    if len(by_id) != len(asked):
        twice = [name for name, count in Counter(question.id for question in asked).items() if count > 1]
        raise ValueError(f"{who}: question ids that occur more than once: {_some(twice)}; ids must be unique")
    found: dict[str, Prediction] = {}
    for shard in shards:
        for prediction in read_jsonl(shard, Prediction):
            question = by_id.get(prediction.question_id)
            if question is None:
                raise ValueError(
                    f"{shard}: {who}: prediction for {prediction.question_id!r}, which is no question of this benchmark"
                )
            if prediction.question_id in found:
                raise ValueError(
                    f"{shard}: {who}: a second prediction for {prediction.question_id!r}; was a shard of another split left in the folder?"
                )
            if prediction.question_sha256 != question.sha256:
                raise ValueError(
                    f"{shard}: {who}: the prediction for {question.id!r} was made for another form of this question, which "
                    f"has changed since; predict again"
                )
            found[prediction.question_id] = prediction
    absent = [question.id for question in asked if question.id not in found]
    if absent:
        raise ValueError(
            f"{who}: {len(absent)} of {len(asked)} questions have no prediction: {_some(absent)}. "
            f"Is a shard missing among {[str(shard) for shard in shards]}?"
        )
    return found


def _some(names: Sequence[str], most: int = 10) -> str:
    """The first few names."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_truth(path: str | Path | None, benchmark: str, asked: Sequence[Question]) -> dict[str, Truth]:
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
    absent = [question.id for question in asked if question.id not in truths]
    if absent:
        raise ValueError(
            f"{path}: no truth for {len(absent)} of {len(asked)} questions of {benchmark}: {_some(absent)}; "
            f"the file and the questions come from different worlds"
        )
    return truths


def _grade(
    question: Question, prediction: Prediction, style: str, rules: _Rules, seed: int, truth: Truth | None
) -> Scored:
    """Grade one answer by both rules of reading. Where nothing was asked, nothing is parsed, guessed or right."""
    rule = RULES[rules.parser]
    if prediction.status != OK:
        nothing = Grade(0.0, False, parts={"well_formed": 0.0})
        return Scored(question, prediction, rule, dict.fromkeys(RULES.values(), nothing), truth=truth)
    text = prediction.completion.text
    if style == "option":
        text = as_answer(text)
    grades = {name: grade(text, question, name) for name in RULES.values()}
    guess = None
    if rules.unparsed == "random":
        # One generator per question: the letter depends neither on the shards nor on the other answers.
        letter = random.Random(f"{seed}:{question.id}").choice(question.letters)
        unread = {
            "tagged": rule == "tagged" and grades["tagged"].parsed is None,
            "first_block": upstream_guesses(text, question.letters),
        }
        for name in [name for name, missing in unread.items() if missing]:
            right = letter == question.gold
            grades[name] = replace(grades[name], value=float(right), correct=right)
        guess = letter if unread[rule] else None
    return Scored(question, prediction, rule, grades, guess, truth)


def summarise(rows: Sequence[Scored], benchmark: str, parser: str) -> dict[str, Any]:
    """Everything a table needs of one arm's answers to one benchmark.

    Args:
        rows: The judged answers, at least one.
        benchmark: Name of the benchmark; decides whether the headline number is the macro mean over tasks.
        parser: `strict` or `upstream`, the parser that decided `correct`.

    Returns:
        A mapping ready for JSON; accuracies and shares are fractions, rounded to 8 digits.
    """
    shown = [row for row in rows if row.has_frames]
    formed = [row for row in rows if row.well_formed]
    known = [row for row in rows if row.think_true is not None]
    micro, macro = accuracy_of(rows), accuracy_of(rows, macro=True)
    letter, majority = majority_letter(rows)
    letters = {name: [row.letter(name) for row in rows] for name in ("strict", "upstream")}
    read = [parsed for row, parsed in zip(rows, letters[parser], strict=True) if row.has_frames]
    average = dataset_of(benchmark).headline
    headline = macro if average == "macro" else micro
    return {
        "n": len(rows),
        "with_frames": len(shown),
        "coverage": _round(len(shown) / len(rows)),
        "missing": dict(sorted(Counter(row.prediction.status for row in rows if not row.has_frames).items())),
        "answered": sum(parsed is not None for parsed in read),
        "unparsed": sum(parsed is None for parsed in read),
        "unfinished": sum(row.unfinished for row in rows),
        "without_gold": sum(row.chance == 0 for row in rows),
        "average": average,
        **_numbers(headline),
        "micro": _numbers(micro),
        "macro": _numbers(macro),
        "chance": _round(chance_level(rows)),
        "majority": {"letter": letter, "accuracy": _round(majority)},
        "format_followed": _round(len(formed) / len(shown)) if shown else None,
        "accuracy_within_well_formed": _numbers(accuracy_of(formed)) if formed else None,
        "think_true": _round(sum(bool(row.think_true) for row in known) / len(known)) if known else None,
        "parsers": {
            "strict": {
                "accuracy": _round(sum(row.grades["tagged"].parsed == row.question.gold for row in rows) / len(rows)),
                "unparsed": letters["strict"].count(None) - (len(rows) - len(shown)),
            },
            "upstream": {
                "accuracy": _round(
                    sum(row.grades["first_block"].parsed == row.question.gold for row in rows) / len(rows)
                ),
                "unparsed": letters["upstream"].count(None) - (len(rows) - len(shown)),
            },
            "disagree": sum(one != other for one, other in zip(letters["strict"], letters["upstream"], strict=True)),
        },
        "by_task": _parts(rows, lambda row: row.question.category, parser),
        "by_group": _parts(rows, lambda row: row.question.group, parser),
    }


def accuracy_of(rows: Sequence[Scored], macro: bool = False) -> Estimate:
    """Accuracy with its interval clustered by video; the mean over tasks if `macro`."""
    values = [float(row.correct) for row in rows]
    return clustered_mean(
        values, [row.question.clip.path for row in rows], [row.question.category for row in rows] if macro else None
    )


def _numbers(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {
        "accuracy": _round(estimate.mean),
        "se": _round(estimate.se),
        "ci_low": _round(estimate.low),
        "ci_high": _round(estimate.high),
        "clusters": estimate.clusters,
        "trials": None if estimate.trials is None else _round(estimate.trials),
    }


def _parts(rows: Sequence[Scored], key: Callable[[Scored], str], parser: str) -> list[dict[str, Any]]:
    """The numbers of every part of the benchmark, sorted by name; empty where nothing is named."""
    parts: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        parts[key(row)].append(row)
    if set(parts) == {""}:
        return []
    return [
        {
            "name": name,
            "n": len(members),
            "with_frames": sum(row.has_frames for row in members),
            "unparsed": sum(row.has_frames and row.letter(parser) is None for row in members),
            **_numbers(accuracy_of(members)),
            "chance": _round(chance_level(members)),
        }
        for name, members in sorted(parts.items())
    ]


def _round(value: float) -> float:
    """Eight digits: more than any table shows, fewer than what summation order could change."""
    return round(value, 8) + 0.0
