"""Figures of a run's training curves: a panel for every quantity, a line for every arm, a band for its seeds.

With few arms the panels stand side by side. Many arms are split into columns of a few, in each of which the first arm is drawn
again, so that no panel has more lines than can be told apart.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.config.settings import NO_VARIANCE
from vidreason.results.counts.measured import Measured, read_metrics
from vidreason.results.figures import COLORS, MARKERS, empty_figure, legend, legend_label, wrapped
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import arm_and_seed
from vidreason.rl.terms import RESERVED

PANELS = (
    ("reward", "mean reward", 1.0),
    ("accuracy", "grade of the answers (%)", 100.0),
    ("format", "format followed (%)", 100.0),
    ("tokens", "answer length (tokens)", 1.0),
    ("kl", "KL to the reference (nats)", 1.0),
    ("grad_norm", "gradient norm", 1.0),
)
"""Curves of a GRPO run: key in metrics.jsonl, axis label with unit, factor."""
WHERE_LOGGED = (
    ("think_characters", "thought length (characters)", 1.0),
    ("entropy", "entropy (nats per token)", 1.0),
    ("zero_variance", "groups of equal rewards (%)", 100.0),
    ("clip_fraction", "clipped tokens (%)", 100.0),
    ("resampled", "groups replaced (%)", 100.0),
    ("temporal_fired", "groups with temporal bonus (%)", 100.0),
)
"""Curves that only some trainings have."""
Panel = tuple[str, str, float]
MOST_ARMS = 6
"""Arms whose lines can be told apart in one panel."""
COLUMNS = 3
"""Panels side by side, where all arms are in each of them."""
LINES = tuple(color for color in COLORS if color not in ("#F0E442", "#000000"))
"""Colors of lines: yellow is hard to see on white, and black is the first arm's where it is drawn again."""
Points = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Training:
    """The trainings of one arm.

    Attributes:
        label: What the legend calls it.
        seeds: Rows of each seed's metrics.
        color: Color of its line.
        marker: Of its validation.
    """

    label: str
    seeds: Sequence[Sequence[Measured]]
    color: str = LINES[0]
    marker: str = MARKERS[0]


def draw_grpo(inputs: ResultInputs) -> Figure:
    """What every training measures over the steps, every reward term, and what else was logged; validation as marked points."""
    if not inputs.grpo:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no GRPO arm in this run")
    trainings = _trainings(inputs, inputs.grpo)
    return draw_trainings(trainings, _panels(trainings))


def draw_trainings(trainings: Sequence[Training], panels: Sequence[Panel]) -> Figure:
    """A panel for every quantity of some trainings, whose colors are chosen here."""
    columns = _columns(trainings)
    if len(columns) == 1:
        return _draw_side_by_side(columns[0], panels)
    figure = Figure(figsize=(3.4 * len(columns), 1.9 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), len(columns), sharex=True, sharey="row", squeeze=False)
    for column, trainings in enumerate(columns):
        for axes, panel in zip(grid[:, column], panels, strict=True):
            _draw_panel(axes, trainings, panel, panel == panels[0])
            if not axes.get_lines():
                axes.text(0.5, 0.5, "not logged", ha="center", va="center", color="#777777", transform=axes.transAxes)
        handles, names = grid[0, column].get_legend_handles_labels()
        lines = [wrapped(name) for name in names]
        grid[0, column].legend(handles, lines, loc="lower left", bbox_to_anchor=(0, 1.02), fontsize=8)
        grid[-1, column].set_xlabel("step")
    for axes, (_, label, _) in zip(grid[:, 0], panels, strict=True):
        axes.set_ylabel(label, fontsize=8)
    for row in grid:
        _show_zero(row)
    return figure


