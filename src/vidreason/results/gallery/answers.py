"""All answers of a run in one order, and how each turned out as two bytes: what the gallery's filters run on."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidreason.data.registry import title_of
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.scored_answers import Scored
from vidreason.records import Question
from vidreason.results.counts.markers import ANY, SWITCH
from vidreason.results.counts.reflection import counted
from vidreason.results.page import cut
from vidreason.results.scored_runs import CONTROL, Runs
from vidreason.tasks.base import task_of

BITS: Mapping[str, int] = {
    name: 1 << place
    for place, name in enumerate(
        (
            *("right", "read", "finished", "answered", "formed", "thinks", "truth_known", "think_true"),
            *("reflects", "switches"),
        )
    )
}
"""What a bit of an outcome says of an answer."""


@dataclass(frozen=True)
class Answers:
    """Every question of a run with its answers.

    Attributes:
        questions: Benchmarks as configured, and within them the order of the scored answers.
        rows: (arm name, seed) -> the answers to these questions, in the same order.
    """

    questions: Sequence[Question]
    rows: Mapping[tuple[str, int], Sequence[Scored]]


def collect(runs: Runs) -> Answers:
    """Put all answers of a run in one order.

    Raises:
        ValueError: Two arms were scored on different questions.
    """
    questions: list[Question] = []
    rows: dict[tuple[str, int], list[Scored]] = {(arm.name, seed): [] for arm in runs.arms for seed in runs.seeds}
    for benchmark in runs.benchmarks:
        first = runs.by_key[runs.arms[0].name, runs.seeds[0], benchmark]
        known = [row.question.id for row in first.rows]
        questions += [row.question for row in first.rows]
        for (arm, seed), own in rows.items():
            run = runs.by_key[arm, seed, benchmark]
            by_id = {row.question.id: row for row in run.rows}
            if by_id.keys() != set(known):
                odd = sorted(by_id.keys() ^ set(known))[:3]
                raise ValueError(
                    f"{run.scored_path}: its questions are not those of {first.scored_path}, for example {odd}; score again"
                )
            own += [by_id[name] for name in known]
    return Answers(questions, rows)


def outcome(row: Scored) -> int:
    """What became of an answer, as bits of `BITS`."""
    words = counted(row.prediction.completion, row.grade) if row.has_frames else None
    flags = {
        "right": row.correct,
        "read": row.grade.parsed is not None,
        "finished": not row.unfinished,
        "answered": row.has_frames,
        "formed": row.well_formed,
        "thinks": bool(row.think),
        "truth_known": row.think_true is not None,
        "think_true": bool(row.think_true),
        "reflects": words is not None and words.count(ANY) > 0,
        "switches": words is not None and words.count(SWITCH) > 0,
    }
    return sum(BITS[name] for name, holds in flags.items() if holds)


def index_of(runs: Runs, answers: Answers) -> dict[str, Any]:
    """What the page needs before it shows anything: names, and the columns of bytes that are filtered."""
    tasks = sorted({question.task for question in answers.questions})
    categories = sorted({question.category for question in answers.questions})
    places = {name: place for place, name in enumerate(runs.benchmarks)}
    styles = sorted({arm.style for arm in runs.arms})
    columns = {
        "benchmark": [places[question.dataset] for question in answers.questions],
        "task": [tasks.index(question.task) for question in answers.questions],
    }
    of_category = {name: place for place, name in enumerate(categories)}
    return {
        "arms": [
            {
                "name": arm.name,
                "label": cut(arm.label),
                "method": arm.method,
                "style": arm.style,
                "view": arm.view,
                "parent": arm.parent,
                "control": arm.method == CONTROL,
            }
            for arm in runs.arms
        ],
        "seeds": list(runs.seeds),
        "benchmarks": [
            {"name": name, "title": title_of(name), "metric": headline_metric(name).title} for name in runs.benchmarks
        ],
        "tasks": tasks,
        "categories": list(map(cut, categories)),
        "instructions": {task: {style: task_of(task).instruction(style) for style in styles} for task in tasks},
        "bits": BITS,
        "ids": [cut(question.id) for question in answers.questions],
        "columns": {name: _packed(values, np.uint8) for name, values in columns.items()}
        | {"category": _packed([of_category[question.category] for question in answers.questions], np.uint16)},
        "outcomes": {
            str(seed): [_packed([outcome(row) for row in answers.rows[arm.name, seed]], np.uint16) for arm in runs.arms]
            for seed in runs.seeds
        },
    }


def _packed(values: Sequence[int], kind: Any) -> str:
    """Numbers as the bytes of a typed array, little-endian, in base64."""
    return base64.b64encode(np.array(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode("ascii")
