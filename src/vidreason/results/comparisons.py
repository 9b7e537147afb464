"""Tables that compare arms on the same questions."""

from collections.abc import Hashable, Sequence

from vidreason.evaluation.scored_answers import Scored, chance_level
from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates, paired_difference
from vidreason.results.number_format import VALUE, Row, interval_cells, mean_of, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Run, values_of

DIFFERENCE = ("difference", "difference_low", "difference_high")


def controls_table(inputs: ResultInputs) -> list[Row]:
    """Questions that need the order of the frames, the others and all, for every arm, pooled over the benchmarks of one metric.

    For a control arm (same weights, other frames) also the paired difference to the arm whose weights it uses.
    """
    runs = inputs.runs
    rows = []
    pools = [(*pair, *pool) for pair in runs.pairs(controls=True) for pool in runs.by_metric().items()]
    for arm, seed, metric, benchmarks in pools:
        parent = runs.parent_of(arm) if arm.method == CONTROL else None
        ours, theirs = (runs.answers(one, seed, benchmarks) if one else [] for one in (arm, parent))
        for kind, temporal in (("temporal", {True}), ("other", {False}), ("all", {True, False, None})):
            answers = [row for _, row in ours if row.temporal in temporal]
            clusters = [cluster for cluster, row in ours if row.temporal in temporal]
            against = [row for _, row in theirs if row.temporal in temporal]
            if not answers:
                continue
            difference = _paired(answers, against, clusters) if against else None
            rows.append(
                {"arm": arm.name, "label": arm.label, "view": arm.view, "questions": kind, "metric": metric}
                | {"n": len(answers)}
                | interval_cells(clustered_mean(values_of(answers), clusters), VALUE)
                | {"chance": percent(chance_level(answers)), "compared_to": parent.name if parent else ""}
                | interval_cells(difference, DIFFERENCE)
                | {"seed": seed}
            )
    return rows


def gains_table(inputs: ResultInputs) -> list[Row]:
    """Every arm minus its parent on the same questions, paired and clustered by video.

    `separate` says whether the two arms' own 95% intervals do not overlap, which is stricter than a difference whose
    interval excludes 0. `well_formed_difference` compares the metric within well-formed answers only, where both arms
    reason: the part of the difference that is not repair of the format.
    """
    runs = inputs.runs
    rows = []
    for arm, seed in runs.pairs(controls=False):
        parent = runs.parent_of(arm)
        if parent is None:
            continue
        here, there = runs.of(arm.name, seed), runs.of(parent.name, seed)
        both_reason = arm.style == parent.style == "reason"
        parts = [
            (
                one.benchmark,
                _paired_runs(one, other),
                _apart(one.estimate, other.estimate),
                _well_formed_difference(one, other) if both_reason else None,
            )
            for one, other in zip(here, there, strict=True)
        ]
        means = [mean_of_estimates(run.estimate for run in members) for members in (here, there)]
        mean = mean_of_estimates([difference for _, difference, _, _ in parts], (-1.0, 1.0))
        known = [within for *_, within in parts if within is not None]
        within_mean = mean_of(known) if len(known) == len(parts) else None
        for benchmark, difference, apart, within in (*parts, ("mean", mean, _apart(*means), within_mean)):
            rows.append(
                {"arm": arm.name, "compared_to": parent.name, "benchmark": benchmark, "n": difference.n}
                | interval_cells(difference, ("difference", "ci_low", "ci_high"))
                | {"separate": apart, "well_formed_difference": percent(within), "seed": seed}
            )
    return rows


def _well_formed_difference(one: Run, other: Run) -> float | None:
    """Difference of the two means within well-formed answers; None if either arm never follows the format."""
    first, second = (run.score.within_well_formed for run in (one, other))
    return None if first is None or second is None else first.mean - second.mean


def _apart(one: Estimate, other: Estimate) -> str:
    """`yes` if two intervals do not overlap, else `no`."""
    return "yes" if one.low > other.high or other.low > one.high else "no"


def _paired_runs(one: Run, other: Run) -> Estimate:
    """Paired difference of two arms on one benchmark, averaged as its headline number is."""
    clusters = [row.question.clip.path for row in one.rows]
    strata = [row.question.category for row in one.rows] if one.score.is_macro else None
    return _paired(one.rows, other.rows, clusters, strata)


def _paired(
    first: Sequence[Scored],
    second: Sequence[Scored],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
) -> Estimate:
    """Paired difference of two arms' answers; both lists are sorted by question."""
    # Whole questions and not their ids: one whose gold answer was corrected in between is another one.
    if [row.question for row in first] != [row.question for row in second]:
        raise ValueError("two arms were scored on different questions; score both again from the same list")
    return paired_difference(values_of(first), values_of(second), clusters, strata)