def _draw_side_by_side(trainings: Sequence[Training], panels: Sequence[Panel]) -> Figure:
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.3 * rows), layout="constrained")
    all_axes = list(figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).flat)
    for axes, panel in zip(all_axes, panels, strict=False):
        _draw_panel(axes, trainings, panel, panel == panels[0])
        axes.set_ylabel(panel[1])
        _show_zero([axes])
    for axes in all_axes[len(panels) :]:
        axes.remove()
    for axes in all_axes[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    legend(figure)
    return figure


def _trainings(inputs: ResultInputs, files: Sequence[str | Path]) -> list[Training]:
    """The trainings by arm, in the order of the configuration."""
    by_arm: dict[str, list[tuple[int, str | Path]]] = {}
    known = list(inputs.arms)
    for path in sorted(files, key=arm_and_seed):
        arm, seed = arm_and_seed(path)
        by_arm.setdefault(arm, []).append((seed, path))
    order = sorted(by_arm, key=lambda arm: (known.index(arm) if arm in known else len(known), arm))
    trainings = []
    for arm in order:
        seeds = by_arm[arm]
        label = training_label(inputs, arm, [seed for seed, _ in seeds])
        trainings.append(Training(label, [read_metrics(path) for _, path in seeds]))
    return trainings


def training_label(inputs: ResultInputs, arm: str, seeds: Sequence[int]) -> str:
    """What the legend calls the trainings of an arm."""
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return f"{legend_label(inputs.label(arm))}, {which}"


def _columns(trainings: Sequence[Training]) -> list[list[Training]]:
    """The arms of every column, with their colors; in several columns the first arm is in each of them, in black."""
    if len(trainings) <= MOST_ARMS:
        return [_colored(trainings)]
    first = Training(trainings[0].label, trainings[0].seeds, "#000000", MARKERS[-1])
    count = math.ceil((len(trainings) - 1) / (MOST_ARMS - 1))
    size = math.ceil((len(trainings) - 1) / count)
    others = [trainings[start : start + size] for start in range(1, len(trainings), size)]
    return [[first, *_colored(part)] for part in others]


def _colored(trainings: Sequence[Training]) -> list[Training]:
    return [
        Training(one.label, one.seeds, LINES[number], MARKERS[number])
        for number, one in enumerate(trainings[:MOST_ARMS])
    ]


def _panels(trainings: Sequence[Training]) -> list[Panel]:
    """The panels that every training has, those of the reward terms, and those that some of these trainings have."""
    rows = [row for training in trainings for seed in training.seeds for row in seed]
    logged = {name for row in rows if row.kind == "train" for name in row.values}
    terms = [(term, f"reward term {term}", 1.0) for term in _further_terms(logged)]
    return [*PANELS, *terms, *(panel for panel in WHERE_LOGGED if panel[0] in logged)]


def _further_terms(logged: Collection[str]) -> list[str]:
    """Names of the reward terms that were logged beside those with a panel of their own."""
    names = {name for name in logged if not name.endswith(NO_VARIANCE)}
    return sorted(names - set(RESERVED) - {key for key, _, _ in PANELS})


def _draw_panel(axes: Axes, trainings: Sequence[Training], panel: Panel, labelled: bool) -> None:
    """One quantity of some arms; one panel names them for the legend."""
    key, _, factor = panel
    for training in trainings:
        _draw_steps(axes, training, key, factor, len(trainings) < COLUMNS, training.label if labelled else None)
    for training in trainings:
        steps, values = _mean([_series(seed, "validation", key, factor) for seed in training.seeds])
        if steps:
            style: dict[str, Any] = {"ms": 5, "ls": ":", "lw": 1, "mec": "black", "mew": 0.6}
            label = "validation" if key == "accuracy" else None
            axes.plot(steps, values, training.marker, color=training.color, label=label, **style)


def _show_zero(row: Sequence[Axes]) -> None:
    """Where everything is 0, an axis up to 1, and not one of hundredths around 0."""
    drawn = [np.asarray(line.get_ydata()) for axes in row for line in axes.get_lines()]
    if drawn and not any(values.any() for values in drawn):
        row[0].set_ylim(-0.05, 1)


def _draw_steps(axes: Axes, training: Training, key: str, factor: float, faint: bool, label: str | None = None) -> None:
    """One arm in one panel: the running mean strong, each step faint; of several seeds their mean and their range."""
    series = [_series(seed, "train", key, factor) for seed in training.seeds]
    smooth = [(steps, running_mean(values, max(1, len(values) // 20))) for steps, values in series]
    steps, values = _mean(smooth)
    if not steps:
        return
    if len(series) == 1 and faint:
        axes.plot(*series[0], color=training.color, lw=0.5, alpha=0.35)
    if len(series) > 1:
        low, high = (_over_seeds(smooth, which)[1] for which in (min, max))
        axes.fill_between(steps, low, high, color=training.color, alpha=0.15, lw=0)
    axes.plot(steps, values, color=training.color, lw=1.5, label=label)


def _mean(series: Sequence[Points]) -> Points:
    """Mean over the seeds, at the steps that all of them have."""
    return _over_seeds(series, lambda values: math.fsum(values) / len(values))


def _over_seeds(series: Sequence[Points], combined: Any) -> Points:
    at = [dict(zip(*one, strict=True)) for one in series]
    steps = [step for step in at[0] if all(step in other for other in at)] if at else []
    return steps, [combined([one[step] for one in at]) for step in steps]


def _series(rows: Sequence[Measured], kind: str, key: str, factor: float) -> Points:
    """Steps and values of one metric; steps where it was not measured are left out."""
    points = [
        (row.step, factor * value) for row in rows if row.kind == kind and (value := row.values.get(key)) is not None
    ]
    return [step for step, _ in points], [value for _, value in points]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and the up to `window - 1` before it.

    Example:
        >>> running_mean([1.0, 3.0, 5.0], 2)
        [1.0, 2.0, 4.0]
    """
    return [sum(values[max(0, end - window) : end]) / min(end, window) for end in range(1, len(values) + 1)]


def draw_sft(inputs: ResultInputs) -> Figure:
    """Loss of the supervised arms over the steps, a panel an arm."""
    if not inputs.sft:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no supervised arm in this run")
    trainings = _trainings(inputs, inputs.sft)
    columns = min(COLUMNS, len(trainings))
    rows = math.ceil(len(trainings) / columns)
    figure = Figure(figsize=(max(4.5, 3.2 * columns), 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(trainings):
            axes.remove()
            continue
        training = trainings[number]
        color = LINES[number % len(LINES)]
        _draw_steps(axes, Training(training.label, training.seeds, color), "loss", 1.0, faint=True)
        axes.set_title(training.label, fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
    for row in grid:
        row[0].set_ylabel("cross-entropy (nats per token)")
    return figure
