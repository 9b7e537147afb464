"""A gallery to look at in tests: the hand-written run, its frames, and rollouts of two steps."""

import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.scored_run import BENCHMARKS, write_run
from vidreason.artifacts.files import write_jsonl
from vidreason.records import ClipRef, ClipStatus, Completion, Grade, KeptRollout, Question
from vidreason.results.gallery.thumbnails import Sources, make_thumbnails
from vidreason.results.result_inputs import ResultInputs

FRAMES = 16


class Store:
    """Frames of any clip: 16 gray pictures twice as wide as high. One clip is broken, one is a still picture."""

    def __init__(self, paths: Sequence[Path]) -> None:
        names = [f"clips/{number}.mp4" for number in range(4)] + ["train/0.mp4", "train/1.png"]
        broken = {"clips/1.mp4": "truncated"}
        self.clips = {
            name: ClipStatus(name, broken.get(name, "ok"), codec="image" if name.endswith("png") else "h264")
            for name in names
        }

    def status(self, clip: str) -> str:
        return self.clips[clip].status

    def times(self, clip: str) -> np.ndarray:
        return np.arange(FRAMES) * 0.5

    def pixels(self, clip: str) -> np.ndarray:
        return np.stack([np.full((100, 200, 3), 10 * number, dtype=np.uint8) for number in range(FRAMES)])


def use_store(patch: pytest.MonkeyPatch) -> None:
    """Let the gallery read its frames from `Store`."""
    module = types.ModuleType("vidreason.media.frame_store")
    module.FrameStore = Store  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "vidreason.media.frame_store", module)


def trained_questions() -> list[Question]:
    """What R1 was trained on: a choice, and a question about a moment."""
    choice = Question("t0", "nextqa", "multiple_choice", "Who <falls>?", ClipRef("train/0.mp4"), ("he", "she"), "B")
    moment = Question(
        "t1", "nextqa", "grounding", "When?", ClipRef("train/0.mp4"), segments=((1.0, 3.0), (5.0, 6.0)), duration=8.0
    )
    return [choice, moment]


def rollout(step: int, question: str, index: int, reward: float | None, **changes: object) -> KeptRollout:
    """A rollout with two terms, whose advantage is its reward less 1."""
    words = f"<think>step {step}</think> <answer>{'B' if reward else 'A'}</answer>"
    one = KeptRollout(
        step=step,
        question_id=question,
        index=index,
        view="ordered" if reward is not None else "shuffled",
        completion=Completion(words, 10 + index, True),
        grade=Grade(float(bool(reward)), bool(reward), "B" if reward else "A", {"well_formed": 1.0}),
        terms={} if reward is None else {"accuracy": float(reward > 1), "think_length": 0.25},
        reward=reward,
        advantage=None if reward is None else reward - 1.0,
    )
    return replace(one, **changes)


def kept_rollouts() -> list[KeptRollout]:
    """Two groups in step 0, the second without variance; in step 10 a group with two shuffled rollouts."""
    moment = Grade(0.4, False, "2 to 4.5", {"tiou": 0.4, "well_formed": 1.0})
    return [
        *(rollout(0, "t0", index, reward) for index, reward in enumerate((0.0, 2.0, 1.0))),
        *(rollout(0, "t1", index, 1.0, grade=moment) for index in range(3)),
        *(rollout(10, "t0", index, reward) for index, reward in enumerate((1.5, 0.5))),
        *(rollout(10, "t0", index, None) for index in range(2)),
    ]


def gallery_inputs(root: Path, seeds: tuple[int, ...] = (0,), most: int = 100) -> ResultInputs:
    """The run, with thumbnails of the frames of `Store`, and rollouts of R1 with seed 0."""
    run = write_run(root, seeds)
    rollouts = root / "train_grpo/r1/seed0/rollouts.jsonl"
    selected = root / "select_by_variance/r1/seed0/selected.jsonl"
    write_jsonl(rollouts, kept_rollouts())
    write_jsonl(selected, trained_questions())
    questions = [root / "questions" / f"{name}.jsonl" for name in run.benchmarks]
    sources = Sources(questions, frame_tables(root), [selected], [rollouts])
    make_thumbnails(sources, root / "thumbnails", 0, most)
    return replace(run, rollouts=[rollouts], selected=[selected], thumbnails=root / "thumbnails")


def frame_tables(root: Path) -> list[Path]:
    """Paths of the frame tables that `Store` stands for."""
    return [root / f"extract_frames/{name}/shard0.parquet" for name in (*BENCHMARKS, "nextqa")]
