"""From questions to prompts: texts, ids, and how long a prompt may be."""

import dataclasses
from collections.abc import Sequence

import torch

from vidreason.data.registry import question_prompt
from vidreason.models.base import VideoLM
from vidreason.records import Question
from vidreason.tasks.base import task_of
from vidreason.tasks.prompt_templates import evaluation_query, training_query


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One question as the model gets it.

    Attributes:
        text: The chat template around the question, up to where the answer begins.
        ids: int64 [T], with one image token.
        length: Positions, video included.
    """

    text: str
    ids: torch.Tensor
    length: int


def prompt_of(model: VideoLM, question: Question, style: str, training: bool) -> Prompt:
    """The prompt of a question; arguments as in `query_text`."""
    text = model.prompt_text(query_text(question, style, training))
    ids = model.text_ids(text)
    return Prompt(text, ids, prompt_length(ids, model))


def prompts_of(model: VideoLM, questions: Sequence[Question], style: str, training: bool) -> list[torch.Tensor]:
    """Prompt ids of every question: int64 vectors that end where the answer begins."""
    return [prompt_of(model, question, style, training).ids for question in questions]


def query_text(question: Question, style: str, training: bool) -> str:
    """The user's turn: video mark, question, options and instruction.

    Args:
        question: The question.
        style: `option` or `reason`.
        training: Training writes the instruction after a space, evaluation on a new line, as upstream does.
    """
    write = training_query if training else evaluation_query
    return write(question_prompt(question), task_of(question.task).instruction(style))


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
