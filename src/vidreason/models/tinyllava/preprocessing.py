"""From frames to the vision tower's input, equal to the pixels of SigLIP's image processor.

Letters: F frames, S pixels a side.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from vidreason.media.resize import RESAMPLE, resize_frames

__all__ = ["MEAN", "RESAMPLE", "RESCALE", "STD", "normalize_frames", "resize_frames"]

RESCALE = 1 / 255
MEAN = 0.5
STD = 0.5


def normalize_frames(frames: NDArray[np.uint8] | torch.Tensor, dark_frames: str = "rescale") -> torch.Tensor:
    """Map levels 0..255 to -1..1.

    x = (v / 255 - 0.5) / 0.5, rounded as the processor rounds it.

    Args:
        frames: [..., F, S, S, 3] uint8, from `resize_frames`.
        dark_frames: Treatment of a frame whose levels are all 0 or 1. `rescale` treats it like any other, as nearly black.
            `upstream` reads its levels as fractions of white, as upstream's float path does: 1 becomes +1.

    Returns:
        [..., F, 3, S, S] float32.

    Raises:
        ValueError: Another value of `dark_frames`.

    Source: SiglipImageProcessor of transformers; tinyllava/data/video_preprocess.py of
        ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: a dark frame stays dark unless `dark_frames` is `upstream`.
    """
    if dark_frames not in ("rescale", "upstream"):
        raise ValueError(f"dark_frames is {dark_frames!r}; allowed: rescale, upstream")
    pixels = torch.as_tensor(frames)
    if pixels.dtype != torch.uint8 or pixels.shape[-1] != 3:
        raise ValueError(f"frames are {pixels.dtype} {tuple(pixels.shape)}; expected uint8 [..., S, S, 3]")
    levels = torch.arange(256, dtype=torch.float64, device=pixels.device)
    values = _standardize((levels * RESCALE).float())[pixels.int()]
    if dark_frames == "upstream":
        dark = (pixels.flatten(-3).amax(-1) <= 1)[..., None, None, None]
        values = torch.where(dark, _standardize(levels.float())[pixels.int()], values)
    return values.movedim(-1, -3)  # [..., S, S, 3] -> [..., 3, S, S]


def _standardize(values: torch.Tensor) -> torch.Tensor:
    """(x - mean) / std in float32."""
    return (values - MEAN) / STD
