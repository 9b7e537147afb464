"""Batched decoding with one prefill per prompt and a seed per rollout.

The prompt of every question is prefilled once, its key-value cache is repeated for the G rollouts of the group, and
rows that have ended leave the batch. A rollout's random numbers depend on its own seed alone, so what it says does not
depend on which other rollouts were in its batch.

Letters: B prompts, G rollouts per prompt, N = B * G rows, L prompt tokens, T new tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from transformers import DynamicCache

from vidreason.losses import token_log_probs
from vidreason.model import TinyLlavaVideo


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: Limit on new tokens, end of sequence included.
        temperature: Divides the logits; 0 takes the most likely token (greedy).
        top_k: Sample among this many most likely tokens; 0 for all. Upstream leaves transformers' default of 50 in
            force.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 50

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if self.max_new_tokens < 1 or self.temperature < 0 or self.top_k < 0:
            raise ValueError(f"{self}: max_new_tokens must be at least 1, temperature and top_k at least 0")


@dataclasses.dataclass(frozen=True)
class Completions:
    """What was generated for B prompts with G rollouts each.

    Attributes:
        ids: int64 [N, T]; rows of one prompt are neighbours; padded with the end-of-sequence id.
        lengths: int64 [N], tokens up to and including the first end of sequence.
        finished: bool [N], whether the end of sequence was reached.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    finished: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """Bool [N, T], true on the tokens that count (the first end of sequence included)."""
        return torch.arange(self.ids.shape[1], device=self.ids.device)[None] < self.lengths[:, None]

    def texts(self, tokenizer) -> list[str]:  # type: ignore[no-untyped-def]
        """Decoded and stripped completions, special tokens removed; ids without a token are left out."""
        known = len(tokenizer)
        rows = [
            [token for token in row[:length] if token < known]
            for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)
        ]
        return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


