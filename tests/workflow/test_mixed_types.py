"""T-GRPO on the world's pictures and videos with questions of five types, from a short cold start: two steps that teach something."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Workplace, new_workplace
from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.files import read_json_lines, read_jsonl
from vidreason.records import IMAGE, OK, Question

pytestmark = pytest.mark.workflow
CONFIGS = ("config/demo.yaml", "tests/workflow/mixed.yaml")
TRAINED = "results/mixed/train_grpo/mixed/seed0/checkpoint"
ORDERED, SHUFFLED = 4, 2
"""Rollouts of a question, as in `mixed.yaml`."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace where the arm has been trained."""
    made = new_workplace(tmp_path_factory.mktemp("mixed") / "place")
    shutil.copy2(ROOT / CONFIGS[1], made.root / CONFIGS[1])
    made.run(TRAINED, configs=CONFIGS)
    return made


def questions_of(place: Workplace) -> list[Question]:
    return read_jsonl(place.root / "results/mixed/questions/video_r1_260k.jsonl", Question)


def rows_of(place: Workplace) -> list[dict[str, float]]:
    metrics = place.root / "results/mixed/train_grpo/mixed/seed0/metrics.jsonl"
    return [row for row in map(json.loads, metrics.read_text().splitlines()) if row["kind"] == "train"]


def weights_of(checkpoint: Path) -> list[str]:
    return [sha256_of(path) for path in sorted(checkpoint.rglob("*.safetensors"))]


def test_pictures_and_videos_of_all_types_are_learned_from(place: Workplace) -> None:
    questions = questions_of(place)
    assert {question.task for question in questions} == {
        "multiple_choice", "numerical", "ocr", "free_form", "regression",
    }  # fmt: skip
    kinds = Counter(question.clip.kind for question in questions)
    assert set(kinds) == {"image", "video"}
    (clips,) = (place.root / "results/mixed/extract_frames/video_r1_260k").glob("shard0.clips.jsonl")
    assert {row["status"] for row in read_json_lines(clips)} == {OK}
    rows = rows_of(place)
    assert [row["step"] for row in rows] == [0, 1]
    # Two steps of eight are one pass: every video was shown shuffled as well, and no picture.
    assert sum(kinds.values()) == 16
    assert sum(row["rollouts"] for row in rows) == 16 * ORDERED + (16 - kinds[IMAGE]) * SHUFFLED
    assert sum(row["without_frames"] + row["too_long"] for row in rows) == 0


def test_the_steps_teach_something(place: Workplace) -> None:
    rows = rows_of(place)
    terms = {"accuracy", "format", "temporal", "length_band"}
    assert all(terms | {"temporal_fired", "accuracy_zero_variance"} <= set(row) for row in rows)
    assert max(row["reward"] for row in rows) > 0
    assert min(row["zero_variance"] for row in rows) < 1
    parent = weights_of(place.root / "results/mixed/train_sft/coldstart/seed0/checkpoint")
    assert parent
    assert weights_of(place.root / TRAINED) != parent
