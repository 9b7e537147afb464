"""The figures of a run (matplotlib without a display), byte for byte the same for the same input.

Entry point (keyword-only): `make_figures(scores=, controls=, histograms=, grpo=, sft=, arms=, benchmarks=, keep_min=,
keep_max=, out=)`, where `out` maps names of `FIGURES` to paths ending in `.png` or `.svg`; only those are drawn.

Colours are Okabe and Ito's, told apart with any colour vision. Legends stand below the panels, where they cover nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.runs import CONTROL, TITLES, arm_and_seed, headline, read_arms, read_score
from vidreason.evaluation.statistics import Estimate, mean_of_estimates
from vidreason.artifacts.counts import read_histogram
from vidreason.artifacts.files import read_json_lines, write_aside
from vidreason.artifacts.typed import in_words, is_a

FIGURES = ("accuracy", "selection", "grpo", "sft", "temporal")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
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
PANELS = (
    ("reward", "mean reward", 1.0),
    ("accuracy", "accuracy (%)", 100.0),
    ("format", "format followed (%)", 100.0),
    ("tokens", "answer length (tokens)", 1.0),
    ("kl", "KL to the reference (nats)", 1.0),
    ("grad_norm", "gradient norm", 1.0),
)
"""Curves of a GRPO run: key in metrics.jsonl, axis label with unit, factor."""
VIEWS = {"blind": "grey"}
"""What the frames look like, where that is not the view's own name."""


def make_figures(
    *,
    out: Mapping[str, str | Path],
    arms: Mapping[str, Mapping[str, Any]],
    benchmarks: Sequence[str],
    scores: Sequence[str | Path] = (),
    controls: str | Path | None = None,
    histograms: Sequence[str | Path] = (),
    grpo: Sequence[str | Path] = (),
    sft: Sequence[str | Path] = (),
    keep_min: int = 1,
    keep_max: int | None = None,
) -> None:
    """Draw the figures named in `out`.

    Args:
        out: Figure name -> path: `accuracy` (arms by benchmarks), `selection` (how often questions were answered
            right), `grpo` and `sft` (training curves), `temporal` (what shuffled and grey frames do).
        arms: The config's arms, in the order of the bars.
        benchmarks: In the order of the groups.
        scores: All `score.json` of the run.
        controls: `controls.csv`.
        histograms: `histogram.csv` of the selections, in folders `.../{arm}/seed{seed}/`.
        grpo: `metrics.jsonl` of the GRPO arms, in folders `.../{arm}/seed{seed}/`.
        sft: `metrics.jsonl` of the SFT arms, in folders `.../{arm}/seed{seed}/`.
        keep_min: Least number of right answers of a kept question.
        keep_max: Greatest; None for one less than all.

    Raises:
        ValueError: An unknown figure name or a suffix that is neither `.png` nor `.svg`.
    """
    unknown = sorted(set(out) - set(FIGURES))
    if unknown:
        raise ValueError(f"figures: unknown names {unknown}; allowed are {list(FIGURES)}")
    painters: dict[str, Callable[[], Figure]] = {
        "accuracy": lambda: draw_accuracy(scores, arms, benchmarks),
        "selection": lambda: draw_selection(histograms, keep_min, keep_max),
        "grpo": lambda: draw_grpo(grpo),
        "sft": lambda: draw_sft(sft),
        "temporal": lambda: draw_temporal(controls, arms),
    }
    for name, path in out.items():
        with matplotlib.rc_context(STYLE):
            save(painters[name](), path)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure without date or version, so that the same figure is the same file."""
    kind = Path(path).suffix
    if kind not in (".png", ".svg"):
        raise ValueError(f"{path}: figures are written as .png or .svg, not {kind!r}")
    metadata: dict[str, Any] = {"Software": None} if kind == ".png" else {"Date": None, "Creator": None}
    with write_aside(path) as aside:
        figure.savefig(aside, format=kind[1:], dpi=150, metadata=metadata, bbox_inches="tight")


def draw_accuracy(
    scores: Sequence[str | Path], arms: Mapping[str, Mapping[str, Any]], benchmarks: Sequence[str]
) -> Figure:
    """Bars of accuracy per benchmark and their mean, with 95% intervals and the chance level."""
    known = read_arms(arms)
    loaded = [score for score in map(read_score, scores) if known[score["arm"]].method != CONTROL]
    series = sorted({(list(known).index(score["arm"]), score["arm"], score["seed"]) for score in loaded})
    groups = [*benchmarks, "mean"]
    figure = Figure(figsize=(max(6.5, 0.34 * len(series) * len(groups) + 2.5), 3.6))
    axes = figure.add_subplot()
    seeds = {seed for _, _, seed in series}
    width = 0.84 / max(len(series), 1)
    colour_of = {name: number for number, name in enumerate(dict.fromkeys(name for _, name, _ in series))}
    for number, (_, name, seed) in enumerate(series):
        found = {score["benchmark"]: score for score in loaded if (score["arm"], score["seed"]) == (name, seed)}
        estimates = [headline(found[benchmark]) for benchmark in benchmarks]
        estimates.append(mean_of_estimates(estimates))
        label = _shown(known[name].label) + (f", seed {seed}" if len(seeds) > 1 else "")
        _bars(
            axes,
            [place + (number + 0.5) * width - 0.42 for place in range(len(groups))],
            estimates,
            width,
            colour_of[name],
            label,
        )
    if series:
        chance = [
            next(score["chance"] for score in loaded if score["benchmark"] == benchmark) for benchmark in benchmarks
        ]
        _chance_lines(axes, [*chance, sum(chance) / len(chance)])
    axes.set_xticks(range(len(groups)), [TITLES.get(name, name) for name in groups])
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 100)
    axes.grid(False, axis="x")
    figure.set_layout_engine("constrained")
    _legend(figure)
    return figure


def _shown(label: str) -> str:
    """A label for a legend, which leaves out labels that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def _bars(
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
        color=COLOURS[number % len(COLOURS)],
        error_kw={"lw": 1, "ecolor": "#333333", "capsize": 2},
        label=label,
    )


