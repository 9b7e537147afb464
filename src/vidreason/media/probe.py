"""Scanning a video for its true contents.

`scan` reads every packet of a file without decoding it. That gives the true duration, the number of frames and the time of each,
also with a variable frame rate, and detects a file that is shorter than its header says. `vidreason.media.decode` decodes frames
of a scanned file. A bad file raises nothing here: `scan` and `probe` return a `ClipStatus` whose status says why.

A folder of pictures `00001.jpg`, `00002.jpg`, ... counts as a video with `FOLDER_FPS` frames per second.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.media.containers import (
    EMPTY_FILE,
    MISSING,
    NOT_A_VIDEO,
    NOT_AN_IMAGE,
    TIMED_OUT,
    TOO_SHORT,
    TRUNCATED,
    UNREADABLE,
    Deadline,
    VideoError,
    as_video_error,
    decoded,
    file_size,
    is_folder,
    main_video_stream,
    open_video,
    packets_of,
    read_picture,
    refuse_text,
    stamp_of,
)
from vidreason.media.timestamps import Packets, correct_stamps, read_packets
from vidreason.records import OK, ClipStatus

STATUSES = (OK, MISSING, EMPTY_FILE, NOT_A_VIDEO, NOT_AN_IMAGE, UNREADABLE, TRUNCATED, TOO_SHORT, TIMED_OUT)

FOLDER_FPS = 3.0
"""Frame rate of a folder of pictures. Source: MVBench's tvqa folder `frames_fps3_hq`."""
SLACK_SECONDS = 0.5
"""Seconds by which a stream may be shorter than its container says; audio is often a little longer than the pictures."""
SLACK_FRACTION = 0.02
"""Fraction of its frames that a stream may lack; edit lists hide some at the start."""
FILE_DURATIONS = ("asf", "wtv")
"""Containers whose streams give the duration of the file as their own, though sound may be longer than the pictures."""
MP4_BOXES = (b"moov", b"moof", b"mdat")
"""Boxes of an MP4 that hold its index and its pictures."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """Result of reading a container's packets.

    Attributes:
        clip: Status, duration, frame rate, number of frames, codec.
        times: float64 [frames], presentation time of every frame in seconds from the first, ascending; empty unless
            the status is `ok`.
        start: Time stamp of the first frame, in units of the stream's clock.
        keys: For every key frame, where decoding can begin, its time in seconds and its presentation and decoding stamps;
            ascending.
        stream: Index of the chosen video stream among all streams of the container.
        alone: Whether it is the only video stream.
        in_order: Whether frames can be identified only by counting from the start, not by time stamps.
    """

    clip: ClipStatus
    times: np.ndarray
    start: int = 0
    keys: Sequence[tuple[float, int, int]] = ()
    stream: int = 0
    alone: bool = True
    in_order: bool = False


def probe(path: str | Path, key: str | None = None, decode: bool = False) -> ClipStatus:
    """Status, duration, frame rate and number of frames of a video file or frame folder.

    Args:
        path: The file or folder.
        key: `ClipStatus.key` of the result; the path itself by default.
        decode: Also decode every frame once, which finds damage that the packets do not show.

    Returns:
        The clip. Its status is one of `STATUSES`; a bad file raises nothing.
    """
    scanned = scan(path, key)
    if not decode or scanned.clip.status != OK:
        return scanned.clip
    try:
        decoded, damage = count_decodable(Path(path), scanned)
    except VideoError as error:
        return dataclasses.replace(scanned.clip, status=error.status, detail=error.detail)
    # Without an error, a decoder leaves out only frames that are not shown, such as repeats of the previous one.
    if not decoded or (damage and _clearly_fewer(decoded, len(scanned.times))):
        detail = f"only {decoded} of {len(scanned.times)} frames can be decoded" + (f"; {damage}" if damage else "")
        return dataclasses.replace(scanned.clip, status=UNREADABLE, detail=detail)
    return dataclasses.replace(scanned.clip, detail=damage)


def scan(path: str | Path, key: str | None = None) -> Scan:
    """Read the packets of a video, or list a frame folder, without decoding.

    Only if the packets' time stamps are unreliable is the video decoded to count its frames (`vidreason.media.timestamps`).

    Args:
        path: The file or folder.
        key: `ClipStatus.key` of the result; the path itself by default.

    Returns:
        The clip and the time of every frame.
    """
    path = Path(path)
    key = str(path) if key is None else key
    try:
        if is_folder(path):
            return _scan_folder(path, key)
        _check_beginning(path)
        return _scan_file(path, key)
    except VideoError as error:
        return Scan(ClipStatus(key, error.status, detail=error.detail), np.zeros(0))


def _check_beginning(path: Path) -> None:
    """Raise `VideoError` for a file that is absent, empty or plain text, or a truncated MP4 or AVI."""
    size = file_size(path)
    with as_video_error("cannot be read", path), path.open("rb") as stream:
        head = stream.read(512)
        refuse_text(head)
        if head[4:8] == b"ftyp":
            _refuse_truncated_mp4(stream, size)
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little") + 8
        if promised > size:
            raise VideoError(TRUNCATED, f"the file has {size} of the {promised} bytes its header promises")


def _refuse_truncated_mp4(stream: Any, size: int) -> None:
    """Raise `VideoError` if the last top-level box of an MP4 is longer than the rest of the file.

    The index usually comes last, so such a file cannot be opened, and the decoder's message does not say why. Other bytes may
    follow a complete MP4.
    """
    offset, deadline = 0, Deadline()
    complete: set[bytes] = set()
    while offset + 8 <= size:
        deadline.check()
        stream.seek(offset)
        header = stream.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        sound = 8 <= length <= size - offset
        if length == 0 or (not sound and {b"moov", b"mdat"} <= complete and name not in MP4_BOXES):
            return
        if length < 8:
            raise VideoError(UNREADABLE, f"broken MP4: a box of {length} bytes at byte {offset}")
        if not sound:
            raise VideoError(TRUNCATED, f"the file has {size} of the {offset + length} bytes its MP4 boxes need")
        complete.add(name)
        offset += length


def _scan_file(path: Path, key: str) -> Scan:
    """Scan a container with PyAV."""
    with open_video(path) as container:
        stream = main_video_stream(container)
        codec, container_name = stream.codec_context.name, container.format.name
        read = read_packets(container, stream)
        if not read.stamps:
            raise _no_frames(read, stream.frames, container.duration)
        extent = read.end - min(read.stamps)  # of all packets, damaged ones included
        correct_stamps(path, container, stream, read)
        start = read.stamps[0]
        duration = float((read.end - start) * stream.time_base)
        fps = _frame_rate(float(stream.average_rate or 0), len(read.stamps), duration)
        clip = ClipStatus(key, OK, duration=duration, fps=fps, frames=len(read.stamps), codec=codec)
        declared = stream.duration and container_name not in FILE_DURATIONS
        stream_seconds = float(stream.duration * stream.time_base) if declared else None
        container_seconds = container.duration / 1_000_000 if container.duration else None
        # The header of an AVI counts ticks of its clock, also those without a frame.
        promised = 0 if container_name == "avi" else stream.frames
        seconds = max(duration, float(extent * stream.time_base))
        problem = _shortfall(read, promised, seconds, stream_seconds, container_seconds)
        base, index, alone = float(stream.time_base), stream.index, len(container.streams.video) == 1
    if problem:
        return Scan(dataclasses.replace(clip, status=TRUNCATED, detail=problem), np.zeros(0))
    if duration <= 0:
        return Scan(dataclasses.replace(clip, status=TOO_SHORT, detail=f"duration {duration:g} s"), np.zeros(0))
    times = (np.array(read.stamps, dtype=np.int64) - start) * base
    keys = [((shown - start) * base, shown, decoded) for shown, decoded in sorted(read.keys)]
    return Scan(clip, times, start, keys, index, alone, read.in_order)


def _frame_rate(declared: float, frames: int, duration: float) -> float | None:
    """Frames per second: the header's value, unless number and duration of the frames contradict it."""
    if duration <= 0 or abs(declared * duration - frames) <= max(1.5, SLACK_FRACTION * frames):
        return declared or None
    return frames / duration


