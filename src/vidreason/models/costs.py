"""What the passes of a model cost in FLOPs and bytes, whatever its family, and what GPUs can do.

FLOPs are counted as torch's flop counter counts them: two for a multiplication and addition, matrix products and attention
only, and attention over whole squares although half of a causal one is masked.
"""

import dataclasses
from typing import Protocol

BF16, FP32 = 2, 4
"""Bytes of a number."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU's public figures.

    Attributes:
        name: Its name.
        flops: Dense bf16 FLOP/s.
        bandwidth: Bytes/s of its memory.
    """

    name: str
    flops: float
    bandwidth: float


CARDS = (
    Card("A100 40 GB", 312e12, 1.555e12),
    Card("A100 80 GB", 312e12, 2.039e12),
    Card("H100 80 GB", 989e12, 3.35e12),
)
"""Source: NVIDIA's data sheets of the SXM boards."""
PEAKS = {"A100": 312e12, "H100 80GB HBM3": 989e12, "H200": 989e12}
"""Part of the name that CUDA gives a GPU -> dense bf16 FLOP/s. Source: NVIDIA's data sheets. Boards that are not here, among them the
slower PCIe boards of the H100, have no known peak."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What has to be done.

    Attributes:
        flops: Floating point operations.
        bytes: To and from the device's memory.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Cost":
        return Cost(times * self.flops, times * self.bytes)

    def seconds(self, card: Card) -> float:
        """Least time on a card: of computing or of moving bytes, whichever is longer."""
        return max(self.flops / card.flops, self.bytes / card.bandwidth)


class CostModel(Protocol):
    """What the passes of one model cost."""

    def tower(self, frames: int) -> Cost:
        """The tower's pass over the frames of a clip."""

    def connector(self, frames: int) -> Cost:
        """The connector's pass over a clip."""

    def language(self, tokens: float, pairs: float, logits: float) -> Cost:
        """A pass of the language model: tokens, pairs of a query and a key, and tokens that get logits."""


def peak_flops(device: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU by its name; None where it is not known.

    Example:
        >>> peak_flops("NVIDIA A100-SXM4-80GB"), peak_flops("NVIDIA H100 PCIe")
        (312000000000000.0, None)
    """
    return next((peak for name, peak in PEAKS.items() if name in device), None)
