"""What lmms-eval asks of a model, in this project's words: settings, the turn of a request, its frames and its decoding.

Needs no lmms-eval: a request's messages are lists of dicts, its generation arguments a dict.

Letters: F frames, S their height and width in pixels.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vidreason.config.messages import unknown
from vidreason.data import mvbench, video_mme
from vidreason.engine.ask import MOST_TOKENS
from vidreason.engine.generation import Decoding
from vidreason.media.containers import NOT_A_VIDEO, UNREADABLE
from vidreason.media.extract_frames import take_frames
from vidreason.media.frame_rules import uniform_indices
from vidreason.media.resize import resize_frames
from vidreason.models.families import PRECISIONS
from vidreason.records import IMAGE, OK, VIDEO, ClipRef, ClipStatus, Question
from vidreason.tasks.markup import END_THINK, THINK, as_answer, last_block, split_think

STYLES, PROMPTS, OUTPUTS, UNUSABLE = ("reason", "option"), ("task", "trained"), ("answer", "text"), ("error", "wrong")
UNANSWERED_TEXT = "unanswered"
"""Output for a request that cannot be answered: no capital letter and no letter alone, so no task reads an option in it. An empty
output is no substitute, for MVBench's task leaves those out of its denominator."""


Foreign = Mapping[str, Any]
"""A message, a document or generation arguments, as lmms-eval hands them over."""


