"""Tables that compare arms on the same questions."""

from collections.abc import Mapping, Sequence

from vidreason.evaluation.scored_answers import Scored, chance_level
from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates, paired_difference
from vidreason.records import Question
from vidreason.results.number_format import VALUE, Row, interval_cells, mean_of, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Arm, Run, same_questions, values_of
from vidreason.tasks.option_edits import PUBLISHED

DIFFERENCE = ("difference", "difference_low", "difference_high")


def controls_table(inputs: ResultInputs) -> list[Row]:
    """Questions that need the order of the frames, the others and all, for every arm, pooled over the benchmarks of one metric.

    For a control arm (same weights, asked in another way) also the paired difference to the arm whose weights it uses.
    """
    runs = inputs.runs
    rows = []
    pools = [(*pair, *pool) for pair in runs.pairs(controls=True) for pool in runs.by_metric().items()]
    for arm, seed, metric, benchmarks in pools:
        parent = runs.parent_of(arm) if arm.method == CONTROL else None
        ours, theirs = (runs.answers(one, seed, benchmarks) if one else [] for one in (arm, parent))
        if parent:
            for name in benchmarks:
                _check_same(runs.by_key[arm.name, seed, name], runs.by_key[parent.name, seed, name])
        before = {(cluster[0], row.question.id): row.question for cluster, row in theirs}
        for kind, temporal in (("temporal", {True}), ("other", {False}), ("all", {True, False, None})):
            answers = [row for _, row in ours if row.temporal in temporal]
            clusters = [cluster for cluster, row in ours if row.temporal in temporal]
            against = [row for _, row in theirs if row.temporal in temporal]
            if not answers:
                continue
            difference = None
            if against:
                difference = paired_difference(values_of(answers), values_of(against), clusters)
            rows.append(
                {"arm": arm.name, "label": arm.label, "style": arm.style, "view": arm.view, "options": arm.options}
                | {
                    "questions": kind,
                    "metric": metric,
                    "n": len(answers),
                    "unchanged": _unchanged(arm, answers, before),
                }
                | interval_cells(clustered_mean(values_of(answers), clusters), VALUE)
                | {"chance": percent(chance_level(answers)), "compared_to": parent.name if parent else ""}
                | interval_cells(difference, DIFFERENCE)
                | {"seed": seed}
            )
    return rows


def _unchanged(arm: Arm, answers: Sequence[Scored], before: Mapping[tuple[str, str], Question]) -> int | str:
    """How many questions an arm whose options are changed was asked as published; empty for any other arm."""
    if arm.options == PUBLISHED or not before:
        return ""
    return sum(before[row.question.dataset, row.question.id] == row.question for row in answers)


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
    _check_same(one, other)
    return paired_difference(values_of(one.rows), values_of(other.rows), clusters, strata)


def _check_same(one: Run, other: Run) -> None:
    """Refuse runs on different questions; the rows of both are sorted by question."""
    if not same_questions(one, other):
        raise ValueError("two arms were scored on different questions; score both again from the same list")
