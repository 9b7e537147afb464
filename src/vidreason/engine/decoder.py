"""The language model as a decoder of many rows: one prefill, then one token a row and step.

On a CUDA device a step is recorded once as a CUDA graph and then played again, so that no time goes into starting some
thousand small kernels from Python. Shapes are rounded up, so that few graphs serve many steps, and memory and graphs are
kept for the model's next prompts. On the CPU the same step runs as it is, in memory of its own.

Masks are given by kind of layer: transformers takes those as they are and asks the cache nothing about them.

Letters: B prompts, G rollouts a prompt, N = B G rows, n rows in use, L prompt positions, V vocabulary.
"""

import functools
import weakref
from typing import Any

import torch

from vidreason.engine.kv_cache import RolloutCache
from vidreason.models.tinyllava import TinyLlavaVideo, at_once

GRAIN = 256
"""Positions are rounded up to a multiple of this on a CUDA device, and rows to powers of two."""

RECORDS = "cuda"
"""Type of the devices on which steps are recorded."""


class Decoder:
    """Rows of rollouts and where each of them stands."""

    def __init__(self, model: TinyLlavaVideo, rows: int, capacity: int, recorded: bool) -> None:
        """Make room; `decoder_for` says for what.

        Args:
            model: The model, in evaluation mode.
            rows: Most rows, N; a power of two where steps are recorded.
            capacity: Most positions of a row, prompt and completion together.
            recorded: Whether steps are CUDA graphs.
        """
        # Decoders are kept by their models, which must not be kept by them.
        self._model, self.cache, self._recorded = weakref.ref(model), RolloutCache(rows, capacity), recorded
        self._pool = torch.cuda.graph_pool_handle() if recorded else None
        self._token = torch.zeros(rows, 1, dtype=torch.int64, device=model.device)
        self._position = torch.zeros_like(self._token)
        self._seen = torch.zeros(rows, 1, 1, capacity, dtype=torch.bool, device=model.device)
        self._logits = torch.zeros(0)
        self._autocast = torch.is_autocast_enabled(model.device.type)
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    @property
    def model(self) -> TinyLlavaVideo:
        """The model."""
        model = self._model()
        if model is None:
            raise ReferenceError("the model of this decoder is gone")
        return model

    def serves(self, rows: int, positions: int) -> bool:
        """Whether there is room for so much, and what was recorded is what would be computed now."""
        room = rows <= len(self._token) and positions <= self.cache.capacity
        return room and self._autocast == torch.is_autocast_enabled(self.model.device.type)

    def prefill(self, embeds: torch.Tensor, mask: torch.Tensor, group: int) -> torch.Tensor:
        """Pass the prompts, some at a time.

        Args:
            embeds: float [B, L, D], left-padded.
            mask: bool [B, L].
            group: G.

        Returns:
            Logits [N, V] of the first new token.
        """
        padded = not bool(mask.all())
        positions = positions_of(mask)
        size = at_once(embeds[0].numel())
        logits = []
        for first in range(0, len(embeds), size):
            part = slice(first, first + size)
            self.cache.begin(group, first * group)
            visible = _causal(mask[part]) if padded else None
            logits.append(self._pass(embeds[part], visible, positions[part], logits_to_keep=1))
        self.rows, self._length = len(embeds) * group, embeds.shape[1]
        self._position[: self.rows] = positions[:, -1:].repeat_interleave(group, dim=0)
        self._masked = padded or self._recorded
        self._seen.zero_()
        self._seen[: self.rows, ..., : self._length] = mask.repeat_interleave(group, dim=0)[:, None, None]
        return torch.cat(logits).repeat_interleave(group, dim=0)  # [B, V] -> [N, V]

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
        if len(free):
            order[free] = last
            self.cache.move(last, free)
            for state in (self._position, self._seen):
                state[free] = state[last]
        self.rows = stay
        return order

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Say one token in every row; logits [n, V] of the next, good until the next step.

        Args:
            token: int64 [n].
        """
        place, rows = self._length, self.rows
        self._length += 1
        self._token[:rows, 0] = token
        self._position += 1
        self._seen[..., place] = True
        self.cache.place.fill_(place)
        if not self._recorded:
            self.cache.rows, self.cache.extent = rows, self._length
            return self._forward()
        # Padding rows are decoded too; their output is ignored.
        self.cache.rows = _power_of_two(rows)
        self.cache.extent = -(-self._length // GRAIN) * GRAIN
        return self._played()[:rows]

    def _forward(self) -> torch.Tensor:
        """One step of the cache's rows in use: [rows, V]."""
        rows, extent = self.cache.rows, self.cache.extent
        embeds = self.model.language_model.get_input_embeddings()(self._token[:rows])
        return self._pass(embeds, self._seen[:rows, ..., :extent] if self._masked else None, self._position[:rows])

    def _pass(
        self, embeds: torch.Tensor, visible: torch.Tensor | None, positions: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Logits [.., V] of the last position of some rows; `visible` says which positions each of theirs attends to.

        The language model is called itself: a trainer's hooks are on the whole model, and may wait for the device
        (DeepSpeed's timer does), which cannot be recorded.
        """
        output = self.model.language_model(
            inputs_embeds=embeds,
            attention_mask={"full_attention": visible},
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            **options,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _played(self) -> torch.Tensor:
        """One step as a CUDA graph of its shape, recorded when it is the first; to run it twice writes the same twice."""
        shape = (self.cache.rows, self.cache.extent)
        if shape not in self._graphs:
            aside = _side_stream(self.model.device)
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # libraries set themselves up outside of the recording
                logits = self._forward()
            torch.cuda.current_stream().wait_stream(aside)
            if not self._logits.numel():
                self._logits = logits.new_zeros(len(self._token), logits.shape[-1])
            self._graphs[shape] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graphs[shape], pool=self._pool):
                self._logits[: shape[0]] = self._forward()
        self._graphs[shape].replay()
        return self._logits


_decoders: weakref.WeakKeyDictionary[TinyLlavaVideo, Decoder] = weakref.WeakKeyDictionary()
"""The last decoder of a model on a CUDA device, whose graphs hold the addresses of its memory and of the weights."""


def decoder_for(model: TinyLlavaVideo, rows: int, positions: int) -> Decoder:
    """A decoder with enough room.

    Args:
        model: The model, in evaluation mode.
        rows: Rows, N.
        positions: Positions of a row, prompt and completion together.
    """
    device = model.device.type
    if device != RECORDS:
        return Decoder(model, rows, positions, recorded=False)
    # Weights that DeepSpeed deals out (ZeRO-3) stand elsewhere every time they are gathered, and so do the copies in half
    # precision that autocast makes of float32 matrices.
    cast = torch.is_autocast_enabled(device) and next(model.head.parameters()).dtype == torch.float32
    recorded = not cast and not any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    if not recorded:
        return Decoder(model, rows, positions, recorded=False)
    kept = _decoders.get(model)
    if kept is None or not kept.serves(rows, positions):
        del kept
        _decoders.pop(model, None)  # its memory is given back before more is taken
        kept = _decoders[model] = Decoder(model, *room_for(rows, positions), recorded=True)
    return kept


def room_for(rows: int, positions: int) -> tuple[int, int]:
    """Rows and positions that a recorded decoder has room for.

    Rows are rounded up in the same way when a decoder is made and in every step, so that the shapes of a batch, and with
    them the last bits of its numbers, do not depend on the batches before it.
    """
    return _power_of_two(rows), -(-positions // GRAIN) * GRAIN


def _power_of_two(rows: int) -> int:
    return 1 << (rows - 1).bit_length()


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that steps run on before they are recorded: one for all, as cuBLAS keeps a workspace for each stream."""
    return torch.cuda.Stream(device)


def _causal(mask: torch.Tensor) -> torch.Tensor:
    """What every position of a left-padded batch [B, L] sees: bool [B, 1, L, L]. Padding sees itself, as it must see something."""
    length = mask.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (before & mask[:, None, :] | itself)[:, None]


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Positions that count the real tokens of a left-padded batch: int64, same shape as `mask`."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
