"""Keys and values of rollouts that are sampled together, in memory that is allocated once.

Letters: B prompts, G rollouts a prompt, N = B G rows, L prompt positions, H KV heads, d width of a head.
"""

from typing import Any

import torch


class KVCache:
    """The cache that the language model's layers write to, first in prefills, then one token a row and step.

    A step writes its keys and values in place, so nothing is copied as it is in a cache that grows by concatenation. When a
    row ends, the last row takes its place, so the rows in use are always the first ones.

    Attributes:
        max_rows: Rows that memory is allocated for.
        capacity: Positions of a row, prompt and completion together.
        rows: Rows in use.
        write_at: int64 [1], the position that a step writes to.
        kv_length: Positions that a step attends to.
    """

    def __init__(self, max_rows: int, capacity: int) -> None:
        """Remember the sizes; memory is allocated when the first prefill tells widths and types."""
        self.max_rows, self.capacity = max_rows, capacity
        self.rows, self.kv_length = 0, 0
        self.write_at = torch.zeros(1, dtype=torch.int64)
        self._group, self._filled_layers, self._first_row = 1, 0, 0
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def begin_prefill(self, group: int, first_row: int = 0) -> None:
        """Treat the next keys and values of every layer as those of a prefill.

        Args:
            group: Rows that each prompt is copied to, G.
            first_row: Row that the copies begin at; prompts may be prefilled in several parts.
        """
        self._group, self._filled_layers, self._first_row = group, 0, first_row

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values; called by the layer.

        Args:
            key: [B, H, L, d] in a prefill, [rows, H, 1, d] in a step.
            value: As `key`.
            layer: Number of the layer; a prefill goes through them in order.

        Returns:
            Keys and values to attend to: those given in a prefill, [rows, H, kv_length, d] in a step.
        """
        key = key.to(value.dtype)  # autocast's rotation leaves float32 keys, which attention would cast at every step
        if layer == self._filled_layers:
            self._store_prefill(key, value)
            return key, value
        views = []
        for memory, new in zip(self._layers[layer], (key, value), strict=True):
            memory[: self.rows].index_copy_(2, self.write_at, new)
            views.append(memory[: self.rows, :, : self.kv_length])
        return views[0], views[1]

    def move_rows(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy rows `source` int64 [m] onto rows `target` int64 [m]."""
        for layer in self._layers:
            for memory in layer:
                memory[target, :, : self.kv_length] = memory[source, :, : self.kv_length]

    def _store_prefill(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Copy a layer's [B, H, L, d] to its rows, G times each."""
        prompts, heads, length, width = key.shape
        self.rows, self.kv_length = self._first_row + prompts * self._group, length
        if self._filled_layers == len(self._layers):
            # Zeros, because a masked NaN would still spoil the attention's sums.
            shape = (self.max_rows, heads, self.capacity, width)
            self._layers.append((key.new_zeros(shape), value.new_zeros(shape)))
            self.write_at = self.write_at.to(key.device)
        for memory, new in zip(self._layers[self._filled_layers], (key, value), strict=True):
            rows = memory[self._first_row : self.rows].unflatten(0, (prompts, self._group))
            rows[:, :, :, :length] = new[:, None]
        self._filled_layers += 1
