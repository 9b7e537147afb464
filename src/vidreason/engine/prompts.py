"""From questions to what the model takes: prompt ids and pixels."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from vidreason.data.options import question_prompt
from vidreason.models.tinyllava import IMAGE_TOKEN_INDEX, TinyLlavaConfig
from vidreason.models.tinyllava.template import evaluation_query, prompt_ids, training_query
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


def prompts_of(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], answer: str, training: bool
) -> list[torch.Tensor]:
    """Prompt ids of every question: int64 vectors that end where the answer begins."""
    return [prompt_ids(tokenizer, query_text(question, answer, training)) for question in questions]


def prompt_positions(ids: torch.Tensor, config: TinyLlavaConfig) -> int:
    """Positions that a prompt takes up once the video stands in the place of its mark.

    Args:
        ids: int64 [T], with at most one `IMAGE_TOKEN_INDEX`.
        config: Sizes of the model.

    Returns:
        T, or T - 1 + Q with a video of Q embeddings.
    """
    marks = int((ids == IMAGE_TOKEN_INDEX).sum())
    return len(ids) + marks * (config.queries - 1)


def most_positions(config: TinyLlavaConfig, max_new_tokens: int) -> int:
    """Positions of the longest prompt that can be answered.

    Two limits hold: `tokenizer_model_max_length`, where the checkpoint's own training cut a prompt with its video, and
    the language model's `max_position_embeddings`, which the answer has to fit into as well.

    Args:
        config: Sizes of the model.
        max_new_tokens: Longest answer; 0 where the ids hold it already.

    Raises:
        ValueError: So long an answer leaves no room for any prompt.
    """
    whole = int(config.text().max_position_embeddings)
    most = min(config.tokenizer_model_max_length, whole - max_new_tokens)
    if most < 1:
        raise ValueError(
            f"max_new_tokens is {max_new_tokens}: with max_position_embeddings {whole} no room is left for a prompt; "
            f"allowed: less than {whole}"
        )
    return most


def fits(ids: torch.Tensor, config: TinyLlavaConfig, max_new_tokens: int) -> bool:
    """Whether a prompt can be answered without being cut; see `most_positions` for the limits.

    Args:
        ids: int64 [T], with at most one `IMAGE_TOKEN_INDEX`.
        config: Sizes of the model.
        max_new_tokens: Longest answer; 0 where the ids hold it already.
    """
    return prompt_positions(ids, config) <= most_positions(config, max_new_tokens)
