"""Pre-training data of the demo's base model: what a published checkpoint would have learnt before we meet it.

Conversations come straight from the generator (no files): captions of clips, short answers to questions about clips,
explained answers where an explanation is asked for, words and texts put between tags of any name, and text-only exercises
in reading a caption and in finding a word among lettered options. The think and answer tags occur nowhere: these names, and
the habit of thinking where none asks for an explanation, enter with the cold start. The shape of an explanation and then a
letter, each between tags of other names, does occur (the kind `letter`, whose share is in the config).
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from vidreason.media.resize import resize_frames
from vidreason.records import LETTERS
from vidreason.tasks.marks import IMAGE
from vidreason.tasks.prompts import INSTRUCTIONS, OPTION_INSTRUCTION, bracketed, dotted
from vidreason.world.questions import NUMBERS, TASKS, WorldQuestion, ask, ask_some, conclusion, think_text
from vidreason.world.scenes import COLOURS, DIRECTIONS, STEPS, THINGS, Scene, make_scene, render

CAPTION_REQUEST = "Describe the video."
PICTURE_REQUEST = "Describe the picture."
EXPLAIN_REQUEST = "Explain the answer."
COLOURS_REQUEST = "List the colours."
PLACES = ("one", "two", "three", "four")
"""Words for rows from the top and columns from the left."""
WORDS = (
    *THINGS, *COLOURS, *DIRECTIONS, "stays", "put", "goes", "turns", "two", "three", "four", "so", "the", "answer", "is",
    "Which", "thing", "comes", "first", "last", "right", "after", "way", "does", "go", "colour", "turn", "into",
    "appears", "not", "appear", "How", "many", "things", "somewhere", "none", "Options", "Describe", "video", "Notes", "USER", "ASSISTANT",
    "Please", "provide", "your", "by", "stating", "letter", "followed", "full", "option", "of",
    *LETTERS[:5], "think", "<", "</", ">",
    *re.findall(r"[A-Za-z]+", " ".join(INSTRUCTIONS.values())),
    "one", "picture", "Explain", "description", "explanation", "List", "colours",
)  # fmt: skip
"""Words of the world, the questions and the requests: one token each, alone and after a space."""

LOOKUP_OPTIONS = 5
OPEN_TASKS = ("first", "last", "after", "direction", "change", "colour", "count")
"""Tasks that can be asked without options."""
TIMELESS = tuple(task for task, (_, temporal) in TASKS.items() if not temporal)
"""Tasks that can be asked whatever the order of the pictures."""
Turn = tuple[str, str]
"""What the user says and what the assistant replies."""
Drawn = tuple[list[Turn], np.ndarray | None]
"""The turns, without the image mark, and int64 [STEPS], the story steps shown; None for text alone."""
WHOLE = np.arange(STEPS)
"""The whole clip."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One pre-training conversation.

    Attributes:
        turns: The turns; the first request begins with the image mark where pictures are shown.
        pictures: int64 [STEPS, 2], clip and story step of every picture shown; None for text alone.
    """

    turns: tuple[Turn, ...]
    pictures: np.ndarray | None


def draw_exercise(kind: str, scenes: list[Scene], questions: int, rng: np.random.Generator) -> Exercise:
    """Draw one conversation about one scene.

    Args:
        kind: A key of `KINDS`.
        scenes: The pool.
        questions: Questions of different tasks asked in one conversation, at most.
        rng: Draws the scene, the questions and their wording.

    Raises:
        ValueError: An unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"base.stages: mix names {kind!r}; allowed: {', '.join(KINDS)}")
    number = int(rng.integers(len(scenes)))
    turns, steps = KINDS[kind](scenes[number], questions, rng)
    if steps is None:
        return Exercise(tuple(turns), None)
    shown = np.stack([np.full(STEPS, number), steps], axis=1)
    return Exercise(((f"{IMAGE}\n{turns[0][0]}", turns[0][1]), *turns[1:]), shown)