def rollout_seed(*parts: int | str) -> np.random.SeedSequence:
    """A seed named by its parts, such as run seed, purpose, question id and rollout number."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in parts]
    return np.random.SeedSequence(words)


def uniforms(seeds: Sequence[np.random.SeedSequence], count: int) -> torch.Tensor:
    """One row of uniform numbers in [0, 1) for every rollout: float64 [N, count]."""
    return torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(seed)).random(count) for seed in seeds]))


def choose_tokens(logits: torch.Tensor, decoding: Decoding, uniform: torch.Tensor | None) -> torch.Tensor:
    """Choose the next token of every row.

    Sampling inverts the cumulative distribution of the (at most) top_k most likely tokens with one uniform number.

    Args:
        logits: float [N, V].
        decoding: Temperature and top_k.
        uniform: float64 [N] in [0, 1); not used by greedy decoding.

    Returns:
        int64 [N].

    Raises:
        ValueError: Logits are not finite: the weights have diverged.
    """
    if not torch.isfinite(logits).all():
        raise ValueError("logits are not finite: the weights have diverged (lower the learning rate)")
    if decoding.temperature == 0 or uniform is None:
        return logits.argmax(dim=-1)
    top, tokens = logits.float().topk(min(decoding.top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    cumulative = (top.double() / decoding.temperature).softmax(dim=-1).cumsum(dim=-1)
    place = torch.searchsorted(cumulative, uniform[:, None].to(logits.device) * cumulative[:, -1:], right=True)
    return tokens.gather(1, place.clamp(max=tokens.shape[1] - 1)).squeeze(1)


@torch.no_grad()
def generate(
    model: TinyLlavaVideo,
    prompts: Sequence[torch.Tensor],
    videos: torch.Tensor | None,
    decoding: Decoding,
    end: int,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Completions:
    """Generate G completions of every prompt.

    Args:
        model: The model, in evaluation mode.
        prompts: B int64 vectors of token ids, each with at most one image token.
        videos: float [B, Q, D], the connector's output for every prompt (encoded once, by the caller); None for text.
        decoding: How tokens are chosen.
        end: Id of the end of sequence.
        group: Rollouts per prompt, G.
        seeds: N seeds, one a rollout; may be None when decoding is greedy.

    Returns:
        The completions, rows in the order prompt 0 rollout 0..G-1, prompt 1 rollout 0, ...

    Raises:
        ValueError: Sampling without one seed a rollout.
    """
    rows = len(prompts) * group
    if decoding.temperature > 0 and (seeds is None or len(seeds) != rows):
        raise ValueError(f"sampling needs one seed a rollout: {rows} rollouts, {len(seeds or ())} seeds")
    random = uniforms(seeds, decoding.max_new_tokens) if seeds and decoding.temperature > 0 else None
    embeds, mask = model.embed(list(prompts), videos, padding_side="left")[:2]
    positions = positions_of(mask)
    cache = DynamicCache()
    first = model(
        embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    logits = first.logits[:, -1].repeat_interleave(group, dim=0)  # [N, V]
    cache.batch_repeat_interleave(group)
    mask = mask.repeat_interleave(group, dim=0)
    position = positions[:, -1:].repeat_interleave(group, dim=0)

    ids = torch.full((rows, decoding.max_new_tokens), end, dtype=torch.int64, device=embeds.device)
    lengths = torch.full((rows,), decoding.max_new_tokens, dtype=torch.int64, device=embeds.device)
    finished = torch.zeros(rows, dtype=torch.bool, device=embeds.device)
    active = torch.arange(rows, device=embeds.device)
    for step in range(decoding.max_new_tokens):
        token = choose_tokens(logits, decoding, random[active.cpu(), step] if random is not None else None)
        ids[active, step] = token
        ended = token == end
        lengths[active[ended]] = step + 1
        finished[active[ended]] = True
        if ended.all() or step + 1 == decoding.max_new_tokens:
            break
        if ended.any():
            keep = (~ended).nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            active, token, mask, position = active[keep], token[keep], mask[keep], position[keep]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        position = position + 1
        step_embeds = model.language_model.get_input_embeddings()(token[:, None])
        output = model(step_embeds, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)
        logits = output.logits[:, -1]
    width = int(lengths.max())
    return Completions(ids[:, :width], lengths, finished)


def completion_log_probs(
    model: TinyLlavaVideo,
    prompts: Sequence[torch.Tensor],
    videos: torch.Tensor | None,
    completions: Completions,
    group: int,
    recompute: bool = False,
) -> torch.Tensor:
    """Log-probabilities of completions under a model, each prompt passed once for its G completions.

    The prompt is prefilled once with gradient, its key-value cache is repeated for the group and the completions are
    passed on top of it: L + G * T tokens a prompt instead of G * (L + T), equal in value and gradient. Logits exist on
    completion tokens only.

    With `recompute` activations are not kept but computed again in the backward pass. A cache cannot be, so the prompt is
    then passed for every completion: more work for less memory, with equal results.

    Args:
        model: The model.
        prompts: B int64 vectors of token ids.
        videos: float [B, Q, D], with gradient where the connector is trained; None for text.
        completions: N = B * G completions, rows of one prompt as neighbours.
        group: G.
        recompute: Save memory in the backward pass.

    Returns:
        float32 [N, T]; entries past a completion's end are zero.

    Source: TinyLLaVA-Video-R1@efe76a1:tinyllava/train/tinyllava_trainer_reason.py (`compute_loss`).
    Differs from the source: it repeats the video and the prompt for every completion, and computes logits for them.
    """
    embeds, mask = model.embed(list(prompts), videos, padding_side="left")[:2]
    width = completions.ids.shape[1]
    if recompute:
        told = model.language_model.get_input_embeddings()(completions.ids)
        whole = torch.cat([mask.repeat_interleave(group, dim=0), completions.mask], dim=1)
        with model.recomputed():
            every = model(
                torch.cat([embeds.repeat_interleave(group, dim=0), told], dim=1),  # [N, L + T, D]
                attention_mask=whole,
                position_ids=positions_of(whole),
                logits_to_keep=width + 1,
            )
        return token_log_probs(every.logits[:, :-1], completions.ids) * completions.mask
    positions = positions_of(mask)
    cache = DynamicCache()
    first = model(
        embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
    )
    logits = first.logits.repeat_interleave(group, dim=0)  # [N, 1, V]
    if width > 1:
        cache.batch_repeat_interleave(group)
        told = completions.mask[:, :-1]
        whole = torch.cat([mask.repeat_interleave(group, dim=0), told.to(mask.dtype)], dim=1)
        later = positions[:, -1:].repeat_interleave(group, dim=0) + torch.arange(1, width, device=mask.device)
        rest = model(
            model.language_model.get_input_embeddings()(completions.ids[:, :-1]),
            attention_mask=whole,
            position_ids=later,
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, rest.logits], dim=1)  # [N, T, V]
    return token_log_probs(logits, completions.ids) * completions.mask


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Positions that count the real tokens of a left-padded batch: int64, same shape as `mask`."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
