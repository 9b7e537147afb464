"""From questions to prompts: texts, ids, and how long a prompt may be."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from vidreason.data.registry import question_prompt
from vidreason.media.frame_store import FrameStore
from vidreason.media.views import NO_VIDEO, ORDERED, TIMES_SHUFFLED
from vidreason.models.base import VideoLM
from vidreason.records import IMAGE, OK, Question
from vidreason.tasks.base import task_of
from vidreason.tasks.prompt_templates import evaluation_query, time_line, training_query


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question as the model gets it.

    Attributes:
        text: The chat template around the question, up to where the answer begins.
        ids: int64 [T], with one image token; without one where no video is shown.
        length: Positions, video included.
    """

    text: str
    ids: torch.Tensor
    length: int


@dataclasses.dataclass(frozen=True)
class Clock:
    """Tells when the frames of clips were taken, which the prompts of timed tasks state.

    The times are those of the frames themselves, as decoded: they hold for every frame rule, for bounds and for a variable frame
    rate. Sixteen times say more than the duration alone, and have an order that a control can take away.

    Attributes:
        store: Frames of all the clips.
        view: A view of `vidreason.media.views`; `times_shuffled` states the times in a random order, `none` states none.
        seed: With the clip's key, the seed of that order.
    """

    store: FrameStore
    view: str = ORDERED
    seed: int = 0

    def line(self, question: Question) -> str:
        """The line of a question's prompt that states the times; `""` for an image, and for a clip without frames."""
        key = question.clip.key
        if self.view == NO_VIDEO or question.clip.kind == IMAGE or self.store.status(key) != OK:
            return ""
        times = np.maximum(self.store.times(key) - (question.clip.start or 0.0), 0.0)
        if self.view == TIMES_SHUFFLED:
            times = np.random.default_rng([self.seed, *key.encode()]).permutation(times)
        return time_line(times.tolist())


def prompt_of(
    model: VideoLM, question: Question, style: str, training: bool, clock: Clock | None = None, video: bool = True
) -> Prompt:
    """The prompt of a question; arguments as in `query_text`."""
    text = model.prompt_text(query_text(question, style, training, clock, video))
    ids = model.text_ids(text)
    return Prompt(text, ids, prompt_length(ids, model))


def prompts_of(
    model: VideoLM, questions: Sequence[Question], style: str, training: bool, clock: Clock | None = None
) -> list[torch.Tensor]:
    """Prompt ids of every question: int64 vectors that end where the answer begins; arguments as in `query_text`."""
    return [prompt_of(model, question, style, training, clock).ids for question in questions]


def query_text(question: Question, style: str, training: bool, clock: Clock | None = None, video: bool = True) -> str:
    """The user's turn: video mark, question, options, for timed tasks the times of the frames, and instruction.

    Args:
        question: The question.
        style: `option` or `reason`.
        training: Training writes the instruction after a space, evaluation on a new line, as upstream does.
        clock: Tells the times of the frames; only timed tasks need it.
        video: Whether there is a video; without one, neither its mark nor times are written.

    Raises:
        ValueError: There is no such style, or the task is timed and there is no clock.
    """
    write = training_query if training else evaluation_query
    task, text = task_of(question.task), question_prompt(question)
    if task.timed and video:
        if clock is None:
            raise ValueError(
                f"question {question.id!r}: the prompt of task {task.name} states when the frames were taken, and no clock was "
                f"given; pass Clock(store)"
            )
        text = "\n".join(filter(None, (text, clock.line(question))))
    return write(text, task.instruction(style), video)


def prompt_length(ids: torch.Tensor, model: VideoLM) -> int:
    """Positions of a prompt once its video has replaced the image token.

    Args:
        ids: int64 [T], with at most one image token.
        model: Tells the image token and the positions of a video.
    """
    videos = int((ids == model.image_token).sum())
    return len(ids) + videos * (model.video_positions - 1)


def max_prompt_length(model: VideoLM, max_new_tokens: int) -> int:
    """Positions of the longest prompt that can be answered.

    Two limits hold. `tokenizer_model_max_length` is where the checkpoint's own training cut a prompt with its video;
    `max_position_embeddings` is the size of the language model, which the answer has to fit into as well.

    Args:
        model: Tells both limits.
        max_new_tokens: Longest answer; 0 where the ids contain it already.

    Raises:
        ValueError: The answer leaves no room for any prompt.
    """
    longest = min(model.max_prompt_positions, model.max_positions - max_new_tokens)
    if longest < 1:
        raise ValueError(
            f"max_new_tokens is {max_new_tokens}: with max_position_embeddings {model.max_positions} no room is left for a "
            f"prompt; allowed: less than {model.max_positions}"
        )
    return longest


def fits(ids: torch.Tensor, model: VideoLM, max_new_tokens: int) -> bool:
    """Whether a prompt can be answered without being cut; arguments as in `max_prompt_length`."""
    return prompt_length(ids, model) <= max_prompt_length(model, max_new_tokens)
