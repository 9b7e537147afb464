"""Keys and values of rollouts that are sampled together, in memory that is laid out once.

Letters: B prompts, G rollouts a prompt, N = B G rows, L prompt positions, H heads of keys, d their width.
"""

from typing import Any

import torch


class RolloutCache:
    """What the language model's layers ask of a cache, for prefills and then one token a row and step.

    A step writes its keys and values in place: nothing that was there before is copied, as it is where a cache grows by
    concatenation. A row that has ended gives its place to the last one, so that rows in use stay together at the front.

    Attributes:
        most_rows: Rows that there is room for.
        capacity: Positions of a row, prompt and completion together.
        rows: Rows in use, the first so many.
        place: int64 [1], position that a step writes to.
        extent: Positions that a step looks at.
    """

    def __init__(self, most_rows: int, capacity: int) -> None:
        """Prepare for at most so many rows, and so many positions each with the steps that follow."""
        self.most_rows, self.capacity = most_rows, capacity
        self.rows, self.extent = 0, 0
        self.place = torch.zeros(1, dtype=torch.int64)
        self._group, self._filled, self._first = 1, 0, 0
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def begin(self, group: int, first: int = 0) -> None:
        """Take the next keys and values of every layer as those of a prefill.

        Args:
            group: How often each of its rows is laid out, G.
            first: Row where they begin: prompts may be passed one part after the other.
        """
        self._group, self._filled, self._first = group, 0, first

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values; called by the layer.

        Args:
            key: [B, H, L, d] of the prefill, then [rows, H, 1, d].
            value: As `key`.
            layer: Number of the layer; a prefill goes through them in order.

        Returns:
            Keys and values to attend to: those given, in the prefill; then [rows, H, extent, d].
        """
        key = key.to(value.dtype)  # autocast's rotation leaves it in float32, which attention would cast every time
        if layer == self._filled:
            self._lay_out(key, value)
            return key, value
        views = []
        for part, new in zip(self._layers[layer], (key, value), strict=True):
            part[: self.rows].index_copy_(2, self.place, new)
            views.append(part[: self.rows, :, : self.extent])
        return views[0], views[1]

    def move(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy whole rows [m] onto others [m]."""
        for layer in self._layers:
            for part in layer:
                part[target, :, : self.extent] = part[source, :, : self.extent]

    def _lay_out(self, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write a layer's [B, H, L, d] into the memory of its rows, each G times over."""
        count, heads, length, width = key.shape
        self.rows, self.extent = self._first + count * self._group, length
        if self._filled == len(self._layers):
            # Zeros: what is masked must still be a number, or it spoils the rest.
            shape = (self.most_rows, heads, self.capacity, width)
            self._layers.append((key.new_zeros(shape), value.new_zeros(shape)))
            self.place = self.place.to(key.device)
        for part, new in zip(self._layers[self._filled], (key, value), strict=True):
            part[self._first : self.rows].unflatten(0, (count, self._group))[:, :, :, :length] = new[:, None]
        self._filled += 1
