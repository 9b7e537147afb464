"""Decoding of many rows: one prefill, then one token a row and step.

On a CUDA device each step is recorded once as a CUDA graph and replayed afterwards, which saves the launches of some thousand
small kernels from Python. Shapes are rounded up so that few graphs cover many steps, and memory and graphs are kept for the
model's next prompts. On the CPU the same step runs eagerly, in memory of its own.

Letters: B prompts, G rollouts a prompt, N = B G rows, n rows in use, L prompt positions, V vocabulary.
"""

import functools
import weakref

import torch

from vidreason.engine.kv_cache import KVCache
from vidreason.models.base import Inputs, VideoLM
from vidreason.models.chunks import chunk_size

GRAIN = 256
"""On a CUDA device positions are rounded up to a multiple of this, and rows to powers of two."""

GRAPH_DEVICE = "cuda"
"""Type of the devices on which steps are recorded as CUDA graphs."""


class Decoder:
    """The rows of a batch of rollouts, and the position of each."""

    def __init__(self, model: VideoLM, rows: int, capacity: int, cuda_graph: bool) -> None:
        """Allocate the state of all rows; see `decoder_for` for the sizes.

        Args:
            model: The model, in evaluation mode.
            rows: Most rows, N; a power of two with CUDA graphs.
            capacity: Most positions of a row, prompt and completion together.
            cuda_graph: Whether steps are recorded and replayed.
        """
        # A model keeps its decoder, so a strong reference back would keep both alive.
        self._model, self.cache, self._cuda_graph = weakref.ref(model), KVCache(rows, capacity), cuda_graph
        self._pool = torch.cuda.graph_pool_handle() if cuda_graph else None
        self._token = torch.zeros(rows, 1, dtype=torch.int64, device=model.device)
        self._position = torch.zeros_like(self._token)
        self._visible = torch.zeros(rows, 1, 1, capacity, dtype=torch.bool, device=model.device)
        self._logits = torch.zeros(0)
        self._autocast = torch.is_autocast_enabled(model.device.type)
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    @property
    def model(self) -> VideoLM:
        """The model that decodes."""
        model = self._model()
        if model is None:
            raise ReferenceError("the model of this decoder is gone")
        return model

    def fits(self, rows: int, positions: int) -> bool:
        """Whether this decoder has room for a batch, and recorded its graphs under the present autocast setting."""
        room = rows <= len(self._token) and positions <= self.cache.capacity
        return room and self._autocast == torch.is_autocast_enabled(self.model.device.type)

    def prefill(self, inputs: Inputs, group: int) -> torch.Tensor:
        """Pass the prompts through the model, a chunk at a time.

        Args:
            inputs: B prompts, left-padded.
            group: G.

        Returns:
            Logits [N, V] of the first new token.
        """
        embeds, mask, positions = inputs.embeds, inputs.mask, inputs.positions
        padded = not bool(mask.all())
        size = chunk_size(embeds[0].numel())
        logits = []
        for first in range(0, len(embeds), size):
            chunk = slice(first, first + size)
            self.cache.begin_prefill(group, first * group)
            visible = _causal(mask[chunk]) if padded else None
            logits.append(self.model.cached_logits(embeds[chunk], visible, positions[chunk], self.cache))
        self.rows, self._length = len(embeds) * group, embeds.shape[1]
        self._position[: self.rows] = positions[:, -1:].repeat_interleave(group, dim=0)
        self._masked = padded or self._cuda_graph
        self._visible.zero_()
        self._visible[: self.rows, ..., : self._length] = mask.repeat_interleave(group, dim=0)[:, None, None]
        return torch.cat(logits).repeat_interleave(group, dim=0)  # [B, V] -> [N, V]

    def keep(self, kept: torch.Tensor) -> torch.Tensor:
        """Drop rows. The last rows move into the gaps, so that the rows in use stay the first ones.

        Args:
            kept: bool [n], which rows stay.

        Returns:
            int64 [rows that stay], the former number of each.
        """
        stay = int(kept.sum())
        order = torch.arange(stay, device=kept.device)
        gaps, last = (~kept[:stay]).nonzero().squeeze(1), kept[stay:].nonzero().squeeze(1) + stay
        if len(gaps):
            order[gaps] = last
            self.cache.move_rows(last, gaps)
            for state in (self._position, self._visible):
                state[gaps] = state[last]
        self.rows = stay
        return order

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Append one token to every row.

        Args:
            token: int64 [n].

        Returns:
            Logits [n, V] of the next token, valid until the next step.
        """
        write_at, rows = self._length, self.rows
        self._length += 1
        self._token[:rows, 0] = token
        self._position += 1
        self._visible[..., write_at] = True
        self.cache.write_at.fill_(write_at)
        if not self._cuda_graph:
            self.cache.rows, self.cache.kv_length = rows, self._length
            return self._forward()
        # Padding rows are decoded too; their output is ignored.
        self.cache.rows = _power_of_two(rows)
        self.cache.kv_length = -(-self._length // GRAIN) * GRAIN
        return self._replay()[:rows]

    def _forward(self) -> torch.Tensor:
        """One step of the cache's rows in use: [rows, V]."""
        rows, length = self.cache.rows, self.cache.kv_length
        embeds = self.model.embed_tokens(self._token[:rows])
        visible = self._visible[:rows, ..., :length] if self._masked else None
        return self.model.cached_logits(embeds, visible, self._position[:rows], self.cache)

    def _replay(self) -> torch.Tensor:
        """One step as the CUDA graph of its shape, recorded the first time. A step may run twice: it writes the same values."""
        shape = (self.cache.rows, self.cache.kv_length)
        if shape not in self._graphs:
            side = _side_stream(self.model.device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries initialize themselves here, outside of the recording
                logits = self._forward()
            torch.cuda.current_stream().wait_stream(side)
            if not self._logits.numel():
                self._logits = logits.new_zeros(len(self._token), logits.shape[-1])
            self._graphs[shape] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graphs[shape], pool=self._pool):
                self._logits[: shape[0]] = self._forward()
        self._graphs[shape].replay()
        return self._logits


