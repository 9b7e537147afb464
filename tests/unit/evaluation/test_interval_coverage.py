"""Intervals and p-values against scipy and matrix algebra, and how often they are right in simulated evaluations.

A simulated evaluation draws, for each video, the share of its questions that a model gets right from a beta distribution, whose
correlation within a video is `rho`. The share of intervals that hold the truth is compared with bounds: four standard errors of a
share of `TRIALS` around 95%, wider by a known deficit where there are few videos, and far below 95% in the cases which the
docstring of `clustered_mean` names as too narrow. Those tests fail if the intervals become better, so that the docstring is mended.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from vidreason.evaluation.paired_tests import mcnemar_p, sign_flip_many, sign_flip_p
from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates, paired_difference
from vidreason.results.pairs import _over_seeds

TRIALS = 1000
NOISE = 4 * math.sqrt(0.95 * 0.05 / TRIALS)
"""Four standard errors of the share of simulated intervals that hold the truth, if the true share is 95%."""
SOUND = (0.95 - NOISE, 0.95 + NOISE)


class TestClosedForms:
    def test_one_question_a_video_is_students_interval(self) -> None:
        values = np.random.default_rng(0).random(23)
        wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        _same(clustered_mean(values.tolist(), range(23)), wanted)

    def test_videos_of_equal_size_are_their_means(self) -> None:
        values = np.random.default_rng(1).random((12, 4))
        wanted = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
        _same(clustered_mean(values.ravel().tolist(), np.repeat(range(12), 4).tolist()), wanted)

    def test_pairs_are_the_paired_t_test(self) -> None:
        first, second = np.random.default_rng(2).random((2, 40))
        wanted = stats.ttest_rel(first, second).confidence_interval(0.95)
        _same(paired_difference(first.tolist(), second.tolist(), range(40)), wanted)

    def test_the_mean_of_two_benchmarks_has_welchs_degrees_of_freedom(self) -> None:
        """The difference of two means, with one of them negated, is twice the mean of both."""
        draw = np.random.default_rng(3)
        first, second = draw.random(9), draw.random(31) / 3
        wanted = stats.ttest_ind(first, -second, equal_var=False).confidence_interval(0.95)
        parts = [clustered_mean(values.tolist(), range(len(values))) for values in (first, second)]
        _same(mean_of_estimates(parts), (wanted.low / 2, wanted.high / 2))

    @pytest.mark.parametrize("trials", [1, 7, 60])
    def test_nothing_varies_is_wilsons_interval(self, trials: int) -> None:
        wanted = stats.binomtest(trials, trials).proportion_ci(0.95, method="wilson")
        estimate = clustered_mean([1.0] * trials, range(trials))
        assert (estimate.low, estimate.high) == pytest.approx((wanted.low, 1.0))

    @pytest.mark.parametrize("categories", [1, 4])
    def test_a_macro_mean_is_the_sandwich_estimate_of_a_regression_on_its_categories(self, categories: int) -> None:
        draw = np.random.default_rng(categories)
        videos, strata = draw.integers(0, 15, 90), np.arange(90) % categories
        values = draw.random(90) + strata / 8
        design = np.eye(categories)[strata]
        bread = np.linalg.inv(design.T @ design)
        coefficients = bread @ design.T @ values
        scores = np.eye(15)[videos].T @ (design * (values - design @ coefficients)[:, None])
        contrast = np.full(categories, 1 / categories)
        variance = contrast @ bread @ (scores.T @ scores) @ bread @ contrast * 15 / 14
        estimate = clustered_mean(values.tolist(), videos.tolist(), strata.tolist(), bounds=(-9, 9))
        assert estimate.mean == pytest.approx(contrast @ coefficients)
        assert estimate.se == pytest.approx(math.sqrt(variance))


def _same(estimate: Estimate, wanted: Sequence[float]) -> None:
    low, high = wanted
    assert -1 < low < high < 1, "not clipped"
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-9)


def answers(draw: np.random.Generator, sizes: Sequence[int], level: float, rho: float) -> tuple[np.ndarray, list[int]]:
    """Right and wrong answers, float64 [TRIALS, N], and the video of each question."""
    videos = np.repeat(np.arange(len(sizes)), sizes)
    share = np.full((TRIALS, len(sizes)), level)
    if rho:
        share = draw.beta(level * (1 - rho) / rho, (1 - level) * (1 - rho) / rho, share.shape)
    return (draw.random((TRIALS, len(videos))) < share[:, videos]).astype(float), videos.tolist()


def covered(sizes: Sequence[int], level: float, rho: float) -> float:
    """Share of simulated evaluations whose interval holds the true accuracy."""
    rows, videos = answers(np.random.default_rng(len(sizes)), sizes, level, rho)
    estimates = (clustered_mean(row, videos) for row in rows.tolist())
    return sum(estimate.low <= level <= estimate.high for estimate in estimates) / TRIALS


UNEQUAL = [1, 1, 1, 1, 12]
"""Questions of five videos, the last of which has three quarters of them; repeated for more videos."""


class TestAccuracy:
    @pytest.mark.parametrize("rho", [0.0, 0.2, 0.6])
    @pytest.mark.parametrize(
        ("sizes", "level"),
        [([3] * 20, 0.5), ([3] * 50, 0.5), ([3] * 200, 0.9), (UNEQUAL * 40, 0.5)],
        ids=["20 videos", "50 videos", "200 videos, 90%", "200 unequal videos"],
    )
    def test_nineteen_of_twenty(self, sizes: list[int], level: float, rho: float) -> None:
        assert SOUND[0] <= covered(sizes, level, rho) <= SOUND[1]

    @pytest.mark.parametrize("rho", [0.2, 0.6])
    @pytest.mark.parametrize(
        ("sizes", "level", "least"),
        [
            ([3] * 5, 0.5, 0.91),
            ([3] * 10, 0.5, 0.92),
            ([3] * 20, 0.9, 0.88),
            ([3] * 50, 0.9, 0.90),
            (UNEQUAL * 10, 0.5, 0.90),
        ],
        ids=["5 videos", "10 videos", "20 videos, 90%", "50 videos, 90%", "50 unequal videos"],
    )
    def test_few_videos_cost_a_little(self, sizes: list[int], level: float, least: float, rho: float) -> None:
        assert least <= covered(sizes, level, rho) <= SOUND[1]

    @pytest.mark.parametrize("count", [5, 10, 50])
    def test_hardly_anything_wrong_in_few_videos_is_on_the_safe_side(self, count: int) -> None:
        """99% right: most samples have no wrong answer, and Wilson's interval is wide."""
        assert covered([3] * count, 0.99, 0.2) >= 0.99

    @pytest.mark.parametrize(
        ("sizes", "level", "rho", "least", "most"),
        [
            (UNEQUAL * 2, 0.5, 0.6, 0.60, 0.76),  # two videos have three quarters of the questions
            (UNEQUAL * 4, 0.9, 0.6, 0.68, 0.82),
            ([3] * 200, 0.99, 0.6, 0.80, 0.90),  # two or three videos with wrong answers
            ([1] * 50, 0.9, 0.0, 0.83, 0.92),  # five wrong answers
        ],
        ids=["two large videos", "four large videos, 90%", "200 videos, 99%", "50 questions, 90%"],
    )
    def test_where_the_interval_is_known_to_be_too_narrow(
        self, sizes: list[int], level: float, rho: float, least: float, most: float
    ) -> None:
        assert least <= covered(sizes, level, rho) <= most

    def test_taking_questions_for_independent_would_cover_far_less(self) -> None:
        rows, _ = answers(np.random.default_rng(0), [3] * 50, 0.5, 0.6)
        half = 1.96 * np.sqrt(rows.mean(axis=1) * (1 - rows.mean(axis=1)) / rows.shape[1])
        assert np.mean(np.abs(rows.mean(axis=1) - 0.5) <= half) < 0.85


