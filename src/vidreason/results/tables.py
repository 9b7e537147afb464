"""The tables of a run: the same bytes for the same scores.

Accuracies and their intervals are in percent with two decimals; coverage and shares are fractions with four.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vidreason.artifacts.csv_files import csv_text
from vidreason.evaluation.scored import Scored, chance_level
from vidreason.results.inputs import ResultInputs
from vidreason.results.registry import TABLES, chosen, maker_of
from vidreason.results.runs import CONTROL, Arm, Run, Runs, percent
from vidreason.evaluation.score import MACRO
from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates, paired_difference
from vidreason.artifacts.files import write_text

MAIN_COLUMNS = [
    "arm",
    "label",
    "answer",
    "benchmark",
    "n",
    "coverage",
    "accuracy",
    "ci_low",
    "ci_high",
    "unparsed",
    "seed",
]


def make_tables(inputs: ResultInputs, out: Mapping[str, str | Path]) -> None:
    """Write some tables of a run.

    Args:
        inputs: The run's results.
        out: Table name -> path.

    Raises:
        ValueError: A name that is not registered, or scores that do not fit together.
    """
    for table in chosen(TABLES, out, "tables"):
        content = maker_of(table)(inputs)
        write_text(out[table.name], content if isinstance(content, str) else to_csv(content))


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV; cells are formatted already."""
    return csv_text(list(table.columns), table.itertuples(index=False))


def main_table(inputs: ResultInputs) -> pd.DataFrame:
    """The result: every arm but the controls, each benchmark and the unweighted mean over the benchmarks."""
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=False):
        members = runs.of(arm.name, seed)
        for run in members:
            rows.append(
                [
                    arm.name,
                    arm.label,
                    arm.answer,
                    run.benchmark,
                    run.score["n"],
                    _share(run.score["coverage"]),
                    *_interval(run.estimate),
                    run.score["unparsed"],
                    seed,
                ]
            )
        total = sum(run.score["n"] for run in members)
        covered = sum(run.score["with_frames"] for run in members) / total
        rows.append(
            [
                arm.name,
                arm.label,
                arm.answer,
                "mean",
                total,
                _share(covered),
                *_interval(mean_of_estimates(run.estimate for run in members)),
                sum(run.score["unparsed"] for run in members),
                seed,
            ]
        )
    return pd.DataFrame(rows, columns=MAIN_COLUMNS)


def by_task_table(inputs: ResultInputs) -> pd.DataFrame:
    """Every arm, controls included, by the benchmarks' own tasks; `temporal` where the world knows it.

    Rows of the benchmark `all` pool the benchmarks by the world's own kinds of question, where these are known.
    """
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=True):
        members = runs.of(arm.name, seed)
        parser = members[0].score["settings"]["parser"]
        parts = [(run.benchmark, row.question.category, row) for run in members for row in run.rows]
        parts += [("all", row.kind, row) for run in members for row in run.rows if row.kind]
        groups: dict[tuple[str, str, str], list[Scored]] = {}
        for benchmark, task, row in parts:
            groups.setdefault((benchmark, task, _flag(row.temporal)), []).append(row)
        videos = {id(row): (run.benchmark, row.question.clip.path) for run in members for row in run.rows}
        order = [*runs.benchmarks, "all"]
        for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1:])):
            answers = groups[key]
            estimate = clustered_mean([float(row.correct) for row in answers], [videos[id(row)] for row in answers])
            unparsed = sum(row.has_frames and row.letter(parser) is None for row in answers)
            numbers = [*_interval(estimate), percent(chance_level(answers)), unparsed, seed]
            rows.append([arm.name, arm.label, *key, len(answers), _covered(answers), *numbers])
    columns = [
        "arm",
        "label",
        "benchmark",
        "task",
        "temporal",
        "n",
        "coverage",
        "accuracy",
        "ci_low",
        "ci_high",
        "chance",
    ]
    return pd.DataFrame(rows, columns=[*columns, "unparsed", "seed"])


