"""Which scenes and questions go into which data set of the world.

Every data set draws its scenes from a range of seeds of its own, so no scene is shared between training and benchmarks.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vidreason.config.world import VideoCounts, World
from vidreason.world.questions import TASKS, WorldQuestion, ask_some, think_text
from vidreason.world.scenes import Scene, make_scene

SPLITS = ("base", "nextqa", "coldstart", "video_mme", "mvbench", "mlvu", "mmvu", "surroundings")
"""Owners of a range of seeds. `base` is the base model's pre-training, `surroundings` is shown around bounded clips."""
RANGE = 1_000_000
"""Scenes that a data set can draw."""
ALL_TASKS = tuple(TASKS)

MVBENCH_TASKS: Mapping[str, tuple[str, ...]] = {
    "action_sequence": ("after",),
    "action_antonym": ("direction",),
    "object_existence": ("existence",),
    "object_interaction": ("change",),
    "moving_direction": ("direction",),
    "moving_count": ("count",),
    "moving_attribute": ("colour",),
    "state_change": ("change",),
    "fine_grained_pose": ("colour",),
    "character_order": ("first", "last"),
    "episodic_reasoning": ("first", "last", "after"),
}
"""Task of MVBench -> tasks of the world that stand for it: every kind of reader, and both kinds of bounds, occur."""
MLVU_TASKS: Mapping[str, tuple[str, ...]] = {
    "plotQA": ("change", "colour"),
    "needle": ("existence",),
    "ego": ("direction",),
    "count": ("count",),
    "order": ("first", "last", "after"),
    "anomaly_reco": ("count", "direction"),
    "topic_reasoning": ("colour", "existence"),
}
"""Task of MLVU -> tasks of the world that stand for it."""
LETTERED = 2
"""One annotated thought in so many names the letter of the option that it concludes; the others stop at its word."""
SECONDS: Mapping[str, tuple[float, float]] = {
    "nextqa": (5.0, 29.0),
    "coldstart": (5.0, 29.0),
    "mvbench": (5.0, 25.0),
    "mlvu": (20.0, 45.0),
    "mmvu": (8.0, 40.0),
    "short": (5.0, 12.0),
    "medium": (16.0, 26.0),
    "long": (36.0, 45.0),
}
"""Shortest and longest duration, by data set or by class of Video-MME. NextQA has some too long ones besides."""
TOO_LONG_SECONDS = (32.0, 45.0)

DATASETS = tuple(VideoCounts.model_fields)
"""Data sets of the world."""


@dataclasses.dataclass(frozen=True)
class WorldItem:
    """One video to write, and what is asked about it.

    Attributes:
        video_id: Number of the video within its data set, from 0.
        scene: What it shows.
        duration: Wanted duration of the scene in seconds; the clip comes as close as its frame rate allows.
        questions: What is asked.
        task: The benchmark's own name of the task, `""` where it has none.
        think: Annotated reasoning for the first question (cold start only).
    """

    video_id: int
    scene: Scene
    duration: float
    questions: tuple[WorldQuestion, ...]
    task: str = ""
    think: str = ""


def scene_seed(seed: int, split: str, number: int) -> int:
    """Seed of the scene with a number in a data set; no two data sets share one.

    Args:
        seed: Seed of the whole world.
        split: One of `SPLITS`.
        number: 0 <= number < `RANGE`.

    Raises:
        ValueError: The number is outside the range.
    """
    if not 0 <= number < RANGE:
        raise ValueError(f"scene {number} of {split}; allowed: 0 <= number < {RANGE}")
    return (seed * len(SPLITS) + SPLITS.index(split)) * RANGE + number


def draw_items(split: str, settings: World, seed: int) -> list[WorldItem]:
    """Draw the videos and questions of a data set.

    Args:
        split: One of `DATASETS`.
        settings: The configuration's `world`.
        seed: Seed of the whole world.

    Returns:
        As many items as the settings say. Where questions have tasks, the items are dealt out evenly over them.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), 0x17E])
    table: Mapping[str, tuple[str, ...]] = {"mvbench": MVBENCH_TASKS, "mlvu": MLVU_TASKS}.get(split, {"": ALL_TASKS})
    names = tuple(table)
    per_video = int(getattr(settings.questions_per_video, split))
    items: list[WorldItem] = []
    number = 0
    while len(items) < getattr(settings.videos, split):
        task = names[len(items) % len(names)]
        scene = make_scene(scene_seed(seed, split, number))
        number += 1
        questions = ask_some(scene, table[task], per_video, rng)
        # A scene without, say, a moving thing is passed over where a direction is to be asked.
        if not questions:
            continue
        think = think_text(scene, questions[0], len(items) % LETTERED == 0) if split == "coldstart" else ""
        duration = _draw_duration(split, len(items), settings, rng)
        items.append(WorldItem(len(items), scene, duration, questions, task, think))
    return items


def duration_class(video_id: int) -> str:
    """Duration class of a Video-MME video."""
    return ("short", "medium", "long")[video_id % 3]


def _draw_duration(split: str, video_id: int, settings: World, rng: np.random.Generator) -> float:
    """Draw the duration of a video in seconds."""
    low, high = SECONDS[duration_class(video_id) if split == "video_mme" else split]
    if split == "nextqa":
        # A broken file that were also too long would be dropped for its length, and its fault never seen.
        breakable = video_id < len(settings.broken)
        if rng.random() < settings.too_long_fraction and not breakable:
            low, high = TOO_LONG_SECONDS
    return float(rng.uniform(low, high))