class TestPairs:
    """Two arms, each trained with three seeds, on the same questions: a question's value is its mean over the seeds."""

    def holds(self, videos: int, of_seed: float) -> float:
        """Share of paired intervals that hold the true gain of 10 points.

        Args:
            videos: Number of videos, with three questions each.
            of_seed: Standard deviation of what one training adds to the accuracy on every question.
        """
        draw = np.random.default_rng(videos)
        clusters = np.repeat(range(videos), 3).tolist()
        inside = 0
        for _ in range(TRIALS):
            hard = np.repeat(draw.uniform(-0.3, 0.3, videos), 3) + draw.uniform(-0.1, 0.1, 3 * videos)
            own = []
            for level in (0.6, 0.5):
                share = level + hard + draw.normal(0.0, of_seed, (3, 1))
                own.append(_over_seeds((draw.random((3, 3 * videos)) < share).astype(float).tolist()))
            estimate = paired_difference(own[0], own[1], clusters)
            inside += estimate.low <= 0.1 <= estimate.high
        return inside / TRIALS

    @pytest.mark.parametrize("videos", [10, 20, 80])
    def test_nineteen_of_twenty_with_seeds_as_replicates(self, videos: int) -> None:
        assert SOUND[0] <= self.holds(videos, 0.0) <= SOUND[1]

    def test_the_interval_is_about_new_videos_and_not_about_new_trainings(self) -> None:
        """A training that is lucky on every question moves the difference, and no variance between videos shows it."""
        assert self.holds(80, 0.05) < 0.85


