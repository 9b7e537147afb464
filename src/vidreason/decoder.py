"""The language model as a decoder of many rows: one prefill, then one token a row and step.

On a CUDA device a step is recorded once as a CUDA graph and then played again, so that no time goes into starting some
thousand small kernels from Python; shapes are rounded up, so that few graphs do. On the CPU the same step runs as it is.

Masks are given by kind of layer: transformers takes those as they are and asks the cache nothing about them.

Letters: B prompts, G rollouts a prompt, N = B G rows, n rows in use, L prompt positions, V vocabulary.
"""

import torch

from vidreason.cache import RolloutCache
from vidreason.model import TinyLlavaVideo

GRAIN = 256
"""Positions and, in powers of two, rows are rounded up on a CUDA device, so that at most 8 graphs serve 2,048 positions."""


class Decoder:
    """Rows of rollouts and where each of them stands."""

    def __init__(
        self, model: TinyLlavaVideo, embeds: torch.Tensor, mask: torch.Tensor, group: int, max_new_tokens: int
    ) -> None:
        """Take the prompts.

        Args:
            model: The model, in evaluation mode.
            embeds: float [B, L, D], left-padded.
            mask: bool [B, L].
            group: G.
            max_new_tokens: Steps to make room for.
        """
        self.model, self._embeds, self._mask = model, embeds, mask
        self._graphed = embeds.is_cuda
        length = embeds.shape[1] + max_new_tokens
        self._capacity = -(-length // GRAIN) * GRAIN if self._graphed else length
        self.cache = RolloutCache(group, self._capacity)
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    def prefill(self) -> torch.Tensor:
        """Pass the prompts; logits [N, V] of the first new token."""
        padded = not bool(self._mask.all())
        positions = positions_of(self._mask)
        output = self.model(
            self._embeds,
            attention_mask={"full_attention": _causal(self._mask) if padded else None},
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        group, length = self.cache.group, self._embeds.shape[1]
        self.rows, self._length = self.cache.rows, length
        self._token = torch.zeros(self.rows, 1, dtype=torch.int64, device=self._embeds.device)
        self._position = positions[:, -1:].repeat_interleave(group, dim=0)
        self._seen = None
        if padded or self._graphed:
            self._seen = torch.zeros(self.rows, 1, 1, self._capacity, dtype=torch.bool, device=self._embeds.device)
            self._seen[..., :length] = self._mask.repeat_interleave(group, dim=0)[:, None, None]
        self._logits = output.logits[:, -1].repeat_interleave(group, dim=0)  # [B, 1, V] -> [N, V]
        return self._logits

    def keep(self, kept: torch.Tensor) -> torch.Tensor:
        """Let rows go.

        Args:
            kept: bool [n], which rows stay.

        Returns:
            int64 [rows that stay], the former number of each: the last ones have taken the places of those that left.
        """
        stay = int(kept.sum())
        order = torch.arange(stay, device=kept.device)
        free, last = (~kept[:stay]).nonzero().squeeze(1), kept[stay:].nonzero().squeeze(1) + stay
        order[free] = last
        if len(free):
            self.cache.move(last, free)
            for state in (self._position, self._seen):
                if state is not None:
                    state[free] = state[last]
        self.rows = stay
        return order

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Say one token in every row; logits [n, V] of the next.

        Args:
            token: int64 [n].
        """
        place, rows = self._length, self.rows
        self._length += 1
        self._token[:rows, 0] = token
        self._position += 1
        self.cache.place.fill_(place)
        if self._seen is not None:
            self._seen[..., place] = True
        if not self._graphed:
            self.cache.rows, self.cache.extent = rows, self._length
            return self._forward()
        self.cache.rows = min(1 << (rows - 1).bit_length(), len(self._token))
        self.cache.extent = -(-self._length // GRAIN) * GRAIN
        return self._played()[:rows]

    def _forward(self) -> torch.Tensor:
        """One step of the cache's rows in use: [rows, V]."""
        rows, extent = self.cache.rows, self.cache.extent
        output = self.model(
            self.model.language_model.get_input_embeddings()(self._token[:rows]),
            attention_mask={"full_attention": None if self._seen is None else self._seen[:rows, ..., :extent]},
            position_ids=self._position[:rows],
            past_key_values=self.cache,
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _played(self) -> torch.Tensor:
        """One step as a CUDA graph of its shape, recorded where it is the first. A step may be run twice: it writes the same."""
        shape = (self.cache.rows, self.cache.extent)
        if shape not in self._graphs:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # libraries set themselves up outside of the recording
                self._forward()
            torch.cuda.current_stream().wait_stream(aside)
            self._graphs[shape] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graphs[shape]):
                self._logits[: shape[0]] = self._forward()
        self._graphs[shape].replay()
        return self._logits


def _causal(mask: torch.Tensor) -> torch.Tensor:
    """What every position of a left-padded batch [B, L] sees: bool [B, 1, L, L]. Padding sees itself, as it must see something."""
    length = mask.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (before & mask[:, None, :] | itself)[:, None]


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Positions that count the real tokens of a left-padded batch: int64, same shape as `mask`."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
