"""Any two arms compared on the same questions: differences, p-values, and how small a difference would have been seen.

As in `vidreason.results.ablations`, a question's value is its mean over the seeds: seeds are replicates of the same questions.
Means, sums by video and residuals are linear in the values, so they are computed for every arm once, and subtracted for a pair.

Letters: A arms, K pairs, N questions, C videos.
"""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from vidreason.evaluation.paired_tests import cluster_sums, holm, mcnemar_p, sign_flip_many
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.statistics import (
    Estimate,
    cluster_residuals,
    estimate_from_residuals,
    mean_of_estimates,
    smallest_difference,
    trials_of,
)
from vidreason.results.number_format import Row, interval_cells, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Arm, Runs, headline_name, same_questions

MEAN = "mean"
COUNTED = ("won", "lost", "p_mcnemar")
NOISE = 1e-12
"""Far less than one answer of one seed adds to any benchmark's mean."""
Pair = tuple[Arm, Arm]


@dataclass(frozen=True)
class Answered:
    """All arms' answers to one benchmark, by its headline metric.

    Attributes:
        benchmark: The benchmark.
        values: float64 [A, N], means over the seeds.
        means: float64 [A]: the headline numbers.
        sums: float64 [A, C], what every video adds to the mean.
        residuals: float64 [A, C], what every video adds to the mean's variance, before it is squared.
        trials: Number of independent trials, for pairs that never differ.
        bounds: Least and greatest possible difference.
    """

    benchmark: str
    values: np.ndarray
    means: np.ndarray
    sums: np.ndarray
    residuals: np.ndarray
    trials: float
    bounds: tuple[float, float]


def pairs_table(inputs: ResultInputs) -> list[Row]:
    """Every pair of arms, controls included, on every benchmark and in the mean over the benchmarks; the later arm minus the earlier one.

    `p_holm` corrects, for each benchmark and the mean alone, for all pairs of arms that are no controls: what a control shows is
    a question of its own.
    """
    runs = inputs.runs
    numbers = list(itertools.combinations(range(len(runs.arms)), 2))
    if not numbers:
        return []
    later, earlier = (np.array([pair[side] for pair in numbers]) for side in (1, 0))
    pairs = [(runs.arms[one], runs.arms[other]) for one, other in zip(later, earlier, strict=True)]
    answered = [_answered(runs, benchmark) for benchmark in runs.benchmarks]
    differences = [_differences(part, later, earlier) for part in answered]
    differences.append([mean_of_estimates(parts, (-1.0, 1.0)) for parts in zip(*differences, strict=True)])
    p_values = sign_flip_many([_sums(part, later, earlier) for part in answered], "pairs of arms")
    counts = [_counts(part.values[later] - part.values[earlier]) for part in answered]
    corrected = [_corrected(pairs, row) for row in p_values]
    rows: list[Row] = []
    for number, (arm, other) in enumerate(pairs):
        for place, benchmark in enumerate((*runs.benchmarks, MEAN)):
            difference = differences[place][number]
            p_holm = corrected[place].get(number)
            rows.append(
                {"arm": arm.name, "compared_to": other.name, "benchmark": benchmark}
                | {"metric": headline_name(runs.benchmarks if benchmark == MEAN else [benchmark])}
                | {"seeds": len(runs.seeds), "n": difference.n, "videos": difference.clusters}
                | interval_cells(difference, ("difference", "ci_low", "ci_high"))
                | {"p": f"{p_values[place, number]:.5f}", "p_holm": "" if p_holm is None else f"{p_holm:.5f}"}
                | (dict.fromkeys(COUNTED, "") if benchmark == MEAN else counts[place][number])
                | {"smallest_difference": percent(smallest_difference(difference.se))}
            )
    return rows


def _answered(runs: Runs, benchmark: str) -> Answered:
    """Read the answers of all arms to one benchmark."""
    metric = headline_metric(benchmark)
    by_arm = [[runs.by_key[arm.name, seed, benchmark] for seed in runs.seeds] for arm in runs.arms]
    first = by_arm[0][0]
    questions = [row.question for row in first.rows]
    for run in itertools.chain(*by_arm):
        if not same_questions(run, first):
            raise ValueError(
                f"{benchmark}: arms {run.arm.name} (seed {run.seed}) and {first.arm.name} (seed {first.seed}) were scored on "
                f"different questions; score both again from the same list"
            )
    videos: list[Hashable] = [question.clip.path for question in questions]
    strata: list[Hashable] | None = [question.category for question in questions] if first.score.is_macro else None
    low, high = metric.bounds
    values, means, sums, residuals = [], [], [], []
    for of_arm in by_arm:
        own = _over_seeds([[metric.value(row.grade) for row in run.rows] for run in of_arm])
        mean, left = cluster_residuals(own, videos, strata)
        values.append(own)
        means.append(mean)
        residuals.append(list(left.values()))
        sums.append(list(cluster_sums(own, videos, strata).values()))
    return Answered(
        benchmark,
        np.array(values),
        np.array(means),
        np.array(sums),
        np.array(residuals),
        trials_of(videos, strata),
        (low - high, high - low),
    )


def _over_seeds(values: Sequence[Sequence[float]]) -> list[float]:
    """Mean over the seeds of every question's value."""
    return [math.fsum(of_seeds) / len(of_seeds) for of_seeds in zip(*values, strict=True)]


def _differences(part: Answered, later: np.ndarray, earlier: np.ndarray) -> list[Estimate]:
    """The difference of every pair on one benchmark: what `paired_difference` gives of the two arms' values."""
    means = part.means[later] - part.means[earlier]
    residuals = part.residuals[later] - part.residuals[earlier]
    count = part.values.shape[1]
    return [
        estimate_from_residuals(float(mean), own.tolist(), lambda: part.trials, part.bounds, count)
        for mean, own in zip(means, residuals, strict=True)
    ]


def _sums(part: Answered, later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """What every video adds to the differences of the pairs: float64 [C, K]; rounding noise of equal sums is 0."""
    sums = (part.sums[later] - part.sums[earlier]).T
    return np.where(np.abs(sums) < NOISE, 0.0, sums)


def _counts(differences: np.ndarray) -> list[Row]:
    """Questions that the first and the second arm of every pair answers better, from float64 [K, N], and McNemar's test."""
    won, lost = np.sum(differences > 0, axis=1), np.sum(differences < 0, axis=1)
    return [
        {"won": int(one), "lost": int(other), "p_mcnemar": _p_cell(mcnemar_p(int(one), int(other)))}
        for one, other in zip(won, lost, strict=True)
    ]


def _p_cell(p: float) -> str:
    """Five decimals; fewer than them show nothing of a p-value below 0.00001, which gets an exponent."""
    return f"{p:.5f}" if p >= 1e-5 else f"{p:.1e}"


def _corrected(pairs: Sequence[Pair], p_values: np.ndarray) -> dict[int, float]:
    """Number of a pair without a control -> its p-value after Holm's correction."""
    family = {
        number: float(p_values[number])
        for number, pair in enumerate(pairs)
        if all(arm.method != CONTROL for arm in pair)
    }
    return holm(family)
