"""Clustered intervals against values worked out by hand, and against simulation."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.evaluation.statistics import (
    cluster_residuals,
    clustered_mean,
    estimate_from_residuals,
    mean_of_estimates,
    paired_difference,
    smallest_difference,
    student_quantile,
)


def test_two_clusters_by_hand() -> None:
    # Residuals from 0.5: cluster a 0.5 + 0.5 = 1, cluster b -1. se = sqrt(2/1 * (1 + 1)) / 4 = 0.5.
    estimate = clustered_mean([1, 1, 0, 0], ["a", "a", "b", "b"])
    assert estimate.mean == 0.5
    assert estimate.se == pytest.approx(0.5)
    assert (estimate.low, estimate.high) == (0.0, 1.0), "t with 1 degree of freedom is 12.7: the interval is clipped"
    assert (estimate.n, estimate.clusters) == (4, 2)


def test_unequal_clusters_by_hand() -> None:
    # Mean 3/6. Residual sums: a 0.5 + 0.5 - 0.5 = 0.5, b -0.5 - 0.5 = -1, c 0.5. Squares 0.25 + 1 + 0.25 = 1.5.
    # se = sqrt(3/2 * 1.5) / 6 = 1.5 / 6 = 0.25. t with 2 degrees of freedom: 4.3027.
    estimate = clustered_mean([1, 1, 0, 0, 0, 1], ["a", "a", "a", "b", "b", "c"])
    assert estimate.se == pytest.approx(0.25)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
    wide = clustered_mean([1, 1, 0, 0, 0, 1], ["a", "a", "a", "b", "b", "c"], bounds=(-9, 9))
    assert wide.high - wide.mean == pytest.approx(4.302652729 * 0.25)


def test_one_question_per_video_is_the_textbook_interval() -> None:
    values = [1.0] * 30 + [0.0] * 70
    estimate = clustered_mean(values, list(range(100)))
    # sqrt(p (1-p) / (n-1)): the usual unbiased standard error of a mean.
    assert estimate.se == pytest.approx(math.sqrt(0.3 * 0.7 / 99))
    assert estimate.high - estimate.mean == pytest.approx(1.984216952 * estimate.se, rel=1e-7)


def test_copies_of_a_question_add_nothing() -> None:
    values, clusters = [1.0, 0.0, 1.0, 0.0, 0.0], list("abcde")
    once = clustered_mean(values, clusters)
    thrice = clustered_mean(values * 3, clusters * 3)
    assert thrice.se == pytest.approx(once.se)


def test_macro_mean_weighs_tasks_equally() -> None:
    # Task x: 1/4 right, task y: 1/1. Macro 0.625. Weights 1/8 per x question, 1/2 for y. Video d has one of each.
    values, videos, tasks = [1, 0, 0, 0, 1], ["a", "b", "c", "d", "d"], ["x", "x", "x", "x", "y"]
    estimate = clustered_mean(values, videos, tasks)
    assert estimate.mean == pytest.approx(0.625)
    residuals = [0.75 / 8, -0.25 / 8, -0.25 / 8, -0.25 / 8 + 0.0]
    assert estimate.se == pytest.approx(math.sqrt(4 / 3 * sum(value**2 for value in residuals)))


@pytest.mark.parametrize(
    ("value", "low", "high"), [(1.0, 50 / (50 + 1.959964**2), 1.0), (0.0, 0.0, 1.959964**2 / (50 + 1.959964**2))]
)
def test_all_right_or_all_wrong_is_wilsons_interval(value: float, low: float, high: float) -> None:
    estimate = clustered_mean([value] * 100, [number // 2 for number in range(100)])
    assert estimate.low == pytest.approx(low, abs=1e-6)
    assert estimate.high == pytest.approx(high, abs=1e-6)


def test_clipping_does_not_make_an_interval_look_narrow() -> None:
    right = clustered_mean([1.0] * 50, list(range(50)))
    assert (right.high, right.half_width) == (1.0, pytest.approx(right.mean - right.low))
    middle = clustered_mean([1.0] * 30 + [0.0] * 70, list(range(100)))
    assert middle.half_width == pytest.approx((middle.high - middle.low) / 2)


def test_single_video_has_a_wide_interval() -> None:
    estimate = clustered_mean([1, 0, 1, 1], ["a"] * 4)
    assert estimate.high - estimate.low > 0.75
    assert math.isfinite(estimate.se)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=60),
)
def test_interval_holds_the_mean_and_is_never_empty(rows: list[tuple[bool, int]]) -> None:
    estimate = clustered_mean([float(right) for right, _ in rows], [video for _, video in rows])
    assert 0.0 <= estimate.low <= estimate.mean <= estimate.high <= 1.0
    assert estimate.high > estimate.low


def test_empty_and_mismatched_input_is_refused() -> None:
    with pytest.raises(ValueError, match="zero questions"):
        clustered_mean([], [])
    with pytest.raises(ValueError, match="2 values but 1 cluster keys"):
        clustered_mean([1, 0], ["a"])
    with pytest.raises(ValueError, match="2 values against 1"):
        paired_difference([1, 0], [1], ["a", "b"])


def test_paired_difference_by_hand() -> None:
    # Differences 1, 0, 0, 1 on videos a a b c: mean 0.5; residual sums a 0, b -0.5, c 0.5. se = sqrt(3/2 * 0.5) / 4.
    estimate = paired_difference([1, 1, 0, 1], [0, 1, 0, 0], ["a", "a", "b", "c"])
    assert estimate.mean == 0.5
    assert estimate.se == pytest.approx(math.sqrt(0.75) / 4)


def test_pairing_narrows_the_interval() -> None:
    draw = random.Random(5)
    hard = [draw.random() for _ in range(200)]
    first = [float(value < 0.6) for value in hard]
    second = [float(value < 0.5) for value in hard]
    videos = list(range(200))
    paired = paired_difference(first, second, videos)
    apart = math.hypot(clustered_mean(first, videos).se, clustered_mean(second, videos).se)
    assert paired.se < 0.6 * apart


def test_equal_arms_differ_by_zero_with_some_doubt() -> None:
    estimate = paired_difference([1, 0, 1], [1, 0, 1], ["a", "b", "c"])
    assert estimate.mean == 0
    assert estimate.low < 0 < estimate.high
    assert estimate.low == -estimate.high


def test_mean_over_benchmarks_by_hand() -> None:
    parts = [
        clustered_mean([1.0] * 30 + [0.0] * 70, list(range(100))),
        clustered_mean([1.0] * 60 + [0.0] * 40, list(range(100))),
    ]
    estimate = mean_of_estimates(parts)
    assert estimate.mean == pytest.approx(0.45)
    assert estimate.se == pytest.approx(math.sqrt(0.21 / 99 + 0.24 / 99) / 2)
    assert (estimate.n, estimate.clusters) == (200, 200)
    with pytest.raises(ValueError, match="zero benchmarks"):
        mean_of_estimates([])


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (30, 2.0423), (99, 1.9842), (1e5, 1.95999), (1e9, 1.95996)],
)
def test_student_quantile_against_printed_tables(freedom: float, expected: float) -> None:
    assert student_quantile(freedom) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("videos", "level"), [(20, 0.5), (80, 0.5), (80, 0.3), (200, 0.8)])
def test_coverage_in_simulation(videos: int, level: float) -> None:
    """Nominal 95%: questions of a video share half of their luck. The naive interval covers far less."""
    draw = random.Random(videos)
    trials, inside, naive_inside = 1000, 0, 0
    for _ in range(trials):
        values: list[float] = []
        clusters: list[int] = []
        for video in range(videos):
            shared = draw.random() < level
            for _ in range(3):
                values.append(float(shared if draw.random() < 0.7 else draw.random() < level))
                clusters.append(video)
        estimate = clustered_mean(values, clusters)
        inside += estimate.low <= level <= estimate.high
        naive = 1.96 * math.sqrt(estimate.mean * (1 - estimate.mean) / len(values))
        naive_inside += abs(estimate.mean - level) <= naive
    # 1000 trials: a true 95% gives 93.6% to 96.4% in 95 of 100 such tests; small samples of videos cost a little.
    assert 0.925 <= inside / trials <= 0.97
    assert naive_inside / trials < 0.9


def test_coverage_of_the_mean_over_benchmarks() -> None:
    draw = random.Random(11)
    truth = (0.3, 0.5, 0.6, 0.4)
    trials, inside = 600, 0
    for _ in range(trials):
        parts = []
        for level in truth:
            shared = [draw.random() < level for _ in range(40)]
            values = [
                float(shared[video] if draw.random() < 0.5 else draw.random() < level)
                for video in range(40)
                for _ in range(2)
            ]
            parts.append(clustered_mean(values, [video for video in range(40) for _ in range(2)]))
        estimate = mean_of_estimates(parts)
        inside += estimate.low <= sum(truth) / 4 <= estimate.high
    assert 0.925 <= inside / trials <= 0.975


Z2 = 1.959963984540054**2


@pytest.mark.parametrize(
    "values",
    [[1.0] * 6, [0.0] * 6, [1.0, 1.0, 0.0, 1.0, 0.0, 0.0], [1.0, 0.0] * 3],
    ids=["all right", "all wrong", "some of each", "each video half"],
)
@pytest.mark.parametrize(
    "videos", [list("aabbcc"), list("aaaaaa"), list("abcdef")], ids=["pairs", "one video", "single"]
)
@pytest.mark.parametrize("strata", [None, list("xxyyyy")], ids=["plain", "macro"])
def test_the_mean_over_one_benchmark_is_that_benchmarks(values, videos, strata):
    part = clustered_mean(values, videos, strata)
    assert mean_of_estimates([part]) == part


def test_where_nothing_varies_the_mean_has_as_many_trials_as_the_parts() -> None:
    # Two benchmarks of 50 videos, equally weighted: 100 trials, none of which fails.
    part = clustered_mean([1.0] * 50, list(range(50)))
    mean = mean_of_estimates([part, part])
    assert mean.low == pytest.approx(1 - Z2 / (100 + Z2))
    # 10 and 1000 videos: the variance of the mean is p(1-p) (1/10 + 1/1000) / 4, that of 4 / 0.101 = 39.6 trials.
    uneven = mean_of_estimates([clustered_mean([1.0] * count, list(range(count))) for count in (10, 1000)])
    assert uneven.low == pytest.approx(1 - Z2 / (4 / 0.101 + Z2))


def test_strata_share_videos() -> None:
    # Both tasks look at the same 20 videos: no more than 20 trials. On 20 videos each: 40.
    same = clustered_mean([1.0] * 40, [*range(20), *range(20)], ["x"] * 20 + ["y"] * 20)
    apart = clustered_mean([1.0] * 40, list(range(40)), ["x"] * 20 + ["y"] * 20)
    assert same.low == pytest.approx(1 - Z2 / (20 + Z2))
    assert apart.low == pytest.approx(1 - Z2 / (40 + Z2))


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 4), min_size=1, max_size=6)), min_size=1, max_size=5))
def test_both_formulas_agree_where_nothing_varies(benchmarks) -> None:
    """Benchmarks, each all right or all wrong: the mean of the estimates is the macro mean with a stratum for each."""
    rows = [
        (float(right), (number, video), number)
        for number, (right, videos) in enumerate(benchmarks)
        for video, count in enumerate(videos)
        for _ in range(count)
    ]
    pooled = clustered_mean(*zip(*rows, strict=True))
    parts = [
        clustered_mean([row[0] for row in rows if row[2] == number], [row[1] for row in rows if row[2] == number])
        for number in range(len(benchmarks))
    ]
    mean = mean_of_estimates(parts)
    for key in ("mean", "se", "low", "high", "trials"):
        assert getattr(mean, key) == pytest.approx(getattr(pooled, key), rel=1e-9), key


def test_a_part_without_variation_widens_the_mean_a_little() -> None:
    vary = clustered_mean([1.0] * 30 + [0.0] * 70, list(range(100)))
    still = clustered_mean([1.0] * 100, list(range(100)))
    mean = mean_of_estimates([vary, still])
    assert mean.se == pytest.approx(math.hypot(vary.se, math.sqrt(Z2) / (100 + Z2)) / 2)
    assert vary.se / 2 < mean.se < 1.2 * vary.se / 2
    # All of the doubt about the standard error comes from the part that varies.
    freedom = 99 * (mean.se * 2) ** 4 / vary.se**4
    assert mean.high - mean.mean == pytest.approx(student_quantile(freedom) * mean.se)


@pytest.mark.parametrize("videos", [(30, 30, 30), (5, 200, 40)])
def test_coverage_where_hardly_anything_is_wrong(videos: tuple[int, ...]) -> None:
    """One answer in 400 is wrong: most samples have no variation, and the interval must still hold the truth."""
    draw = random.Random(3)
    trials, inside = 1000, 0
    for _ in range(trials):
        parts = [
            clustered_mean([float(draw.random() >= 1 / 400) for _ in range(count)], list(range(count)))
            for count in videos
        ]
        mean = mean_of_estimates(parts)
        inside += mean.low <= 1 - 1 / 400 <= mean.high
    assert inside / trials >= 0.93


@pytest.mark.parametrize(
    ("freedom", "expected"),
    # Digits of the continued fraction and bisection that scipy replaced.
    [
        (1, 12.70620473617467),
        (1.5, 6.016663104427927),
        (2.7, 3.3921483831737484),
        (7.3, 2.3450667365477003),
        (31, 2.0395134463964046),
        (99.5, 1.9840936109906147),
        (12345.6, 1.9601561582609102),
    ],
)
def test_quantiles_have_not_changed(freedom: float, expected: float) -> None:
    assert student_quantile(freedom) == pytest.approx(expected, rel=1e-9)


def paired_answers(
    draw: random.Random, videos: int, first: float, second: float
) -> tuple[list[float], list[float], list[int]]:
    """Right and wrong answers of two arms to three questions a video, which both find hard or easy together."""
    ours, theirs, clusters = [], [], []
    for video in range(videos):
        shift = draw.uniform(-0.3, 0.3)
        for _ in range(3):
            hard = draw.random()
            ours.append(float(hard < first + shift))
            theirs.append(float((hard if draw.random() < 0.6 else draw.random()) < second + shift))
            clusters.append(video)
    return ours, theirs, clusters


@pytest.mark.parametrize("videos", [20, 60])
def test_coverage_of_the_paired_interval(videos: int) -> None:
    """Nominal 95%, within three standard errors of a share of 800 trials."""
    draw = random.Random(videos)
    trials, inside = 800, 0
    for _ in range(trials):
        estimate = paired_difference(*paired_answers(draw, videos, 0.6, 0.5))
        inside += estimate.low <= 0.1 <= estimate.high
    assert abs(inside / trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / trials)


def test_the_smallest_difference_is_seen_in_four_of_five_samples() -> None:
    """Closed form with z of 1.960 and 0.842; and by simulation with the standard error of a first sample of the same size."""
    assert smallest_difference(0.01) == pytest.approx(0.0280159, rel=1e-5)
    assert smallest_difference(1.0, power=0.5) == pytest.approx(1.959964, rel=1e-6)
    draw = random.Random(4)
    videos, trials = 100, 400
    errors = [paired_difference(*paired_answers(draw, videos, 0.57, 0.5)).se for _ in range(40)]
    true = smallest_difference(sum(errors) / len(errors))
    samples = (paired_difference(*paired_answers(draw, videos, 0.5 + true, 0.5)) for _ in range(trials))
    seen = sum(estimate.low > 0 for estimate in samples)
    assert abs(seen / trials - 0.8) < 3 * math.sqrt(0.8 * 0.2 / trials)


def test_an_estimate_is_its_mean_and_its_residuals() -> None:
    """Residuals of a difference are the differences of the residuals, which is how many pairs are compared at once."""
    draw = random.Random(8)
    first, second, videos = paired_answers(draw, 30, 0.6, 0.4)
    tasks = [number % 4 for number in range(len(first))]
    for strata in (None, tasks):
        (mean, ours), (other, theirs) = (cluster_residuals(values, videos, strata) for values in (first, second))
        parts = [one - two for one, two in zip(ours.values(), theirs.values(), strict=True)]
        found = estimate_from_residuals(mean - other, parts, lambda: 0.0, (-1.0, 1.0), len(first))
        alone = paired_difference(first, second, videos, strata)
        assert (found.mean, found.se, found.low) == pytest.approx((alone.mean, alone.se, alone.low))
