"""The same weights asked with and without thinking, side by side."""

from collections.abc import Sequence

from vidreason.evaluation.ratios import UNBOUNDED
from vidreason.evaluation.statistics import mean_of_estimates
from vidreason.results.controls.gains import Compared, clipped, compared
from vidreason.results.markdown import Block, Grid, Heading
from vidreason.results.number_format import Row, interval_cells, percent, share, shorter
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Arm, Run, Runs, headline_name

MEAN = "mean"


def with_and_without_thinking_table(inputs: ResultInputs) -> list[Row]:
    """Thinking minus not thinking, paired by question, for every weights that were asked in both ways; the mean last."""
    runs = inputs.runs
    return [row for thinking, direct in pairs_of(runs) for row in _rows(runs, thinking, direct)]


def pairs_of(runs: Runs) -> list[tuple[Arm, Arm]]:
    """(arm that thinks, arm that does not) of the same weights, shown the same, in the order of the arms."""
    by_key: dict[tuple[str, str, str], dict[str, Arm]] = {}
    for arm in runs.arms:
        by_key.setdefault((weights_of(runs, arm).name, arm.view, arm.options), {}).setdefault(arm.style, arm)
    return [(of["reason"], of["option"]) for of in by_key.values() if {"reason", "option"} <= set(of)]


def weights_of(runs: Runs, arm: Arm) -> Arm:
    """The arm whose weights an arm uses: itself, or for a control the first ancestor that is none."""
    parent = runs.parent_of(arm) if arm.method == CONTROL else None
    return arm if parent is None else weights_of(runs, parent)


def _rows(runs: Runs, thinking: Arm, direct: Arm) -> list[Row]:
    """Cells of one pair, a row for every benchmark and one for the mean."""
    weights = weights_of(runs, thinking)
    parts = {name: compared(runs, thinking, direct, name) for name in runs.benchmarks}
    known = {name: one for name, one in parts.items() if one is not None}
    rows: list[Row] = []
    for benchmark in (*runs.benchmarks, MEAN):
        names = list(runs.benchmarks) if benchmark == MEAN else [benchmark]
        members = [known[name] for name in names]
        ours, theirs = (
            [runs.by_key[arm.name, seed, name] for name in names for seed in runs.seeds] for arm in (thinking, direct)
        )
        estimate = mean_of_estimates((one.gain.estimate for one in members), UNBOUNDED)
        rows.append(
            {"weights": weights.name, "label": weights.label, "arm": thinking.name, "compared_to": direct.name}
            | {"benchmark": benchmark, "metric": headline_name(names), "seeds": len(runs.seeds)}
            | {"n": estimate.n, "videos": estimate.clusters}
            | {"compared_value": percent(_mean([one.other for one in members]))}
            | {"value": percent(_mean([one.level.mean for one in members]))}
            | interval_cells(clipped(estimate, _bounds(members)), ("difference", "ci_low", "ci_high"))
            | {"format_followed": share(_format(ours)), "compared_tokens": _tokens(theirs), "tokens": _tokens(ours)}
        )
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _bounds(members: Sequence[Compared]) -> tuple[float, float]:
    return _mean([one.bounds[0] for one in members]), _mean([one.bounds[1] for one in members])


def _format(members: Sequence[Run]) -> float | None:
    """Share of the well-formed answers among those to questions with frames."""
    rows = [row for run in members for row in run.rows if row.has_frames]
    return _mean([float(row.well_formed) for row in rows]) if rows else None


def _tokens(members: Sequence[Run]) -> str:
    """Mean length of an answer to a question with frames."""
    rows = [row for run in members for row in run.rows if row.has_frames]
    return f"{_mean([float(row.prediction.completion.tokens) for row in rows]):.1f}" if rows else ""


def thinking_summary(inputs: ResultInputs) -> list[Block]:
    """The means over the benchmarks as a section of the results; nothing where no weights were asked in both ways."""
    rows = [row for row in with_and_without_thinking_table(inputs) if row["benchmark"] == MEAN]
    if not rows:
        return []
    header = ["weights", "answers at once", "thinks first", "difference in points", "format followed", "tokens"]
    lines = []
    for row in rows:
        cells = {column: str(cell) for column, cell in row.items()}
        followed = f"{100 * float(cells['format_followed']):.1f}%" if cells["format_followed"] else "-"
        lines.append(
            [
                *(cells["label"], shorter(cells["compared_value"]), shorter(cells["value"])),
                f"{float(shorter(cells['difference'])):+.1f} ({shorter(cells['ci_low'])} to {shorter(cells['ci_high'])})",
                *(followed, f"{cells['compared_tokens']} and {cells['tokens']}"),
            ]
        )
    return [Heading("The same weights with and without thinking, mean over the benchmarks"), Grid(header, lines)]
