"""Clips in which one thing is shown for a part of the time, and questions about when that is.

A *moment* is a scene of one act with nothing before and after it. It lasts 3 to 6 of the 16 steps and begins at any of them, all
equally likely whatever the act is: a query alone tells nothing about time. Clips last 8, 16 or 24 s (`DURATIONS`), so that a step
is half a second, a second or one and a half, and a model has to know the times of the frames.

A model of this size does not learn which of several acts a query names: in a trial with three acts in a clip its answers stayed as
good as those to gray frames. With one act in a clip it learns when something is shown, but not to tell what from what.
"""

import dataclasses

import numpy as np

from vidreason.records import LETTERS
from vidreason.world.questions import WorldQuestion, pick
from vidreason.world.scenes import COLOURS, STEPS, THINGS, Act, Scene, make_scene

LENGTHS = (3, 4, 5, 6)
"""Steps of a moment. Were long ones as likely, an answer without looking would often be nearly right."""
DURATIONS = (8.0, 16.0, 24.0)
"""Seconds; with these the steps begin at multiples of half a second, and every frame rate of the world can show them."""
OPTIONS = 5
"""NExT-GQA's questions have five options."""
EVIDENCE = ("existence", "colour", "change")
"""Categories of questions whose evidence is the moment."""


def make_moment(seed: int) -> Scene:
    """Draw a scene of one act; the same seed gives the same scene.

    Args:
        seed: Any non-negative integer.
    """
    rng = np.random.default_rng([seed, 0x30E])
    scene = make_scene(seed)
    act = scene.acts[int(rng.integers(len(scene.acts)))]
    length = int(rng.choice(LENGTHS))
    start = int(rng.integers(STEPS - length + 1))
    return dataclasses.replace(scene, acts=(dataclasses.replace(act, start=start, end=start + length),))


def when(scene: Scene) -> WorldQuestion:
    """The query that describes the moment."""
    (act,) = scene.acts
    return WorldQuestion(f"a {act.caption}.", (), "", "when", True, steps=(act.start, act.end))


def make_grounded_questions(scene: Scene, count: int, rng: np.random.Generator) -> tuple[WorldQuestion, ...]:
    """Multiple-choice questions of different categories whose evidence is the moment.

    Args:
        scene: A moment.
        count: Questions wanted; there are fewer if the act does not allow as many.
        rng: Draws the categories, the distractors and the order of the options.
    """
    (act,) = scene.acts
    drafts = {category: _draft(act, category) for category in pick(rng, list(EVIDENCE), len(EVIDENCE))}
    possible = [(category, *draft) for category, draft in drafts.items() if draft is not None]
    return tuple(_grounded_question(act, *draft, rng) for draft in possible[:count])


def _draft(act: Act, category: str) -> tuple[str, str, list[str]] | None:
    """Question, right answer and the wrong answers to draw from; None if the act does not allow the category."""
    if category == "existence":
        return "Which thing appears?", act.thing, [thing for thing in THINGS if thing != act.thing]
    if category == "colour" and act.verb != "turns":
        return f"Which colour is the {act.thing}?", act.colour, [colour for colour in COLOURS if colour != act.colour]
    if category == "change" and act.verb == "turns":
        wrong = [colour for colour in COLOURS if colour != act.argument]
        return f"Which colour does the {act.thing} turn into?", act.argument, wrong
    return None


def _grounded_question(
    act: Act, category: str, text: str, right: str, wrong: list[str], rng: np.random.Generator
) -> WorldQuestion:
    options = pick(rng, [right, *pick(rng, wrong, OPTIONS - 1)], OPTIONS)
    gold = LETTERS[options.index(right)]
    about = act.thing if category != "existence" else ""
    return WorldQuestion(text, tuple(options), gold, category, category == "change", about, (act.start, act.end))