def _no_frames(read: Packets, promised: int, microseconds: int | None) -> VideoError:
    """The error for a video stream without any frame."""
    if read.unstamped:
        return VideoError(UNREADABLE, f"no time stamps: {read.unstamped} packets do not say when they are shown")
    if promised:
        return VideoError(TRUNCATED, f"0 of {promised} frames")
    if microseconds:
        return VideoError(TRUNCATED, f"0 frames of {microseconds / 1_000_000:.2f} seconds")
    return VideoError(TOO_SHORT, "the video stream has no frames")


def _shortfall(read: Packets, promised: int, duration: float, declared: float | None, whole: float | None) -> str:
    """By how much a stream is shorter than its header says, in words; `""` if it is not."""
    # In a file that was trimmed without re-encoding, the number of frames includes hidden ones, the durations do not. In a damaged
    # header the two durations disagree.
    trimmed = (
        declared is not None
        and whole is not None
        and abs(declared - duration) <= 2 * duration / len(read.stamps)
        and abs(whole - duration) <= SLACK_SECONDS
    )
    if promised and _clearly_fewer(read.whole_count, promised) and not trimmed:
        return f"{read.whole_count} of {promised} frames"
    # A stream without a duration of its own (webm, mkv) is compared with the container's, that of its longest stream.
    seconds, expected = (duration, declared) if declared else (read.container_end, whole)
    if expected and expected - seconds > max(SLACK_SECONDS, SLACK_FRACTION * expected):
        return f"{seconds:.2f} of {expected:.2f} seconds"
    return ""


