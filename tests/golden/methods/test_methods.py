"""The golden checks of Video-R1 and Temporal-R1 pass, and notice the mistakes that are easily made."""

from pathlib import Path

import pytest

from tests.golden import check
from tests.golden.methods import frames_and_time, losses, temporal_r1_rewards, video_r1_rewards
from tests.golden.methods.base import Methods

HERE = Path(__file__).parents[2] / "golden_methods"
MODULES = (video_r1_rewards, temporal_r1_rewards, losses, frames_and_time)


@pytest.fixture(scope="module")
def methods():
    return Methods(HERE)


@pytest.mark.parametrize("one", check.METHOD_CHECKS, ids=lambda one: one.__name__)
def test_every_item_is_within_tolerance(methods, one):
    items = list(one(methods))
    assert items
    assert [str(item) for item in items if not item.passed] == []
    assert len({item.name for item in items}) == len(items)


@pytest.mark.parametrize(
    "mutation", [pytest.param(one, id=name) for module in MODULES for name, one in module.MUTATIONS.items()]
)
def test_a_planted_mistake_is_noticed(methods, mutation):
    with mutation.plant():
        failed = {item.name for item in mutation.check(methods) if not item.passed}
    assert set(mutation.noticed) <= failed


def test_a_check_of_the_other_layout_is_refused(capsys):
    with pytest.raises(SystemExit):
        check.main([str(HERE), "--only", "connector"])
    assert "connector: not a check of this folder; allowed: " in capsys.readouterr().err
