"""Every trained arm against one reference arm: paired differences over seeds and benchmarks, their p-values, and costs.

The reference is the first arm that is trained by GRPO. All arms answer the same questions with the same seeds, so a question's
difference is taken seed by seed and averaged: seeds are replicates of the same questions, and the interval, clustered by video, is
about new videos. How much the seeds differ from each other is shown beside it (`difference_lowest_seed` and
`difference_highest_seed`), because a few seeds say little about all others.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass

from vidreason.evaluation.paired_tests import cluster_sums, holm, sign_flip_p
from vidreason.evaluation.score_record import headline_metric, metrics_of
from vidreason.evaluation.statistics import Estimate, mean_of_estimates, paired_difference
from vidreason.results.counts.costs import mean_cost
from vidreason.results.number_format import Row, interval_cells, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Arm, Runs, headline_name
from vidreason.tasks.metrics import Metric

MEAN = "mean"
Place = tuple[str, Metric | None]
"""Benchmark and metric."""
MEAN_PLACE: Place = (MEAN, None)
ROLLOUTS = ("rollouts_training", "rollouts_selection")
COSTS = (*ROLLOUTS, "seconds_training", "seconds_selection")


@dataclass(frozen=True)
class Comparison:
    """One arm minus the reference on one benchmark, or in the mean over the benchmarks.

    Attributes:
        difference: The difference with its interval.
        p: p-value of the sign-flip test.
        by_seed: The difference of every seed alone.
    """

    difference: Estimate
    p: float
    by_seed: tuple[float, ...]


def ablations_table(inputs: ResultInputs) -> list[Row]:
    """Every arm but the controls, per benchmark and metric and in the mean, against the reference; none without an arm of GRPO.

    The first metric of a benchmark is its headline; the mean is that of the headlines. `p_holm` corrects, for each metric alone, for
    the arms that are rivals of the reference: those trained otherwise, not its own ancestors.
    """
    runs, reference = inputs.runs, inputs.runs.reference
    if reference is None:
        return []
    places = [*((benchmark, metric) for benchmark in runs.benchmarks for metric in metrics_of(benchmark)), MEAN_PLACE]
    compared = {
        arm.name: compare(runs, arm, reference) for arm in runs.arms if arm.method != CONTROL and arm != reference
    }
    family = rivals(runs, reference)
    corrected = {place: holm({name: compared[name][place].p for name in family}) for place in places}
    rows = []
    for arm in runs.arms:
        if arm.method == CONTROL:
            continue
        cost = mean_cost(inputs, arm, runs.seeds)
        for place in places:
            comparison = None if arm == reference else compared[arm.name][place]
            p_holm = corrected[place].get(arm.name)
            rows.append(
                {
                    "arm": arm.name,
                    "label": arm.label,
                    "compared_to": reference.name if comparison else "",
                    "benchmark": place[0],
                    "metric": place[1].name if place[1] else headline_name(runs.benchmarks),
                    "seeds": len(runs.seeds),
                    "n": _questions(runs, place),
                    "value": percent(_value(runs, arm, place)),
                    **_comparison_cells(comparison),
                    "p_holm": "" if p_holm is None else f"{p_holm:.5f}",
                    **(cost if place == MEAN_PLACE else dict.fromkeys(COSTS, "")),
                }
            )
    return rows


def _comparison_cells(comparison: Comparison | None) -> Row:
    """Cells of a comparison; empty for the reference itself."""
    if comparison is None:
        return dict.fromkeys(
            ("difference", "ci_low", "ci_high", "p", "difference_lowest_seed", "difference_highest_seed"), ""
        )
    return {
        **interval_cells(comparison.difference, ("difference", "ci_low", "ci_high")),
        "p": f"{comparison.p:.5f}",
        "difference_lowest_seed": percent(min(comparison.by_seed)),
        "difference_highest_seed": percent(max(comparison.by_seed)),
    }


def rivals(runs: Runs, reference: Arm) -> list[str]:
    """Names of the trained arms that are no ancestors of the reference."""
    ancestors = runs.ancestors_of(reference)
    return [
        arm.name for arm in runs.arms if arm.method in ("sft", "grpo") and arm != reference and arm not in ancestors
    ]


def compare(runs: Runs, arm: Arm, reference: Arm) -> dict[Place, Comparison]:
    """An arm minus the reference, for every metric of every benchmark and in the mean over their headlines."""
    comparisons: dict[Place, Comparison] = {}
    headlines: list[Comparison] = []
    sums: list[float] = []
    for benchmark in runs.benchmarks:
        for metric in metrics_of(benchmark):
            comparison, own = _compare(runs, arm, reference, benchmark, metric)
            comparisons[benchmark, metric] = comparison
            if metric == headline_metric(benchmark):
                headlines.append(comparison)
                sums += [value / len(runs.benchmarks) for value in own]
    mean = mean_of_estimates([part.difference for part in headlines], (-1.0, 1.0))
    seeds = tuple(math.fsum(values) / len(values) for values in zip(*(part.by_seed for part in headlines), strict=True))
    comparisons[MEAN_PLACE] = Comparison(mean, sign_flip_p(sums, f"{arm.name} {reference.name} {MEAN}"), seeds)
    return comparisons


def _compare(runs: Runs, arm: Arm, reference: Arm, benchmark: str, metric: Metric) -> tuple[Comparison, list[float]]:
    """An arm minus the reference by one metric, and the sums of the differences by video that its p-value is computed from."""
    ours, theirs = ([runs.by_key[one.name, seed, benchmark] for seed in runs.seeds] for one in (arm, reference))
    rows = ours[0].rows
    questions = [row.question for row in rows]
    if any([row.question for row in run.rows] != questions for run in (*ours, *theirs)):
        raise ValueError(
            f"{benchmark}: arms {arm.name} and {reference.name} were scored on different questions; score both again from "
            f"the same list"
        )
    videos: list[Hashable] = [row.question.clip.path for row in rows]
    strata: list[Hashable] | None = [row.question.category for row in rows] if ours[0].score.is_macro else None
    low, high = metric.bounds
    values = [[[metric.value(row.grade) for row in run.rows] for run in side] for side in (ours, theirs)]
    first, second = ([math.fsum(of_seeds) / len(of_seeds) for of_seeds in zip(*side, strict=True)] for side in values)
    difference = paired_difference(first, second, videos, strata, (low - high, high - low))
    differences = [one - other for one, other in zip(first, second, strict=True)]
    own = list(cluster_sums(differences, videos, strata).values())
    by_seed = tuple(
        one.score.of(metric).mean - other.score.of(metric).mean for one, other in zip(ours, theirs, strict=True)
    )
    name = benchmark if metric == headline_metric(benchmark) else f"{benchmark} {metric.name}"
    return Comparison(difference, sign_flip_p(own, f"{arm.name} {reference.name} {name}"), by_seed), own


def _questions(runs: Runs, place: Place) -> int:
    members = runs.of(runs.arms[0].name, runs.seeds[0])
    return sum(run.score.n for run in members if place[0] in (MEAN, run.benchmark))


def _value(runs: Runs, arm: Arm, place: Place) -> float:
    """Mean over the seeds and, for the mean, over the benchmarks."""
    places = [(name, headline_metric(name)) for name in runs.benchmarks] if place == MEAN_PLACE else [place]
    values = [
        runs.by_key[arm.name, seed, benchmark].score.of(metric).mean
        for seed in runs.seeds
        for benchmark, metric in places
        if metric is not None
    ]
    return math.fsum(values) / len(values)
