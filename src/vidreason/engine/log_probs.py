"""Log-probabilities of given texts: sampled completions, whose prompt is passed once for all of them, and texts to imitate.

Letters: B prompts, G completions a prompt, N = B * G completions, T tokens of the longest, S tokens in all, D width.
"""

from collections.abc import Sequence

import torch

from vidreason.engine.generation import Completions
from vidreason.models.base import IGNORE_INDEX, Inputs, VideoLM, VideoTokens
from vidreason.models.packing import Packing
from vidreason.rl.losses import EntropyKind, TokenScores, chunked_log_probs, chunked_scores


def completion_log_probs(
    model: VideoLM,
    prompts: Sequence[torch.Tensor],
    videos: VideoTokens | None,
    completions: Completions,
    group: int,
    recompute: bool = False,
) -> torch.Tensor:
    """Log-probabilities [N, T] of completions under a model; see `completion_scores`."""
    return completion_scores(model, prompts, videos, completions, group, recompute).log_probs


def completion_scores(
    model: VideoLM,
    prompts: Sequence[torch.Tensor],
    videos: VideoTokens | None,
    completions: Completions,
    group: int,
    recompute: bool = False,
    entropy: EntropyKind = "none",
) -> TokenScores:
    """Log-probabilities of completions under a model, and its entropy at each of their tokens.

    Prompts and completions go through the model as one packed row (`vidreason.models.packing`): each prompt once for its G
    completions, no padding, and no last token of a completion, because nothing follows it. Logits exist on completion tokens
    only, a chunk of them at a time. Values and gradients equal those of separate sequences.

    Args:
        model: The model.
        prompts: B int64 vectors of token ids.
        videos: The connector's output for every prompt, with gradient where it is trained; None for text.
        completions: N = B * G completions, the G of a prompt next to each other.
        group: G.
        recompute: Keep few activations and recompute them in the backward pass (gradient checkpointing).
        entropy: Whether it is wanted, and with gradient.

    Returns:
        Both float32 [N, T]; zero past a completion's end.

    Raises:
        ValueError: There are not G completions for every prompt.

    Source: TinyLLaVA-Video-R1@efe76a1:tinyllava/train/tinyllava_trainer_reason.py (`compute_loss`).
    Differs from the source: it repeats the video and the prompt for every completion, and computes logits for them.
    """
    if len(completions.ids) != len(prompts) * group:
        raise ValueError(f"{len(completions.ids)} completions for {len(prompts)} prompts; expected {group} each")
    mask = completions.mask
    rows = model.splice(prompts, videos)[0]
    lengths = completions.lengths.tolist()
    packing = Packing(tuple(map(len, rows)), tuple(length - 1 for length in lengths), mask.device)
    fed = completions.ids[:, :-1][mask[:, 1:]]  # every token but the last of each completion
    embeds = torch.cat((*rows, model.embed_tokens(fed)))[None]  # [1, S, D]
    with model.recomputed(recompute):
        hidden = model.hidden(embeds, packing)[0]
    scores = chunked_scores(model.head, hidden[_predictors(packing, group)], completions.ids[mask], entropy)

    def rows_of(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)  # [tokens] -> [N, T]

    return TokenScores(rows_of(scores.log_probs), None if scores.entropy is None else rows_of(scores.entropy))


def label_log_probs(model: VideoLM, inputs: Inputs) -> torch.Tensor:
    """Log-probabilities of the labelled tokens of a batch; logits exist on those alone.

    Args:
        model: The model.
        inputs: B sequences with labels, right-padded.

    Returns:
        float32 [labelled tokens], row by row.
    """
    next_labels = inputs.labels[:, 1:]  # position t predicts token t + 1
    is_labelled = next_labels != IGNORE_INDEX
    hidden = model.hidden(inputs.embeds, mask=inputs.mask)[:, :-1]
    return chunked_log_probs(model.head, hidden[is_labelled], next_labels[is_labelled])


def _predictors(packing: Packing, group: int) -> torch.Tensor:
    """Index in the packed row of the token that predicts each completion token: the prompt's last one, then the one before."""
    prompt_ends = torch.tensor(packing.prompt_lengths).cumsum(0) - 1
    completion_tokens = torch.arange(sum(packing.completion_lengths)) + packing.prompts
    completions = completion_tokens.split(packing.completion_lengths)
    firsts = prompt_ends.repeat_interleave(group).split(1)
    pieces = [piece for pair in zip(firsts, completions, strict=True) for piece in pair]
    return torch.cat(pieces).to(packing.device)
