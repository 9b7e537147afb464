r"""How large one gain is beside another one of the same questions: a ratio of correlated means, with its interval.

Letters: G gain under a condition, H gain without it, rho = G / H.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from vidreason.evaluation.statistics import Estimate, mean_of_estimates

UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Gain:
    """A paired difference on one benchmark, with what every video adds to its variance.

    Attributes:
        estimate: The difference; its interval is not clipped to what a difference can be (`UNBOUNDED`).
        residuals: Video -> its weighted sum of residuals (`vidreason.evaluation.statistics.cluster_residuals`).
    """

    estimate: Estimate
    residuals: Mapping[Hashable, float]


def share_of(gains: Sequence[Gain], wholes: Sequence[Gain]) -> Estimate | None:
    r"""The mean of some gains as a share of the mean of others, a benchmark each, with Fieller's 95% interval.

    The interval holds every $\rho$ for which $G - \rho H$ is not told from 0:

    $$ (G - \rho H)^2 \le t^2 \left(V_G - 2 \rho\, C_{GH} + \rho^2 V_H\right), $$

    where the variances and the covariance are clustered by video, and $t$ is the quantile of the interval of $H$. It is bounded exactly
    where that interval does not hold 0; elsewhere a share says nothing. Nor is there a share of a loss.

    Args:
        gains: Gains under a condition, one a benchmark.
        wholes: Those without it, on the same benchmarks; the videos of a condition are among theirs.

    Returns:
        The share; its `se` is half the length of the interval by the quantile. None where H is not shown to be above 0.

    Source: Fieller 1954, "Some problems in interval estimation"; Franz 2007, arXiv 0710.2024, for when it is bounded.

    Example:
        >>> from vidreason.evaluation.statistics import clustered_mean
        >>> whole = Gain(clustered_mean([1, 1, 1, 1, 1, 0], "abcdef", bounds=UNBOUNDED), {})
        >>> share_of([whole], [whole]).mean
        1.0
    """
    count = len(wholes)
    if count != len(gains):
        raise ValueError(f"{len(gains)} gains against {count}: one of each a benchmark is needed")
    gain, whole = (mean_of_estimates((one.estimate for one in part), UNBOUNDED) for part in (gains, wholes))
    if whole.low <= 0:
        return None
    quantile = (whole.high - whole.mean) / whole.se
    both = math.fsum(_covariance(one, other) for one, other in zip(gains, wholes, strict=True)) / count**2
    t2 = quantile**2
    # a rho^2 - 2 b rho + c <= 0
    a, b, c = whole.mean**2 - t2 * whole.se**2, gain.mean * whole.mean - t2 * both, gain.mean**2 - t2 * gain.se**2
    half = math.sqrt(max(0.0, b**2 - a * c)) / a
    share, middle = gain.mean / whole.mean, b / a
    return Estimate(share, half / quantile, middle - half, middle + half, gain.n, gain.clusters)


def _covariance(one: Gain, other: Gain) -> float:
    """Clustered covariance of two gains, with the factor for few clusters of `clustered_mean`."""
    if one is other or one.residuals == other.residuals:
        return other.estimate.se**2
    product = math.fsum(value * other.residuals.get(video, 0.0) for video, value in one.residuals.items())
    counts = [len(part.residuals) for part in (one, other)]
    if min(counts) < 2 or one.estimate.trials is not None or other.estimate.trials is not None:
        return 0.0
    return product * math.sqrt(math.prod(count / (count - 1) for count in counts))
