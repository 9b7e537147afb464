"""Advantages."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidreason.rl.advantages import group_advantages, group_std

REWARDS = torch.tensor([2.0, -1.0, 0.5, -2.0, 1.0, 1.0, 1.0, -2.0])


def test_formula_by_hand():
    group = [2.0, -1.0, 0.5, -2.0]
    mean = sum(group) / 4
    unbiased = (sum((value - mean) ** 2 for value in group) / 3) ** 0.5
    population = (sum((value - mean) ** 2 for value in group) / 4) ** 0.5
    for kind, std in (("unbiased", unbiased), ("population", population)):
        advantages = group_advantages(REWARDS, 4, std=kind)[:4]
        assert advantages.tolist() == pytest.approx([(value - mean) / (std + 1e-4) for value in group], abs=1e-6)
    assert group_advantages(REWARDS, 4, std="none")[:4].tolist() == pytest.approx([value - mean for value in group])
    assert group_std(REWARDS, 4)[0] == pytest.approx(unbiased)


@given(st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), st.floats(-3, 3, width=32))
def test_shift_of_all_rewards_changes_nothing_and_groups_are_apart(group, shift):
    rewards = torch.tensor(group)
    alone = group_advantages(rewards, 4, std="none")
    assert torch.allclose(group_advantages(rewards + shift, 4, std="none"), alone, atol=1e-5)
    both = group_advantages(torch.cat((rewards, REWARDS[:4])), 4, std="none")
    assert torch.equal(both[:4], alone)
    assert abs(float(alone.sum())) < 1e-5


def test_equal_rewards_give_nothing_but_noise():
    noise = torch.tensor([0.01, -0.02, 0.0, 0.03])
    assert group_advantages(torch.ones(4), 4).tolist() == [0.0] * 4
    assert torch.equal(group_advantages(torch.ones(4), 4, noise=noise), noise)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": 3}, "groups of 3"),
        ({"group": 1}, "groups of 1"),
        ({"group": 4, "std": "unbaised"}, "unbiased, population, none"),
        ({"group": 4, "noise": torch.zeros(3)}, "noise"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(REWARDS, **arguments)
