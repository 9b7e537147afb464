"""Questions about one's own video, answered as the evaluation answers those of a benchmark.

`load` gives a `Reasoner`, whose `ask` answers one question. `encode` encodes a video once for many questions. Frames, prompt,
decoding and reading are those of the evaluation: F frames at even distances over the whole video (rule `uniform` of
`vidreason.media.frame_rules`), the prompt of a benchmark, greedy decoding, the strict reading of docs/answers.md.

Letters: F frames of a video, S their height and width in pixels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vidreason.config.messages import unknown
from vidreason.data import registry
from vidreason.engine.generation import Completions, Decoding, decode, rollout_seed
from vidreason.engine.oom import out_of_memory_advice
from vidreason.engine.prompts import max_prompt_length, prompt_of
from vidreason.media.containers import NOT_A_VIDEO, NOT_AN_IMAGE, UNREADABLE
from vidreason.media.extract_frames import take_frames
from vidreason.media.frame_store import ClipFrames
from vidreason.models.base import Features, VideoLM
from vidreason.models.families import PRECISIONS, compute_device, load_checkpoint
from vidreason.records import IMAGE, NO_OPTION, OK, VIDEO, ClipRef, Completion, Question
from vidreason.tasks.base import grade
from vidreason.tasks.markup import as_answer, first_think_text, last_block
from vidreason.tasks.multiple_choice import check_number

FRAMES = 16
"""Frames of a video by default, as in the paper."""
MOST_TOKENS = 1024
"""Longest answer by default, as in the paper's evaluation."""
TEMPERATURE, TOP_K = 1.0, 50
"""How an answer is sampled with a seed, as upstream's evaluation samples."""
PROMPT = "video_mme"
"""Benchmark whose prompt a question with options gets by default; its form is that of the training questions too."""
OPEN_PROMPT = "video_r1_260k"
"""Data set whose prompt a question without options gets: the text alone."""
CHOICE, OPEN = "multiple_choice", "free_form"

Listener = Callable[[str], object]
"""Gets a text piece by piece as it is generated."""


class AskError(ValueError):
    """A question that cannot be answered, in one sentence that says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer to one question.

    Attributes:
        question: The question as it was asked.
        style: `reason` or `option`.
        completion: What the model wrote.
        prompt: The whole text of the prompt.
        thought: Text of the first think block; `""` without one.
        answer: What was read as the answer: the letter of an option, or the text; None if nothing could be read.
    """

    question: Question
    style: str
    completion: Completion
    prompt: str
    thought: str
    answer: str | None

    @property
    def text(self) -> str:
        """The whole completion."""
        return self.completion.text

    @property
    def option(self) -> str | None:
        """Text of the option that was chosen; None without options, or if no letter could be read."""
        if not self.question.options or self.answer is None:
            return None
        return self.question.options[self.question.letters.index(self.answer)]

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Video:
    """A video or picture that a model has seen.

    Attributes:
        clip: Its file.
        frames: The frames that were taken, and when.
        features: What the vision tower made of them, for one clip.
    """

    clip: ClipRef
    frames: ClipFrames
    features: Features


