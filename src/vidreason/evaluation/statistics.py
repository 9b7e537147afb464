"""Intervals for means whose questions come in clusters: several questions look at one video.

Questions about one video tend to be right or wrong together, so treating them as independent makes
intervals too narrow. Nothing here is random, so the same input gives the same digits; `vidreason.evaluation.paired_tests` has the
test that draws.

Letters: N questions, C clusters (videos), S strata (tasks).
"""

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from scipy import special

LEVEL = 0.95
"""Confidence level of every interval of the project."""
POWER = 0.8
"""Probability with which a test is to show a difference."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: The estimate, a fraction (0.5, not 50).
        se: Standard error; never 0 (see `clustered_mean`).
        low: Lower end of the interval, clipped to what the quantity can be.
        high: Upper end.
        n: Number of values.
        clusters: Number of clusters.
        trials: Where nothing varies, the number of trials in Wilson's interval (see `clustered_mean`); None where the
            interval comes from the standard error.
    """

    mean: float
    se: float
    low: float
    high: float
    n: int
    clusters: int
    trials: float | None = None

    @property
    def half_width(self) -> float:
        """The number written after a plus-minus sign: the distance from the mean to the farther end.

        Where one end is clipped, half of the interval's length would make it look narrower than it is.
        """
        return max(self.high - self.mean, self.mean - self.low)


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    r"""Mean of values that come in clusters, with a cluster-robust 95% interval.

    Without strata the estimate is $\bar y = \frac1N \sum_i y_i$ and, with the sum of residuals of cluster $c$
    $e_c = \sum_{i \in c} (y_i - \bar y)$,

    $$ se = \frac1N \sqrt{\frac{C}{C-1} \sum_c e_c^2}, \qquad \bar y \pm t_{0.975,\,C-1} \cdot se. $$

    With strata the estimate is the unweighted mean of the strata's means (a macro mean), a weighted sum with weights
    $w_i = 1 / (S N_{s(i)})$; the residuals are taken from the stratum's mean and weighted by $w_i$.

    Few clusters: the factor $C/(C-1)$ and Student's t with $C-1$ degrees of freedom widen the interval. The formula
    gives 0 where nothing varies between clusters (all right, all wrong, or a single video). There the half-width is
    the one Wilson's score interval has for 0 of T trials, $z^2 / (T + z^2)$, so that no interval has zero width.
    Without strata every cluster is one trial, $T = C$. With strata T is the number of trials whose plain mean varies as
    much as the mean of the strata: with $w_c = \frac1S \sum_{s \ni c} 1/C_s$, the weight of a cluster if the $C_s$
    clusters of a stratum weigh the same, $T = 1 / \sum_c w_c^2$ (Kish's effective sample size).

    Known limits: in simulations (`tests/unit/evaluation/test_interval_coverage.py`) 93 to 96% of the intervals hold the truth with 20
    or more clusters of similar size whose mean is not near 0 or 1. Fewer do where fewer than about ten clusters have a wrong
    answer (200 clusters, 99% right: 85%; 50 clusters of one question, 90% right: 88%), and where a few clusters have most of
    the questions (75% of them in two clusters of ten: 68%).

    Args:
        values: N values, 0 or 1 for right or wrong (or differences between -1 and 1).
        clusters: N cluster keys, one per value.
        strata: N stratum keys for a macro mean; None for the plain mean.
        bounds: Least and greatest possible value of the mean, to which the interval is clipped.

    Returns:
        The estimate.

    Raises:
        ValueError: No values, or lengths that differ.

    Source: Liang and Zeger 1986 (the sandwich estimator, here for an intercept only); Miller 2024, "Adding error bars to
        evals", arXiv 2411.00640, section 2.2; the clustered standard error of EvolvingLMMs-Lab/lmms-eval@75571cf; Wilson
        1927; Kish 1965, "Survey sampling" (effective sample size).
    Differs from the source: lmms-eval has neither C/(C-1) nor t, and gives zero width where nothing varies.

    Example:
        >>> estimate = clustered_mean([1, 1, 0, 0], ["a", "a", "b", "b"])
        >>> round(estimate.mean, 3), round(estimate.se, 3), estimate.clusters
        (0.5, 0.5, 2)
    """
    mean, residuals = cluster_residuals(values, clusters, strata)
    return estimate_from_residuals(
        mean, list(residuals.values()), lambda: trials_of(clusters, strata), bounds, len(values)
    )


