"""The sign-flip test and Holm's correction against closed forms, scipy and simulation."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vidreason.evaluation.paired_tests import FLIPS, cluster_sums, holm, mcnemar_p, sign_flip_many, sign_flip_p
from vidreason.evaluation.statistics import paired_difference


def test_cluster_sums_add_up_to_the_mean() -> None:
    # Task x: mean of 1, 0, -1, 1 = 0.25; y: 1. Macro 0.625. Weights 1/8 and 1/2.
    values, videos, tasks = [1.0, 0.0, -1.0, 1.0, 1.0], list("aabbc"), list("xxxxy")
    assert cluster_sums(values, videos) == pytest.approx({"a": 0.2, "b": 0.0, "c": 0.2})
    assert cluster_sums(values, videos, tasks) == pytest.approx({"a": 1 / 8, "b": 0.0, "c": 0.5})
    for strata in (None, tasks):
        mean = paired_difference(values, [0.0] * 5, videos, strata).mean
        assert math.fsum(cluster_sums(values, videos, strata).values()) == pytest.approx(mean)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_all_in_one_direction_in_closed_form(count: int) -> None:
    """Only the pattern that was seen and its opposite are as far from 0: 2 of 2^C."""
    sums = [0.1 * (number + 1) for number in range(count)]
    assert sign_flip_p(sums, "any") == 2 / 2**count
    assert sign_flip_p([*sums, 0.0, 0.0], "any") == 2 / 2**count, "videos without a difference say nothing"


def test_the_sign_test_is_a_special_case() -> None:
    """Equal sums: the binomial distribution."""
    assert sign_flip_p([1.0] * 9 + [-1.0] * 2, "any") == pytest.approx(stats.binomtest(9, 11).pvalue)
    drawn = sign_flip_p([1.0] * 30 + [-1.0] * 14, "forty-four videos")
    assert drawn == pytest.approx(stats.binomtest(30, 44).pvalue, abs=0.005)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_against_scipy(numbers: list[int]) -> None:
    """scipy enumerates the same patterns; integers hold ties, which count as being as far from 0."""
    sums = [number / 8 for number in numbers]
    wanted = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=math.inf).pvalue
    assert sign_flip_p(sums, "any") == pytest.approx(wanted)


def test_drawn_patterns_are_named_and_never_zero() -> None:
    sums = [0.01 * (number % 7 + 1) for number in range(40)]
    assert sign_flip_p(sums, "a") == 1 / (1 + FLIPS)
    mixed = [value * (-1) ** (number % 3 == 0) for number, value in enumerate(sums)]
    assert sign_flip_p(mixed, "a") == sign_flip_p(mixed, "a") != sign_flip_p(mixed, "b")
    assert sign_flip_p([], "a") == sign_flip_p([0.0, 0.0], "a") == 1.0


def test_the_level_holds_for_questions_that_share_videos() -> None:
    """Arms of equal worth whose answers depend on the video: 5% false alarms by video, far more by question."""
    draw = random.Random(0)
    trials, by_video, by_question = 400, 0, 0
    for _ in range(trials):
        values, videos = [], []
        for video in range(12):
            shift = draw.gauss(0, 1)
            values += [shift + draw.gauss(0, 0.5) for _ in range(4)]
            videos += [video] * 4
        by_video += sign_flip_p(list(cluster_sums(values, videos).values()), "x") <= 0.05
        by_question += stats.ttest_1samp(values, 0).pvalue <= 0.05
    assert 0.02 < by_video / trials < 0.085
    assert by_question / trials > 0.2


def test_holm_by_hand() -> None:
    assert holm({}) == {}
    assert holm({"one": 0.2}) == {"one": 0.2}
    found = holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.5, "e": 0.004})
    assert found == pytest.approx({"e": 0.02, "a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_begins_with_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(dict(enumerate(p_values)))
    for number, p in enumerate(p_values):
        assert p <= adjusted[number] <= 1.0
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    assert [adjusted[number] for number in order] == sorted(adjusted.values())
    assert adjusted[order[0]] == min(1.0, len(p_values) * p_values[order[0]])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("count", [2, 40])
def test_what_is_not_finite_is_no_evidence(value: float, count: int) -> None:
    with pytest.raises(ValueError, match=rf"r1 sft mlvu: a difference is {value}; allowed: finite numbers"):
        sign_flip_p([value, *[0.1] * count], "r1 sft mlvu")
    with pytest.raises(ValueError, match=rf"pairs: a difference is {value}; allowed: finite numbers"):
        sign_flip_many([np.array([[0.1], *[[value]] * count])], "pairs")


def test_many_comparisons_at_once() -> None:
    """Few videos: the exact p-value of each alone; many: the same within what 20,000 draws can tell, never 0."""
    random_numbers = np.random.default_rng(3)
    small, large = random_numbers.normal(size=(6, 5)), random_numbers.normal(0.15, size=(80, 5))
    large[:, 4], large[3:, 3] = 0.0, 0.0
    large[:, 2] = np.abs(large[:, 2])
    p_values = sign_flip_many([small, large], "x")
    assert p_values.shape == (3, 5)
    for number in range(5):
        assert p_values[0, number] == sign_flip_p(small[:, number].tolist(), "any")
        assert p_values[1, number] == pytest.approx(sign_flip_p(large[:, number].tolist(), "any"), abs=0.012)
        both = [*small[:, number], *large[:, number]]
        assert p_values[2, number] == pytest.approx(sign_flip_p(both, "any"), abs=0.012)
    assert p_values[1, 2] == 1 / (1 + FLIPS)
    assert p_values[1, 4] == 1.0
    assert p_values[1, 3] == sign_flip_p(large[:3, 3].tolist(), "any"), "three videos: exact, whatever the others need"
    assert (sign_flip_many([small, large], "x") == p_values).all()
    assert (sign_flip_many([small, large], "y") != p_values).any()


@pytest.mark.parametrize(("won", "lost"), [(0, 1), (3, 0), (7, 2), (10, 10), (60, 35)])
def test_mcnemar_in_closed_form(won: int, lost: int) -> None:
    """Twice the lower tail of the binomial distribution with one half, at most 1."""
    count = won + lost
    tail = sum(math.comb(count, number) for number in range(min(won, lost) + 1)) / 2**count
    assert mcnemar_p(won, lost) == mcnemar_p(lost, won) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar_p(0, 0) == 1.0
