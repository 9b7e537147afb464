"""Rules that choose the frames of a clip, as in upstream's code.

Source: tinyllava/eval/eval_{videomme,mvbench,mlvu,mmvu}.py and tinyllava/train/tinyllava_trainer_reason.py of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

FOREVER = 100_000.0
"""Seconds that stand for "no bound", before and after the start."""


def uniform_indices(frames: int, count: int) -> Indices:
    """Evenly spaced frames from the first to the last, rounded down. A clip that is too short repeats frames.

    Used in training and, in evaluation, for MMVU and for MVBench's mp4 files.

    Args:
        frames: Number of frames of the clip, at least 1.
        count: Number of frames to choose.

    Returns:
        [count] int64, ascending.

    Example:
        >>> uniform_indices(10, 4).tolist()
        [0, 3, 6, 9]
        >>> uniform_indices(2, 4).tolist()
        [0, 0, 0, 1]
    """
    _at_least_one(frames=frames, count=count)
    return np.linspace(0, frames - 1, count, dtype=np.int64)


def unique_indices(frames: int, count: int) -> Indices:
    """`uniform_indices` without repeats: a short clip gives fewer than `count` frames.

    Used by upstream for Video-MME and MLVU.

    Example:
        >>> unique_indices(2, 4).tolist()
        [0, 1]
    """
    return np.unique(uniform_indices(frames, count))


def segment_indices(
    last: int, fps: float, count: int, bound: tuple[float, float] | None = None, first: int = 0
) -> Indices:
    """Centers of equal segments between two bounds: MVBench's rule for avi, webm and frame folders.

    Args:
        last: Number of the last frame. For a folder of pictures counted from 1 this is the number of pictures.
        fps: Frames per second.
        count: Number of frames to choose.
        bound: Start and end in seconds; None for the whole clip.
        first: Number of the first frame (1 for a folder of pictures counted from 1).

    Returns:
        [count] int64. If a bound lies beyond the end of the clip, they descend or lie outside the clip, as upstream's do; the
        reader limits them to existing frames.

    Example:
        >>> segment_indices(last=99, fps=10.0, count=4).tolist()
        [12, 37, 62, 86]
        >>> segment_indices(last=99, fps=10.0, count=4, bound=(2.0, 4.0)).tolist()
        [22, 27, 32, 37]
    """
    _at_least_one(count=count)
    start, end = bound if bound is not None else (-FOREVER, FOREVER)
    begin = max(first, round(start * fps))
    finish = min(round(end * fps), last)
    size = float(finish - begin) / count
    return np.array([int(begin + size / 2 + np.round(size * number)) for number in range(count)], dtype=np.int64)


def seek_stamps(indices: Indices | Sequence[int], time_base: Fraction, frame_rate: float) -> list[int]:
    """Time stamps that upstream seeks to for frames of a stream with a constant rate.

    pts = floor(index / time_base / frame_rate)

    Args:
        indices: Numbers of frames.
        time_base: Seconds per unit of the stream's clock.
        frame_rate: Frames per second.

    Example:
        >>> seek_stamps([0, 1, 2], Fraction(1, 15360), 29.97002997002997)
        [0, 512, 1025]
    """
    return [int(float(Fraction(int(index)) / time_base) / frame_rate) for index in indices]


def frames_to_take(duration: float, count: int, limit: int) -> int:
    """Number of frames that upstream chooses: `count`, or one per second up to `limit` if `count` is not positive.

    Args:
        duration: Seconds.
        count: Setting `num_frame`.
        limit: Setting `max_frame`.

    Example:
        >>> frames_to_take(12.7, 16, 64), frames_to_take(12.7, 0, 64), frames_to_take(0.4, -1, 64)
        (16, 12, 1)
    """
    return count if count > 0 else min(limit, max(1, int(duration)))


def _at_least_one(**values: int) -> None:
    """Refuse counts below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
