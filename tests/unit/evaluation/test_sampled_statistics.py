"""pass@k and the majority's answer: against every subset, closed forms and a simulation."""

import itertools
import random
from fractions import Fraction
from math import comb, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.evaluation.sampled_statistics import (
    guessed_pass,
    majority_at_k,
    pass_at_k,
    subset_sizes,
    win_shares,
)

READ = st.lists(st.sampled_from(["A", "B", "C", "D", None]), min_size=1, max_size=8)


def vote(parsed: tuple[str | None, ...], right: str) -> Fraction:
    """The worth of one subset by the words of the rule: of the most frequent answers each counts in part."""
    read = [name for name in parsed if name is not None]
    if not read:
        return Fraction(0)
    most = max(map(read.count, read))
    winners = {name for name in read if read.count(name) == most}
    return Fraction(right in winners, len(winners))


@given(st.lists(st.booleans(), min_size=1, max_size=10), st.data())
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_answer(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    subsets = list(itertools.combinations(right, k))
    assert isclose(pass_at_k(len(right), sum(right), k), sum(map(any, subsets)) / len(subsets), abs_tol=1e-12)


def test_pass_at_k_in_closed_form() -> None:
    for n in range(1, 12):
        for c in range(n + 1):
            assert pass_at_k(n, c, 1) == pytest.approx(c / n)
            assert pass_at_k(n, c, n) == (c > 0)
            assert [pass_at_k(n, c, k) for k in range(1, n + 1)] == sorted(pass_at_k(n, c, k) for k in range(1, n + 1))
    assert pass_at_k(10, 3, 2) == pytest.approx(1 - (7 * 6) / (10 * 9))


def test_pass_at_k_has_no_bias_and_the_plug_in_has() -> None:
    """The mean over all outcomes of 8 draws that are right with probability 0.3 is 1 - 0.7^4 exactly."""
    weights = [comb(8, c) * 0.3**c * 0.7 ** (8 - c) for c in range(9)]
    mean = sum(weight * pass_at_k(8, c, 4) for c, weight in enumerate(weights))
    plugged = sum(weight * (1 - (1 - c / 8) ** 4) for c, weight in enumerate(weights))
    assert mean == pytest.approx(guessed_pass(0.3, 4), abs=1e-12)
    assert plugged < mean - 0.02


@pytest.mark.parametrize(("n", "c", "k"), [(8, 9, 1), (8, -1, 1), (8, 2, 0), (8, 2, 9), (0, 0, 1)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(
        ValueError, match=rf"n = {n} answers, c = {c} right ones, k = {k}; allowed: 0 <= c <= n, 1 <= k"
    ):
        pass_at_k(n, c, k)


@given(READ, st.data())
def test_the_majority_is_the_mean_over_all_subsets(parsed: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(parsed)))
    subsets = list(itertools.combinations(parsed, k))
    wanted = sum((vote(subset, "A") for subset in subsets), Fraction(0)) / len(subsets)
    found = majority_at_k(parsed, [float(name == "A") for name in parsed], k)
    assert isclose(found, float(wanted), abs_tol=1e-12)


@given(READ, st.randoms())
def test_the_order_of_the_draws_changes_nothing(parsed: list[str | None], random: random.Random) -> None:
    shuffled = random.sample(parsed, len(parsed))
    for k in range(1, len(parsed) + 1):
        one, other = (majority_at_k(names, [float(name == "A") for name in names], k) for names in (parsed, shuffled))
        assert one == other


@pytest.mark.parametrize(
    ("parsed", "k", "worth"),
    [
        (["A", "A", "B", "B"], 4, 0.5),
        (["A", "B", "C", "D"], 4, 0.25),
        (["B", "B", "A", None], 4, 0.0),
        ([None, None, None, "A"], 4, 1.0),
        ([None, None, None, None], 4, 0.0),
        ([None, None, "A", "B"], 1, 0.25),
        (["A", "A", "B", None], 2, (1 + 0.5 + 0.5 + 1 + 1 + 0) / 6),
    ],
)
def test_ties_and_unread_answers_by_hand(parsed: list[str | None], k: int, worth: float) -> None:
    assert majority_at_k(parsed, [float(name == "A") for name in parsed], k) == pytest.approx(worth)


def test_answers_that_read_the_same_are_worth_their_mean() -> None:
    assert majority_at_k(["7", "7", "8"], [0.5, 0.7, 0.1], 3) == pytest.approx(0.6)


def test_shares_of_winning_add_up_to_one_where_something_is_always_read() -> None:
    for counts in ((8,), (1, 7), (2, 2, 4), (1, 1, 1, 5)):
        for k in range(1, 9):
            assert sum(win_shares(counts, 0, k)) == pytest.approx(1)
    assert win_shares((2, 2, 2, 2), 0, 4) == pytest.approx((0.25,) * 4)


def test_many_answers_are_counted_and_not_listed() -> None:
    """128 answers have more subsets of 64 than could be looked at."""
    assert sum(win_shares((20, 40, 68), 0, 64)) == pytest.approx(1)


@pytest.mark.parametrize(("parsed", "values", "k"), [([], [], 1), (["A"], [1.0, 0.0], 1), (["A"], [1.0], 2)])
def test_impossible_votes_are_refused(parsed: list[str | None], values: list[float], k: int) -> None:
    with pytest.raises(ValueError, match=r"allowed: as many values as answers, 1 <= k <= n"):
        majority_at_k(parsed, values, k)


def test_guessing() -> None:
    assert guessed_pass(0.25, 8) == pytest.approx(0.8998871)
    assert [guessed_pass(0.2, 1), guessed_pass(1.0, 3), guessed_pass(0.0, 3)] == pytest.approx([0.2, 1.0, 0.0])
    assert subset_sizes(16) == (1, 2, 4, 8, 16)
    assert subset_sizes(3) == (1, 2, 3)