def _chance_lines(axes: Axes, levels: Sequence[float]) -> None:
    """A dashed line at chance across each group of bars."""
    for place, level in enumerate(levels):
        axes.plot(
            [place - 0.46, place + 0.46],
            [100 * level] * 2,
            color="black",
            lw=1.2,
            ls="--",
            label="chance" if place == 0 else None,
        )


def draw_selection(histograms: Sequence[str | Path], keep_min: int, keep_max: int | None) -> Figure:
    """How many questions were answered right 0..N times, the kept ones shaded, one panel per selection."""
    figure = Figure(figsize=(max(4.5, 3.4 * len(histograms)), 3.2), layout="constrained")
    if not histograms:
        return _nothing(figure, "no arm of this run selects its training questions")
    panels = figure.subplots(1, len(histograms), squeeze=False, sharey=True)[0]
    for axes, path in zip(panels, sorted(histograms, key=arm_and_seed), strict=True):
        arm, seed = arm_and_seed(path)
        rows = [list(row.values()) for row in read_histogram(path)]
        size = rows[-1][0]
        places, questions, kept = (list(column) for column in zip(*rows, strict=True))
        last = size - 1 if keep_max is None else keep_max
        axes.axvspan(keep_min - 0.5, last + 0.5, color=COLOURS[2], alpha=0.12, lw=0, label="kept range")
        axes.bar(places, kept, 0.8, color=COLOURS[2], label="kept")
        axes.bar(
            places,
            [a - b for a, b in zip(questions, kept, strict=True)],
            0.8,
            kept,
            color="#999999",
            label="dropped",
        )
        axes.set_xticks(places)
        axes.set_xlabel(f"right answers out of {size}")
        axes.set_title(f"{arm}, seed {seed}: {sum(kept)} of {sum(questions)} kept", fontsize=9)
    panels[0].set_ylabel("questions")
    _legend(figure)
    return figure


