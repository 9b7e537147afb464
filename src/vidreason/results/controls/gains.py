"""The difference of two arms on the same questions, over all seeds, in a form from which shares are computed."""

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from vidreason.evaluation.ratios import UNBOUNDED, Gain
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.scored_answers import Scored, chance_level
from vidreason.evaluation.statistics import (
    Estimate,
    cluster_residuals,
    clustered_mean,
    estimate_from_residuals,
    trials_of,
)
from vidreason.results.scored_runs import Arm, Runs, same_questions


@dataclass(frozen=True)
class Compared:
    """Two arms on one benchmark; a question's value is its mean over the seeds, as in `vidreason.results.pairs`.

    Attributes:
        gain: The first arm minus the second.
        bounds: Least and greatest possible difference.
        level: Headline number of the first arm with its interval.
        other: That of the second.
        chance: Expected value of guessing; None where there is no sensible guess.
        changed: Questions whose options a control has changed.
    """

    gain: Gain
    bounds: tuple[float, float]
    level: Estimate
    other: float
    chance: float | None
    changed: int

    @property
    def difference(self) -> Estimate:
        """The gain with its interval clipped to what it can be."""
        return clipped(self.gain.estimate, self.bounds)


def clipped(estimate: Estimate, bounds: tuple[float, float]) -> Estimate:
    """An estimate with its interval clipped."""
    low, high = max(bounds[0], estimate.low), min(bounds[1], estimate.high)
    return Estimate(estimate.mean, estimate.se, low, high, estimate.n, estimate.clusters, estimate.trials)


def compared(
    runs: Runs, arm: Arm, other: Arm, benchmark: str, left_out: Collection[str] = (), published: Arm | None = None
) -> Compared | None:
    """Compare two arms on one benchmark.

    Args:
        runs: All runs.
        arm: The first arm.
        other: The second arm.
        benchmark: The benchmark.
        left_out: Keys of clips whose questions are left out.
        published: An arm that was asked the published questions, to count those that `arm` was asked otherwise.

    Returns:
        The comparison; None where no question is left.

    Raises:
        ValueError: The two arms answered different questions.
    """
    ours, theirs = ([runs.by_key[one.name, seed, benchmark] for seed in runs.seeds] for one in (arm, other))
    if not all(same_questions(run, ours[0]) for run in (*ours, *theirs)):
        raise ValueError(
            f"{benchmark}: {arm.name} and {other.name} were scored on different questions; score both again from the same list"
        )
    kept = [place for place, row in enumerate(ours[0].rows) if row.question.clip.key not in left_out]
    if not kept:
        return None
    rows = [ours[0].rows[place] for place in kept]
    before = runs.by_key[published.name, runs.seeds[0], benchmark].rows if published else ours[0].rows
    metric = headline_metric(benchmark)
    videos: list[Hashable] = [row.question.clip.path for row in rows]
    strata: list[Hashable] | None = [row.question.category for row in rows] if ours[0].score.is_macro else None

    def over_seeds(members: Sequence[Sequence[Scored]]) -> list[float]:
        return [math.fsum(metric.value(one[place].grade) for one in members) / len(members) for place in kept]

    first, second = (over_seeds([run.rows for run in members]) for members in (ours, theirs))
    values = [one - two for one, two in zip(first, second, strict=True)]
    mean, residuals = cluster_residuals(values, videos, strata)
    estimate = estimate_from_residuals(
        mean, list(residuals.values()), lambda: trials_of(videos, strata), UNBOUNDED, len(values)
    )
    low, high = metric.bounds
    return Compared(
        gain=Gain(estimate, residuals),
        bounds=(low - high, high - low),
        level=clustered_mean(first, videos, strata, metric.bounds),
        other=cluster_residuals(second, videos, strata)[0],
        chance=chance_level(rows),
        changed=sum(before[place].question != row.question for place, row in zip(kept, rows, strict=True)),
    )
