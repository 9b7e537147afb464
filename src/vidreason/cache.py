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
        rows: Rows in use, the first so many.
        place: int64 [1], position that a step writes to.
        extent: Positions that a step looks at.
    """

    def __init__(self, group: int, capacity: int) -> None:
        """Prepare for a prefill.

        Args:
            group: G, how often every row of the prefill is laid out.
            capacity: Positions of a row, prompt and completion together.
        """
        self.group, self.capacity = group, capacity
        self.rows, self.extent = 0, 0
        self.place = torch.zeros(1, dtype=torch.int64)
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values; called by the layer.

        Args:
            key: [B, H, L, d] of the prefill, then [rows, H, 1, d].
            value: As `key`.
            layer: Number of the layer; prefill goes through them in order.

        Returns:
            Keys and values to attend to: those given, in the prefill; then [rows, H, extent, d].
        """
        if layer == len(self._layers):
            self._layers.append((self._laid_out(key), self._laid_out(value)))
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

    def _laid_out(self, prefilled: torch.Tensor) -> torch.Tensor:
        """[B, H, L, d] -> [B G, H, capacity, d], each row G times over. Zeros beyond: a masked NaN would spoil the rest."""
        rows, heads, length, width = prefilled.shape
        memory = prefilled.new_zeros(rows * self.group, heads, self.capacity, width)
        memory.unflatten(0, (rows, self.group))[:, :, :, :length] = prefilled[:, None]
        self.rows, self.extent, self.place = len(memory), length, self.place.to(memory.device)
        return memory
