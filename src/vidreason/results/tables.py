"""The tables of a run: the same bytes for the same scores.

Metrics and their intervals are in percent with two decimals; coverage and shares are fractions with four. What a row measures is in
its column `metric`: the benchmark's headline metric, accuracy for multiple choice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vidreason.artifacts.csv_files import csv_text
from vidreason.artifacts.files import write_text
from vidreason.evaluation.scored_answers import chance_level
from vidreason.evaluation.statistics import clustered_mean, mean_of_estimates
from vidreason.results.number_format import VALUE, Row, flag, interval_cells, mean_of, percent, share
from vidreason.results.registry import TABLES, Table, chosen, maker_of
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import Answers, Arm, headline_name, values_of


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
        write_text(out[table.name], content if isinstance(content, str) else to_csv(table, content))


def to_csv(table: Table, rows: Sequence[Row]) -> str:
    """Rows as CSV, with exactly the columns of the registry."""
    for row in rows:
        if set(row) != set(table.columns):
            raise ValueError(f"table {table.name}: a row has the columns {list(row)}; needed are {list(table.columns)}")
    return csv_text(table.columns, [[row[column] for column in table.columns] for row in rows])


def main_table(inputs: ResultInputs) -> list[Row]:
    """The result: every arm but the controls on each benchmark, and the unweighted mean over the benchmarks."""
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=False):
        members = runs.of(arm.name, seed)
        total = sum(run.score.n for run in members)
        parts = [(run.benchmark, run.score.n, run.score.coverage, run.estimate, run.score.unparsed) for run in members]
        covered = sum(run.score.with_frames for run in members) / total
        mean = mean_of_estimates(run.estimate for run in members)
        parts.append(("mean", total, covered, mean, sum(run.score.unparsed for run in members)))
        for benchmark, count, coverage, estimate, unparsed in parts:
            metric = headline_name(runs.benchmarks if benchmark == "mean" else [benchmark])
            head = {"arm": arm.name, "label": arm.label, "style": arm.style, "benchmark": benchmark, "metric": metric}
            tail = {"n": count, "coverage": share(coverage), "unparsed": unparsed, "seed": seed}
            rows.append(head | tail | interval_cells(estimate, VALUE))
    return rows


def metrics_table(inputs: ResultInputs) -> list[Row]:
    """Every metric that a score holds, for every arm, controls included: one row for every arm, seed, benchmark and metric."""
    runs = inputs.runs
    rows: list[Row] = []
    for arm, seed in runs.pairs(controls=True):
        for run in runs.of(arm.name, seed):
            head = {"arm": arm.name, "label": arm.label, "view": arm.view, "benchmark": run.benchmark, "seed": seed}
            rows += [
                head
                | {"metric": name, "headline": "yes" if name == run.score.headline else "no", "n": estimate.n}
                | interval_cells(estimate, ("value", "ci_low", "ci_high"))
                for name, estimate in run.score.metrics.items()
            ]
    return rows


def by_task_table(inputs: ResultInputs) -> list[Row]:
    """Every arm, controls included, by the categories of the benchmarks; `temporal` is known for the demo's world only.

    Rows of the benchmark `all` pool the benchmarks of one metric by the world's own kinds of question.
    """
    runs = inputs.runs
    rows = []
    metric_of = {benchmark: headline_name([benchmark]) for benchmark in runs.benchmarks}
    for arm, seed in runs.pairs(controls=True):
        groups: dict[tuple[str, str, str, str], Answers] = {}
        for cluster, row in runs.answers(arm, seed):
            metric, temporal = metric_of[cluster[0]], flag(row.temporal)
            groups.setdefault((cluster[0], metric, row.question.category, temporal), []).append((cluster, row))
            if row.kind:
                groups.setdefault(("all", metric, row.kind, temporal), []).append((cluster, row))
        order = [*runs.benchmarks, "all"]
        for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1:])):
            names = dict(zip(("benchmark", "metric", "category", "temporal"), key, strict=True))
            unparsed = sum(row.has_frames and row.grade.parsed is None for _, row in groups[key])
            rows.append(_part(arm, seed, groups[key]) | names | {"unparsed": unparsed})
    return rows


def by_group_table(inputs: ResultInputs) -> list[Row]:
    """Every arm, controls included, by the benchmarks' second grouping: durations of Video-MME, subjects of MMVU."""
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=True):
        groups: dict[tuple[str, str], Answers] = {}
        for cluster, row in runs.answers(arm, seed):
            if row.question.group:
                groups.setdefault((cluster[0], row.question.group), []).append((cluster, row))
        for benchmark, group in sorted(groups, key=lambda key: (runs.benchmarks.index(key[0]), key[1])):
            names = {"benchmark": benchmark, "metric": headline_name([benchmark]), "group": group}
            rows.append(_part(arm, seed, groups[benchmark, group]) | names)
    return rows


def _part(arm: Arm, seed: int, answers: Answers) -> Row:
    """Cells about one arm's answers to a part of the questions."""
    rows = [row for _, row in answers]
    estimate = clustered_mean(values_of(rows), [cluster for cluster, _ in answers])
    covered = sum(row.has_frames for row in rows) / len(rows)
    head = {"arm": arm.name, "label": arm.label, "n": len(rows), "coverage": share(covered)}
    return head | interval_cells(estimate, VALUE) | {"chance": percent(chance_level(rows)), "seed": seed}


def thinking_table(inputs: ResultInputs) -> list[Row]:
    """How the arms that reason do it: format, the metric within well-formed answers, truth and length of the think texts.

    Shares are of the questions with frames; `all` pools the benchmarks of one metric. `value_think_true` and
    `value_think_false` split the answers by whether the think text describes the clip correctly: where the two are
    equal, the answer does not depend on the think text.
    """
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=True):
        if arm.style != "reason":
            continue
        pools: list[tuple[str, str, tuple[str, ...]]]
        pools = [(name, headline_name([name]), (name,)) for name in runs.benchmarks]
        pools += [("all", *pool) for pool in runs.by_metric().items()]
        for benchmark, metric, benchmarks in pools:
            members = [(cluster, row) for cluster, row in runs.answers(arm, seed, benchmarks) if row.has_frames]
            if members:
                head = {"arm": arm.name, "label": arm.label, "benchmark": benchmark, "metric": metric, "seed": seed}
                rows.append(head | _thinking(members))
    return rows


def _thinking(answers: Answers) -> Row:
    """Cells about how one arm reasoned."""
    rows = [row for _, row in answers]
    formed = [(cluster, row) for cluster, row in answers if row.well_formed]
    within = None
    if formed:
        within = clustered_mean(values_of([row for _, row in formed]), [cluster for cluster, _ in formed])
    known = [row for row in rows if row.think_true is not None]
    return {
        "n": len(rows),
        "format_followed": share(len(formed) / len(rows)),
        "value": percent(mean_of(values_of(rows))),
        **interval_cells(within, ("value_within_well_formed", "ci_low", "ci_high")),
        "think_true": share(mean_of([float(bool(row.think_true)) for row in known])),
        "value_think_true": percent(mean_of(values_of([row for row in known if row.think_true]))),
        "value_think_false": percent(mean_of(values_of([row for row in known if not row.think_true]))),
        "think_chars": f"{_mean_length([len(row.think) for row in rows]):.1f}",
        "tokens": f"{_mean_length([row.prediction.completion.tokens for row in rows]):.1f}",
        "unfinished": sum(row.unfinished for row in rows),
    }


def _mean_length(lengths: Sequence[int]) -> float:
    """Mean of lengths, at least one."""
    return sum(float(length) for length in lengths) / len(lengths)