def cluster_residuals(
    values: Sequence[float], clusters: Sequence[Hashable], strata: Sequence[Hashable] | None = None
) -> tuple[float, dict[Hashable, float]]:
    """The mean of `clustered_mean`, and cluster -> its weighted sum of residuals, $w e_c$, in the order of appearance.

    Both are linear in the values: those of a difference between two arms are the differences of the two arms'.

    Raises:
        ValueError: No values, or lengths that differ.
    """
    if not values:
        raise ValueError("no values: the mean of zero questions is not defined; is the list of questions empty?")
    if len(values) != len(clusters) or (strata is not None and len(strata) != len(values)):
        raise ValueError(
            f"{len(values)} values but {len(clusters)} cluster keys"
            + ("" if strata is None else f" and {len(strata)} strata")
            + ": one key per value is needed"
        )
    of_stratum: dict[Hashable, list[float]] = defaultdict(list)
    keys: Sequence[Hashable] = strata if strata is not None else [0] * len(values)
    for key, value in zip(keys, values, strict=True):
        of_stratum[key].append(float(value))
    means = {key: math.fsum(members) / len(members) for key, members in of_stratum.items()}
    mean = math.fsum(means.values()) / len(means)

    residuals: dict[Hashable, list[float]] = defaultdict(list)
    for key, cluster, value in zip(keys, clusters, values, strict=True):
        residuals[cluster].append((value - means[key]) / (len(means) * len(of_stratum[key])))
    return mean, {cluster: math.fsum(members) for cluster, members in residuals.items()}


def estimate_from_residuals(
    mean: float, residuals: Sequence[float], trials: Callable[[], float], bounds: tuple[float, float], n: int
) -> Estimate:
    """The estimate of `clustered_mean`.

    Args:
        mean: The mean.
        residuals: C weighted sums of residuals (`cluster_residuals`).
        trials: Returns the number of trials in Wilson's interval, for residuals that are all 0 (`trials_of`).
        bounds: Least and greatest possible value of the mean.
        n: Number of values.
    """
    count = len(residuals)
    spread = math.fsum(residual**2 for residual in residuals)
    se = math.sqrt(spread * count / (count - 1)) if count > 1 else 0.0
    if se < 1e-12:  # Rounding noise of sums that cancel counts as "nothing varies".
        return _wilson(mean, trials(), bounds, n, count)
    return _estimate(mean, se, student_quantile(count - 1) * se, bounds, n, count)


def smallest_difference(se: float, power: float = POWER, level: float = LEVEL) -> float:
    r"""The smallest true difference that a two-sided test at 5% shows with a probability of 80%: $(z_{0.975} + z_{0.8})\,se$.

    A smaller one may well be there, but more than one sample of questions in five would not show it.

    Args:
        se: Standard error of the difference.
        power: Probability with which the test is to show it.
        level: Confidence level of the test.

    Source: Bloom 1995, "Minimum detectable effects" (Evaluation Review 19); Miller 2024, arXiv 2411.00640, section 5, solved for
        the difference.
    Differs from the source: the standard error is the clustered one of the paired difference, as measured.

    Example:
        >>> round(smallest_difference(0.01), 4)
        0.028
    """
    return (normal_quantile(level) + float(special.ndtri(power))) * se


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable] | None = None,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Estimate:
    """Difference of two arms' means on the same questions, first minus second, with a clustered interval.

    Pairing removes what both arms share (hard and easy questions), so this interval is narrower than what the two
    arms' own intervals suggest.

    Args:
        first: N values of one arm: 0 or 1, an overlap, or the mean of any of these over several seeds.
        second: N values of the other arm, in the same order of questions.
        clusters: N cluster keys (videos).
        strata: N stratum keys for a difference of macro means; None for plain means.
        bounds: Least and greatest possible difference.

    Returns:
        The estimate of mean(first) - mean(second).

    Raises:
        ValueError: The two arms have different numbers of questions.

    Example:
        >>> round(paired_difference([1, 1, 1, 0], [0, 1, 0, 0], ["a", "b", "c", "d"]).mean, 2)
        0.5
    """
    if len(first) != len(second):
        raise ValueError(f"a paired difference needs the same questions: {len(first)} values against {len(second)}")
    differences = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    return clustered_mean(differences, clusters, strata, bounds)