_decoders: weakref.WeakKeyDictionary[VideoLM, Decoder] = weakref.WeakKeyDictionary()
"""The last decoder of each model on a CUDA device. Its graphs hold the addresses of its memory and of the weights."""


def decoder_for(model: VideoLM, rows: int, positions: int) -> Decoder:
    """A decoder with enough room, reused where possible.

    Args:
        model: The model, in evaluation mode.
        rows: Rows, N.
        positions: Positions of a row, prompt and completion together.
    """
    device = model.device.type
    if device != GRAPH_DEVICE:
        return Decoder(model, rows, positions, cuda_graph=False)
    # A graph needs weights at fixed addresses. ZeRO-3 gathers its sharded weights to a new address every time, and so does
    # autocast with its bf16 copies of float32 matrices.
    cast = torch.is_autocast_enabled(device) and next(model.head.parameters()).dtype == torch.float32
    fixed = not cast and not any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    if not fixed:
        return Decoder(model, rows, positions, cuda_graph=False)
    kept = _decoders.get(model)
    if kept is None or not kept.fits(rows, positions):
        del kept
        _decoders.pop(model, None)  # frees the old decoder's memory before more is allocated
        kept = _decoders[model] = Decoder(model, *rounded_size(rows, positions), cuda_graph=True)
    return kept


def rounded_size(rows: int, positions: int) -> tuple[int, int]:
    """Rows and positions of a decoder with CUDA graphs.

    Sizes are rounded up in the same way when a decoder is made and at every step. So the shapes of a batch, and with them the
    last bits of its numbers, do not depend on earlier batches.
    """
    return _power_of_two(rows), -(-positions // GRAIN) * GRAIN


def _power_of_two(rows: int) -> int:
    return 1 << (rows - 1).bit_length()


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream for the run before a recording: one for all decoders, as cuBLAS keeps a workspace for each stream."""
    return torch.cuda.Stream(device)


def _causal(mask: torch.Tensor) -> torch.Tensor:
    """Attention mask of a left-padded batch [B, L]: bool [B, 1, L, L].

    A padding position attends to itself, because a softmax over nothing is NaN.
    """
    length = mask.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    diagonal = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (causal & mask[:, None, :] | diagonal)[:, None]
