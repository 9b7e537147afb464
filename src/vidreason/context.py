"""Whether a prompt fits into the model's context, so that none is ever cut."""

import torch

from vidreason.model import IMAGE_TOKEN_INDEX, TinyLlavaConfig


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
