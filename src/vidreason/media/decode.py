"""Decoding frames of a video at given positions.

`decode_frames` decodes those frames and as few others as possible, with PyAV, or with decord where PyAV fails.
"""

import bisect
import importlib.util
import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.media.containers import (
    TIMED_OUT,
    UNREADABLE,
    Deadline,
    VideoError,
    as_video_error,
    decoded,
    is_folder,
    open_video,
    packets_of,
    read_picture,
    stamp_of,
)
from vidreason.media.probe import Scan, folder_frames, frame_name

SKIPPABLE = ("h264", "hevc", "mpeg2video", "mpeg4", "vp8", "vp9")
"""Decoders that can start and stop skipping frames at any packet; that of AV1 decides once for the whole file."""
_BEGINNING = -(2**62)
"""A time stamp before all others."""
_TICK = 1e-5
"""Time stamps that differ by less than this many seconds are equal."""


class _DisorderError(Exception):
    """The time stamps do not identify the frames."""


def _unchanged(picture: np.ndarray) -> np.ndarray:
    return picture


def decode_frames(
    path: str | Path,
    indices: Sequence[int],
    scanned: Scan,
    damage: list[str] | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] = _unchanged,
) -> list[np.ndarray]:
    """Decode the frames at the given positions.

    Damage between them is tolerated as long as the decoder gives these frames.

    Args:
        path: Video file or frame folder.
        indices: Positions in presentation order, from 0; in any order, repeats allowed.
        scanned: Result of `scan` for the same file.
        damage: List to which a description of every packet that could not be decoded is appended.
        shrink: Function applied to each picture as soon as it is decoded, because sixteen large pictures take gigabytes.

    Returns:
        For each index one uint8 [height, width, 3] RGB picture, or the result of `shrink`.

    Raises:
        VideoError: No decoder can decode one of the frames.
        IndexError: An index is outside the video.
    """
    path = Path(path)
    wanted = sorted({int(index) for index in indices})
    count = len(scanned.times)
    if wanted and not 0 <= wanted[0] <= wanted[-1] < count:
        raise IndexError(f"{path}: frames {wanted[0]}..{wanted[-1]} asked for, the video has 0..{count - 1}")
    if is_folder(path):
        files = folder_frames(path)
        frames = {index: shrink(read_picture(files[index])) for index in wanted}
    else:
        try:
            frames = _decode_with_av(path, wanted, scanned, damage, shrink)
        except VideoError:
            # Of several streams decord may choose another one.
            other = _decode_with_decord(path, wanted, scanned, shrink) if scanned.alone else None
            if other is None:
                raise
            frames = other
            if damage is not None:
                damage.clear()
    return [frames[int(index)] for index in indices]


def _decode_with_decord(
    path: Path, wanted: list[int], scanned: Scan, shrink: Callable[[np.ndarray], np.ndarray] = _unchanged
) -> dict[int, np.ndarray] | None:
    """Decode with decord, in order from the start, because its seeking may give another frame.

    Returns:
        Position -> picture; None if decord is not installed, fails, or counts another number of frames.
    """
    if importlib.util.find_spec("decord") is None:
        return None
    import decord

    found, needed = {}, set(wanted)
    deadline = Deadline(scanned.clip.duration)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != len(scanned.times):
            return None
        # Decode to the end: a frame that decord silently leaves out would shift all later ones.
        for index in range(len(scanned.times)):
            deadline.check()
            picture = reader.next()
            if index in needed:
                found[index] = shrink(picture.asnumpy())
    # decord raises RuntimeError for a file that it cannot open, and its own DECORDError otherwise.
    except (RuntimeError, StopIteration, decord.DECORDError):
        return None
    return found


def _decode_with_av(
    path: Path,
    wanted: list[int],
    scanned: Scan,
    damage: list[str] | None = None,
    shrink: Callable[[np.ndarray], np.ndarray] = _unchanged,
) -> dict[int, np.ndarray]:
    """Decode with PyAV: first with shortcuts, then in order from the start what these did not find."""
    found: dict[int, np.ndarray] = {}
    complaints: dict[str, str] = {}
    trusted = not scanned.in_order
    for shortcuts in (True, False):
        missing = [index for index in wanted if index not in found]
        if not trusted or not missing:
            break
        try:
            found |= _decode_by_stamps(path, missing, scanned, shortcuts, complaints, shrink)
        except _DisorderError:
            trusted = False
        except VideoError as error:
            if not shortcuts or error.status == TIMED_OUT:
                raise  # a container without seeking can still be read in order
    if not trusted:
        found = _decode_counting(path, wanted, scanned, complaints, shrink)
    if damage is not None:
        damage += [f"{frame}: {words}" for frame, words in complaints.items()]
    missing = [index for index in wanted if index not in found]
    if missing:
        reasons = "; ".join(f"{frame}: {words}" for frame, words in list(complaints.items())[:3])
        raise VideoError(
            UNREADABLE, f"no frame could be decoded at positions {missing}" + (f" ({reasons})" if reasons else "")
        )
    return found