def mean_of_estimates(estimates: Iterable[Estimate], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    r"""Unweighted mean of estimates whose clusters are independent, as benchmarks with different videos are.

    $$ m = \frac1B \sum_b m_b, \qquad se = \frac1B \sqrt{\sum_b se_b^2}, $$

    with Student's t at Welch and Satterthwaite's degrees of freedom
    $(\sum_b se_b^2)^2 / \sum_b \frac{se_b^4}{C_b - 1}$, where Wilson's intervals count as having infinitely many.

    The mean of one estimate is that estimate. Where no part varies, the interval is Wilson's for
    $T = B^2 / \sum_b 1/T_b$ trials: the same as `clustered_mean` with a benchmark for each stratum.

    Args:
        estimates: One per benchmark.
        bounds: Least and greatest possible value.

    Returns:
        The estimate; n and clusters are sums.

    Raises:
        ValueError: No estimates.
    """
    parts = list(estimates)
    if not parts:
        raise ValueError("no estimates: the mean over zero benchmarks is not defined")
    if len(parts) == 1:
        return parts[0]
    mean = math.fsum(part.mean for part in parts) / len(parts)
    n, clusters = sum(part.n for part in parts), sum(part.clusters for part in parts)
    trials = [part.trials for part in parts if part.trials is not None]
    if len(trials) == len(parts):
        return _wilson(mean, len(parts) ** 2 / math.fsum(1 / count for count in trials), bounds, n, clusters)
    total = math.fsum(part.se**2 for part in parts)
    doubt = math.fsum(part.se**4 / max(part.clusters - 1, 1) for part in parts if part.trials is None)
    se = math.sqrt(total) / len(parts)
    return _estimate(mean, se, student_quantile(total**2 / doubt) * se, bounds, n, clusters)


def trials_of(clusters: Sequence[Hashable], strata: Sequence[Hashable] | None = None) -> float:
    """Number of equally weighted trials as informative as the clusters in their strata; see `clustered_mean`."""
    if strata is None:
        return len(set(clusters))
    members: dict[Hashable, set[Hashable]] = defaultdict(set)
    for stratum, cluster in zip(strata, clusters, strict=True):
        members[stratum].add(cluster)
    if len(members) == 1:
        return len(set(clusters))
    weights: dict[Hashable, list[float]] = defaultdict(list)
    for inside in members.values():
        for cluster in inside:
            weights[cluster].append(1 / (len(members) * len(inside)))
    return 1 / math.fsum(math.fsum(shares) ** 2 for shares in weights.values())


def _wilson(mean: float, trials: float, bounds: tuple[float, float], n: int, clusters: int) -> Estimate:
    """An estimate in which nothing varied, with the half-width of Wilson's interval for 0 of `trials`."""
    z = normal_quantile()
    half = z**2 / (trials + z**2)
    return dataclasses.replace(_estimate(mean, half / z, half, bounds, n, clusters), trials=trials)


def _estimate(mean: float, se: float, half: float, bounds: tuple[float, float], n: int, clusters: int) -> Estimate:
    """Put an estimate together, its interval clipped to `bounds`."""
    return Estimate(mean, se, max(bounds[0], mean - half), min(bounds[1], mean + half), n, clusters)


def normal_quantile(level: float = LEVEL) -> float:
    """Two-sided quantile of the normal distribution: 1.96 for 95%."""
    return float(special.ndtri((1 + level) / 2))


@functools.lru_cache(maxsize=4096)
def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t distribution.

    Args:
        freedom: Degrees of freedom, not necessarily whole; fewer than 1 count as 1.
        level: Confidence level between 0 and 1.

    Returns:
        t with P(|T| < t) = level.

    Example:
        >>> [round(student_quantile(freedom), 3) for freedom in (1, 10, 100)]
        [12.706, 2.228, 1.984]
    """
    return float(special.stdtrit(max(float(freedom), 1.0), (1 + level) / 2))
