"""Which frames of a video Qwen2.5-VL is shown, at which size: the rules of qwen-vl-utils.

No model here follows these rules: TinyLLaVA-Video sees a fixed number of frames of one size. They are here to compare with
what Video-R1 and Temporal-R1 show their models.

Source: qwen_vl_utils/vision_process.py (`smart_resize`, `smart_nframes`, `fetch_video`) as of 0.0.10, and
src/qwen-vl-utils/src/qwen_vl_utils/vision_process.py of tulerfeng/Video-R1@59d65c3, which changes the constants.
"""

import dataclasses
import math

import torch


@dataclasses.dataclass(frozen=True)
class QwenLimits:
    """Constants of the rules.

    Attributes:
        factor: Sides are multiples of it, in pixels.
        frame_factor: Numbers of frames are multiples of it.
        fps: Frames per second of video that are shown where nothing else is asked for.
        min_frames: Fewest frames.
        max_frames: Most frames.
        min_pixels: Fewest pixels of a frame, before its sides are rounded.
        max_pixels: Most pixels of a frame, before its sides are rounded.
        total_pixels: Most pixels of all frames of a video, where that leaves `min_pixels` for each.
        max_ratio: Largest ratio of the sides.
    """

    factor: int
    frame_factor: int
    fps: float
    min_frames: int
    max_frames: int
    min_pixels: int
    max_pixels: int
    total_pixels: int
    max_ratio: float = 200.0


def frame_count(
    total: int, video_fps: float, limits: QwenLimits, fps: float | None = None, frames: int | None = None
) -> int:
    """Number of frames that are shown of a video.

    Args:
        total: Number of its frames.
        video_fps: Their number per second.
        limits: The constants.
        fps: Frames per second that are asked for.
        frames: Number of frames that is asked for instead.

    Raises:
        ValueError: There is no such number between `frame_factor` and `total`.

    Example:
        >>> frame_count(90, 30.0, QwenLimits(28, 2, 2.0, 4, 16, 3136, 100352, 90316800))
        6
    """
    step = limits.frame_factor
    if frames is not None:
        count = round(frames / step) * step
    else:
        least = math.ceil(limits.min_frames / step) * step
        most = math.floor(min(limits.max_frames, total) / step) * step
        wanted = total / video_fps * (limits.fps if fps is None else fps)
        count = math.floor(min(max(wanted, least), most) / step) * step
    if not step <= count <= total:
        raise ValueError(f"{count} frames of a video of {total}; allowed: {step} to {total}")
    return count


def frame_indices(total: int, count: int) -> list[int]:
    """Indices of `count` frames from the first to the last of `total`, evenly spaced in float32 and rounded half to even.

    Example:
        >>> frame_indices(10, 4)
        [0, 3, 6, 9]
    """
    return [int(index) for index in torch.linspace(0, total - 1, count).round().long()]


def sampled_fps(total: int, video_fps: float, count: int) -> float:
    """Shown frames per second of video."""
    return count / max(total, 1e-6) * video_fps


def video_pixels(count: int, limits: QwenLimits) -> tuple[int, float]:
    """Fewest and most pixels of each of `count` frames. The most is at least 1.05 times the fewest."""
    shared = min(limits.max_pixels, limits.total_pixels / count * limits.frame_factor)
    return limits.min_pixels, max(shared, int(limits.min_pixels * 1.05))


def frame_size(height: int, width: int, pixels: tuple[int, float], limits: QwenLimits) -> tuple[int, int]:
    """Height and width that a frame or picture is resized to.

    Both are multiples of `factor`, their product is within `pixels` if that is possible, and their ratio is nearly kept.

    Args:
        height: In pixels.
        width: In pixels.
        pixels: Fewest and most pixels.
        limits: The constants.

    Raises:
        ValueError: The ratio of the sides is larger than `max_ratio`.
    """
    least, most = pixels
    ratio, factor = max(height, width) / min(height, width), limits.factor
    if ratio > limits.max_ratio:
        raise ValueError(f"{height} x {width} pixels: ratio {ratio:.6g}; allowed: at most {limits.max_ratio:g}")
    sides = [max(factor, round(side / factor) * factor) for side in (height, width)]
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(height * width / most)
        sides = [math.floor(side / shrink / factor) * factor for side in (height, width)]
    elif sides[0] * sides[1] < least:
        enlarge = math.sqrt(least / (height * width))
        sides = [math.ceil(side * enlarge / factor) * factor for side in (height, width)]
    return sides[0], sides[1]


def shown_images(count: int, limits: QwenLimits) -> list[int]:
    """Which of `count` pictures given as a video are shown: all, the last one again if that makes their number even.

    Example:
        >>> shown_images(3, QwenLimits(28, 2, 2.0, 4, 16, 3136, 100352, 90316800))
        [0, 1, 2, 2]
    """
    padded = math.ceil(count / limits.frame_factor) * limits.frame_factor
    return [min(index, count - 1) for index in range(padded)]


def vision_tokens(count: int, height: int, width: int, limits: QwenLimits) -> int:
    """Number of tokens that the language model sees of `count` frames: one per `factor` x `factor` pixels of a pair."""
    return count // limits.frame_factor * (height // limits.factor) * (width // limits.factor)


def reward_duration(count: int, shown_fps: float) -> float:
    """Seconds that Temporal-R1's reward takes a video to last: its shown frames by their number per second.

    Source: verl/utils/dataset_video.py of appletea233/Temporal-R1@f364f6c; for its Charades videos alone, others have the
        duration of their record.
    """
    return count / shown_fps
