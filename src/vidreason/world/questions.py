"""Multiple-choice questions about a scene that cannot be answered without the pictures.

Every option is one word. Options are shuffled, so the gold letter is uniform. Within a category every option is equally likely to
be right, because distractors are drawn as right answers are. The tests measure that a text-only classifier stays at chance.

The options of a temporal question are all consistent with the pictures in some order: the things of the clip, a direction and
its opposite, the colour before and after. A model that sees the pictures in random order stays at chance.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from vidreason.records import LETTERS
from vidreason.world.scenes import COLOURS, THINGS, Act, Scene

NUMBERS = ("none", "one", "two", "three")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


@dataclasses.dataclass(frozen=True)
class WorldQuestion:
    """A question and its answer.

    Attributes:
        text: The question.
        options: One word each, shuffled.
        gold: Letter of the right option.
        category: Key of `CATEGORIES`.
        temporal: Whether the order of the frames is needed to answer it.
        about: Thing or position that the question is about, which a conclusion names before the answer; `""` for none.
        steps: First step of the evidence and the first after it; None where none is annotated.
    """

    text: str
    options: tuple[str, ...]
    gold: str
    category: str
    temporal: bool
    about: str = ""
    steps: tuple[int, int] | None = None

    @property
    def gold_text(self) -> str:
        """Text of the right option; `""` where there are no options."""
        return "" if not self.options else self.options[LETTERS.index(self.gold)]


Draft = tuple[str, str, str, list[str]]
"""Question, thing or position it is about, right answer, wrong answers."""


def pick(rng: np.random.Generator, pool: list[str], count: int) -> list[str]:
    """Draw `count` different words in random order, or all of them if there are fewer."""
    order = rng.permutation(len(pool))
    return [pool[index] for index in order[:count]]


def _things(scene: Scene) -> list[str]:
    return [act.thing for act in scene.acts]


def _absent(scene: Scene) -> list[str]:
    return [thing for thing in THINGS if thing not in _things(scene)]


def _one(rng: np.random.Generator, acts: list[Act]) -> Act | None:
    return acts[int(rng.integers(len(acts)))] if acts else None


def _end(scene: Scene, rng: np.random.Generator, position: int, word: str) -> Draft:
    things = _things(scene)
    right = things[position]
    return f"Which thing comes {word}?", word, right, [thing for thing in things if thing != right]


def _first(scene: Scene, rng: np.random.Generator) -> Draft | None:
    return _end(scene, rng, 0, "first")


def _last(scene: Scene, rng: np.random.Generator) -> Draft | None:
    return _end(scene, rng, -1, "last")


def _after(scene: Scene, rng: np.random.Generator) -> Draft | None:
    things = _things(scene)
    position = int(rng.integers(len(things) - 1))
    right = things[position + 1]
    wrong = [thing for thing in things if thing not in (right, things[position])]
    return f"Which thing comes right after the {things[position]}?", f"after {things[position]}", right, wrong


def _direction(scene: Scene, rng: np.random.Generator) -> Draft | None:
    act = _one(rng, [act for act in scene.acts if act.verb == "goes"])
    if act is None:
        return None
    return f"Which way does the {act.thing} go?", act.thing, act.argument, [OPPOSITE[act.argument]]


def _change(scene: Scene, rng: np.random.Generator) -> Draft | None:
    act = _one(rng, [act for act in scene.acts if act.verb == "turns"])
    if act is None:
        return None
    return f"Which colour does the {act.thing} turn into?", act.thing, act.argument, [act.colour]


def _colour(scene: Scene, rng: np.random.Generator) -> Draft | None:
    act = _one(rng, [act for act in scene.acts if act.verb != "turns"])
    if act is None:
        return None
    wrong = pick(rng, [colour for colour in COLOURS if colour != act.colour], 3)
    return f"Which colour is the {act.thing}?", act.thing, act.colour, wrong


def _existence(scene: Scene, rng: np.random.Generator) -> Draft | None:
    right = pick(rng, _things(scene), 1)[0]
    return "Which thing appears?", "", right, pick(rng, _absent(scene), 4)


def _count(scene: Scene, rng: np.random.Generator) -> Draft | None:
    right = NUMBERS[sum(act.verb == "goes" for act in scene.acts)]
    return "How many things go somewhere?", "", right, [number for number in NUMBERS if number != right]


CATEGORIES: dict[str, tuple[Callable[[Scene, np.random.Generator], Draft | None], bool]] = {
    "first": (_first, True),
    "last": (_last, True),
    "after": (_after, True),
    "direction": (_direction, True),
    "change": (_change, True),
    "colour": (_colour, False),
    "existence": (_existence, False),
    "count": (_count, False),
}
"""Category -> (function that drafts a question about a scene, or None if the scene has no answer; whether it is temporal)."""


def make_question(scene: Scene, category: str, rng: np.random.Generator) -> WorldQuestion | None:
    """Make one question about a scene.

    Args:
        scene: The scene.
        category: A key of `CATEGORIES`.
        rng: Draws the thing that it is about, the distractors and the order of the options.

    Returns:
        The question with 2 to 5 shuffled options, or None if the scene allows no question of that category.
    """
    draft_question, temporal = CATEGORIES[category]
    draft = draft_question(scene, rng)
    if draft is None:
        return None
    text, about, right, wrong = draft
    options = pick(rng, [right, *wrong], 1 + len(wrong))
    return WorldQuestion(text, tuple(options), LETTERS[options.index(right)], category, temporal, about)


def make_questions(
    scene: Scene, categories: tuple[str, ...], count: int, rng: np.random.Generator
) -> tuple[WorldQuestion, ...]:
    """Make `count` questions of different categories, or fewer if the scene does not allow as many.

    A category that the scene does not allow is replaced by another one, but never by `count`. Scenes in which nothing moves allow
    fewer categories, so they would get that question more often, and "none" would be right too often.
    """
    order = [categories[index] for index in rng.permutation(len(categories))]
    drawn = [*order[:count], *(category for category in order[count:] if category != "count")]
    questions = (make_question(scene, category, rng) for category in drawn)
    return tuple([question for question in questions if question is not None][:count])


def think_text(scene: Scene, question: WorldQuestion, letter: bool = True) -> str:
    """Reasoning: the caption of the scene, then the conclusion, with or without the letter of the option."""
    return f"{scene.caption}. {conclusion(question, letter)}"


def conclusion(question: WorldQuestion, letter: bool = True) -> str:
    """The conclusion: the thing that the question is about, the right option and its letter.

    The thing stands right before the answer. With "so the answer is" in between, a model of three layers would have to carry it
    over first; such a model concluded correctly from a true caption in only half of the questions.
    """
    words = ("so", question.about, question.gold_text, question.gold if letter else "")
    return " ".join(word for word in words if word)
