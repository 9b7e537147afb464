"""Pre-training data of the demo's base model: what a published checkpoint would have learnt before we meet it.

Conversations come straight from the generator (no files): captions of clips, short answers to questions about clips,
explained answers where an explanation is asked for, words and texts put between tags of any name, and text-only exercises
in reading a caption and in finding a word among lettered options. The think and answer tags occur nowhere: these names, and
the habit of thinking where none asks for an explanation, enter with the cold start. The shape of an explanation and then a
letter, each between tags of other names, does occur (`LETTER_SHARE`).
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from vidreason.choices import bracketed, dotted
from vidreason.model.prompts import IMAGE, OPTION_SUFFIX, REASON_SUFFIX
from vidreason.pixels import resize_frames
from vidreason.records import LETTERS
from vidreason.world.questions import NUMBERS, TASKS, WorldQuestion, ask, ask_some, conclusion, think_text
from vidreason.world.scenes import COLOURS, DIRECTIONS, STEPS, THINGS, Scene, make_scene, render

CAPTION_REQUEST = "Describe the video."
PICTURE_REQUEST = "Describe the picture."
EXPLAIN_REQUEST = "Explain the answer."
LIST_REQUEST = "List the pictures."
PLACES = ("one", "two", "three", "four")
"""Words for rows from the top and columns from the left."""
WORDS = (
    *THINGS, *COLOURS, *DIRECTIONS, "stays", "put", "goes", "turns", "two", "three", "four", "so", "the", "answer", "is",
    "Which", "thing", "comes", "first", "last", "right", "after", "way", "does", "go", "colour", "turn", "into",
    "appears", "not", "appear", "How", "many", "things", "somewhere", "none", "Options", "Describe", "video", "Notes", "USER", "ASSISTANT",
    "Please", "provide", "your", "by", "stating", "letter", "followed", "full", "option", "of", "List", "pictures",
    *LETTERS[:5], "think", "<", "</", ">",
    *re.findall(r"[A-Za-z]+", f"{REASON_SUFFIX} {OPTION_SUFFIX}"),
    "one", "picture", "Explain", "description", "explanation",
)  # fmt: skip
"""Words of the world, the questions and the requests: one token each, alone and after a space."""

LOOKUP_OPTIONS = 5
LETTER_SHARE = 0.15
"""Share of the explanations between tags that the letter follows in a second pair of tags."""
OPEN_TASKS = ("first", "last", "after", "direction", "change", "colour", "count")
"""Tasks that can be asked without options."""
Turn = tuple[str, str]
"""What the user says and what the assistant replies."""


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
    """Draw one conversation.

    Args:
        kind: A key of `KINDS` or of `UNRELATED`, or `ACT`.
        scenes: The pool.
        questions: Questions of different tasks asked in one conversation, at most.
        rng: Draws the clip, the questions and their wording.

    Raises:
        ValueError: An unknown kind.
    """
    if kind in UNRELATED:
        request, different = UNRELATED[kind]
        drawn = np.stack([rng.integers(len(scenes), size=different), rng.integers(STEPS, size=different)], axis=1)
        seen = ", ".join(_seen(scenes[clip], step) for clip, step in drawn.tolist())
        return Exercise(((f"{IMAGE}\n{request}", seen),), drawn.repeat(STEPS // different, axis=0))
    if kind == ACT:
        number = int(rng.integers(len(scenes)))
        act = scenes[number].acts[int(rng.integers(len(scenes[number].acts)))]
        steps = act.start + np.arange(STEPS) * (act.end - act.start) // STEPS
        alone = np.stack([np.full(STEPS, number), steps], axis=1)
        return Exercise(((f"{IMAGE}\n{CAPTION_REQUEST}", act.caption),), alone)
    if kind not in KINDS:
        raise ValueError(f"base.stages: mix names {kind!r}; allowed: {', '.join((*UNRELATED, ACT, *KINDS))}")
    number = int(rng.integers(len(scenes)))
    write, watches = KINDS[kind]
    turns = write(scenes[number], questions, rng)
    if not watches:
        return Exercise(tuple(turns), None)
    whole = np.stack([np.full(STEPS, number), np.arange(STEPS)], axis=1)
    return Exercise(((f"{IMAGE}\n{turns[0][0]}", turns[0][1]), *turns[1:]), whole)


def _seen(scene: Scene, step: int) -> str:
    """What one picture shows: colour, thing, row and column."""
    act = scene.act_at(step)
    row, column, colour = act.at(step)
    return f"{colour} {act.thing} {PLACES[row]} {PLACES[column]}"


def _caption(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    return [(CAPTION_REQUEST, scene.caption)]


def _short_answers(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    return [(_with_suffix(question, rng), question.answer) for question in _questions(scene, questions, rng)]


def _explain(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    question = _questions(scene, 1, rng)[0]
    return [(_instructed(question, EXPLAIN_REQUEST, rng), think_text(scene, question))]


def _follow_up(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    asked = _questions(scene, questions, rng)
    return [(CAPTION_REQUEST, scene.caption), *((_block(question, rng), conclusion(question)) for question in asked)]


def _reading(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    turns = []
    for question in _questions(scene, questions, rng):
        if rng.random() < 0.5:
            turns.append((_block(question, rng), conclusion(question)))
        else:
            turns.append((_with_suffix(question, rng), question.answer))
    return [(f"Notes: {scene.caption}. {turns[0][0]}", turns[0][1]), *turns[1:]]


def _recall(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    turns = []
    for task in rng.permutation(OPEN_TASKS):
        question = ask(scene, str(task), rng)
        if question is not None:
            turns.append((question.question, question.gold))
    return [(f"Notes: {scene.caption}. {turns[0][0]}", turns[0][1]), *turns[1:]]


def _notes_last(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    question = _questions(scene, 1, rng)[0]
    return [(f"{_block(question, rng)}\nNotes: {scene.caption}", conclusion(question))]


def _lookup(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
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
    return [((lines, f"{notes} {lines}", f"{lines}\n{notes}")[beside], ", ".join(found))]


ACT = "act"
"""Kind of exercise: one act of a clip, as long as a clip, and its caption."""
UNRELATED = {"picture": (PICTURE_REQUEST, 1), "short_list": (LIST_REQUEST, 4), "list": (LIST_REQUEST, STEPS)}
"""Kind of exercise about pictures from anywhere -> (request, number of different pictures, shown equally long)."""


def _markup(scene: Scene, questions: int, rng: np.random.Generator) -> list[Turn]:
    question = _questions(scene, 1, rng)[0]
    fields = [(f"{act.colour} {act.thing}",) * 2 for act in scene.acts]
    fields = [fields[index] for index in rng.permutation(len(fields))[: int(rng.integers(1, 3))]]
    if rng.random() < 0.75:
        long = [("description", scene.caption), ("explanation", think_text(scene, question))]
        fields = [long[int(rng.integers(2))], *fields[: int(rng.integers(2))]]
        if fields[0][0] == "explanation" and rng.random() < LETTER_SHARE:
            fields = [fields[0], ("letter", question.answer)]
    names = [str(name) for name in rng.permutation((*THINGS, *COLOURS))]
    asked = " and ".join(f"{what} in <{name}> </{name}>" for (what, _), name in zip(fields, names, strict=False))
    told = " ".join(f"<{name}> {text} </{name}>" for (_, text), name in zip(fields, names, strict=False))
    return [(_instructed(question, f"Output {'the ' if rng.random() < 0.5 else ''}{asked} tags.", rng), told)]


KINDS: dict[str, tuple[Callable[[Scene, int, np.random.Generator], list[Turn]], bool]] = {
    "caption": (_caption, True),
    "short_answers": (_short_answers, True),
    "explain": (_explain, True),
    "follow_up": (_follow_up, True),
    "reading": (_reading, False),
    "recall": (_recall, False),
    "notes_last": (_notes_last, False),
    "lookup": (_lookup, False),
    "markup": (_markup, True),
}
"""Kind of exercise about one clip -> (how it is written, whether the clip is shown)."""


def _questions(scene: Scene, count: int, rng: np.random.Generator) -> tuple[WorldQuestion, ...]:
    return ask_some(scene, tuple(TASKS), count, rng)


def _block(question: WorldQuestion, rng: np.random.Generator) -> str:
    """The question with its options, in one of the ways the training set and the four benchmarks write them."""
    style = int(rng.integers(3))
    if style == 0:
        return f"{question.question}\nOptions:\n{dotted(question.options)}"
    return f"{question.question}\n{dotted(question.options) if style == 1 else bracketed(question.options)}"


def _with_suffix(question: WorldQuestion, rng: np.random.Generator) -> str:
    return _instructed(question, OPTION_SUFFIX, rng)


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
