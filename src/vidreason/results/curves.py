"""Figures of a run's training curves."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.config.settings import NO_VARIANCE
from vidreason.results.figures import COLORS, MARKERS, empty_figure, legend, legend_label
from vidreason.results.measured import Measured, read_metrics
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
    ("zero_variance", "groups of equal rewards (%)", 100.0),
    ("entropy", "entropy (nats per token)", 1.0),
    ("clip_fraction", "clipped tokens (%)", 100.0),
    ("resampled", "groups replaced (%)", 100.0),
    ("temporal_fired", "groups with temporal bonus (%)", 100.0),
)
"""Curves that only some trainings have."""


def draw_grpo(inputs: ResultInputs) -> Figure:
    """What every training measures over the steps, every reward term, and what else was logged; validation as marked points."""
    if not inputs.grpo:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no GRPO arm in this run")
    curves = [(_label(inputs, path), read_metrics(path)) for path in sorted(inputs.grpo, key=arm_and_seed)]
    logged = {name for _, measured in curves for one in measured if one.kind == "train" for name in one.values}
    panels = [*PANELS, *((term, f"reward term {term}", 1.0) for term in _further_terms(logged))]
    panels += [panel for panel in WHERE_LOGGED if panel[0] in logged]
    rows = math.ceil(len(panels) / 3)
    figure = Figure(figsize=(9, 2.3 * rows), layout="constrained")
    all_axes = list(figure.subplots(rows, 3, sharex=True, squeeze=False).flat)
    for axes, (key, label, factor) in zip(all_axes, panels, strict=False):
        for number, (name, measured) in enumerate(curves):
            _curve(axes, measured, key, factor, number, name)
        axes.set_ylabel(label)
    for axes in all_axes[len(panels) :]:
        axes.remove()
    for axes in all_axes[max(0, len(panels) - 3) : len(panels)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    legend(figure)
    return figure


def _further_terms(logged: Collection[str]) -> list[str]:
    """Names of the reward terms that were logged beside those with a panel of their own."""
    names = {name for name in logged if not name.endswith(NO_VARIANCE)}
    return sorted(names - set(RESERVED) - {key for key, _, _ in PANELS})


def _curve(axes: Axes, rows: Sequence[Measured], key: str, factor: float, number: int, label: str) -> None:
    """One run in one panel: each step faint, its running mean strong, validation as points."""
    color = COLORS[number % len(COLORS)]
    steps, values = _series(rows, "train", key, factor)
    if steps:
        axes.plot(steps, values, color=color, lw=0.5, alpha=0.35)
        axes.plot(
            steps,
            running_mean(values, max(1, len(values) // 20)),
            color=color,
            lw=1.5,
            label=label if key == "reward" else None,
        )
    steps, values = _series(rows, "validation", key, factor)
    if steps:
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(
            steps,
            values,
            marker,
            ms=5,
            ls=":",
            lw=1,
            color=color,
            mec="black",
            mew=0.6,
            label="validation" if key == "accuracy" else None,
        )


def _series(rows: Sequence[Measured], kind: str, key: str, factor: float) -> tuple[list[int], list[float]]:
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
    """Loss of the supervised arms over the steps."""
    if not inputs.sft:
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), "no supervised arm in this run")
    figure = Figure(figsize=(max(4.5, 3.2 * len(inputs.sft)), 2.9), layout="constrained")
    for number, (axes, path) in enumerate(
        zip(figure.subplots(1, len(inputs.sft), squeeze=False)[0], sorted(inputs.sft, key=arm_and_seed), strict=True)
    ):
        _curve(axes, read_metrics(path), "loss", 1.0, number, "")
        axes.set_title(_label(inputs, path), fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("cross-entropy (nats per token)")
    return figure


def _label(inputs: ResultInputs, path: str | Path) -> str:
    """Label and seed of the arm that a file belongs to."""
    arm, seed = arm_and_seed(path)
    return f"{legend_label(inputs.label(arm))}, seed {seed}"
