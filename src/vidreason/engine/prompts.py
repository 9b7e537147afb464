"""From questions to what the model takes: prompt ids and pixels."""

from collections.abc import Sequence

import torch

from vidreason.data.options import question_prompt
from vidreason.models.base import VideoLM
from vidreason.models.tinyllava.template import evaluation_query, training_query
from vidreason.records import Question


def query_text(question: Question, answer: str, training: bool) -> str:
    """What the user asks, video mark included.

    Args:
        question: The question.
        answer: `option` or `reason`.
        training: Training writes the instruction after a space, evaluation on a new line, as upstream does.
    """
    write = training_query if training else evaluation_query
    return write(question_prompt(question), answer)


def prompts_of(model: VideoLM, questions: Sequence[Question], answer: str, training: bool) -> list[torch.Tensor]:
    """Prompt ids of every question: int64 vectors that end where the answer begins."""
    texts = [model.prompt_text(query_text(question, answer, training)) for question in questions]
    return [model.text_ids(text) for text in texts]


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
