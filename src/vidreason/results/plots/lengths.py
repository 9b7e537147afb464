"""The headline metric of the arms against the tokens that an answer takes."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.figures import COLORS, MARKERS, empty_figure, legend, legend_label, wrapped
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import axis_label, title_with_metric

COLUMNS = ("arm", "benchmark", "value", "ci_low", "ci_high", "tokens", "tokens_low", "tokens_high", "seed")
PANELS_A_ROW = 3
STYLES = tuple((color, marker) for marker in MARKERS for color in COLORS if color != "#F0E442")  # yellow is hard to see
Row = dict[str, str]


def draw_lengths(inputs: ResultInputs) -> Figure:
    """A point for every arm and seed with both intervals; a panel for the mean over the benchmarks and for each of them."""
    table = inputs.table("lengths")
    rows = [row for row in read_csv(table, COLUMNS) if row["tokens"]] if table else []
    panels = [name for name in ("mean", *inputs.benchmarks) if any(row["benchmark"] == name for row in rows)]
    if not rows:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no question of this run was answered")
    columns = min(PANELS_A_ROW, len(panels))
    count = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(4.5, 3.1 * columns), 2.7 * count + 0.6), layout="constrained")
    grid = figure.subplots(count, columns, squeeze=False, sharex=True, sharey=True)
    styles = dict(zip(dict.fromkeys(row["arm"] for row in rows), STYLES * len(rows), strict=False))
    for axes, panel in zip(grid.flat, panels, strict=False):
        for arm, style in styles.items():
            own = [row for row in rows if (row["arm"], row["benchmark"]) == (arm, panel)]
            _draw_points(axes, own, style, wrapped(legend_label(inputs.label(arm))))
        axes.set_title(title_with_metric(panel, inputs.benchmarks), fontsize=9)
    lengths = [float(row["tokens"]) for row in rows]
    if max(lengths) > 10 * max(1.0, min(lengths)):
        grid[0, 0].set_xscale("log")
        grid[0, 0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        grid[0, 0].xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:g}"))
        grid[0, 0].xaxis.set_minor_locator(NullLocator())
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    for number, axes in enumerate(list(grid.flat)[: len(panels)]):
        if number + columns >= len(panels):
            axes.set_xlabel("mean tokens of an answer")
            axes.tick_params(axis="x", which="both", labelbottom=True)
        if number % columns == 0:
            axes.set_ylabel(axis_label(inputs.benchmarks))
    legend(figure)
    return figure


def _draw_points(axes: Axes, rows: Sequence[Row], style: tuple[str, str], label: str) -> None:
    """The points of one arm, one a seed."""
    x, x_ends = _with_ends(rows, "tokens", "tokens_low", "tokens_high")
    y, y_ends = _with_ends(rows, "value", "ci_low", "ci_high")
    color, marker = style
    axes.errorbar(x, y, xerr=x_ends, yerr=y_ends, fmt=marker, ms=5, lw=0.9, color=color, label=label)


def _with_ends(rows: Sequence[Row], value: str, low: str, high: str) -> tuple[list[float], list[list[float]]]:
    values = [float(row[value]) for row in rows]
    below = [one - float(row[low]) for one, row in zip(values, rows, strict=True)]
    above = [float(row[high]) - one for one, row in zip(values, rows, strict=True)]
    return values, [below, above]
