"""Scenes and questions of each data set of the world.

Every data set draws its scenes from its own range of seeds, so training and benchmarks share no scene.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from vidreason.config.world import VideoCounts, World
from vidreason.world.five_types import TYPES, make_question_of_type, make_subject
from vidreason.world.moments import DURATIONS, make_grounded_questions, make_moment, when
from vidreason.world.questions import CATEGORIES, WorldQuestion, make_questions, think_text
from vidreason.world.scenes import Scene, make_scene
from vidreason.world.signs import Sign

SPLITS = ("base", "nextqa", "coldstart", "video_mme", "mvbench", "mlvu", "mmvu", "surroundings")
"""Ranges of seeds: one for each data set, `base` for the base model's pre-training, `surroundings` for what surrounds bounded clips."""
LATER_SPLITS = ("charades_sta_train", "charades_sta", "nextgqa_val", "nextgqa", "video_r1_260k")
"""Further data sets. They have a numbering of their own, so that adding one changes no scene of the others; add at the end."""
RANGE = 1_000_000
"""Number of scenes in a range."""
ALL_CATEGORIES = tuple(CATEGORIES)

MVBENCH_CATEGORIES: Mapping[str, tuple[str, ...]] = {
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
"""MVBench category -> categories of the world that stand for it. Every reader, and clips with and without bounds, occur."""
MLVU_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "plotQA": ("change", "colour"),
    "needle": ("existence",),
    "ego": ("direction",),
    "count": ("count",),
    "order": ("first", "last", "after"),
    "anomaly_reco": ("count", "direction"),
    "topic_reasoning": ("colour", "existence"),
}
"""MLVU category -> categories of the world that stand for it."""
LETTERED = 2
"""One demonstration in this many ends its reasoning with the letter of the option; the others end with its text."""
SECONDS: Mapping[str, tuple[float, float]] = {
    "nextqa": (5.0, 29.0),
    "coldstart": (5.0, 29.0),
    "mvbench": (5.0, 25.0),
    "mlvu": (20.0, 45.0),
    "mmvu": (8.0, 40.0),
    "short": (5.0, 12.0),
    "medium": (16.0, 26.0),
    "long": (36.0, 45.0),
    "video_r1_260k": (5.0, 20.0),
}
"""Shortest and longest duration, by data set or by duration class of Video-MME. NextQA also has videos that are too long."""
TOO_LONG_SECONDS = (32.0, 45.0)

QUERIES = ("charades_sta_train", "charades_sta")
"""Data sets of queries: when is what is described?"""
MOMENTS = (*QUERIES, "nextgqa_val", "nextgqa")
"""Data sets about moments (`vidreason.world.moments`)."""
FIVE_TYPES = "video_r1_260k"
"""The data set of pictures and videos with questions of five types (`vidreason.world.five_types`)."""
DATASETS = tuple(VideoCounts.model_fields)
"""Data sets of the world."""


@dataclasses.dataclass(frozen=True)
class WorldItem:
    """One video or picture to write, with its questions.

    Attributes:
        video_id: Number of the video within its data set, from 0.
        scene: Its scene or sign.
        duration: Target duration of the scene in seconds; the clip comes as close as its frame rate allows.
        questions: Questions about it.
        category: The benchmark's own name of the category, `""` where it has none.
        think: Annotated reasoning for the first question (cold start only).
        picture: Whether it is a picture, that of the first step, and not a video.
    """

    video_id: int
    scene: Scene | Sign
    duration: float
    questions: tuple[WorldQuestion, ...]
    category: str = ""
    think: str = ""
    picture: bool = False


def scene_seed(seed: int, split: str, number: int) -> int:
    """Seed of a scene of a data set; no two data sets share one.

    Args:
        seed: Seed of the whole world.
        split: One of `SPLITS` or `LATER_SPLITS`.
        number: 0 <= number < `RANGE`.

    Raises:
        ValueError: The number is outside the range.
    """
    if not 0 <= number < RANGE:
        raise ValueError(f"scene {number} of {split}; allowed: 0 <= number < {RANGE}")
    if split in SPLITS:
        return (seed * len(SPLITS) + SPLITS.index(split)) * RANGE + number
    return (
        ((LATER_SPLITS.index(split) + 1) << 128) + seed * RANGE + number
    )  # beyond all of the above: a seed has 64 bits at most