def by_group_table(inputs: ResultInputs) -> pd.DataFrame:
    """Every arm, controls included, by the benchmarks' second grouping: durations of Video-MME, subjects of MMVU."""
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=True):
        for run in runs.of(arm.name, seed):
            groups: dict[str, list[Scored]] = {}
            for row in run.rows:
                groups.setdefault(row.question.group, []).append(row)
            for group in sorted(filter(None, groups)):
                answers = groups[group]
                estimate = clustered_mean([float(row.correct) for row in answers], [row.question.clip.path for row in answers])
                numbers = [len(answers), _covered(answers), *_interval(estimate), percent(chance_level(answers)), seed]
                rows.append([arm.name, arm.label, run.benchmark, group, *numbers])
    columns = ["arm", "label", "benchmark", "group", "n", "coverage", "accuracy", "ci_low", "ci_high", "chance", "seed"]
    return pd.DataFrame(rows, columns=columns)


def _covered(answers: Sequence[Scored]) -> str:
    """Share of the questions that had frames."""
    return _share(sum(row.has_frames for row in answers) / len(answers))


def controls_table(inputs: ResultInputs) -> pd.DataFrame:
    """Questions that need the order of the frames, the others and all, pooled over the benchmarks, for every arm.

    For a control arm (same weights, other frames) also the paired difference to the arm whose weights it uses.
    """
    runs = inputs.runs
    rows: list[list[Any]] = []
    for arm, seed in runs.pairs(controls=True):
        pool = _pool(runs, arm, seed)
        parent = runs.parent_of(arm) if arm.method == CONTROL else None
        base = _pool(runs, parent, seed) if parent else []
        for kind, keep in (("temporal", {True}), ("other", {False}), ("all", {True, False, None})):
            members = [(key, row) for key, row in pool if row.temporal in keep]
            if not members:
                continue
            answers = [row for _, row in members]
            estimate = clustered_mean([float(row.correct) for row in answers], [key for key, _ in members])
            against = [row for _, row in base if row.temporal in keep]
            difference = ["", "", ""]
            if against:
                difference = _interval(_paired(answers, against, [key for key, _ in members]))
            rows.append(
                [
                    arm.name,
                    arm.label,
                    arm.frames,
                    kind,
                    len(members),
                    *_interval(estimate),
                    percent(chance_level(answers)),
                    parent.name if parent else "",
                    *difference,
                    seed,
                ]
            )
    columns = ["arm", "label", "frames", "questions", "n", "accuracy", "ci_low", "ci_high", "chance"]
    columns += ["compared_to", "difference", "difference_low", "difference_high", "seed"]
    return pd.DataFrame(rows, columns=columns)


def _pool(runs: Runs, arm: Arm, seed: int) -> list[tuple[tuple[str, str], Scored]]:
    """All answers of an arm with their clusters: videos of different benchmarks are different videos."""
    return [((run.benchmark, row.question.clip.path), row) for run in runs.of(arm.name, seed) for row in run.rows]


def thinking_table(inputs: ResultInputs) -> pd.DataFrame:
    """How the arms that reason do it: format, accuracy within well-formed answers, truth and length of the think texts.

    Shares are of the questions with frames; `all` pools the benchmarks. `accuracy_think_true` and
    `accuracy_think_false` split the answers by whether the think text tells the clip as it was: where they are equal,
    the answer does not come from the think text.
    """
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=True):
        if arm.answer != "reason":
            continue
        pool = _pool(runs, arm, seed)
        for benchmark in (*runs.benchmarks, "all"):
            members = [(key, row) for key, row in pool if benchmark in (key[0], "all") and row.has_frames]
            if members:
                rows.append([arm.name, arm.label, benchmark, *_thinking(members), seed])
    columns = [
        "arm",
        "label",
        "benchmark",
        "n",
        "format_followed",
        "accuracy",
        "accuracy_within_well_formed",
        "ci_low",
        "ci_high",
    ]
    columns += [
        "think_true",
        "accuracy_think_true",
        "accuracy_think_false",
        "think_chars",
        "tokens",
        "unfinished",
        "seed",
    ]
    return pd.DataFrame(rows, columns=columns)


