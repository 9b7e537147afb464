"""The figures of a run (matplotlib without a display): the same bytes for the same input.

The colors are Okabe and Ito's, which can be told apart with any color vision. Legends stand below the panels, where they
cover nothing. Training curves are drawn by `vidreason.results.plots.curves`, other figures by the modules of `vidreason.results.plots`.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.artifacts.count_tables import CORRECT, Bin, read_histogram
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_aside
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.statistics import Estimate
from vidreason.results.registry import FIGURES, chosen, maker_of
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, arm_and_seed

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
PANELS_A_ROW = 3
"""Panels side by side, where there are many."""
LONGEST_TITLE = 36
"""Letters of a line of a title or label."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "vidreason",  # Otherwise the ids in an SVG are random.
    "svg.fonttype": "none",
    "text.parse_math": False,  # A label may hold "$".
}


def make_figures(inputs: ResultInputs, out: Mapping[str, str | Path]) -> None:
    """Draw some figures of a run.

    Args:
        inputs: The run's results.
        out: Figure name -> path ending in `.png` or `.svg`.

    Raises:
        ValueError: A name that is not registered, or another suffix.
    """
    for figure in chosen(FIGURES, out, "figures"):
        with matplotlib.rc_context(STYLE):
            save(maker_of(figure)(inputs), out[figure.name])


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure without date or version, so that equal figures have equal bytes."""
    kind = Path(path).suffix
    if kind not in (".png", ".svg"):
        raise ValueError(f"{path}: figures are written as .png or .svg, not {kind!r}")
    metadata: dict[str, Any] = {"Software": None} if kind == ".png" else {"Date": None, "Creator": None}
    with write_aside(path) as aside:
        figure.savefig(aside, format=kind[1:], dpi=150, metadata=metadata, bbox_inches="tight")


def legend_label(label: str) -> str:
    """A label that a legend shows: matplotlib leaves out labels that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def wrapped(label: str) -> str:
    """A label in lines of at most `LONGEST_TITLE` letters."""
    return textwrap.fill(label, LONGEST_TITLE)


def bars(
    axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], width: float, number: int, label: str
) -> None:
    """One arm's bars with error bars."""
    heights = [100 * estimate.mean for estimate in estimates]
    below = [100 * (estimate.mean - estimate.low) for estimate in estimates]
    above = [100 * (estimate.high - estimate.mean) for estimate in estimates]
    axes.bar(
        places,
        heights,
        width * 0.92,
        yerr=[below, above],
        color=COLORS[number % len(COLORS)],
        error_kw={"lw": 1, "ecolor": "#333333", "capsize": 2},
        label=label,
    )


def chance_lines(axes: Axes, levels: Sequence[float | None]) -> None:
    """A dashed line at chance across each group of bars that has such a level."""
    drawn = [(place, level) for place, level in enumerate(levels) if level is not None]
    for place, level in drawn:
        axes.plot(
            [place - 0.46, place + 0.46],
            [100 * level] * 2,
            color="black",
            lw=1.2,
            ls="--",
            label="chance" if place == drawn[0][0] else None,
        )


