"""Resizing frames to the vision tower's size, without the libraries that a model needs.

Letters: F frames, H and W the frame's size, S the tower's.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESAMPLE = Image.Resampling.BICUBIC


def resize_frames(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize frames to a square, bicubic, rounded to whole gray levels.

    Args:
        frames: [F, H, W, 3] uint8, RGB.
        size: S in pixels.

    Returns:
        [F, S, S, 3] uint8. The processor's own resizing goes through 8-bit pictures too, so storing this loses
        nothing.

    Raises:
        ValueError: The frames are not 8-bit RGB.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 [F, H, W, 3]")
    resized = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        resized[number] = np.asarray(Image.fromarray(frame).resize((size, size), RESAMPLE))
    return resized