def _thinking(members: Sequence[tuple[tuple[str, str], Scored]]) -> list[Any]:
    """The cells of one row of the thinking table."""
    answers = [row for _, row in members]
    formed = [(key, row) for key, row in members if row.well_formed]
    within = clustered_mean([float(row.correct) for _, row in formed], [key for key, _ in formed]) if formed else None
    known = [row for row in answers if row.think_true is not None]
    by_truth = {truth: [float(row.correct) for row in known if row.think_true == truth] for truth in (True, False)}
    return [
        len(answers),
        _share(len(formed) / len(answers)),
        percent(_mean([float(row.correct) for row in answers])),
        *(_interval(within) if within else ["", "", ""]),
        _share(_mean([float(bool(row.think_true)) for row in known])),
        percent(_mean(by_truth[True])),
        percent(_mean(by_truth[False])),
        f"{_mean([float(len(row.think)) for row in answers]):.1f}",
        f"{_mean([float(row.prediction.completion.tokens) for row in answers]):.1f}",
        sum(row.unfinished for row in answers),
    ]


def gains_table(inputs: ResultInputs) -> pd.DataFrame:
    """Every arm minus its parent on the same questions, paired and clustered by video.

    `separate` says whether the two arms' own 95% intervals do not overlap, a stronger demand than a difference whose
    interval excludes 0. `well_formed_difference` compares accuracy within well-formed answers only, where both arms
    reason: what it leaves of the difference is not repair of the format.
    """
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=False):
        parent = runs.parent_of(arm)
        if parent is None:
            continue
        here, there = runs.of(arm.name, seed), runs.of(parent.name, seed)
        pairs = list(zip(here, there, strict=True))
        differences = [
            _paired(one.rows, other.rows, [row.question.clip.path for row in one.rows], one.benchmark in MACRO)
            for one, other in pairs
        ]
        both_reason = arm.answer == parent.answer == "reason"
        formed = [_well_formed_difference(one, other) if both_reason else None for one, other in pairs]
        for (one, other), difference, within in zip(pairs, differences, formed, strict=True):
            apart = _apart(one.estimate, other.estimate)
            rows.append(
                [
                    arm.name,
                    parent.name,
                    one.benchmark,
                    difference.n,
                    *_interval(difference),
                    apart,
                    percent(within),
                    seed,
                ]
            )
        mean = mean_of_estimates(differences, (-1.0, 1.0))
        apart = _apart(
            mean_of_estimates(run.estimate for run in here), mean_of_estimates(run.estimate for run in there)
        )
        known = [within for within in formed if within is not None]
        within = _mean(known) if len(known) == len(formed) else None
        rows.append([arm.name, parent.name, "mean", mean.n, *_interval(mean), apart, percent(within), seed])
    columns = [
        "arm",
        "compared_to",
        "benchmark",
        "n",
        "difference",
        "ci_low",
        "ci_high",
        "separate",
        "well_formed_difference",
        "seed",
    ]
    return pd.DataFrame(rows, columns=columns)


def _well_formed_difference(one: Run, other: Run) -> float | None:
    """Difference of the two accuracies within well-formed answers; None if either arm never follows the format."""
    first, second = (run.score["accuracy_within_well_formed"] for run in (one, other))
    return None if first is None or second is None else first["accuracy"] - second["accuracy"]


def _apart(one: Estimate, other: Estimate) -> str:
    """Whether two intervals do not overlap."""
    return "yes" if one.low > other.high or other.low > one.high else "no"


def _paired(
    first: Sequence[Scored], second: Sequence[Scored], clusters: Sequence[Any], macro: bool = False
) -> Estimate:
    """Paired difference of two arms; both lists are sorted by question."""
    if [row.question.id for row in first] != [row.question.id for row in second]:
        raise ValueError("two arms were scored on different questions; score both again from the same list")
    strata = [row.question.category for row in first] if macro else None
    ours, theirs = ([float(row.correct) for row in rows] for rows in (first, second))
    return paired_difference(ours, theirs, clusters, strata)


def _flag(value: bool | None) -> str:
    """A truth value for a CSV cell; empty where it is not known."""
    return "" if value is None else str(value).lower()


def _mean(values: Sequence[float]) -> float | None:
    """Mean, None of nothing."""
    return sum(values) / len(values) if values else None


def _share(value: float | None) -> str:
    """A fraction with four decimals; empty where it is not known."""
    return "" if value is None else f"{value:.4f}"


def _interval(estimate: Estimate) -> list[str]:
    """Estimate, lower and upper end in percent."""
    return [percent(estimate.mean), percent(estimate.low), percent(estimate.high)]