def _picture(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    step = int(rng.integers(STEPS))
    act = scene.act_at(step)
    row, column, colour = act.at(step)
    seen = f"{colour} {act.thing} {PLACES[row]} {PLACES[column]}"
    return [(PICTURE_REQUEST, seen)], np.full(STEPS, step)


def _act(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    act = scene.acts[int(rng.integers(len(scene.acts)))]
    steps = act.start + np.arange(STEPS) * (act.end - act.start) // STEPS
    return [(CAPTION_REQUEST, act.caption)], steps


def _montage(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    steps = rng.permutation(STEPS)
    acts = dict.fromkeys(scene.act_at(int(step)) for step in steps)
    montage = dataclasses.replace(scene, acts=tuple(acts))
    (question,) = ask_some(montage, TIMELESS, 1, rng)
    return [(_instructed(question, EXPLAIN_REQUEST, rng), think_text(montage, question))], steps


def _caption(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    return [(CAPTION_REQUEST, scene.caption)], WHOLE


def _short_answers(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    return [(_with_suffix(question, rng), question.answer) for question in _questions(scene, questions, rng)], WHOLE


def _explain(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    (question,) = _questions(scene, 1, rng)
    return [(_instructed(question, EXPLAIN_REQUEST, rng), think_text(scene, question))], WHOLE


def _recall(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    turns = []
    for task in rng.permutation(OPEN_TASKS):
        question = ask(scene, str(task), rng)
        if question is not None:
            turns.append((question.question, f"{question.about} {question.gold}".strip()))
    return [(f"Notes: {scene.caption}. {turns[0][0]}", turns[0][1]), *turns[1:]], None


def _colours(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    acts = [scene.acts[index] for index in rng.permutation(len(scene.acts))]
    return [
        (f"Notes: {scene.caption}. {COLOURS_REQUEST}", ", ".join(f"{act.thing} {act.colour}" for act in acts))
    ], None


def _notes_last(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    (question,) = _questions(scene, 1, rng)
    return [(f"{_block(question, rng)}\nNotes: {scene.caption}", conclusion(question))], None


def _lookup(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    words = [*THINGS, *COLOURS, *DIRECTIONS, *NUMBERS, "think", "answer"]
    options = [words[index] for index in rng.permutation(len(words))[:LOOKUP_OPTIONS]]
    beside = int(rng.integers(3))  # no caption, one before the options, one after them
    if beside:
        told = {act.thing for act in scene.acts} | {act.colour for act in scene.acts}
        told |= {act.argument for act in scene.acts if act.argument in words}
        named = [str(word) for word in rng.permutation(sorted(told))[: int(rng.integers(1, 4))]]
        options = [*named, *(word for word in options if word not in named)][:LOOKUP_OPTIONS]
        options = [options[index] for index in rng.permutation(LOOKUP_OPTIONS)]
    lines = f"Options:\n{bracketed(options) if rng.random() < 1 / 3 else dotted(options)}"
    notes = f"Notes: {scene.caption}."
    found = [f"{options[index]} {LETTERS[index]}" for index in rng.permutation(len(options))]
    return [((lines, f"{notes} {lines}", f"{lines}\n{notes}")[beside], ", ".join(found))], None


def _markup(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    (question,) = _questions(scene, 1, rng)
    act = scene.acts[int(rng.integers(len(scene.acts)))]
    long = [("description", scene.caption), ("explanation", think_text(scene, question))]
    words = (f"{act.colour} {act.thing}",) * 2
    fields = [long[int(rng.integers(2))], words][: int(rng.integers(1, 3))]
    return [_between_tags(question, fields, rng)], WHOLE


def _letter(scene: Scene, questions: int, rng: np.random.Generator) -> Drawn:
    (question,) = _questions(scene, 1, rng)
    fields = [("explanation", think_text(scene, question)), ("letter", question.answer)]
    return [_between_tags(question, fields, rng)], WHOLE


def _between_tags(question: WorldQuestion, fields: list[tuple[str, str]], rng: np.random.Generator) -> Turn:
    """Ask for fields, each a name and its text, between tags of names drawn at random."""
    names = [str(name) for name in rng.permutation((*THINGS, *COLOURS))]
    asked = " and ".join(f"{what} in <{name}> </{name}>" for (what, _), name in zip(fields, names, strict=False))
    told = " ".join(f"<{name}> {text} </{name}>" for (_, text), name in zip(fields, names, strict=False))
    return _instructed(question, f"Output {'the ' if rng.random() < 0.5 else ''}{asked} tags.", rng), told


KINDS: dict[str, Callable[[Scene, int, np.random.Generator], Drawn]] = {
    "picture": _picture,
    "act": _act,
    "montage": _montage,
    "caption": _caption,
    "short_answers": _short_answers,
    "explain": _explain,
    "recall": _recall,
    "colours": _colours,
    "notes_last": _notes_last,
    "lookup": _lookup,
    "markup": _markup,
    "letter": _letter,
}
"""Kind of exercise -> how it is drawn: `picture`, one picture; `act`, one act as long as a clip; `montage`, the pictures of
a clip in any order, told by order of appearance, and a question that allows it; `recall` and `notes_last`, a caption and
questions about it, and `colours`, a caption and the colour of each of its things, text alone; `lookup`, the letters of options, text alone; `markup`, texts between tags; `letter`, an
explanation and the letter between tags."""


def _questions(scene: Scene, count: int, rng: np.random.Generator) -> tuple[WorldQuestion, ...]:
    return ask_some(scene, tuple(TASKS), count, rng)


def _block(question: WorldQuestion, rng: np.random.Generator) -> str:
    """The question with its options, in one of the ways the training set and the four benchmarks write them."""
    style = int(rng.integers(3))
    if style == 0:
        return f"{question.question}\nOptions:\n{dotted(question.options)}"
    return f"{question.question}\n{dotted(question.options) if style == 1 else bracketed(question.options)}"


def _with_suffix(question: WorldQuestion, rng: np.random.Generator) -> str:
    return _instructed(question, OPTION_INSTRUCTION, rng)


def _instructed(question: WorldQuestion, instruction: str, rng: np.random.Generator) -> str:
    """The question, then what to do with it, after a space as in upstream's training or a newline as in its evaluation.

    A small model takes the two for different words: without both here, what it learns in training is lost at evaluation.
    """
    return f"{_block(question, rng)}{' ' if rng.random() < 0.5 else chr(10)}{instruction}"


def clip_pool(seeds: Sequence[int], drawn_size: int, size: int) -> tuple[list[Scene], np.ndarray]:
    """Render a pool of clips as they would come out of a video file: drawn in one size, resized to the model's.

    Args:
        seeds: Scene seeds.
        drawn_size: Side of the pictures as drawn, in pixels.
        size: Side of the pictures as the model takes them, in pixels.

    Returns:
        The scenes and uint8 [N, STEPS, size, size, 3].
    """
    scenes = [make_scene(seed) for seed in seeds]
    clips = [np.stack([render(scene, step, drawn_size) for step in range(STEPS)]) for scene in scenes]
    return scenes, np.stack([resize_frames(clip, size) for clip in clips])
