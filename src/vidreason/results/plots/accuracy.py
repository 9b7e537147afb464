"""The headline metric of the arms: bars, or where there are many arms or published numbers, a row of dots for each."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vidreason.artifacts.csv_files import read_csv
from vidreason.evaluation.score_record import Score, read_score
from vidreason.evaluation.statistics import Estimate, mean_of_estimates
from vidreason.results.figures import COLORS, bars, chance_lines, empty_figure, legend, legend_label, wrapped
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, axis_label, title_with_metric

MEAN = "mean"
MOST_BARS = 60
"""Bars that can be told apart in one figure."""
SPREAD = 0.5
"""Height that the seeds of an arm share in its row."""
OURS, THEIRS = COLORS[0], COLORS[3]


def draw_accuracy(inputs: ResultInputs) -> Figure:
    """The metric per benchmark and in the mean, with 95% intervals and the chance level where there is one."""
    scores = _scores(inputs)
    if len(scores) + len({(score.arm, score.seed) for score in scores}) > MOST_BARS:
        return _draw_dots(inputs, scores, {})
    return _draw_bars(inputs, scores)


def draw_published(inputs: ResultInputs) -> Figure:
    """The arms' own numbers with their intervals beside the published ones, which have none."""
    published = _published(inputs)
    if not published:
        words = "no published numbers belong to this run"
        return empty_figure(Figure(figsize=(5, 2), layout="constrained"), words)
    return _draw_dots(inputs, _scores(inputs), published)


def _scores(inputs: ResultInputs) -> list[Score]:
    """The scores of all arms but the controls."""
    return [score for score in map(read_score, inputs.scores) if inputs.arms[score.arm].method != CONTROL]


def _published(inputs: ResultInputs) -> dict[str, dict[str, float]]:
    """Arm or model -> benchmark of this run -> published value in percent, of the arm's own way to answer."""
    found: dict[str, dict[str, float]] = {}
    table = read_csv(inputs.published, ("arm", "benchmark", "value")) if inputs.published else []
    for row in table:
        arm, benchmark, protocol = inputs.arms.get(row["arm"]), row["benchmark"], row.get("protocol") or ""
        if benchmark not in inputs.benchmarks or (arm and protocol and protocol != arm.style):
            continue
        try:
            value = float(row["value"])
        except ValueError as error:
            raise ValueError(
                f"{inputs.published}: {row['arm']}, {benchmark}: value is {row['value'][:80]!r}; needed is a number of percent"
            ) from error
        found.setdefault(row["arm"], {})[benchmark] = value
    return found


def _draw_bars(inputs: ResultInputs, scores: Sequence[Score]) -> Figure:
    known, benchmarks = inputs.arms, inputs.benchmarks
    series = sorted({(list(known).index(score.arm), score.arm, score.seed) for score in scores})
    groups = [*benchmarks, MEAN]
    figure = Figure(figsize=(max(6.5, 0.34 * len(series) * len(groups) + 2.5), 3.6))
    axes = figure.add_subplot()
    seeds = {seed for _, _, seed in series}
    width = 0.84 / max(len(series), 1)
    color_of = {name: number for number, name in enumerate(dict.fromkeys(name for _, name, _ in series))}
    for number, (_, name, seed) in enumerate(series):
        estimates = list(_estimates(scores, name, seed, benchmarks).values())
        label = legend_label(known[name].label) + (f", seed {seed}" if len(seeds) > 1 else "")
        places = [place + (number + 0.5) * width - 0.42 for place in range(len(groups))]
        bars(axes, places, estimates, width, color_of[name], label)
    if series:
        chance_lines(axes, list(_chance(scores, benchmarks).values()))
    axes.set_xticks(range(len(groups)), [title_with_metric(group, benchmarks).replace(" (", "\n(") for group in groups])
    axes.set_ylabel(axis_label(benchmarks))
    axes.set_ylim(0, 100)
    axes.grid(False, axis="x")
    figure.set_layout_engine("constrained")
    legend(figure)
    return figure


