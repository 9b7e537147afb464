"""Batched decoding with one prefill per prompt and a seed per rollout.

The prompt of every question is prefilled once, its keys and values are laid out for the G rollouts of the group
(`vidreason.engine.kv_cache`), and rows that have ended leave the batch. A rollout's random numbers depend on its own seed alone, so
what it says does not depend on which other rollouts were in its batch: another batch moves the last bits of the logits,
which changes a token only where its number falls within them (in float32 about one token in a million).

Letters: B prompts, G rollouts per prompt, N = B * G rows, L prompt tokens, T new tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from vidreason.engine.decoder import decoder_for
from vidreason.models.tinyllava import TinyLlavaVideo


class NotFiniteError(ValueError):
    """Logits that are not numbers: the weights have diverged, or are not those of this model."""


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

    def to(self, device: torch.device) -> "Completions":
        """The same on a device."""
        return Completions(self.ids.to(device), self.lengths.to(device), self.finished.to(device))

    def split(self, size: int) -> list["Completions"]:
        """Parts of `size` rows each."""
        parts = zip(self.ids.split(size), self.lengths.split(size), self.finished.split(size), strict=True)
        return [Completions(*part) for part in parts]

    @classmethod
    def concatenated(cls, parts: Sequence["Completions"], end: int) -> "Completions":
        """Completions of several batches as if of one.

        Args:
            parts: At least one.
            end: Id of the end of sequence, with which shorter parts are padded.
        """
        lengths = torch.cat([part.lengths for part in parts])
        width = int(lengths.max())
        ids = [F.pad(part.ids[:, :width], (0, max(0, width - part.ids.shape[1])), value=end) for part in parts]
        return cls(torch.cat(ids), lengths, torch.cat([part.finished for part in parts]))

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
        int64 [N]; any tokens where logits are not finite, which the caller has to look at.
    """
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
        NotFiniteError: Logits are not finite.
    """
    rows = len(prompts) * group
    if decoding.temperature > 0 and (seeds is None or len(seeds) != rows):
        raise ValueError(f"sampling needs one seed a rollout: {rows} rollouts, {len(seeds or ())} seeds")
    random = uniforms(seeds, decoding.max_new_tokens) if seeds and decoding.temperature > 0 else None
    embeds, mask = model.embed(list(prompts), videos, padding_side="left")[:2]
    decoder = decoder_for(model, rows, embeds.shape[1] + decoding.max_new_tokens)
    logits = decoder.prefill(embeds, mask, group)  # [N, V]

    device = logits.device
    random = None if random is None else random.to(device)
    ids = torch.full((rows, decoding.max_new_tokens), end, dtype=torch.int64, device=device)
    lengths = torch.full((rows,), decoding.max_new_tokens, dtype=torch.int64, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    active = torch.arange(rows, device=device)  # number of the rollout in every row of the decoder
    for step in range(decoding.max_new_tokens):
        token = choose_tokens(logits, decoding, None if random is None else random[active, step])
        ids[active, step] = token
        ended = token == end
        # Both in one tensor: on a GPU each look at a value waits for all kernels, and this is the only wait of a token.
        finite, some_ended = torch.stack((torch.isfinite(logits).all(), ended.any())).tolist()
        if not finite:
            raise NotFiniteError("logits are not finite: the weights have diverged")
        if some_ended:
            lengths[active[ended]] = step + 1
            finished[active[ended]] = True
            kept = decoder.keep(~ended)
            active, token = active[kept], token[kept]
        if not len(active) or step + 1 == decoding.max_new_tokens:
            break
        logits = decoder.step(token)
    width = int(lengths.max())
    return Completions(ids[:, :width], lengths, finished)