@dataclasses.dataclass(frozen=True)
class Reasoner:
    """A checkpoint that answers questions about videos.

    Attributes:
        model: The model, ready on its device.
        frames: Frames taken of a video, F.
        style: How it is asked by default: `reason` (a thought, then the answer) or `option` (the answer alone).
    """

    model: VideoLM
    frames: int = FRAMES
    style: str = "reason"

    @torch.no_grad()
    def encode(self, path: str | Path) -> Video:
        """Take the frames of a video or picture and encode them, once for any number of questions.

        Raises:
            AskError: The file cannot be used.
        """
        taken, kind = _take(Path(path), self.frames, self.model.frame_size)
        with out_of_memory_advice(f"{path}: {self.frames} frames are encoded together; take fewer"):
            features = self.model.encode(torch.from_numpy(taken.pixels)[None])
        return Video(ClipRef(str(path), kind), taken, features)

    def ask(
        self,
        video: str | Path | Video,
        text: str,
        options: Sequence[str] = (),
        style: str | None = None,
        decoding: Decoding | None = None,
        seed: int | None = None,
        listener: Listener | None = None,
    ) -> Reply:
        """Answer one question about a video.

        Args:
            video: A file, or the result of `encode`.
            text: The question alone, without options and without an instruction.
            options: 1 to 10 texts to choose from, without letters; none for an answer in words.
            style: `reason` or `option`; the checkpoint's own by default.
            decoding: How tokens are chosen. By default greedy, or with a seed as upstream samples; an answer has at most
                `MOST_TOKENS` tokens, and no more than the model has room for.
            seed: Seed of a sampled answer.
            listener: Called with every piece of text as it is generated; the pieces make up `Reply.text`.

        Raises:
            AskError: The video cannot be used, the question or an option has no text, there are too many options, or the
                prompt is too long.
            ValueError: Another style, or sampling without a seed.
        """
        question = question_of(text, options)
        return self.answer(video, question, style, decoding, seed, listener)

    @torch.no_grad()
    def answer(
        self,
        video: str | Path | Video,
        question: Question,
        style: str | None = None,
        decoding: Decoding | None = None,
        seed: int | None = None,
        listener: Listener | None = None,
    ) -> Reply:
        """Answer a question record, for instance one of a benchmark, whose prompt is then used; arguments as in `ask`."""
        style = style or self.style
        prompt = prompt_of(self.model, question, style, training=False)
        decoding = self._decoding(decoding, seed, prompt.length)
        room = max_prompt_length(self.model, decoding.max_new_tokens)
        if prompt.length > room:
            raise AskError(
                f"the question is too long: its prompt has {prompt.length} positions, video included, and the model has room "
                f"for {room} beside an answer of {decoding.max_new_tokens} tokens"
            )
        encoded = video if isinstance(video, Video) else self.encode(video)
        seeds = None if decoding.temperature == 0 or seed is None else [rollout_seed(seed, "ask", question.text, 0)]
        end, pieces = self.model.end_id, _Pieces(self.model, listener)
        connected = self.model.connect(encoded.features)
        with out_of_memory_advice(
            f"the prompt has {prompt.length} positions; ask for a shorter answer or take fewer frames"
        ):
            for column in decode(self.model, [prompt.ids], connected, decoding, end, seeds=seeds):
                pieces.add(column.tokens)
        completion = pieces.finish(end)
        answer, thought = _read(completion.text, question, style), first_think_text(completion.text)
        return Reply(question, style, completion, prompt.text, thought, answer)

    def _decoding(self, decoding: Decoding | None, seed: int | None, length: int) -> Decoding:
        """The default where none is given."""
        if decoding is not None:
            return decoding
        longest = max(1, min(MOST_TOKENS, self.model.max_positions - length))
        return Decoding(longest, 0.0) if seed is None else Decoding(longest, TEMPERATURE, TOP_K)


def load(weights: str | Path, precision: str | None = None, frames: int = FRAMES, style: str = "reason") -> Reasoner:
    """Load a checkpoint to ask it questions, on the GPU if there is one.

    Args:
        weights: A checkpoint folder of any family in `vidreason.models.families`.
        precision: `fp32` or `bf16`; by default `bf16` on a GPU, else `fp32`.
        frames: Frames to take of a video: as many as in the checkpoint's training.
        style: How it is asked by default, `reason` or `option`.

    Raises:
        CheckpointError: The folder is no checkpoint that can be used.
        ValueError: Another precision, or no frames.

    Example:
        `print(load("checkpoint").ask("clip.mp4", "What falls?", ["a ball", "a box"]))`
    """
    device = compute_device()
    precision = precision or ("bf16" if device.type == "cuda" else "fp32")
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; {unknown(precision, PRECISIONS)}")
    if frames < 1:
        raise ValueError(f"frames is {frames}; allowed: at least 1")
    model = load_checkpoint(weights, PRECISIONS[precision])
    model.to(device).eval()
    return Reasoner(model, frames, style)