def draw_grpo(metrics: Sequence[str | Path]) -> Figure:
    """Reward, accuracy, format, length, KL and gradient norm over the steps; validation as marked points."""
    if not metrics:
        return _nothing(Figure(figsize=(5, 2), layout="constrained"), "no GRPO arm in this run")
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True).flat
    for number, path in enumerate(sorted(metrics, key=arm_and_seed)):
        rows = read_metrics(path)
        for axes, (key, _, factor) in zip(panels, PANELS, strict=True):
            _curve(axes, rows, key, factor, number, "{}, seed {}".format(*arm_and_seed(path)))
        panels = figure.axes
    for axes, (_, label, _) in zip(figure.axes, PANELS, strict=True):
        axes.set_ylabel(label)
    for axes in figure.axes[3:]:
        axes.set_xlabel("step")
    _legend(figure)
    return figure


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, factor: float, number: int, label: str) -> None:
    """One run in one panel: each step faint, its running mean strong, validation as points."""
    colour = COLOURS[number % len(COLOURS)]
    steps, values = _series(rows, "train", key, factor)
    if steps:
        axes.plot(steps, values, color=colour, lw=0.5, alpha=0.35)
        axes.plot(
            steps,
            running_mean(values, max(1, len(values) // 20)),
            color=colour,
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
            color=colour,
            mec="black",
            mew=0.6,
            label="validation" if key == "accuracy" else None,
        )


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read training curves: rows of numbers, with their kind and step.

    Raises:
        ValueError: A row has no kind or step, or a value is no number.
    """
    rows = read_json_lines(path)
    for number, row in enumerate(rows, start=1):
        kinds: dict[str, Any] = dict.fromkeys(row, float | None) | {"kind": str, "step": int}
        for name, kind in kinds.items():
            if not is_a(row.get(name), kind):
                raise ValueError(f"{path}: row {number}: {name} is {row.get(name)!r}; needed is {in_words(kind)}")
    return rows


def _series(rows: Sequence[Mapping[str, Any]], kind: str, key: str, factor: float) -> tuple[list[int], list[float]]:
    """Steps and values of one metric; steps where it was not measured are left out."""
    found = [(row["step"], factor * row[key]) for row in rows if row.get("kind") == kind and row.get(key) is not None]
    return [step for step, _ in found], [value for _, value in found]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and the up to `window - 1` before it.

    Example:
        >>> running_mean([1.0, 3.0, 5.0], 2)
        [1.0, 2.0, 4.0]
    """
    return [sum(values[max(0, end - window) : end]) / min(end, window) for end in range(1, len(values) + 1)]


def draw_sft(metrics: Sequence[str | Path]) -> Figure:
    """Loss of the supervised arms over the steps."""
    if not metrics:
        return _nothing(Figure(figsize=(5, 2), layout="constrained"), "no supervised arm in this run")
    figure = Figure(figsize=(max(4.5, 3.2 * len(metrics)), 2.9), layout="constrained")
    for number, (axes, path) in enumerate(
        zip(figure.subplots(1, len(metrics), squeeze=False)[0], sorted(metrics, key=arm_and_seed), strict=True)
    ):
        _curve(axes, read_metrics(path), "loss", 1.0, number, "")
        axes.set_title("{}, seed {}".format(*arm_and_seed(path)), fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("cross-entropy (nats per token)")
    return figure


def draw_temporal(controls: str | Path | None, arms: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy on questions that need the order of the frames and on others, by what the model was shown."""
    rows = (
        read_csv(controls, ("arm", "frames", "questions", "accuracy", "ci_low", "ci_high", "chance", "seed"))
        if controls
        else []
    )
    known = read_arms(arms)
    controls_of = {row["arm"] for row in rows if known[row["arm"]].method == CONTROL and row["frames"] != "ordered"}
    families = {known[arm].parent for arm in controls_of}
    rows = [row for row in rows if row["questions"] != "all" and row["arm"] in families | controls_of]
    if not rows:
        return _nothing(
            Figure(figsize=(5, 2), layout="constrained"),
            "the data do not say which questions need the order of the frames",
        )
    keys = list(
        dict.fromkeys(
            (known[row["arm"]].parent if row["arm"] not in families else row["arm"], row["seed"]) for row in rows
        )
    )
    figure = Figure(figsize=(max(4.8, 3.4 * len(keys)), 3.2), layout="constrained")
    for axes, (family, seed) in zip(figure.subplots(1, len(keys), squeeze=False, sharey=True)[0], keys, strict=True):
        members = [
            row
            for row in rows
            if row["seed"] == seed and family == (row["arm"] if row["arm"] in families else known[row["arm"]].parent)
        ]
        _views(axes, members)
        axes.set_title(f"{known[family].label}, seed {seed}", fontsize=9)
    figure.axes[0].set_ylabel("accuracy (%)")
    _legend(figure)
    return figure


def _views(axes: Axes, rows: Sequence[Mapping[str, str]]) -> None:
    """One family: kinds of questions by views."""
    kinds = {"temporal": "need the order\nof the frames", "other": "do not"}
    views = list(dict.fromkeys(row["frames"] for row in rows))
    width = 0.8 / len(views)
    for number, view in enumerate(views):
        found = {
            row["questions"]: [float(row[key]) / 100 for key in ("accuracy", "ci_low", "ci_high")]
            for row in rows
            if row["frames"] == view
        }
        estimates = [
            Estimate(mean, 0.0, low, high, 0, 0) for mean, low, high in (found[kind] for kind in kinds if kind in found)
        ]
        places = [place + (number + 0.5) * width - 0.4 for place, kind in enumerate(kinds) if kind in found]
        _bars(axes, places, estimates, width, number, f"{VIEWS.get(view, view)} frames")
    chance = {row["questions"]: float(row["chance"]) / 100 for row in rows}
    _chance_lines(axes, [chance[kind] for kind in kinds if kind in chance])
    axes.set_xticks(range(len(kinds)), list(kinds.values()))
    axes.set_xlabel("questions that ...")
    axes.set_ylim(0, 100)


def _legend(figure: Figure) -> None:
    """One legend below all panels, every label once."""
    shown = {text: mark for axes in figure.axes for mark, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=min(len(shown), 5) or 1)


def _nothing(figure: Figure, words: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure.text(0.5, 0.5, words, ha="center", va="center")
    return figure
