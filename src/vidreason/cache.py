"""Keys and values of rollouts that are sampled together, in memory that is laid out once.

Letters: B prompts, G rollouts a prompt, N = B G rows, L prompt positions, H heads of keys, d their width.
"""

from typing import Any

import torch


class RolloutCache:
    """What the language model's layers ask of a cache, for one prefill and then one token a row and step.

    A step writes its keys and values in place: nothing that was there before is copied, as it is where a cache grows by
    concatenation. A row that has ended gives its place to the last one, so that rows in use stay together at the front.

    Attributes:
        capacity: Positions of a row, prompt and completion together.
        rows: Rows in use, the first so many.
        place: int64 [1], position that a step writes to.
        extent: Positions that a step looks at.
    """

    def __init__(self, capacity: int) -> None:
        """Prepare for prefills of at most `capacity` positions, with the steps that follow."""
        self.capacity = capacity
        self.rows, self.extent = 0, 0
        self.place = torch.zeros(1, dtype=torch.int64)
        self._group, self._filled = 1, 0
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def begin(self, group: int) -> None:
        """Take the next keys and values of every layer as those of a prefill, each row to be laid out `group` times."""
        self._group, self._filled = group, 0

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
        self.rows, self.extent = count * self._group, length
        if self._filled == len(self._layers):
            # Zeros: what is masked must still be a number, or it spoils the rest.
            shape = (self.rows, heads, self.capacity, width)
            self._layers.append((key.new_zeros(shape), value.new_zeros(shape)))
            self.place = self.place.to(key.device)
        for part, new in zip(self._layers[self._filled], (key, value), strict=True):
            part[: self.rows].unflatten(0, (count, self._group))[:, :, :, :length] = new[:, None]
        self._filled += 1
