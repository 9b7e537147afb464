"""SFT on moments learns when something is shown, from the pictures, their order and the times in the prompt: without them it is lost."""

import json
import shutil

import pytest

from tests.workflow.conftest import ROOT, new_workplace

pytestmark = pytest.mark.workflow
CONFIGS = ("config/demo.yaml", "config/grounding.yaml", "tests/workflow/moments.yaml")
SCORE = "results/moments/score/{arm}/seed0/nextgqa.score.json"
CONTROLS = ("sft_gray", "sft_shuffled", "sft_times")
BLIND = 0.335
"""mIoU of the best answer without looking (tests/unit/world/test_moments.py)."""


@pytest.fixture(scope="module")
def overlap(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The mIoU of SFT and its controls."""
    place = new_workplace(tmp_path_factory.mktemp("moments") / "place")
    shutil.copy2(ROOT / CONFIGS[2], place.root / CONFIGS[2])
    scores = {arm: SCORE.format(arm=arm) for arm in ("sft", *CONTROLS)}
    place.run(*scores.values(), configs=CONFIGS)
    return {arm: json.loads((place.root / path).read_text())["metrics"]["miou"]["mean"] for arm, path in scores.items()}


def test_it_has_learned_when(overlap: dict[str, float]) -> None:
    """0.66 where this was written; half of the way from a blind answer is enough on another machine."""
    assert overlap["sft"] > BLIND + 0.15


@pytest.mark.parametrize("control", ["sft_gray", "sft_shuffled"])
def test_without_pictures_or_their_order_it_is_lost(overlap: dict[str, float], control: str) -> None:
    """No better than a blind answer, by more than chance allows: 150 answers have a standard error of at most 0.03."""
    assert overlap[control] < BLIND + 0.09
    assert overlap["sft"] - overlap[control] > 0.1


def test_times_in_a_wrong_order_hurt(overlap: dict[str, float]) -> None:
    """Less than the loss of the pictures: whoever finds the greatest of the times still knows how long a step is."""
    assert overlap["sft_times"] < overlap["sft"]
