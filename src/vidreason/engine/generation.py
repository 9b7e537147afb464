"""Batched decoding with one prefill a prompt and a random seed a rollout.

The prompt of every question is prefilled once and its keys and values are copied for the G rollouts of the group
(`vidreason.engine.kv_cache`). Rows that have ended leave the batch. The random numbers of a rollout depend on its own seed
alone, so its tokens do not depend on the other rollouts of the batch, up to rounding: another batch moves the last bits of the
logits, which changes a token only where its random number falls within them (in float32 about one token in a million).

Letters: B prompts, G rollouts a prompt, N = B * G rows, n rows that have not ended, L prompt tokens, T new tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from vidreason.engine.decoder import decoder_for
from vidreason.models.base import VideoLM, VideoTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NotFiniteError(ValueError):
    """Logits are not finite: the weights have diverged, or belong to another model."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: Limit on new tokens, end of sequence included.
        temperature: Divides the logits; 0 takes the most likely token (greedy).
        top_k: Sample from this many most likely tokens; 0 for all. Upstream samples with transformers' default of 50.
        top_p: Sample from the fewest most likely tokens that hold this share of the probability, after temperature and top_k;
            None for all.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 50
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.max_new_tokens < 1 or self.temperature < 0 or self.top_k < 0:
            raise ValueError(f"{self}: max_new_tokens must be at least 1, temperature and top_k at least 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: top_p must be above 0 and at most 1, or None")


@dataclasses.dataclass(frozen=True)
class Completions:
    """What was generated for B prompts with G rollouts each.

    Attributes:
        ids: int64 [N, T]; the G of a prompt next to each other; padded with the end-of-sequence id.
        lengths: int64 [N], tokens up to and including the first end of sequence.
        finished: bool [N], whether the end of sequence was reached.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    finished: torch.Tensor

    @classmethod
    def from_ids(cls, ids: torch.Tensor, end: int) -> "Completions":
        """Completions from their ids.

        Args:
            ids: int64 [N, T], padded with `end`.
            end: Id of the end of sequence.
        """
        ended = ids == end
        finished = ended.any(dim=1)
        lengths = torch.where(finished, ended.int().argmax(dim=1) + 1, ids.shape[1])
        return cls(ids, lengths, finished)

    @property
    def mask(self) -> torch.Tensor:
        """Bool [N, T], true up to and including the first end of sequence."""
        return torch.arange(self.ids.shape[1], device=self.ids.device)[None] < self.lengths[:, None]

    def to(self, device: torch.device) -> "Completions":
        """The same on a device."""
        return Completions(self.ids.to(device), self.lengths.to(device), self.finished.to(device))

    def split(self, size: int) -> list["Completions"]:
        """Consecutive groups of `size` rows."""
        groups = zip(self.ids.split(size), self.lengths.split(size), self.finished.split(size), strict=True)
        return [Completions(*group) for group in groups]

    @classmethod
    def concatenated(cls, parts: Sequence["Completions"], end: int) -> "Completions":
        """Join the completions of several batches.

        Args:
            parts: At least one.
            end: Id of the end of sequence; shorter parts are padded with it.
        """
        lengths = torch.cat([part.lengths for part in parts])
        width = int(lengths.max())
        ids = [F.pad(part.ids[:, :width], (0, max(0, width - part.ids.shape[1])), value=end) for part in parts]
        return cls(torch.cat(ids), lengths, torch.cat([part.finished for part in parts]))

    def texts(self, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
        """Decoded and stripped completions, without special tokens and without ids that the tokenizer does not have."""
        known = len(tokenizer)
        rows = [
            [token for token in row[:length] if token < known]
            for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)
        ]
        return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


def rollout_seed(*parts: int | str) -> np.random.SeedSequence:
    """A seed that is made of parts such as the run's seed, a purpose, a question id and a rollout number."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "little") for part in parts]
    return np.random.SeedSequence(words)


def uniforms(seeds: Sequence[np.random.SeedSequence], count: int) -> torch.Tensor:
    """`count` uniform numbers in [0, 1) for every rollout: float64 [N, count]."""
    return torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(seed)).random(count) for seed in seeds]))