def question_of(text: str, options: Sequence[str] = (), prompt: str | None = None) -> Question:
    """A question of one's own as a record.

    Args:
        text: The question alone.
        options: Texts to choose from.
        prompt: Data set whose prompt it gets.

    Raises:
        AskError: The question or an option has no text, or there are too many options.
        ValueError: There is no such data set.
    """
    text, options = text.strip(), tuple(option.strip() for option in options)
    if not text:
        raise AskError("the question has no text; allowed: at least one word")
    for number, option in enumerate(options, start=1):
        if not option:
            raise AskError(f"option {number} of {len(options)} has no text; allowed: at least one word")
    if options:
        try:
            check_number(options)
        except ValueError as error:
            raise AskError(str(error)) from error
    dataset = registry.dataset_of(prompt or (PROMPT if options else OPEN_PROMPT))
    task = CHOICE if options else OPEN
    return Question("ask", dataset.name, task, text, ClipRef(""), options, NO_OPTION if options else "")


def _take(path: Path, count: int, size: int) -> tuple[ClipFrames, str]:
    """The frames of a file, and its kind. A file that is no video is tried as a picture."""
    video = take_frames(_about(path, VIDEO), "", count, size)
    if video.clip.status == OK:
        return video, VIDEO
    if video.clip.status in (NOT_A_VIDEO, UNREADABLE):
        picture = take_frames(_about(path, IMAGE), "", count, size)
        if picture.clip.status == OK:
            return picture, IMAGE
        if picture.clip.status != NOT_AN_IMAGE:
            raise AskError(f"{path}: cannot be used as a picture ({picture.clip.status}): {picture.clip.detail}")
        if video.clip.status == NOT_A_VIDEO:
            raise AskError(f"{path}: neither a video nor a picture: {video.clip.detail}")
    raise AskError(f"{path}: cannot be used ({video.clip.status}): {video.clip.detail}")


def _about(path: Path, kind: str) -> Question:
    """A question whose frames are those of a file."""
    return Question("ask", "", "", "", ClipRef(str(path), kind))


def _read(text: str, question: Question, style: str) -> str | None:
    """What the evaluation reads as the answer."""
    if question.task == CHOICE:
        return grade(text, question, "tagged", style).parsed
    block = last_block(as_answer(text) if style == "option" else text)
    return (block or "").strip() or None


class _Pieces:
    """The tokens of one completion, and the pieces of text that they add.

    White space at the ends, and a character whose bytes are not all there yet, wait for what follows.
    """

    def __init__(self, model: VideoLM, listener: Listener | None) -> None:
        self.tokenizer, self.listener = model.tokenizer, listener
        self.columns: list[torch.Tensor] = []
        self.said = ""

    def add(self, tokens: torch.Tensor) -> None:
        self.columns.append(tokens)
        if self.listener is not None:
            self._say(self._ids(int(self.tokenizer.eos_token_id)).texts(self.tokenizer)[0].rstrip("\ufffd").rstrip())

    def finish(self, end: int) -> Completion:
        """The whole completion; what was kept back of its text is said."""
        ids = self._ids(end)
        text = ids.texts(self.tokenizer)[0]
        self._say(text)
        return Completion(text, int(ids.lengths[0]), bool(ids.finished[0]))

    def _ids(self, end: int) -> Completions:
        return Completions.from_ids(torch.cat(self.columns)[None], end)

    def _say(self, text: str) -> None:
        if self.listener is not None and text != self.said and text.startswith(self.said):
            self.listener(text[len(self.said) :])
            self.said = text
