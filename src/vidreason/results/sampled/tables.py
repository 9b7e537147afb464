"""Tables of sampled answers: pass@k and the majority's answer of every arm, and what an arm answers that its ancestors cannot."""

from collections.abc import Callable, Sequence

from vidreason.evaluation.statistics import Estimate, mean_of_estimates
from vidreason.results.number_format import VALUE, Row, interval_cells, mean_of, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.sampled.answers import Sampled, SampledRun, load_sampled

MEAN = "mean"
Values = Callable[[Sampled], Sequence[float]]


def sampled_table(inputs: ResultInputs) -> list[Row]:
    """One row for every arm that is sampled from, seed, benchmark, measure and k; none where nothing was sampled."""
    return [row for run in load_sampled(inputs).values() for row in _rows_of(run)]


def _rows_of(run: SampledRun) -> list[Row]:
    """All measures of one arm and seed."""
    whole: dict[tuple[str, int], list[tuple[Estimate | None, float | None]]] = {}
    rows = []
    head = {"arm": run.arm.name, "label": run.arm.label, "seed": run.seed}
    for part in run.parts:
        for (measure, k), cell in measures(part, run.sizes).items():
            whole.setdefault((measure, k), []).append(cell)
            rows.append(head | _row(part.benchmark, measure, k, *cell))
    for (measure, k), cells in whole.items():
        estimates = [estimate for estimate, _ in cells if estimate is not None]
        levels = [level for _, level in cells if level is not None]
        mean = mean_of_estimates(estimates) if len(estimates) == len(cells) else None
        rows.append(head | _row(MEAN, measure, k, mean, mean_of(levels) if len(levels) == len(cells) else None))
    return rows


def measures(part: Sampled, sizes: Sequence[int]) -> dict[tuple[str, int], tuple[Estimate | None, float | None]]:
    """(measure, k) -> its estimate and what guessing gives; None for a majority that has no meaning and a guess that has none."""
    guess = part.guessed(1)
    cells: dict[tuple[str, int], tuple[Estimate | None, float | None]] = {
        ("greedy", 1): (part.mean(part.greedy), guess),
        ("mean", 1): (part.mean(part.one_draw), guess),
    }
    for k in sizes[1:]:
        cells["majority", k] = (part.mean(part.majority(k)) if part.votes else None, guess if part.votes else None)
    for k in sizes:
        cells["pass", k] = part.mean(part.passed(k)), part.guessed(k)
    return cells


def _row(benchmark: str, measure: str, k: int, estimate: Estimate | None, chance: float | None) -> Row:
    return (
        {"benchmark": benchmark, "measure": measure, "k": k, "n": "" if estimate is None else estimate.n}
        | interval_cells(estimate, VALUE)
        | {"chance": percent(chance)}
    )


def sharpening_table(inputs: ResultInputs) -> list[Row]:
    """Every arm that is sampled from against each of its ancestors that is, paired by question."""
    loaded, runs = load_sampled(inputs), inputs.runs
    return [
        row
        for (_, seed), run in loaded.items()
        for ancestor in runs.ancestors_of(run.arm)
        if (ancestor.name, seed) in loaded
        for row in _compared(run, loaded[ancestor.name, seed])
    ]


def _compared(run: SampledRun, other: SampledRun) -> list[Row]:
    """All measures of one arm against one ancestor."""
    for one, two in zip(run.parts, other.parts, strict=True):
        if [row.question for row in one.rows] != [row.question for row in two.rows]:
            raise ValueError(
                f"{one.benchmark}: arms {run.arm.name} and {other.arm.name} (seed {run.seed}) have sampled answers to different "
                f"questions; sample both again from the same list"
            )
    most = run.count
    rows = [_difference(run, other, "pass", k, (_passed(k), _passed(k))) for k in run.sizes]
    rows += [_difference(run, other, "greedy_pass", most, (lambda part: part.greedy_right, _passed(most)))]
    if run.votes:
        greedy_majority = (lambda part: part.greedy, lambda part: part.majority(most))
        rows += [_difference(run, other, "greedy_majority", most, greedy_majority)]
    rows += [_share(run, other, "gained", gained), _share(run, other, "lost", lost)]
    return [row for of_measure in rows for row in of_measure]


def _passed(k: int) -> Values:
    return lambda part: part.passed(k)


def gained(one: Sampled, other: Sampled) -> list[bool]:
    """Questions that `one` answers right greedily, and `other` in none of its sampled answers."""
    return [row.correct and not any(two.correct) for row, two in zip(one.rows, other.samples, strict=True)]


def lost(one: Sampled, other: Sampled) -> list[bool]:
    """Questions that `other` answers right in at least one of its sampled answers, and `one` in none."""
    return [any(two.correct) and not any(own.correct) for own, two in zip(one.samples, other.samples, strict=True)]


def _difference(run: SampledRun, other: SampledRun, measure: str, k: int, values: tuple[Values, Values]) -> list[Row]:
    """Rows of a measure that both arms have, and its paired difference, by benchmark and in the mean."""
    cells = []
    for one, two in zip(run.parts, other.parts, strict=True):
        own, theirs = values[0](one), values[1](two)
        cells.append((one.mean(own), two.mean(theirs), one.difference(own, theirs)))
    means = [mean_of_estimates(column) for column in list(zip(*cells, strict=True))[:2]]
    cells.append((means[0], means[1], mean_of_estimates([cell[2] for cell in cells], (-1.0, 1.0))))
    return [
        _head(run, other, benchmark, measure, k)
        | {"n": difference.n, "value": percent(own.mean), "compared_value": percent(theirs.mean)}
        | interval_cells(difference, ("difference", "ci_low", "ci_high"))
        | {"count": ""}
        for benchmark, (own, theirs, difference) in zip(_benchmarks(run), cells, strict=True)
    ]


def _share(
    run: SampledRun, other: SampledRun, measure: str, which: Callable[[Sampled, Sampled], Sequence[bool]]
) -> list[Row]:
    """Rows of a share of the questions, by benchmark and in the mean."""
    found = [which(one, two) for one, two in zip(run.parts, other.parts, strict=True)]
    estimates = [part.mean(list(map(float, own))) for part, own in zip(run.parts, found, strict=True)]
    estimates.append(mean_of_estimates(estimates))
    counts = [*map(sum, found), sum(map(sum, found))]
    return [
        _head(run, other, benchmark, measure, run.count)
        | {"n": estimate.n, "compared_value": "", "difference": "", "count": count}
        | interval_cells(estimate, VALUE)
        for benchmark, estimate, count in zip(_benchmarks(run), estimates, counts, strict=True)
    ]


def _benchmarks(run: SampledRun) -> list[str]:
    return [*(part.benchmark for part in run.parts), MEAN]


def _head(run: SampledRun, other: SampledRun, benchmark: str, measure: str, k: int) -> Row:
    names = {"arm": run.arm.name, "compared_to": other.arm.name, "seed": run.seed}
    return names | {"benchmark": benchmark, "measure": measure, "k": k}
