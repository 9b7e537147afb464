"""Presentation times of the frames of a video: from the packets where they are reliable, otherwise by decoding.

In containers without a field for the presentation time (AVI, ASF, MXF, raw streams) FFmpeg guesses it, which fails if frames are
stored in another order than they are shown in. Other files have packets without a stamp, repeated stamps, or stamps that run
backwards. Such stamps are not used: the video is decoded once, and its frames are numbered in the decoder's order.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.media.containers import (
    UNREADABLE,
    Deadline,
    VideoError,
    as_video_error,
    decoded,
    open_video,
    packets_of,
    stamp_of,
)

STAMPED = ("mov", "matroska", "mpegts", "mpeg", "flv", "nut")
"""Containers with a field for the presentation time, by the first of FFmpeg's names. The field may still be empty."""
BEGINNING = 16
"""Number of first frames that are decoded and compared with the packets, if these are not in presentation order."""
PROGRESSIVE = 1
"""FFmpeg's field order of progressive pictures; 0 is unknown."""
PACKETS_PER_FRAME = (1.5, 2.2)
"""Fewest and most undamaged packets per frame in a stream whose packets hold single fields."""
FEWEST = 0.45
"""Fewest frames per packet of a damaged video that is counted by decoding; some packets hold half a frame."""
SHOWN = 0x10
"""Bit in the first byte of a VP8 packet: its frame is shown, not only a reference for others."""
NOT_CODED = 8
"""MPEG-4 packets of at most this many bytes hold no frame."""


@dataclasses.dataclass
class Packets:
    """Summary of a container's packets, in units of the video stream's clock unless another unit is named.

    Attributes:
        stamps: Presentation time of each frame; sorted by `correct_stamps`.
        keys: Presentation and decoding times of the key frames.
        end: End of the last frame.
        whole_count: Packets of the video stream, including those hidden by edit lists, which headers count too.
        unstamped: Packets of the video stream without any time stamp.
        container_end: End of the last stream, in seconds.
        backwards: Whether decoding times ever decrease.
        empty: Whether a packet may hold no frame.
        begins_with_key: Whether decoding can begin with the first packet.
        in_order: Whether frames can be identified only by decoding from the start.
    """

    stamps: list[int] = dataclasses.field(default_factory=list)
    keys: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    end: int = 0
    whole_count: int = 0
    unstamped: int = 0
    container_end: float = 0.0
    backwards: bool = False
    empty: bool = False
    begins_with_key: bool = True
    in_order: bool = False


def read_packets(container: Any, stream: Any) -> Packets:
    """Read all packets of a container."""
    read, deadline = Packets(), Deadline()
    ends = {0: 0}  # of every stream, in units of its own clock
    codec, decoding = stream.codec_context.name, None
    with as_video_error("while reading packets"):
        # An hour has some hundred thousand packets, so only plain integers are kept.
        own = stream.index
        for packet in packets_of(container, deadline):
            if not packet.size:
                continue
            stamp, number = stamp_of(packet), packet.stream_index
            if stamp is None:
                read.unstamped += number == own
                continue
            end = stamp + (packet.duration or 0)
            ends[number] = max(end, ends.get(number, end))
            if number != own:
                continue
            read.whole_count += 1
            if packet.dts is not None:
                read.backwards |= decoding is not None and packet.dts < decoding
                decoding = packet.dts
            if packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & SHOWN):
                continue
            read.empty |= codec == "mpeg4" and packet.size <= NOT_CODED
            read.begins_with_key &= bool(read.stamps) or packet.is_keyframe
            read.end = max(read.end, end) if read.stamps else end
            read.stamps.append(stamp)
            if packet.is_keyframe:
                read.keys.append((stamp, stamp if packet.dts is None else packet.dts))
    read.container_end = max(float(end * container.streams[number].time_base) for number, end in ends.items())
    return read


def correct_stamps(path: Path, container: Any, stream: Any, read: Packets) -> None:
    """Replace `read.stamps` by the times of the frames that decoding gives, ascending.

    Raises:
        VideoError: The video has to be decoded to count its frames, and cannot be decoded.
    """
    codec, index = stream.codec_context, stream.index
    if codec.name == "h264" and codec.field_order != PROGRESSIVE and _pair_fields(path, index, read):
        return
    reordered = bool(codec.has_b_frames)
    stamped = container.format.name.split(",")[0] in STAMPED
    doubtful = read.unstamped or read.backwards or read.empty or len(set(read.stamps)) < len(read.stamps)
    if doubtful or (reordered and not stamped):
        read.in_order = True
    elif reordered or not read.begins_with_key:
        read.in_order = not _begins_as_stamped(path, index, read)
    if read.in_order:
        _count_by_decoding(path, stream, read)
    read.stamps.sort()
    if len(read.stamps) > 1:
        gap = max(1, round(float(np.median(np.diff(read.stamps)))))
        # The container gives no duration of a frame, or a single tick.
        if 4 * (read.end - read.stamps[-1]) < gap:
            read.end = read.stamps[-1] + gap


