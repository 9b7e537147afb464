"""What several sampled answers to a question say: pass@k, the answer of the majority, and what guessing would give.

Letters: n answers to a question, c right ones among them, k answers that are looked at.
"""

import functools
from collections.abc import Sequence
from math import comb


def pass_at_k(n: int, c: int, k: int) -> float:
    r"""Probability that at least one of k answers is right, estimated without bias from c right ones of n.

    $$ 1 - \binom{n-c}{k} / \binom{n}{k}. $$

    It is the share of the subsets of k answers that hold a right one. The plug-in estimate $1 - (1 - c/n)^k$ would be too low.

    Raises:
        ValueError: Not 0 <= c <= n or not 1 <= k <= n.

    Source: Chen et al. 2021, "Evaluating large language models trained on code", arXiv 2107.03374, equation 1.

    Example:
        >>> pass_at_k(8, 2, 1), pass_at_k(8, 2, 8), round(pass_at_k(8, 2, 4), 4)
        (0.25, 1.0, 0.7857)
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"n = {n} answers, c = {c} right ones, k = {k}; allowed: 0 <= c <= n, 1 <= k <= n")
    return 1.0 - comb(n - c, k) / comb(n, k)


def majority_at_k(parsed: Sequence[str | None], values: Sequence[float], k: int) -> float:
    """Expected value of the most frequent answer among k of n answers, over all subsets of k.

    Answers are the same where the same was read in them. Of the most frequent answers of a subset each is as good a choice as any
    other, so a tie counts as the mean of theirs. An answer in which nothing was read never wins; a subset of such answers alone is
    worth 0.

    Args:
        parsed: What was read in the n answers; None for nothing.
        values: What the answers are worth. Answers that read the same are worth their mean, should they differ.
        k: Answers of a subset.

    Raises:
        ValueError: Lengths that differ, or not 1 <= k <= n.

    Source: Wang et al. 2023, "Self-consistency improves chain of thought reasoning", arXiv 2203.11171.
    Differs from the source: ties are not decided by the order of the answers, and k < n is averaged over all subsets.

    Example:
        >>> majority_at_k(["A", "A", "B", None], [1.0, 1.0, 0.0, 0.0], 4), majority_at_k(["A", "B"], [1.0, 0.0], 2)
        (1.0, 0.5)
    """
    if len(parsed) != len(values) or not 1 <= k <= len(parsed):
        raise ValueError(
            f"{len(parsed)} answers with {len(values)} values, k = {k}; allowed: as many values as answers, 1 <= k <= n"
        )
    worth: dict[str, list[float]] = {}
    for name, value in zip(parsed, values, strict=True):
        if name is not None:
            worth.setdefault(name, []).append(value)
    answers = sorted(worth.values(), key=len)
    wins = win_shares(tuple(map(len, answers)), sum(name is None for name in parsed), k)
    return sum(win * sum(own) / len(own) for win, own in zip(wins, answers, strict=True))


@functools.lru_cache(maxsize=65_536)
def win_shares(counts: tuple[int, ...], unread: int, k: int) -> tuple[float, ...]:
    """For each answer the share of the subsets of k in which it is the most frequent; of a tie of s answers each gets 1/s.

    Args:
        counts: How often each answer occurs.
        unread: Answers that never win.
        k: Answers of a subset.

    Example:
        >>> win_shares((1, 2), 0, 2)
        (0.3333333333333333, 0.6666666666666666)
    """
    subsets = comb(sum(counts) + unread, k)
    shares = []
    for place, count in enumerate(counts):
        others = counts[:place] + counts[place + 1 :]
        won = 0.0
        for drawn in range(1, min(count, k) + 1):
            ways = _ways(others, unread, k - drawn, drawn)
            won += comb(count, drawn) * sum(number / (1 + ties) for ties, number in enumerate(ways))
        shares.append(won / subsets)
    return tuple(shares)


def _ways(counts: Sequence[int], unread: int, size: int, most: int) -> list[int]:
    """Ways to draw `size` others with at most `most` of each answer, by the number of answers that occur exactly so often."""
    ways = {(0, 0): 1}  # (drawn, answers with `most`) -> ways
    for count in counts:
        following: dict[tuple[int, int], int] = {}
        for (drawn, ties), number in ways.items():
            for more in range(min(count, most, size - drawn) + 1):
                key = (drawn + more, ties + (more == most))
                following[key] = following.get(key, 0) + number * comb(count, more)
        ways = following
    by_ties = [0] * (len(counts) + 1)
    for (drawn, ties), number in ways.items():
        by_ties[ties] += number * comb(unread, size - drawn)
    return by_ties


def guessed_pass(chance: float, k: int) -> float:
    """Probability that one of k guesses is right, each of which is with probability `chance`: with m options 1 - (1 - 1/m)^k.

    Example:
        >>> round(guessed_pass(0.25, 8), 4)
        0.8999
    """
    return 1.0 - (1.0 - chance) ** k


def subset_sizes(n: int) -> tuple[int, ...]:
    """The k that are shown of n answers: powers of two, and n.

    Example:
        >>> subset_sizes(8), subset_sizes(6), subset_sizes(1)
        ((1, 2, 4, 8), (1, 2, 4, 6), (1,))
    """
    return tuple(sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n}))