def draw_selection(inputs: ResultInputs) -> Figure:
    """How the questions of every selection are spread, and which were kept; a panel for each answer type of a selection.

    Answers that are right or wrong are shown by the number of right ones, others by the spread of what they are worth.
    """
    panels: list[tuple[str, list[Bin]]] = []
    for path in sorted(inputs.histograms, key=arm_and_seed):
        (arm, seed), bins = arm_and_seed(path), read_histogram(path)
        tasks = list(dict.fromkeys(one.task for one in bins))  # none where nothing was sampled
        for task in tasks:
            title = f"{inputs.label(arm)}, seed {seed}" + (f", {task.replace('_', ' ')}" if len(tasks) > 1 else "")
            panels.append((title, [one for one in bins if one.task == task]))
    columns = max(1, min(PANELS_A_ROW, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    figure = Figure(figsize=(max(4.5, 3.2 * columns), 2.6 * rows + 0.6), layout="constrained")
    if not panels:
        return empty_figure(figure, "no arm of this run selects its training questions")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (title, bins) in zip(grid.flat, panels, strict=False):
        _draw_bins(axes, bins)
        kept = f"{sum(one.kept for one in bins)} of {sum(one.questions for one in bins)} kept"
        axes.set_title(f"{wrapped(title)}\n{kept}", fontsize=9)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    for row in grid:
        row[0].set_ylabel("questions")
    legend(figure)
    return figure


def _draw_bins(axes: Axes, bins: Sequence[Bin]) -> None:
    """Bars of the kept and the dropped questions of one answer type; the range of the kept ones is shaded."""
    places = range(len(bins))
    places_kept = [place for place, one in enumerate(bins) if one.kept]
    if places_kept:
        first, last = min(places_kept), max(places_kept)
        axes.axvspan(first - 0.5, last + 0.5, color=COLORS[2], alpha=0.12, lw=0, label="kept range")
    kept = [one.kept for one in bins]
    axes.bar(places, kept, 0.8, color=COLORS[2], label="kept")
    axes.bar(places, [one.questions - one.kept for one in bins], 0.8, kept, color="#999999", label="dropped")
    axes.set_xticks(places, [f"{one.high:g}" for one in bins], fontsize=8)
    of = f"of {bins[0].rollouts} answers"
    spread = {"std": "standard deviation", "half_range": "half the range"}
    axes.set_xlabel(
        f"right answers out of {bins[0].rollouts}"
        if bins[0].measure == CORRECT
        else f"{spread.get(bins[0].measure, bins[0].measure)} {of}, up to"
    )


def draw_temporal(inputs: ResultInputs) -> Figure:
    """Headline metric on questions that need the order of the frames and on others, by view; a panel for an arm with its controls."""
    columns = ("arm", "view", "questions", "metric", "value", "ci_low", "ci_high", "chance", "seed")
    table = inputs.table("controls")
    rows = [row for row in read_csv(table, columns) if row["questions"] != "all"] if table else []
    arms = inputs.arms
    owner = {
        row["arm"]: arms[row["arm"]].parent
        for row in rows
        if arms[row["arm"]].method == CONTROL and row["view"] != "ordered"
    }
    owner |= {name: name for name in owner.values()}
    panels: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["arm"] in owner:
            panels.setdefault((owner[row["arm"]], row["seed"], row["metric"]), []).append(row)
    if not panels:
        return empty_figure(
            Figure(figsize=(5, 2), layout="constrained"),
            "the data do not say which questions need the order of the frames",
        )
    figure = Figure(figsize=(max(4.8, 3.4 * len(panels)), 3.2), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    titles = {metric.name: metric.title for metric in map(headline_metric, inputs.benchmarks)}
    for axes, ((name, seed, metric), members) in zip(all_axes, panels.items(), strict=True):
        _draw_views(axes, members)
        axes.set_title(f"{inputs.label(name)}, seed {seed}", fontsize=9)
        if axes is all_axes[0] or len(titles) > 1:
            axes.set_ylabel(f"{titles.get(metric, metric)} (%)")
    legend(figure)
    return figure


def _draw_views(axes: Axes, rows: Sequence[Mapping[str, str]]) -> None:
    """Bars of an arm and its controls: types of questions by views."""
    types = {"temporal": "need the order\nof the frames", "other": "do not"}
    views = list(dict.fromkeys(row["view"] for row in rows))
    width = 0.8 / len(views)
    for number, view in enumerate(views):
        cells = {row["questions"]: row for row in rows if row["view"] == view}
        places = [place + (number + 0.5) * width - 0.4 for place, kind in enumerate(types) if kind in cells]
        estimates = [_read_estimate(cells[kind]) for kind in types if kind in cells]
        bars(axes, places, estimates, width, number, "no video" if view == "none" else f"{view} frames")
    chance = {row["questions"]: float(row["chance"]) / 100 for row in rows if row["chance"]}
    chance_lines(axes, [chance.get(kind) for kind in types])
    axes.set_xticks(range(len(types)), list(types.values()))
    axes.set_xlabel("questions that ...")
    axes.set_ylim(0, 100)


def _read_estimate(row: Mapping[str, str]) -> Estimate:
    """Value and interval of a row of a table."""
    mean, low, high = (float(row[key]) / 100 for key in ("value", "ci_low", "ci_high"))
    return Estimate(mean, 0.0, low, high, 0, 0)


def legend(figure: Figure) -> None:
    """One legend below all panels, every label once."""
    handles = {text: mark for axes in figure.axes for mark, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 5) or 1)


def empty_figure(figure: Figure, words: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure.text(0.5, 0.5, words, ha="center", va="center")
    return figure