def draw_items(split: str, settings: World, seed: int) -> list[WorldItem]:
    """Draw the videos and questions of a data set.

    Args:
        split: One of `DATASETS`.
        settings: The configuration's `world`.
        seed: Seed of the whole world.

    Returns:
        As many items as the settings say, spread evenly over the benchmark's categories.
    """
    if split in MOMENTS:
        return _draw_moments(split, settings, seed)
    if split == FIVE_TYPES:
        return _draw_five_types(settings.videos.video_r1_260k, seed)
    rng = np.random.default_rng([seed, SPLITS.index(split), 0x17E])
    table: Mapping[str, tuple[str, ...]] = {"mvbench": MVBENCH_CATEGORIES, "mlvu": MLVU_CATEGORIES}.get(
        split, {"": ALL_CATEGORIES}
    )
    names = tuple(table)
    per_video = int(getattr(settings.questions_per_video, split))
    items: list[WorldItem] = []
    number = 0
    while len(items) < getattr(settings.videos, split):
        category = names[len(items) % len(names)]
        scene = make_scene(scene_seed(seed, split, number))
        number += 1
        questions = make_questions(scene, table[category], per_video, rng)
        # Not every scene allows a question of the category: a direction needs something that moves.
        if not questions:
            continue
        think = think_text(scene, questions[0], len(items) % LETTERED == 0) if split == "coldstart" else ""
        duration = _draw_duration(split, len(items), settings, rng)
        items.append(WorldItem(len(items), scene, duration, questions, category, think))
    return items


def _draw_moments(split: str, settings: World, seed: int) -> list[WorldItem]:
    """Draw the clips of a data set of temporal grounding, each with its query, or with questions and their evidence."""
    rng = np.random.default_rng([seed, LATER_SPLITS.index(split), 0x17F])
    count = int(getattr(settings.questions_per_video, split))
    items = []
    for number in range(getattr(settings.videos, split)):
        scene = make_moment(scene_seed(seed, split, number))
        duration = float(rng.choice(DURATIONS))
        questions = (when(scene),) if split in QUERIES else make_grounded_questions(scene, count, rng)
        items.append(WorldItem(number, scene, duration, questions))
    return items


def _draw_five_types(count: int, seed: int) -> list[WorldItem]:
    """Draw pictures and clips in turn, every type of question in turn for both, each with one question."""
    rng = np.random.default_rng([seed, LATER_SPLITS.index(FIVE_TYPES), 0x180])
    items = []
    for number in range(count):
        picture, kind = number % 2 == 0, TYPES[number // 2 % len(TYPES)]
        shown = make_subject(kind, scene_seed(seed, FIVE_TYPES, number), picture)
        duration = 0.0 if picture else float(rng.uniform(*SECONDS[FIVE_TYPES]))
        question = make_question_of_type(kind, shown, picture, rng)
        items.append(WorldItem(number, shown, duration, (question,), kind, picture=picture))
    return items


def duration_class(video_id: int) -> str:
    """Duration class of a Video-MME video."""
    return ("short", "medium", "long")[video_id % 3]


def _draw_duration(split: str, video_id: int, settings: World, rng: np.random.Generator) -> float:
    """Draw the duration of a video in seconds."""
    low, high = SECONDS[duration_class(video_id) if split == "video_mme" else split]
    if split == "nextqa":
        # A broken file that is also too long would be dropped for its length, and the damage would go untested.
        breakable = video_id < len(settings.broken)
        if rng.random() < settings.too_long_fraction and not breakable:
            low, high = TOO_LONG_SECONDS
    return float(rng.uniform(low, high))
