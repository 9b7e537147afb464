"""Pre-training data of the demo's base model, which stands for what a published checkpoint has learned before.

Conversations come straight from the generator, without files: captions of clips, short answers to questions about clips,
explained answers where the request asks for an explanation, words and texts between tags of arbitrary names, and text-only
exercises in reading a caption and in finding a word among lettered options. The think and answer tags do not occur: their names,
and the habit of thinking without being asked for an explanation, come with the cold start. An explanation and then a letter,
each between tags of other names, do occur (kind `letter`, whose share is in the configuration).
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from vidreason.media.resize import resize_frames
from vidreason.records import LETTERS
from vidreason.tasks.chat_tokens import IMAGE
from vidreason.tasks.prompt_templates import INSTRUCTIONS, OPTION_INSTRUCTION, bracketed, dotted
from vidreason.world.questions import (
    CATEGORIES,
    NUMBERS,
    WorldQuestion,
    conclusion,
    make_question,
    make_questions,
    think_text,
)
from vidreason.world.scenes import COLOURS, DIRECTIONS, STEPS, THINGS, Scene, make_scene, render

CAPTION_REQUEST = "Describe the video."
PICTURE_REQUEST = "Describe the picture."
EXPLAIN_REQUEST = "Explain the answer."
COLOURS_REQUEST = "List the colours."
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
OPEN_CATEGORIES = ("first", "last", "after", "direction", "change", "colour", "count")
"""Categories whose questions make sense without options."""
TIMELESS = tuple(category for category, (_, temporal) in CATEGORIES.items() if not temporal)
"""Categories whose answers do not depend on the order of the pictures."""
Turn = tuple[str, str]
"""Request of the user and reply of the assistant."""
Dialogue = tuple[list[Turn], np.ndarray | None]
"""Turns without the image mark, and int64 [STEPS], the steps of the scene that are shown; None for text alone."""
WHOLE = np.arange(STEPS)
"""All steps, in order."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """One pre-training conversation.

    Attributes:
        turns: The turns; the first request begins with the image mark where pictures are shown.
        pictures: int64 [STEPS, 2], clip and step of every picture; None for text alone.
    """

    turns: tuple[Turn, ...]
    pictures: np.ndarray | None


def draw_exercise(kind: str, scenes: list[Scene], questions: int, rng: np.random.Generator) -> Exercise:
    """Draw one conversation about one scene.

    Args:
        kind: A key of `KINDS`.
        scenes: The pool of scenes.
        questions: Most questions of one conversation, each of another category.
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


