"""Log-probabilities of given texts: of completions, each prompt passed once for all of them, and of texts to imitate.

Letters: B prompts, G completions a prompt, N = B * G completions, T tokens of the longest, S tokens in all, D width.
"""

from collections.abc import Sequence

import torch

from vidreason.engine.generation import Completions
from vidreason.models.packing import Packing
from vidreason.models.tinyllava import TinyLlavaVideo
from vidreason.rl.losses import IGNORE_INDEX, chunked_log_probs


def completion_log_probs(
    model: TinyLlavaVideo,
    prompts: Sequence[torch.Tensor],
    videos: torch.Tensor | None,
    completions: Completions,
    group: int,
    recompute: bool = False,
) -> torch.Tensor:
    """Log-probabilities of completions under a model.

    Prompts and completions go through the model as one packed row (`vidreason.models.packing`): a prompt once for its G
    completions, no padding, and a completion's last token not at all, since nothing follows it. Logits exist on completion
    tokens only, a chunk of them at a time. Equal in value and gradient to one sequence after the other.

    Args:
        model: The model.
        prompts: B int64 vectors of token ids.
        videos: float [B, Q, D], with gradient where the connector is trained; None for text.
        completions: N = B * G completions, rows of one prompt as neighbours.
        group: G.
        recompute: Keep few activations and compute them again in the backward pass (gradient checkpointing).

    Returns:
        float32 [N, T]; entries past a completion's end are zero.

    Raises:
        ValueError: There are not G completions for every prompt.

    Source: TinyLLaVA-Video-R1@efe76a1:tinyllava/train/tinyllava_trainer_reason.py (`compute_loss`).
    Differs from the source: it repeats the video and the prompt for every completion, and computes logits for them.
    """
    if len(completions.ids) != len(prompts) * group:
        raise ValueError(f"{len(completions.ids)} completions for {len(prompts)} prompts; expected {group} each")
    mask = completions.mask
    rows = model.merge(prompts, videos)[0]
    lengths = completions.lengths.tolist()
    packing = Packing(tuple(map(len, rows)), tuple(length - 1 for length in lengths), mask.device)
    told = completions.ids[:, :-1][mask[:, 1:]]  # every token but the last of each completion
    embeds = torch.cat((*rows, model.language_model.get_input_embeddings()(told)))[None]  # [1, S, D]
    with model.recomputed(recompute):
        hidden = model.hidden(embeds, packing)[0]
    logp = chunked_log_probs(model.head, hidden[_predictors(packing, group)], completions.ids[mask])
    return logp.new_zeros(mask.shape).masked_scatter(mask, logp)


def label_log_probs(
    model: TinyLlavaVideo, embeds: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities of the labelled tokens of a batch; logits exist on those alone.

    Args:
        model: The model.
        embeds: float [B, L, D], right-padded.
        mask: bool [B, L].
        labels: int64 [B, L], the token at each position; -100 takes no part.

    Returns:
        float32 [labelled tokens], row by row.
    """
    wanted = labels[:, 1:]  # position t predicts token t + 1
    told = wanted != IGNORE_INDEX
    hidden = model.hidden(embeds, attention_mask=mask)[:, :-1]
    return chunked_log_probs(model.head, hidden[told], wanted[told])


def _predictors(packing: Packing, group: int) -> torch.Tensor:
    """Place in the packed row that predicts each completion token: the prompt's last one, then the token before."""
    ends = torch.tensor(packing.prompt_lengths).cumsum(0) - 1
    places = torch.arange(sum(packing.completion_lengths)) + packing.prompts
    pieces = places.split(packing.completion_lengths)
    firsts = ends.repeat_interleave(group).split(1)
    return torch.cat([part for pair in zip(firsts, pieces, strict=True) for part in pair]).to(packing.device)
