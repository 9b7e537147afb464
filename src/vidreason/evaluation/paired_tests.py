"""Is a difference between two arms more than luck? A sign-flip test by video, McNemar's test by question, and Holm's correction.

Letters: N questions, C clusters (videos), S strata (categories), K comparisons.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy import stats

from vidreason.artifacts.digests import sha256_text

FLIPS = 20_000
"""Number of sign patterns that are drawn. Where there are no more patterns than this (up to 14 clusters), all are tried."""
_BLOCK = 1000
_TIE = 1e-9

Name = TypeVar("Name", bound=Hashable)


def cluster_sums(
    differences: Sequence[float], clusters: Sequence[Hashable], strata: Sequence[Hashable] | None = None
) -> dict[Hashable, float]:
    r"""What every cluster adds to the mean difference: $S_c = \sum_{i \in c} w_i d_i$, so that $\bar d = \sum_c S_c$.

    Args:
        differences: N paired differences, as in `vidreason.evaluation.statistics.paired_difference`.
        clusters: N cluster keys.
        strata: N stratum keys for a macro mean, $w_i = 1 / (S N_{s(i)})$; None for the plain mean, $w_i = 1 / N$.
    """
    keys: Sequence[Hashable] = strata if strata is not None else [0] * len(differences)
    sizes = Counter(keys)
    parts: dict[Hashable, list[float]] = {}
    for difference, cluster, key in zip(differences, clusters, keys, strict=True):
        parts.setdefault(cluster, []).append(difference / (len(sizes) * sizes[key]))
    return {cluster: math.fsum(members) for cluster, members in parts.items()}


def sign_flip_p(sums: Sequence[float], name: str) -> float:
    r"""Two-sided p-value of a mean difference, by flipping the sign of whole clusters.

    If two arms are equally good, which of them answers a video better is a coin's toss: every pattern of signs of the $S_c$ is as
    likely as the observed one. p is the share of patterns with $|\sum_c \pm S_c| \ge |\sum_c S_c|$. Where patterns are drawn,
    the observed one counts among them, so that p is never 0 and the test keeps its level.

    Args:
        sums: What every cluster adds to the mean (`cluster_sums`), over all benchmarks.
        name: Seeds the drawing: the same name and sums give the same p.

    Raises:
        ValueError: A sum is not finite; no comparison with it would hold, and p would come out as 0.

    Source: Fisher 1935, "The design of experiments", section 21; Phipson and Smyth 2010, "Permutation p-values should never be
        zero" (the observed pattern is counted).
    Differs from the source: the unit is the video, not the question.

    Example:
        >>> sign_flip_p([0.1, 0.2, 0.3], "three videos, one direction: 2 of 8 patterns are as far from 0")
        0.25
    """
    values = np.array([value for value in sums if value], np.float64)
    _check_finite(values, name)
    count = len(values)
    if not count:
        return 1.0
    least = _least(values[:, None])[0]
    if 2**count <= FLIPS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ values) >= least))
    random = _random(name)
    extreme = 0
    for _ in range(0, FLIPS, _BLOCK):
        signs = 2.0 * random.integers(0, 2, (_BLOCK, count)) - 1.0
        extreme += int(np.sum(np.abs(signs @ values) >= least))
    return (1 + extreme) / (1 + FLIPS)


def sign_flip_many(parts: Sequence[np.ndarray], name: str) -> np.ndarray:
    """`sign_flip_p` of many comparisons at once, by the same drawn patterns of signs for all of them.

    Args:
        parts: For each of B benchmarks, the videos of which are different ones, float64 [C, K]: what every cluster adds to the mean, a
            column for each comparison.
        name: Seeds the drawing.

    Returns:
        float64 [B + 1, K]: p-values of every benchmark, and at last of the sum over the benchmarks. A column with no more
        patterns than are drawn gets its exact p-value.
    """
    columns = [*parts, np.concatenate(parts)]
    _check_finite(columns[-1], name)
    p_values = np.ones([len(columns), parts[0].shape[1]])
    extreme = np.zeros(p_values.shape, np.int64)
    least = np.array([_least(column) for column in columns])
    drawn = np.array([np.count_nonzero(column, axis=0) > math.log2(FLIPS) for column in columns])
    for place, number in zip(*np.nonzero(~drawn), strict=True):
        p_values[place, number] = sign_flip_p(columns[place][:, number], name)
    if not drawn.any():
        return p_values
    random = _random(name)
    for _ in range(0, FLIPS, _BLOCK):
        signs = [1.0 - 2.0 * random.integers(0, 2, (_BLOCK, len(part)), dtype=bool) for part in parts]
        flipped = np.stack([sign @ part for sign, part in zip(signs, parts, strict=True)])
        extreme[:-1] += np.sum(np.abs(flipped) >= least[:-1, None], axis=1)
        extreme[-1] += np.sum(np.abs(flipped.sum(axis=0)) >= least[-1], axis=0)
    return np.where(drawn, (1 + extreme) / (1 + FLIPS), p_values)


def _check_finite(values: np.ndarray, name: str) -> None:
    """Refuse what is no evidence for anything."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: a difference is {values[~np.isfinite(values)][0]}; allowed: finite numbers")


def _least(sums: np.ndarray) -> np.ndarray:
    """Sums of columns, float64 [K] from [C, K], from which on a pattern is as far from 0 as the observed one."""
    totals = np.array([math.fsum(column) for column in sums.T])
    return np.asarray(np.abs(totals) - _TIE * np.abs(sums).sum(axis=0))


def _random(name: str) -> np.random.Generator:
    """A generator that is seeded by a name."""
    return np.random.default_rng(int(sha256_text(name)[:16], 16))


def mcnemar_p(won: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: the sign test on the questions that one of two arms answers better.

    It takes every question for independent of the others, so where several share a video, `sign_flip_p` is the one to go by.

    Args:
        won: Questions that the first arm answers better; with answers that are right or wrong: it alone is right.
        lost: Questions that the second arm answers better.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages", in the
        exact form with the binomial distribution.

    Example:
        >>> mcnemar_p(5, 0), mcnemar_p(0, 0)
        (0.0625, 1.0)
    """
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's adjusted p-values: comparing them with 5% keeps the chance of any false finding among all at 5%.

    Args:
        p_values: Name of a comparison -> its p-value.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