def _decode_counting(
    path: Path,
    wanted: list[int],
    scanned: Scan,
    complaints: dict[str, str],
    shrink: Callable[[np.ndarray], np.ndarray],
) -> dict[int, np.ndarray]:
    """Decode a file from the start and number its frames in the decoder's order, ignoring time stamps."""
    found: dict[int, np.ndarray] = {}
    number, deadline = 0, Deadline(scanned.clip.duration)
    with open_video(path) as container, as_video_error(f"frames {wanted}"):
        stream = container.streams[scanned.stream]
        stream.codec_context.thread_count = 1
        for packet in packets_of(container, deadline, stream):
            frames, complaint = decoded(packet)
            if complaint:
                complaints.setdefault(frame_name(scanned, stamp_of(packet), stream.time_base), complaint)
            for frame in frames:
                if number in wanted:
                    found[number] = shrink(_upright(frame))
                number += 1
            if number > wanted[-1]:
                break
    return found


def _decode_by_stamps(
    path: Path,
    wanted: list[int],
    scanned: Scan,
    shortcuts: bool,
    complaints: dict[str, str],
    shrink: Callable[[np.ndarray], np.ndarray],
) -> dict[int, np.ndarray]:
    """Decode a file and identify its frames by their time stamps.

    Args:
        path: The file.
        wanted: Positions, ascending.
        scanned: Result of `scan` for the file.
        shortcuts: Start at the last key frame before a frame, and skip frames that no other frame depends on. The result of
            seeking is checked: most containers seek by presentation time, some (MPEG-TS) by decoding time, which is earlier. If
            the first packet comes after the key frame, the other time is tried, then earlier key frames.
        complaints: Frame -> the decoder's message about its packet; extended.
        shrink: Function applied to each picture.

    Returns:
        Position -> picture, for the frames that were found.

    Raises:
        _DisorderError: The decoder gives frames in another order than that of their time stamps.
    """
    found: dict[int, np.ndarray] = {}
    times, waiting = scanned.times, list(wanted)
    half_frame = max(0.5 * float(np.min(np.diff(times))), _TICK) if len(times) > 1 else 1.0
    key_times = [key[0] for key in scanned.keys] if shortcuts else []
    damaged: list[float] = []
    deadline = Deadline(scanned.clip.duration)
    with open_video(path) as container, as_video_error(f"frames {wanted}"):
        stream = container.streams[scanned.stream]
        stream.codec_context.thread_count = 1  # several videos are decoded at the same time
        skippable = shortcuts and stream.codec_context.name in SKIPPABLE
        base = float(stream.time_base)

        def pictures(packets: Iterator[Any]) -> Iterator[Any]:
            stream.codec_context.skip_frame = "DEFAULT"
            skips = False
            for packet in packets:
                # Before the next wanted frame, frames that no other depends on need not be decoded.
                early = skippable and packet.pts is not None and bool(waiting)
                early = early and (packet.pts - scanned.start) * base < times[waiting[0]] - half_frame
                if early != skips:
                    stream.codec_context.skip_frame = "NONREF" if early else "DEFAULT"
                    skips = early
                frames, complaint = decoded(packet)
                if complaint:
                    stamp = stamp_of(packet)
                    complaints.setdefault(frame_name(scanned, stamp, stream.time_base), complaint)
                    if stamp is not None:
                        damaged.append((stamp - scanned.start) * base)
                yield from frames

        def from_key_frame(number: int) -> Iterator[Any]:
            """Frames from a key frame on, or from an earlier one."""
            for _, shown, decoded in reversed(scanned.keys[1 : number + 1]):
                for stamp in (shown, decoded):
                    container.seek(stamp, stream=stream, backward=True)
                    packets = packets_of(container, deadline, stream)
                    packet = next(packets, None)
                    if packet is not None and packet.size and stamp_of(packet) <= shown:
                        return pictures(itertools.chain([packet], packets))
            container.seek(_BEGINNING, stream=stream, backward=True)
            return pictures(packets_of(container, deadline, stream))

        position, frames = -1.0, pictures(packets_of(container, deadline, stream))
        last, entry = None, None  # stamp of the previous frame; time of the key frame after a seek, until it comes
        while waiting:
            target = float(times[waiting[0]])
            key = bisect.bisect_right(key_times, target + _TICK) - 1
            # The first frame is always decoded: decoders adapt to data in it, such as the build of x264.
            if key > 0 and 0 <= position < key_times[key] - half_frame:
                position, frames = key_times[key], from_key_frame(key)
                last, entry = None, position
            frame = next(frames, None)
            if frame is None:
                break
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise _DisorderError
            last, stamp = frame.pts, (frame.pts - scanned.start) * base
            position = max(position, stamp, 0.0)
            if entry is not None and stamp > entry - half_frame:
                if stamp > entry + half_frame or not frame.key_frame:
                    break  # the container marks a frame as a key frame that is none
                entry = None
            if shortcuts and stamp > target + half_frame:
                break  # only decoding in order can tell a frame that is missing from one that a shortcut missed
            if stamp >= target - half_frame:
                picture = shrink(_upright(frame))
                # Some streams lack a frame that the packets announce. The next frame takes its place, unless the packet is
                # damaged.
                while waiting and times[waiting[0]] <= stamp + half_frame:
                    index = waiting.pop(0)
                    if times[index] >= stamp - half_frame or not _is_near(times[index], damaged, half_frame):
                        found[index] = picture
    return found


def _is_near(time: float, others: Sequence[float], distance: float) -> bool:
    """Whether a time is within a distance of any of several others."""
    return any(abs(time - other) <= distance for other in others)


def _upright(frame: Any) -> np.ndarray:
    """Picture of a PyAV frame, rotated and mirrored by right angles as its display matrix says."""
    picture = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    # A pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift.
    a, b, _, c, d = struct.unpack("<5i", bytes(matrix)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