class RequestError(ValueError):
    """A request or an argument that cannot be used, in one sentence that says what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `--model_args` says.

    Attributes:
        pretrained: A checkpoint folder.
        frames: Frames to take of a video; None for what the checkpoint's run takes, or 16.
        style: `reason` or `option`; None for what the checkpoint was trained to do, or `reason`.
        prompt: `task` for the prompt that the task writes; `trained` for the form that the checkpoint was trained on, which the reader
            of the benchmark in `vidreason.data` makes of the task's record.
        output: `answer` for the thought in its tags and then the bare answer; `text` for the completion as it is.
        max_new_tokens: Longest completion. By default 1024 with a thought, for tasks count an answer alone, and what the task says
            without one.
        unusable: What to do with a video that cannot be used, or a prompt that is too long: `error`, or `wrong` to give an output that
            no task reads an answer in.
        log: File for a JSON line a request: video, frames, prompt, completion; None for no log.
        precision: `fp32` or `bf16`; None for `bf16` on a GPU, else `fp32`.
        batch_size: Requests answered together.
        device: Only checked: the model is on the GPU if there is one.
    """

    pretrained: str
    frames: int | None = None
    style: str | None = None
    prompt: str = "task"
    output: str = "answer"
    max_new_tokens: int | None = None
    unusable: str = "error"
    log: str | None = None
    precision: str | None = None
    batch_size: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that are not allowed."""
        if not isinstance(self.pretrained, str) or not self.pretrained:
            raise RequestError(f"pretrained is {self.pretrained!r}; allowed: the path of a checkpoint folder")
        choices = (("prompt", PROMPTS), ("output", OUTPUTS), ("unusable", UNUSABLE))
        optional = (("style", STYLES), ("precision", tuple(PRECISIONS)))
        for key, allowed in (*choices, *((key, (None, *names)) for key, names in optional)):
            value = getattr(self, key)
            if value not in allowed:
                raise RequestError(f"{key} is {value!r}; {unknown(value, [name for name in allowed if name])}")
        for key in ("frames", "max_new_tokens", "batch_size"):
            value = getattr(self, key)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (value is None and key != "batch_size"):
                raise RequestError(f"{key} is {value!r}; allowed: a whole number from 1")


def settings_of(arguments: Mapping[str, object]) -> Settings:
    """Settings from the arguments that lmms-eval passes on.

    Raises:
        RequestError: An argument is not known or its value is not allowed.
    """
    arguments = {key: value for key, value in arguments.items() if key != "max_batch_size" and value is not None}
    known = [field.name for field in dataclasses.fields(Settings)]
    for key, value in arguments.items():
        if key not in known:
            raise RequestError(f"--model_args: unknown argument {key}={value}; {unknown(key, known)}")
    if "pretrained" not in arguments:
        raise RequestError("--model_args: there is no pretrained=FOLDER; name the checkpoint folder that is to answer")
    if (
        isinstance(size := arguments.get("batch_size"), str) and size.isdigit()
    ):  # the harness passes its option on as a text
        arguments["batch_size"] = int(size)
    return Settings(**arguments)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Turn:
    """The user's turn of a request.

    Attributes:
        text: What the task writes.
        clip: The file that it is about; None where the task gives pictures.
        pictures: The pictures that it is about, the frames of a clip.
    """

    text: str
    clip: ClipRef | None
    pictures: tuple[Image.Image, ...] = ()


def read_turn(messages: Sequence[Foreign], where: str) -> Turn:
    """The turn of a request's chat messages: its texts, and one video or its pictures.

    Args:
        messages: As a task's `doc_to_messages` returns them: a role and a list of contents each.
        where: Task and document, for messages.

    Raises:
        RequestError: There is an earlier answer (few-shot), sound, nothing to look at, or more than one video.
    """
    texts: list[str] = []
    videos: list[Foreign] = []
    pictures: list[Any] = []
    for message in messages:
        if message["role"] == "assistant":
            raise RequestError(f"{where}: the prompt holds an answer already; run with --num_fewshot 0")
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                texts.append(part["text"])
            elif part["type"] == "video":
                videos.append(part)
            elif part["type"] == "image":
                pictures.append(part["url"])
            else:
                raise RequestError(f"{where}: the prompt holds {part['type']}; this model looks at videos and pictures")
    text = "\n".join(text.strip() for text in texts if text.strip())
    if len(videos) + bool(pictures) != 1:
        found = f"{len(videos)} videos and {len(pictures)} pictures"
        raise RequestError(
            f"{where}: the prompt holds {found}; this model looks at one video, or at pictures as its frames"
        )
    if videos:
        return Turn(text, _video(videos[0], where))
    if isinstance(pictures[0], str):
        if len(pictures) > 1:
            pictures = [Image.open(path) for path in pictures]
        else:
            return Turn(text, ClipRef(pictures[0], IMAGE))
    return Turn(text, None, tuple(pictures))


def _video(part: Foreign, where: str) -> ClipRef:
    """The video of a content, with the bounds that a task gives in one of two forms."""
    given = part["url"]
    bounds = part.get("start_time"), part.get("end_time")
    if isinstance(given, Mapping):
        bounds = given.get("video_start"), given.get("video_end")
        given = given.get("url") or given.get("path")
    if not isinstance(given, str | Path):
        raise RequestError(f"{where}: the video is a {type(given).__name__}; allowed: the path of a file")
    if "://" in str(given):
        raise RequestError(f"{where}: the video {given} is on the web; download it and let the task name the file")
    start, end = bounds
    if end is not None and start is None:
        start = 0.0
    return ClipRef(str(given), VIDEO, start, float("inf") if start is not None and end is None else end)


@dataclasses.dataclass(frozen=True)
class Frames:
    """The frames of a turn.

    Attributes:
        key: Name of these frames: turns with the same key share them.
        indices: Positions in the video or among the pictures: int64 [F].
        pixels: uint8 [F, S, S, 3].
    """

    key: str
    indices: np.ndarray
    pixels: np.ndarray


def frames_of(turn: Turn, where: str, count: int, size: int) -> Frames:
    """The frames that the model looks at: at even distances, the evaluation's rule for a whole video.

    Args:
        turn: The turn.
        where: Task and document, for messages, and the key of pictures.
        count: F.
        size: S.

    Raises:
        RequestError: The video or the pictures cannot be used.
    """
    if turn.clip is None:
        indices = uniform_indices(len(turn.pictures), count)
        taken = [np.asarray(turn.pictures[index].convert("RGB")) for index in indices]
        return Frames(where, indices, np.concatenate([resize_frames(picture[None], size) for picture in taken]))
    found = take_frames(_about(turn.clip), "", count, size)
    if found.clip.status in (NOT_A_VIDEO, UNREADABLE) and turn.clip.kind == VIDEO and turn.clip.start is None:
        found = take_frames(_about(ClipRef(turn.clip.path, IMAGE)), "", count, size)
    if found.clip.status != OK:
        raise RequestError(_unusable(turn.clip, found.clip, where))
    return Frames(turn.clip.key, found.indices, found.pixels)


def _about(clip: ClipRef) -> Question:
    return Question("", "", "", "", clip)


def _unusable(clip: ClipRef, status: ClipStatus, where: str) -> str:
    """What is wrong with a file and what to do about it."""
    detail = f": {status.detail}" if status.detail else ""
    return (
        f"{where}: {clip.path} cannot be used ({status.status}){detail}. Get the file where the task looks for it (below HF_HOME), leave "
        f"the task out, or count such questions as wrong with --model_args unusable=wrong"
    )


def decoding_of(generation: Foreign, settings: Settings, style: str, where: str) -> Decoding:
    """How a task wants its answers decoded: greedy unless it asks for sampling with a temperature.

    Args:
        generation: The task's `generation_kwargs`.
        settings: May hold a limit on the tokens of its own.
        style: `reason` or `option`.
        where: Task and document, for messages.

    Raises:
        RequestError: The task asks for a beam search, or a value is not allowed.
    """
    if (beams := generation.get("num_beams") or 1) != 1:
        raise RequestError(f"{where}: num_beams is {beams}; allowed: 1, with --gen_kwargs num_beams=1")
    own = None if style == "reason" else generation.get("max_new_tokens")
    limit = settings.max_new_tokens or own or MOST_TOKENS
    try:
        temperature = float(generation.get("temperature") or 0.0) if generation.get("do_sample") else 0.0
        if temperature == 0:
            return Decoding(int(limit), 0.0)
        top_p = generation.get("top_p")
        return Decoding(
            int(limit), temperature, int(generation.get("top_k") or 0), None if top_p is None else float(top_p)
        )
    except (TypeError, ValueError) as error:
        raise RequestError(f"{where}: generation_kwargs {dict(generation)!r}: {error}") from error


def output_of(text: str, style: str, output: str, until: Sequence[str] = ()) -> str:
    """What the harness gets of a completion.

    Args:
        text: The completion.
        style: `reason` or `option`.
        output: `answer` or `text`.
        until: Texts at which a bare answer is cut.

    Returns:
        The completion itself; or with `answer` its thought in tags, which the harness keeps in its log and takes away before the task
        reads, and then the content of the last answer block, or what follows the thought where there is none.

    Example:
        >>> output_of(f"{THINK}it falls{END_THINK} B", "reason", "answer").endswith("> B")
        True
        >>> output_of("B. a dog", "option", "answer")
        'B. a dog'
    """
    if output == "text":
        return text
    before, thought, after = split_think(text)
    block = last_block(as_answer(text) if style == "option" else text)
    answer = (block if block is not None else " ".join(filter(None, (before, after)))).strip()
    for stop in filter(None, until):
        answer = answer.split(stop)[0]
    return f"{THINK} {thought} {END_THINK} {answer}" if thought else answer


Reader = Callable[[Foreign, str, int], Question]

READERS: Mapping[str, Reader] = {
    "videomme": lambda record, part, index: video_mme.parse_record(record, index=index),
    "mvbench": lambda record, part, index: mvbench.parse_record(record, part, index),
}
"""Task of lmms-eval, or the beginning of its name -> reader of its records; `mvbench_moving_count` is the part `moving_count`."""
LOCAL = "local_"
"""Begins the names of the tasks of `vidreason.results.release.judges.harness_tasks`."""


def trained_question(task: str, record: Foreign, index: int) -> Question | None:
    """The question of a task's record, for a prompt in the form that the checkpoint was trained on.

    Args:
        task: Name of the task.
        record: The task's document.
        index: Its number.

    Returns:
        The question; None if no reader knows this task.

    Raises:
        RequestError: The record is malformed.
    """
    name, _, part = task.removeprefix(LOCAL).partition("_")
    if name not in READERS:
        return None
    try:
        return READERS[name](record, part, index)
    except ValueError as error:
        raise RequestError(f"task {task}, document {index}: {error}") from error