def _estimates(scores: Sequence[Score], arm: str, seed: int, benchmarks: Sequence[str]) -> dict[str, Estimate]:
    """Benchmark -> estimate of one arm and seed, and that of the mean."""
    by_benchmark = {score.benchmark: score for score in scores if (score.arm, score.seed) == (arm, seed)}
    estimates = {benchmark: by_benchmark[benchmark].estimate for benchmark in benchmarks}
    return estimates | {MEAN: mean_of_estimates(estimates.values())}


def _chance(scores: Sequence[Score], benchmarks: Sequence[str]) -> dict[str, float | None]:
    """Benchmark -> chance level, and that of the mean; None where there is none."""
    known = {benchmark: next(one.chance for one in scores if one.benchmark == benchmark) for benchmark in benchmarks}
    levels = [level for level in known.values() if level is not None]
    return known | {MEAN: sum(levels) / len(levels) if len(levels) == len(known) else None}


def _draw_dots(inputs: ResultInputs, scores: Sequence[Score], published: Mapping[str, Mapping[str, float]]) -> Figure:
    """A panel for every benchmark and for the mean, a row for every arm and, below them, every other published model."""
    arms = [arm for arm in inputs.arms if any(score.arm == arm for score in scores)]
    others = [name for name in published if name not in arms]
    rows = [*arms, *others]
    panels = [*inputs.benchmarks, MEAN]
    figure = Figure(figsize=(2.6 + 1.9 * len(panels), max(2.4, 0.9 + 0.3 * len(rows))), layout="constrained")
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    chance = _chance(scores, inputs.benchmarks) if scores else {}
    for axes, panel in zip(grid, panels, strict=True):
        for place, arm in enumerate(arms):
            _draw_own(axes, place, _of_seeds(scores, arm, panel, inputs.benchmarks))
        for place, name in enumerate(rows):
            value = _published_value(published.get(name, {}), panel, inputs.benchmarks)
            if value is not None:
                axes.plot(value, place, "D", ms=5, mfc="none", mec=THEIRS, mew=1.3, ls="", label="published")
        if chance.get(panel) is not None:
            axes.axvline(100 * (chance[panel] or 0.0), color="black", lw=1, ls="--", label="chance")
        axes.set_title(title_with_metric(panel, inputs.benchmarks).replace(" (", "\n("), fontsize=9)
        axes.grid(True, axis="both")
    grid[0].set_yticks(range(len(rows)), [wrapped(inputs.label(name)) for name in rows])
    grid[0].set_ylim(len(rows) - 0.4, -0.6)
    grid[0].set_xlim(0, 100)
    grid[len(grid) // 2].set_xlabel(axis_label(inputs.benchmarks))
    legend(figure)
    return figure


def _of_seeds(scores: Sequence[Score], arm: str, panel: str, benchmarks: Sequence[str]) -> list[Estimate]:
    seeds = sorted({score.seed for score in scores if score.arm == arm})
    return [_estimates(scores, arm, seed, benchmarks)[panel] for seed in seeds]


def _draw_own(axes: Axes, place: int, estimates: Sequence[Estimate]) -> None:
    """The dots of an arm's seeds below each other in its row, with their intervals."""
    step = SPREAD / max(1, len(estimates) - 1)
    for number, one in enumerate(estimates):
        height = place + (number * step - SPREAD / 2 if len(estimates) > 1 else 0.0)
        ends = [[100 * (one.mean - one.low)], [100 * (one.high - one.mean)]]
        label = "this run, 95% interval" + (", a dot a seed" if len(estimates) > 1 else "")
        axes.errorbar([100 * one.mean], [height], xerr=ends, fmt="o", ms=3.5, lw=1, color=OURS, label=label)


def _published_value(values: Mapping[str, float], panel: str, benchmarks: Sequence[str]) -> float | None:
    """The published value of a panel; that of the mean only where every benchmark has one."""
    if panel != MEAN:
        return values.get(panel)
    known = [values[benchmark] for benchmark in benchmarks if benchmark in values]
    return sum(known) / len(known) if len(known) == len(benchmarks) else None