class TestNull:
    """Two arms of equal worth: how often a test at 5% finds a difference."""

    def differences(self, videos: int, per_video: int) -> np.ndarray:
        """Paired differences of arms that differ by video at random, float64 [TRIALS, videos, per_video]."""
        draw = np.random.default_rng(videos)
        better = np.where(draw.random((TRIALS, videos, 1)) < 0.5, 0.9, 0.1)
        differ = draw.random((TRIALS, videos, per_video)) < 0.4
        return np.where(draw.random(differ.shape) < better, 1.0, -1.0) * differ

    @pytest.mark.parametrize("videos", [10, 40])
    def test_sign_flips_by_video_keep_five_percent(self, videos: int) -> None:
        """Ten videos are enumerated, forty are drawn."""
        weights = np.random.default_rng(0).uniform(
            0.5, 1.5, (TRIALS, videos)
        )  # no ties, which make a test conservative
        sums = self.differences(videos, 4).sum(axis=2) * weights
        p_values = sign_flip_many([sums.T], "null")[0]
        assert 0.03 <= np.mean(p_values <= 0.05) <= 0.05 + NOISE
        assert 0.45 <= np.mean(p_values <= 0.5) <= 0.5 + 4 * math.sqrt(0.25 / TRIALS)
        assert p_values[0] == pytest.approx(sign_flip_p(sums[0].tolist(), "one"), abs=0.015)

    def test_mcnemar_keeps_five_percent_with_one_question_a_video(self) -> None:
        """An exact test of whole numbers stays below the level."""
        assert 0.02 <= self._found(self.differences(100, 1)) <= 0.05 + NOISE

    def test_mcnemar_finds_too_much_where_videos_have_several_questions(self) -> None:
        """Which is why `p_mcnemar` stands beside `p`, and not in its place."""
        assert self._found(self.differences(25, 8)) > 0.15

    def _found(self, differences: np.ndarray) -> float:
        rows = differences.reshape(TRIALS, -1)
        counts = zip((rows > 0).sum(axis=1).tolist(), (rows < 0).sum(axis=1).tolist(), strict=True)
        return sum(mcnemar_p(won, lost) <= 0.05 for won, lost in counts) / TRIALS
