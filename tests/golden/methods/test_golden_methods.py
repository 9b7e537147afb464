"""The golden checks of Video-R1 and Temporal-R1 pass, and notice the mistakes that are easily made."""

import json
import shutil
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


def test_the_command_line_takes_this_layout_too(tmp_path, capsys):
    shutil.copytree(HERE, tmp_path / "methods")
    assert check.main([str(tmp_path / "methods"), "--only", "video_r1_losses"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == f"{len(lines) - 1} items, all within tolerance"


def test_another_number_in_the_folder_fails(tmp_path, capsys):
    """The folder that is named is the one that is read."""
    shutil.copytree(HERE, tmp_path / "methods")
    path = tmp_path / "methods/video_r1/loss.json"
    published = json.loads(path.read_text(encoding="utf-8"))
    published["cases"][0]["mean_kl"] += 1
    path.write_text(json.dumps(published), encoding="utf-8")
    assert check.main([str(tmp_path / "methods"), "--only", "video_r1_losses"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_a_check_of_the_other_layout_is_refused(capsys):
    with pytest.raises(SystemExit):
        check.main([str(HERE), "--only", "connector"])
    assert "connector: not a check of this folder; allowed: " in capsys.readouterr().err