def _clearly_fewer(frames: int, promised: int) -> bool:
    """Whether more frames are missing than edit lists and rounding explain."""
    return promised - frames > max(2, SLACK_FRACTION * promised)


def count_decodable(path: Path, scanned: Scan) -> tuple[int, str]:
    """Decode a whole video once, in order.

    Returns:
        The number of decoded frames, and a description of the packets that cannot be decoded, `""` if there are none.

    Raises:
        VideoError: It cannot be opened, or takes too long.
    """
    if is_folder(path):
        return sum(1 for _ in map(read_picture, folder_frames(path))), ""
    count = packets = 0
    damaged: list[str] = []
    with open_video(path) as container, as_video_error("while decoding"):
        stream = container.streams[scanned.stream]
        for packet in packets_of(container, Deadline(scanned.clip.duration), stream):
            frames, complaint = decoded(packet)
            count += len(frames)
            packets += bool(packet.size)
            if complaint and packet.size:
                damaged.append(f"{frame_name(scanned, stamp_of(packet), stream.time_base)}: {complaint}")
    return count, f"{len(damaged)} of {packets} packets cannot be decoded, the first at {damaged[0]}" if damaged else ""


def frame_name(scanned: Scan, stamp: int | None, base: Any) -> str:
    """Name of the frame at a time stamp: `frame 25 (1.00 s)`."""
    if stamp is None:
        return "the end"
    second = float((stamp - scanned.start) * base)
    return f"frame {int(np.abs(scanned.times - second).argmin())} ({second:.2f} s)"


def folder_frames(path: Path) -> list[Path]:
    """The pictures of a frame folder, in order, without hidden files.

    Raises:
        VideoError: The folder has no pictures, or their names are not 00001.jpg, 00002.jpg, ... without a gap.
    """
    with as_video_error("cannot be listed", path):
        # Unlike `glob`, `iterdir` raises an error for a folder without permission.
        pictures = sorted(file for file in path.iterdir() if file.suffix == ".jpg" and not file.name.startswith("."))
    if not pictures:
        raise VideoError(NOT_A_VIDEO, "a folder without .jpg pictures")
    for number, picture in enumerate(pictures, start=1):
        if picture.name != f"{number:05d}.jpg":
            raise VideoError(
                TRUNCATED, f"expected {number:05d}.jpg as picture {number} of {len(pictures)}, found {picture.name}"
            )
    return pictures


def _scan_folder(path: Path, key: str) -> Scan:
    """Scan a folder of pictures, none of which may be missing or empty."""
    pictures = folder_frames(path)
    for picture in pictures:
        try:
            file_size(picture)
        except VideoError as error:
            # A picture that is listed but missing is a dangling link.
            status = TRUNCATED if error.status == MISSING else error.status
            raise VideoError(status, f"{picture.name}: {error.detail}") from error
    count = len(pictures)
    clip = ClipStatus(key, OK, duration=count / FOLDER_FPS, fps=FOLDER_FPS, frames=count, codec="frames")
    return Scan(clip, np.arange(count) / FOLDER_FPS)
