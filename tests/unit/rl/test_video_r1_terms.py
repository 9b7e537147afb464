"""Video-R1's terms: who gets the bonus of the frames' order, and the length reward."""

import numpy as np
import pytest

from tests.unit.rl.test_terms import QUESTION, group_of
from vidreason.config.settings import Rewards
from vidreason.records import Completion, Grade
from vidreason.rl import terms
from vidreason.rl.rewards import RewardFunction
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms.video_r1 import order_helped


def both(ordered, shuffled):
    """A group with a contrast group, of grades alone."""
    contrast = group_of(*["b"] * len(shuffled), values=shuffled, view="shuffled")
    return group_of(*["a"] * len(ordered), values=ordered, contrast=contrast)


def of_lengths(*lengths, values):
    completions = tuple(Completion("a", length, True) for length in lengths)
    return RolloutGroup(QUESTION, completions, tuple(Grade(value, value > 0) for value in values))


class TestTemporal:
    @pytest.mark.parametrize(
        ("ordered", "shuffled", "article", "published"),
        [
            ([1, 1, 0, 0], [1, 0], [1, 1, 0, 0], [1, 1, 0, 0]),
            ([1, 0, 0, 0], [1, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
            ([1, 1, 1, 0, 1], [1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1]),
            ([0.1, 0.2, 0.0, 0.5], [0.0, 0.0], [0, 1, 0, 1], [0, 1, 0, 1]),
            ([0, 0], [0], [0, 0], [0, 0]),
        ],
    )
    def test_right_ordered_answers_get_it_where_the_order_helped(self, ordered, shuffled, article, published):
        group = both(ordered, shuffled)
        assert terms.make("temporal", {})(group).tolist() == article
        assert terms.make("temporal", {"threshold": 0.8})(group).tolist() == published

    def test_nobody_gets_it_without_shuffled_rollouts(self):
        group = group_of("a", "b", values=[1.0, 1.0])
        assert order_helped(group, 1.0) is None
        assert terms.make("temporal", {})(group).tolist() == [0.0, 0.0]

    def test_equal_means_may_differ_in_the_last_bit(self):
        """As published, p and p~ are float32 means; the article's rule then refuses a group of equal means."""
        group = both([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.3, 0.4, 0.2, 0.5])
        assert np.mean([grade.value for grade in group.grades]) == pytest.approx(0.35, abs=1e-15)
        assert order_helped(group, 1.0) is False
        assert order_helped(group, 0.8) is True

    def test_what_counts_as_right_can_be_set(self):
        assert terms.make("temporal", {"right_above": 0.5})(both([0.5, 0.6], [0.0])).tolist() == [0.0, 1.0]


class TestLengthBand:
    def test_both_bounds_are_included_and_wrong_answers_get_nothing(self):
        group = of_lengths(319, 320, 512, 513, 400, values=[1, 1, 1, 1, 0])
        assert terms.make("length_band", {})(group).tolist() == [0, 1, 1, 0, 0]
        assert terms.make("length_band", {"tokens": [400, 400]})(group).tolist() == [0, 0, 0, 0, 0]
        assert terms.make("length_band", {"tokens": [513, 600]})(group).tolist() == [0, 0, 0, 1, 0]

    def test_the_published_code_needs_two_right_answers(self):
        one, two = of_lengths(400, 400, values=[1, 0]), of_lengths(400, 100, values=[1, 0.2])
        assert terms.make("length_band", {})(one).tolist() == [1, 0]
        assert terms.make("length_band", {"min_right": 2})(one).tolist() == [0, 0]
        assert terms.make("length_band", {"min_right": 2})(two).tolist() == [1, 0]

    def test_a_grade_of_a_tenth_is_not_right(self):
        group = of_lengths(400, 400, values=[0.1 + 1e-12, 0.100001])
        assert terms.make("length_band", {})(group).tolist() == [0, 1]

    @pytest.mark.parametrize("tokens", [[512, 320], [320], []])
    def test_bounds_out_of_order_are_refused(self, tokens):
        with pytest.raises(ValueError, match=r"tokens is .*; allowed: the fewest and the most tokens, in this order"):
            terms.make("length_band", {"tokens": tokens})


def test_the_published_total_is_a_sum():
    """Accuracy + format + 0.3 bonus + 0.2 length reward; a right answer in a broken format keeps its accuracy."""
    good = "<think>x</think><answer>A</answer>"
    completions = (Completion(good, 400, True), Completion("A", 400, True), Completion(good, 10, True))
    grades = (
        Grade(1.0, True, parts={"well_formed": 1.0}),
        Grade(1.0, True),
        Grade(0.0, False, parts={"well_formed": 1.0}),
    )
    group = RolloutGroup(QUESTION, completions, grades, contrast=group_of("b", values=[0.0], view="shuffled"))
    settings = {"accuracy": {}, "format": {}, "temporal": {"weight": 0.3}, "length_band": {"weight": 0.2}}
    table = RewardFunction(Rewards(combine="sum", penalize_wrong=True, terms=settings), "paper")([group])
    assert table.total.tolist() == pytest.approx([2.5, 1.5, 1.0])