def _begins_as_stamped(path: Path, index: int, read: Packets) -> bool:
    """Whether the decoder's first frames are those that the packets announce.

    Frames at a cut start whose reference frames are missing are never decoded, so they are removed.
    """
    shown, complaints = [], False
    with contextlib.closing(_decoded_packets(path, index)) as packets:
        for _, frames, complaint in packets:
            shown += [frame.pts for frame in frames]
            complaints |= bool(complaint)
            if len(shown) >= BEGINNING:
                break
    if None in shown or shown != sorted(set(shown)):
        return False
    if complaints or not shown:
        return True  # damage is reported when the frames are decoded
    announced = sorted(read.stamps)
    first = bisect.bisect_left(announced, shown[0])
    if announced[first : first + len(shown)] != shown:
        return False
    read.stamps = announced[first:]
    read.keys = [key for key in read.keys if key[0] >= shown[0]]
    return True


def _count_by_decoding(path: Path, stream: Any, read: Packets) -> None:
    """Decode the video, and replace the packets' stamps by one for each frame, in the decoder's order."""
    stamps, complaints = [], []
    for _, frames, complaint in _decoded_packets(path, stream.index):
        stamps += [frame.pts for frame in frames]
        complaints += [complaint] * bool(complaint)
    count, packets = len(stamps), read.whole_count + read.unstamped
    if not stamps:
        raise VideoError(UNREADABLE, f"none of {packets} packets can be decoded")
    if complaints and count < FEWEST * packets:
        # The rest would count as the whole video, played in less time.
        raise VideoError(UNREADABLE, f"only {count} frames come out of {packets} packets ({complaints[0]})")
    if None in stamps or stamps != sorted(set(stamps)):
        stamps = sorted(set(read.stamps))
        if len(stamps) != count:
            start, gap = min(read.stamps), _frame_gap(stream, read)
            stamps = [start + round(number * gap) for number in range(count)]
            read.end = stamps[0] + round(count * gap)
    read.stamps, read.keys = stamps, []


def _frame_gap(stream: Any, read: Packets) -> float:
    """Time from one frame to the next, in units of the stream's clock.

    It follows from the header's frame rate, unless the packets contradict it: in a copied AVI that is often the rate of the clock.
    Packets that hold single fields are half as far apart as frames.
    """
    known = sorted(set(read.stamps))
    between = float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    rate = stream.average_rate or stream.guessed_rate
    gap = float(1 / (rate * stream.time_base)) if rate else 0.0
    if not between:
        return gap or 1.0
    return gap if between / 2.5 < gap < between * 2.5 else between


def _pair_fields(path: Path, index: int, read: Packets) -> bool:
    """If some packets hold a single field, replace the packets' stamps by those of the decoded frames.

    Returns:
        Whether they were replaced.
    """
    stamps: list[int] = []
    damaged: list[int] = []
    end, whole = 0, 0
    for packet, frames, complaint in _decoded_packets(path, index):
        if complaint and stamp_of(packet) is not None:
            damaged.append(stamp_of(packet))
        whole += bool(packet.size and not complaint)
        for frame in frames:
            if frame.pts is None or (stamps and frame.pts <= stamps[-1]):
                return False  # the container has no presentation times
            stamps.append(frame.pts)
            end = max(end, frame.pts + (frame.duration or 0))
    count = len(stamps)
    # The decoder drops some damaged pictures; that alone does not mean that other packets hold single fields.
    if count < 2 or (damaged and not PACKETS_PER_FRAME[0] <= whole / count <= PACKETS_PER_FRAME[1]):
        return False
    gap = float(np.median(np.diff(sorted(stamps))))
    known = np.array(stamps)
    read.stamps = sorted(stamps + [stamp for stamp in damaged if np.abs(known - stamp).min() > 0.75 * gap])
    read.end = max(end, max(read.stamps) + round(gap))  # the container may give the duration of a field
    return True


def _decoded_packets(path: Path, index: int) -> Generator[tuple[Any, list[Any], str], None, None]:
    """Packets of a stream from the start, with the frames that the decoder gives for each, and its error message."""
    deadline = Deadline()
    with open_video(path) as container, as_video_error("while decoding"):
        stream = container.streams[index]
        stream.codec_context.thread_count = 1
        for packet in packets_of(container, deadline, stream):
            yield packet, *decoded(packet)