def _picture(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    step = int(rng.integers(STEPS))
    return [(PICTURE_REQUEST, scene.act_at(step).description(step))], np.full(STEPS, step)


def _act(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    act = scene.acts[int(rng.integers(len(scene.acts)))]
    steps = act.start + np.arange(STEPS) * (act.end - act.start) // STEPS
    return [(CAPTION_REQUEST, act.caption)], steps


def _montage(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    steps = rng.permutation(STEPS)
    acts = dict.fromkeys(scene.act_at(int(step)) for step in steps)
    montage = dataclasses.replace(scene, acts=tuple(acts))
    (question,) = make_questions(montage, TIMELESS, 1, rng)
    return [(_instructed(question, EXPLAIN_REQUEST, rng), think_text(montage, question))], steps


def _caption(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    return [(CAPTION_REQUEST, scene.caption)], WHOLE


def _short_answers(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    return [(_with_suffix(question, rng), question.gold) for question in _questions(scene, questions, rng)], WHOLE


def _explain(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    (question,) = _questions(scene, 1, rng)
    return [(_instructed(question, EXPLAIN_REQUEST, rng), think_text(scene, question))], WHOLE


def _recall(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    turns = []
    for category in rng.permutation(OPEN_CATEGORIES):
        question = make_question(scene, str(category), rng)
        if question is not None:
            turns.append((question.text, f"{question.about} {question.gold_text}".strip()))
    return [(f"Notes: {scene.caption}. {turns[0][0]}", turns[0][1]), *turns[1:]], None


def _colours(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    acts = [scene.acts[index] for index in rng.permutation(len(scene.acts))]
    return [
        (f"Notes: {scene.caption}. {COLOURS_REQUEST}", ", ".join(f"{act.thing} {act.colour}" for act in acts))
    ], None


def _notes_last(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    (question,) = _questions(scene, 1, rng)
    return [(f"{_block(question, rng)}\nNotes: {scene.caption}", conclusion(question))], None


def _lookup(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    words = [*THINGS, *COLOURS, *DIRECTIONS, *NUMBERS, "think", "answer"]
    options = [words[index] for index in rng.permutation(len(words))[:LOOKUP_OPTIONS]]
    layout = int(rng.integers(3))  # no caption, one before the options, one after them
    if layout:
        caption_words = {act.thing for act in scene.acts} | {act.colour for act in scene.acts}
        caption_words |= {act.argument for act in scene.acts if act.argument in words}
        named = [str(word) for word in rng.permutation(sorted(caption_words))[: int(rng.integers(1, 4))]]
        options = [*named, *(word for word in options if word not in named)][:LOOKUP_OPTIONS]
        options = [options[index] for index in rng.permutation(LOOKUP_OPTIONS)]
    lines = f"Options:\n{bracketed(options) if rng.random() < 1 / 3 else dotted(options)}"
    notes = f"Notes: {scene.caption}."
    letters = [f"{options[index]} {LETTERS[index]}" for index in rng.permutation(len(options))]
    return [((lines, f"{notes} {lines}", f"{lines}\n{notes}")[layout], ", ".join(letters))], None


def _markup(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    (question,) = _questions(scene, 1, rng)
    act = scene.acts[int(rng.integers(len(scene.acts)))]
    long = [("description", scene.caption), ("explanation", think_text(scene, question))]
    words = (f"{act.colour} {act.thing}",) * 2
    fields = [long[int(rng.integers(2))], words][: int(rng.integers(1, 3))]
    return [_between_tags(question, fields, rng)], WHOLE


def _letter(scene: Scene, questions: int, rng: np.random.Generator) -> Dialogue:
    (question,) = _questions(scene, 1, rng)
    fields = [("explanation", think_text(scene, question)), ("letter", question.gold)]
    return [_between_tags(question, fields, rng)], WHOLE


def _between_tags(question: WorldQuestion, fields: list[tuple[str, str]], rng: np.random.Generator) -> Turn:
    """Turn that requests fields (a name and a text each) between tags whose names are drawn at random."""
    names = [str(name) for name in rng.permutation((*THINGS, *COLOURS))]
    request = " and ".join(f"{what} in <{name}> </{name}>" for (what, _), name in zip(fields, names, strict=False))
    reply = " ".join(f"<{name}> {text} </{name}>" for (_, text), name in zip(fields, names, strict=False))
    return _instructed(question, f"Output {'the ' if rng.random() < 0.5 else ''}{request} tags.", rng), reply


KINDS: dict[str, Callable[[Scene, int, np.random.Generator], Dialogue]] = {
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
"""Kind of exercise -> function that draws one.

- `picture`: one picture; `act`: one act, as long as a clip; `caption`: a whole clip.
- `montage`: the pictures of a clip in random order, described in that order, and a question whose answer does not depend on it.
- `short_answers`, `explain`: questions about a clip.
- `recall`, `notes_last`: text alone, a caption and questions about it; `colours`: the colour of each thing of a caption.
- `lookup`: text alone, the letters of options.
- `markup`: texts between tags; `letter`: an explanation and the letter between tags.
"""


def _questions(scene: Scene, count: int, rng: np.random.Generator) -> tuple[WorldQuestion, ...]:
    return make_questions(scene, tuple(CATEGORIES), count, rng)


def _block(question: WorldQuestion, rng: np.random.Generator) -> str:
    """The question with its options, in one of the styles of the training set and the four benchmarks."""
    style = int(rng.integers(3))
    if style == 0:
        return f"{question.text}\nOptions:\n{dotted(question.options)}"
    return f"{question.text}\n{dotted(question.options) if style == 1 else bracketed(question.options)}"


def _with_suffix(question: WorldQuestion, rng: np.random.Generator) -> str:
    return _instructed(question, OPTION_INSTRUCTION, rng)


def _instructed(question: WorldQuestion, instruction: str, rng: np.random.Generator) -> str:
    """The question and an instruction, separated by a space as in upstream's training or a newline as in its evaluation.

    To a small model the two look like different words. Without both of them here, what it learns in training would not carry over to
    the evaluation.
    """
    return f"{_block(question, rng)}{' ' if rng.random() < 0.5 else chr(10)}{instruction}"


def clip_pool(seeds: Sequence[int], drawn_size: int, size: int) -> tuple[list[Scene], np.ndarray]:
    """Render a pool of clips as a video file would give them: drawn in one size and resized to the model's.

    Args:
        seeds: Scene seeds.
        drawn_size: Height and width of the pictures as drawn, in pixels.
        size: Height and width of the pictures for the model, in pixels.

    Returns:
        The scenes and uint8 [N, STEPS, size, size, 3].
    """
    scenes = [make_scene(seed) for seed in seeds]
    clips = [np.stack([render(scene, step, drawn_size) for step in range(STEPS)]) for scene in scenes]
    return scenes, np.stack([resize_frames(clip, size) for clip in clips])
