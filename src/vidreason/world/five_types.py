"""Questions of five types about a clip or about one picture: options, numbers, a text to read, a description, a quantity.

The pictures alone decide every answer. Positions are rows and columns of the grid, or percentages of the picture to the
middle of the thing. Times are percentages of the clip, because frames do not tell seconds. No answer to a regression question is 0.
"""

import dataclasses

import numpy as np

from vidreason.data.video_r1 import TASKS
from vidreason.world.questions import CATEGORIES, WorldQuestion, make_questions
from vidreason.world.scenes import GRID, STEPS, Act, Scene, make_scene
from vidreason.world.signs import Sign, make_sign

TYPES = tuple(TASKS)
"""Values of Video-R1's `problem_type`."""
PICTURE_CHOICES = ("colour", "existence")
"""Categories of multiple-choice questions about a picture, which shows one thing and no time."""
SIDES = {"across": ("left", "width"), "down": ("top", "height")}
"""Category of a regression question about a place -> where it is measured from, and against what."""


def make_subject(kind: str, seed: int, picture: bool) -> Scene | Sign:
    """Draw what a question of a type is about: a scene, or a sign for OCR; the same seed gives the same.

    Args:
        kind: One of `TYPES`.
        seed: Any non-negative integer.
        picture: Whether nothing changes: one thing that stays put, or words that are shown together.
    """
    if kind == "OCR":
        return make_sign(seed, moving=not picture)
    return make_still(seed) if picture else make_scene(seed)


def make_still(seed: int) -> Scene:
    """One picture of a scene, as a scene in which nothing happens."""
    scene, rng = make_scene(seed), np.random.default_rng([seed, 0x571])
    step = int(rng.integers(STEPS))
    act = scene.act_at(step)
    row, column, colour = act.at(step)
    return dataclasses.replace(scene, acts=(Act(act.thing, colour, "stays", "put", row, column, 0, STEPS),))


def make_question_of_type(kind: str, shown: Scene | Sign, picture: bool, rng: np.random.Generator) -> WorldQuestion:
    """Make one question of a type.

    Args:
        kind: One of `TYPES`.
        shown: Drawn for this type.
        picture: Whether it is one picture.
        rng: Draws what the question is about, and the options.

    Returns:
        The question. Without options, `gold` is the answer itself.

    Raises:
        ValueError: The type is unknown.
    """
    view = "picture" if picture else "video"
    if isinstance(shown, Sign):
        return WorldQuestion(f"What text does the {view} show?", (), shown.caption, "text", not picture)
    if kind == "multiple choice":
        (question,) = make_questions(shown, PICTURE_CHOICES if picture else tuple(CATEGORIES), 1, rng)
        return question
    if kind == "free-form":
        gold = shown.acts[0].description(0) if picture else shown.caption
        return WorldQuestion(f"Describe the {view}.", (), gold, "description", not picture)
    if kind == "numerical":
        return _place_in_grid(shown.acts[0], rng) if picture else _count(shown)
    if kind == "regression":
        return _place(shown, picture, rng) if picture or rng.random() < 2 / 3 else _time(shown, rng)
    raise ValueError(f"unknown type of question {kind!r}; allowed: {', '.join(TYPES)}")


def _count(scene: Scene) -> WorldQuestion:
    moving = sum(act.verb == "goes" for act in scene.acts)
    return WorldQuestion("How many things go somewhere?", (), str(moving), "count", False)


def _place_in_grid(act: Act, rng: np.random.Generator) -> WorldQuestion:
    line, side, place = (("row", "top", act.row), ("column", "left", act.column))[int(rng.integers(2))]
    text = f"The picture has {GRID} rows and {GRID} columns. In which {line} from the {side} is the {act.thing}?"
    return WorldQuestion(text, (), str(place + 1), line, False)


def _place(scene: Scene, picture: bool, rng: np.random.Generator) -> WorldQuestion:
    """Where the middle of a thing is, or was when it was last shown."""
    act = _one(scene, rng)
    category = str(rng.choice(tuple(SIDES)))
    side, extent = SIDES[category]
    row, column, _ = act.at(act.end - 1)
    percent = 100 * ((column if category == "across" else row) + 0.5) / GRID
    when = "" if picture else " when it is last shown"
    text = f"How far from the {side} is the middle of the {act.thing}{when}, as a percentage of the {extent}?"
    return WorldQuestion(text, (), f"{percent:g}", category, act.verb == "goes")


def _time(scene: Scene, rng: np.random.Generator) -> WorldQuestion:
    """When a thing is gone."""
    act = _one(scene, rng)
    text = f"After what percentage of the video is the {act.thing} no longer shown?"
    return WorldQuestion(text, (), f"{100 * act.end / STEPS:g}", "until", True)


def _one(scene: Scene, rng: np.random.Generator) -> Act:
    return scene.acts[int(rng.integers(len(scene.acts)))]