def choose_tokens(logits: torch.Tensor, decoding: Decoding, uniform: torch.Tensor | None) -> torch.Tensor:
    """Choose the next token of every row.

    Sampling inverts the cumulative distribution of the tokens that top_k and top_p leave, with one uniform number. As in
    transformers, top_p is a share of what top_k leaves, and the token that reaches the share is kept.

    Args:
        logits: float [N, V].
        decoding: Temperature, top_k and top_p.
        uniform: float64 [N] in [0, 1); not used by greedy decoding.

    Returns:
        int64 [N]; arbitrary where logits are not finite, which the caller has to check.
    """
    if decoding.temperature == 0 or uniform is None:
        return logits.argmax(dim=-1)
    top, tokens = logits.float().topk(min(decoding.top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    cumulative = (top.double() / decoding.temperature).softmax(dim=-1).cumsum(dim=-1)
    last = torch.full_like(
        tokens[:, :1], tokens.shape[1] - 1
    )  # [N, 1], place of the least likely token that may be chosen
    if decoding.top_p is not None and decoding.top_p < 1:
        share = torch.full_like(cumulative[:, :1], decoding.top_p)
        last = torch.minimum(torch.searchsorted(cumulative, share), last)
    random = uniform[:, None].to(logits.device) * cumulative.gather(1, last)
    place = torch.searchsorted(cumulative, random, right=True)
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)


class TokenColumn(NamedTuple):
    """The next token of every rollout that has not ended.

    Attributes:
        rows: int64 [n], number of the rollout, 0 to N - 1.
        tokens: int64 [n].
    """

    rows: torch.Tensor
    tokens: torch.Tensor


@torch.no_grad()
def decode(
    model: VideoLM,
    prompts: Sequence[torch.Tensor],
    videos: VideoTokens | None,
    decoding: Decoding,
    end: int,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Iterator[TokenColumn]:
    """Generate G completions of every prompt, one column of tokens at a time.

    A column is yielded before its logits are checked, so that the caller's work on it is queued while the device computes: on a
    GPU that check is the only wait of a token.

    Args:
        model: The model, in evaluation mode.
        prompts: B int64 vectors of token ids, each with at most one image token.
        videos: The connector's output for every prompt; None for text.
        decoding: How tokens are chosen.
        end: Id of the end of sequence.
        group: Rollouts a prompt, G.
        seeds: N seeds, one a rollout; may be None when decoding is greedy.

    Yields:
        Columns of tokens on the model's device, at most `max_new_tokens`. Rollouts are numbered prompt 0 rollout 0..G-1, prompt 1
        rollout 0, ...; one that has ended is in no later column.

    Raises:
        ValueError: Sampling without one seed a rollout.
        NotFiniteError: Logits are not finite; the last column means nothing.
    """
    rows = len(prompts) * group
    if decoding.temperature > 0 and (seeds is None or len(seeds) != rows):
        raise ValueError(f"sampling needs one seed a rollout: {rows} rollouts, {len(seeds or ())} seeds")
    random = uniforms(seeds, decoding.max_new_tokens) if seeds and decoding.temperature > 0 else None
    inputs = model.build_inputs(list(prompts), videos, padding_side="left")
    decoder = decoder_for(model, rows, inputs.embeds.shape[1] + decoding.max_new_tokens)
    logits = decoder.prefill(inputs, group)  # [N, V]
    random = None if random is None else random.to(logits.device)
    active = torch.arange(rows, device=logits.device)  # number of the rollout in every row of the decoder
    for step in range(decoding.max_new_tokens):
        tokens = choose_tokens(logits, decoding, None if random is None else random[active, step])
        yield TokenColumn(active, tokens)
        ended = tokens == end
        # One tensor for both, because reading a value waits for all kernels.
        finite, some_ended = torch.stack((torch.isfinite(logits).all(), ended.any())).tolist()
        if not finite:
            raise NotFiniteError("logits are not finite: the weights have diverged")
        if some_ended:
            kept = decoder.keep(~ended)
            active, tokens = active[kept], tokens[kept]
        if not len(active) or step + 1 == decoding.max_new_tokens:
            break
        logits = decoder.step(tokens)


@torch.no_grad()
def generate(
    model: VideoLM,
    prompts: Sequence[torch.Tensor],
    videos: VideoTokens | None,
    decoding: Decoding,
    end: int,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Completions:
    """Collect the columns of `decode`, which see for arguments and errors.

    Returns:
        The completions, rows in the order prompt 0 rollout 0..G-1, prompt 1 rollout 0, ...
    """
    shape = (len(prompts) * group, decoding.max_new_tokens)
    ids = torch.full(shape, end, dtype=torch.int64, device=model.device)
    width = 0
    for rows, tokens in decode(model, prompts, videos, decoding, end, group, seeds):
        ids[rows, width] = tokens
        width += 1
    return Completions.from_ids(ids[:, :width], end)
