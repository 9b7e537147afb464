"""Multiple-choice questions about a scene, with answers that only the pictures can give.

Every option is one word. The gold letter is uniform (the options are shuffled), and within a task every option is
equally likely to be right whatever its wording: distractors are drawn as the right answers are. `tests/` measure that a
text-only classifier stays at chance.

The options of a question that needs the order of time are those that the pictures allow in some order: the things of
the clip, a direction and its opposite, the colour before and after. Who sees the pictures in a random order is left at
chance.
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
    """A question and its truth.

    Attributes:
        question: The question.
        options: One word each, shuffled.
        answer: Gold letter.
        task: Key of `TASKS`.
        temporal: Whether the order of the frames is needed to answer it.
        about: What a conclusion names before the answer: the thing or the place asked about; `""` for none.
    """

    question: str
    options: tuple[str, ...]
    answer: str
    task: str
    temporal: bool
    about: str = ""

    @property
    def gold(self) -> str:
        """Text of the gold option."""
        return self.options[LETTERS.index(self.answer)]


Draft = tuple[str, str, str, list[str]]
"""Question, what it is about, right answer, wrong answers."""


def _pick(rng: np.random.Generator, pool: list[str], count: int) -> list[str]:
    """Draw `count` different words, or all of them when there are fewer."""
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
    wrong = _pick(rng, [colour for colour in COLOURS if colour != act.colour], 3)
    return f"Which colour is the {act.thing}?", act.thing, act.colour, wrong


def _existence(scene: Scene, rng: np.random.Generator) -> Draft | None:
    right = _pick(rng, _things(scene), 1)[0]
    return "Which thing appears?", "", right, _pick(rng, _absent(scene), 4)


def _count(scene: Scene, rng: np.random.Generator) -> Draft | None:
    right = NUMBERS[sum(act.verb == "goes" for act in scene.acts)]
    return "How many things go somewhere?", "", right, [number for number in NUMBERS if number != right]


TASKS: dict[str, tuple[Callable[[Scene, np.random.Generator], Draft | None], bool]] = {
    "first": (_first, True),
    "last": (_last, True),
    "after": (_after, True),
    "direction": (_direction, True),
    "change": (_change, True),
    "colour": (_colour, False),
    "existence": (_existence, False),
    "count": (_count, False),
}
"""Task name -> (how to ask it of a scene, whether it needs the order of the frames). None where it cannot be asked."""


def ask(scene: Scene, task: str, rng: np.random.Generator) -> WorldQuestion | None:
    """Ask one question of a scene.

    Args:
        scene: The scene.
        task: A key of `TASKS`.
        rng: Draws what is asked about, the distractors and the order of the options.

    Returns:
        The question with 2 to 5 shuffled options, or None when the scene has nothing of that kind.
    """
    draft_question, temporal = TASKS[task]
    draft = draft_question(scene, rng)
    if draft is None:
        return None
    text, about, right, wrong = draft
    options = _pick(rng, [right, *wrong], 1 + len(wrong))
    return WorldQuestion(text, tuple(options), LETTERS[options.index(right)], task, temporal, about)


def ask_some(scene: Scene, tasks: tuple[str, ...], count: int, rng: np.random.Generator) -> tuple[WorldQuestion, ...]:
    """Ask `count` questions of different tasks, drawn from `tasks`; fewer where the scene does not give as many.

    Another task stands in for one that the scene does not allow, but never `count`: scenes in which nothing goes anywhere
    allow fewer tasks, would so be asked for the number more often, and "none" would be right too often.
    """
    order = [tasks[index] for index in rng.permutation(len(tasks))]
    drawn = [*order[:count], *(task for task in order[count:] if task != "count")]
    asked = (ask(scene, task, rng) for task in drawn)
    return tuple([question for question in asked if question is not None][:count])


def think_text(scene: Scene, question: WorldQuestion, letter: bool = True) -> str:
    """Reasoning: what is seen, then what follows from it, with or without the letter of the option."""
    return f"{scene.caption}. {conclusion(question, letter)}"


def conclusion(question: WorldQuestion, letter: bool = True) -> str:
    """What follows from the facts: what is asked about, the gold option and its letter.

    The thing asked about stands right before the answer. With "so the answer is" in between a model of three layers has to
    carry it there first, and concluded rightly from a true caption in half of the questions only.
    """
    words = ("so", question.about, question.gold, question.answer if letter else "")
    return " ".join(word for word in words if word)
