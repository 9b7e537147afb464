"""Video-R1's overlay, numbers and benchmarks alone changed, against a miniature hub: cold start, T-GRPO, temporal grounding.

Its training data are of five answer types about images and videos, with the published files' defects.
"""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.hub.method_replicas import DAMAGED, build_methods, by_hand
from tests.hub.server import Hub
from tests.workflow.conftest import ROOT, Workplace, new_workplace
from tests.workflow.test_paper import NOWHERE, HubWorkplace
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.files import read_jsonl
from vidreason.records import Question

pytestmark = pytest.mark.workflow
CONFIGS = ("config/video_r1.yaml", "tests/workflow/methods.yaml")
RESULTS = "results/video_r1"
TRAINED = f"{RESULTS}/train_grpo/t_grpo/seed0/checkpoint"
SCORES = tuple(f"{RESULTS}/score/t_grpo/seed0/{name}.score.json" for name in ("charades_sta", "activitynet_tvg"))
KILLER = """
import os, signal, sys
rename = os.replace
def replace(source, target, **kwargs):
    rename(source, target, **kwargs)
    # T-GRPO's second saved state.
    if "train_grpo" in str(target) and str(target).endswith("step00000002"):
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
"""


@dataclasses.dataclass(frozen=True)
class Place(HubWorkplace):
    """The workplace of this run."""

    def make(self, *targets: str, ok: bool = True) -> str:
        """Make some targets."""
        return self.run(*targets, configs=CONFIGS, ok=ok)

    def digests(self) -> dict[str, str]:
        """Digests of what T-GRPO and its evaluation made."""
        files = [
            path for part in ("train_grpo", "predict", "score") for path in (self.root / RESULTS / part).rglob("*")
        ]
        kept = {".safetensors", ".jsonl", ".json"}
        return {
            str(path.relative_to(self.root)): sha256_of(path)
            for path in files
            if path.suffix in kept and "provenance" not in path.name and path.name != "timing.jsonl"  # times differ
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that nothing disturbed, from the first byte over HTTP to the scores."""
    base = tmp_path_factory.mktemp("methods")
    build_methods(base / "hub")
    new_workplace(base / "place")
    shutil.rmtree(base / "place/config/locks", ignore_errors=True)
    shutil.copy2(ROOT / CONFIGS[1], base / "place" / CONFIGS[1])
    by_hand(base / "place/data/ActivityNet")
    with Hub(base / "hub") as hub:
        made = Place(base / "place", hub, {"HF_ENDPOINT": hub.url})
        made.make(*SCORES)
    made.settings.update({"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": NOWHERE})
    return made


def test_five_types_about_images_and_videos_are_trained_on(place: Place) -> None:
    folder = place.root / RESULTS
    questions = read_jsonl(folder / "questions/video_r1_260k.jsonl", Question)
    assert {one.task for one in questions} == {"multiple_choice", "numerical", "ocr", "free_form", "regression"}
    assert {one.clip.kind for one in questions} == {"image", "video"}
    dropped = Counter(row["reason"] for row in read_csv(folder / "filter_questions/video_r1_260k/dropped.csv"))
    assert dropped.pop("empty_file") == Counter(row["video"] for row in dropped_rows(place))[DAMAGED] > 0
    assert dropped == {"unknown_type": 1, "unusable_answer": 3, "unusable_text": 1}
    demonstrations = read_jsonl(folder / "questions/video_r1_cot.jsonl", Question)
    assert len({one.task for one in demonstrations}) == 5
    assert all(one.demonstration for one in demonstrations)


def dropped_rows(place: Place) -> list[dict[str, str]]:
    return read_csv(place.root / RESULTS / "filter_questions/video_r1_260k/dropped.csv")


def test_t_grpo_compares_with_shuffled_frames(place: Place) -> None:
    lines = (place.root / RESULTS / "train_grpo/t_grpo/seed0/metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "loss" in row]
    assert all(row["loss"] != 0 for row in rows)
    counts = [row["rollouts"] for row in rows]
    assert sum(counts) >= 18 > sum(counts[:-1]), "the limit of rollouts ends the training"
    assert set(counts) <= {4, 5, 6}, "two rollouts a question, and one with shuffled frames where it is about a video"
    assert {"temporal", "length_band", "accuracy", "format", "temporal_fired"} <= set().union(*rows)


def test_grounding_benchmarks_are_scored_with_what_was_set_aside(place: Place) -> None:
    scores = {name.split("/")[-1].split(".")[0]: json.loads((place.root / name).read_text()) for name in SCORES}
    assert {name: score["n"] for name, score in scores.items()} == {"charades_sta": 4, "activitynet_tvg": 3}
    assert {"miou", "r1_05"} <= set(scores["charades_sta"]["metrics"])
    dropped = read_csv(place.root / RESULTS / "read_questions/activitynet_tvg/dropped.csv")
    assert [row["reason"] for row in dropped] == ["empty_segment", "empty_segment"]
    log = (place.root / "logs/video_r1/read_questions/charades_sta.log").read_text()
    assert "charades_sta: 4 questions; 2 with an end beyond the video, clipped to it" in log


def test_killed_in_mid_training_it_resumes_to_the_same_bytes(place: Place, tmp_path: Path) -> None:
    whole = place.digests()
    again = Place(Workplace(place.root).copy(tmp_path / "killed").root, place.hub, place.settings)
    for part in ("train_grpo", "predict", "score"):
        shutil.rmtree(again.root / RESULTS / part)
    hook = again.root / "src/sitecustomize.py"
    hook.write_text(KILLER)
    again.make(*SCORES, ok=False)
    assert not (again.root / TRAINED).exists()
    states = again.root / RESULTS / "state/train_grpo/t_grpo/seed0"
    assert (states / "step00000002").is_dir()
    hook.unlink()
    again.make(*SCORES)
    log = (again.root / "logs/video_r1/train_grpo/t_grpo/seed0.log").read_text()
    assert "0/5" not in log, "it started over"
    assert again.digests() == whole
