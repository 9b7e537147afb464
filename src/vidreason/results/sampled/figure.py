"""Curves of pass@k."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.figures import COLORS, MARKERS, empty_figure, legend, legend_label
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.sampled.tables import MEAN
from vidreason.results.scored_runs import title

COLUMNS = ("arm", "seed", "benchmark", "measure", "k", "value", "ci_low", "ci_high", "chance")
ACROSS = 3
"""Panels side by side."""


def draw_pass_at_k(inputs: ResultInputs) -> Figure:
    """Pass@k of every arm that is sampled from, in the mean over the benchmarks and for each of them; dashed: guessing.

    Several seeds are drawn as their mean, without intervals.
    """
    table = inputs.table("sampled")
    rows = [row for row in read_csv(table, COLUMNS) if row["measure"] == "pass"] if table else []
    if not rows:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no answers were sampled")
    places = [MEAN, *inputs.benchmarks] if len(inputs.benchmarks) > 1 else list(inputs.benchmarks)
    across = min(ACROSS, len(places))
    down = -(-len(places) // across)
    figure = Figure(figsize=(max(4.8, 3.1 * across), 2.7 * down + 0.5), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for number, axes in enumerate(panels.flat):
        if number >= len(places):
            axes.set_axis_off()
            continue
        _draw_panel(axes, inputs, [row for row in rows if row["benchmark"] == places[number]])
        axes.set_title(title(places[number]), fontsize=9)
        if number % across == 0:
            axes.set_ylabel("right at least once (%)")
        if number + across >= len(places):
            axes.set_xlabel("k, sampled answers")
    legend(figure)
    return figure


def _draw_panel(axes: Axes, inputs: ResultInputs, rows: Sequence[Mapping[str, str]]) -> None:
    """One line for every arm, and the curve of guessing."""
    sizes = sorted({int(row["k"]) for row in rows})
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for number, arm in enumerate(arms):
        by_size = [[row for row in rows if row["arm"] == arm and int(row["k"]) == k] for k in sizes]
        middle = [_mean(of_seeds, "value") for of_seeds in by_size]
        spread = None
        if all(len(of_seeds) == 1 for of_seeds in by_size):
            low, high = ([_mean(of_seeds, name) for of_seeds in by_size] for name in ("ci_low", "ci_high"))
            spread = [
                [m - least for m, least in zip(middle, low, strict=True)],
                [most - m for m, most in zip(middle, high, strict=True)],
            ]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        axes.errorbar(
            sizes, middle, yerr=spread, color=color, marker=marker, ms=4, lw=1.4, capsize=2, elinewidth=1,
            label=legend_label(inputs.label(arm)),
        )  # fmt: skip
    levels = {int(row["k"]): float(row["chance"]) for row in rows if row["chance"]}
    if levels:
        axes.plot(sizes, [levels[k] for k in sizes], color="black", lw=1.2, ls="--", label="guessing")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.minorticks_off()
    axes.set_ylim(0, 102)


def _mean(rows: Sequence[Mapping[str, str]], column: str) -> float:
    return sum(float(row[column]) for row in rows) / len(rows)
