"""FLOPs of a training step, for its share of the device's peak: those that the schedule needs, whatever the kernels do.

Counted only where the peak is known: on a GPU of `vidreason.models.costs.PEAKS`, with computations in bf16.

Letters: L prompt positions with the video, T tokens of a completion.
"""

from collections.abc import Sequence

import torch

from vidreason.engine.profiling import count
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM
from vidreason.models.costs import CostModel, peak_flops

FLOPS = "flops"
"""What is counted (`vidreason.engine.profiling.count`)."""


def device_peak() -> float | None:
    """Dense bf16 FLOP/s of this process's GPU; None on a CPU and where it is not known."""
    return peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


class FlopCounter:
    """Adds what the passes of a step need to the count of the current profile; does nothing without costs."""

    def __init__(self, costs: CostModel | None, frames: int) -> None:
        """Take what the passes cost.

        Args:
            costs: Of the model; None counts nothing.
            frames: Frames of a clip.
        """
        self.costs, self.frames = costs, frames

    @classmethod
    def of(cls, model: VideoLM, store: FrameStore, precision: str) -> "FlopCounter":
        """The counter of a training; it counts nothing where the peak is not known."""
        known = precision == "bf16" and device_peak() is not None
        return cls(model.costs(), store.count or 0) if known else cls(None, 0)

    def encoded(self, clips: int) -> None:
        """Clips that passed the tower."""
        if self.costs is not None:
            count(FLOPS, round(clips * self.costs.tower(self.frames).flops))

    def sampled(self, prompt: int, lengths: Sequence[int]) -> None:
        """Completions of one prompt, sampled from one prefill; `prompt` is L, `lengths` are the T."""
        if self.costs is not None:
            later = [max(0, length - 1) for length in lengths]  # the first token comes from the prefill
            pairs = sum(own * prompt + own * (own + 1) / 2 for own in later)
            passes = self.costs.language(prompt, prompt**2, 1) + self.costs.connector(self.frames)
            passes += self.costs.language(sum(later), pairs, sum(later))
            count(FLOPS, round(passes.flops))

    def scored(self, prompt: int, lengths: Sequence[int], learned: bool, recomputed: bool = False) -> None:
        """One pass over a prompt with its completions side by side, and if it is learned from, its backward pass.

        Args:
            prompt: L.
            lengths: The T.
            learned: Whether there is a backward pass, twice as costly.
            recomputed: Whether that computes the forward pass of the language model again.
        """
        if self.costs is not None:
            own = [max(0, length - 1) for length in lengths]  # nothing follows the last token
            pairs = prompt**2 + sum(tokens * (prompt + tokens) for tokens in own)
            language = self.costs.language(prompt + sum(own), pairs, sum(lengths)).flops
            connector = self.costs.connector(self.frames).flops
            times = (3 + recomputed) if learned else 1
            count(FLOPS, round(times * language + (3 if learned else 1) * connector))

    def imitated(self, length: int, labelled: int, recomputed: bool = False) -> None:
        """A forward and a backward pass over one conversation of `length` positions, `labelled` of which get logits."""
        if self.costs is not None:
            language = self.costs.language(length, length**2, labelled).flops
            count(FLOPS, round((3 + recomputed) * language + 3 * self.costs.connector(self.frames).flops))
