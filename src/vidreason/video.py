"""What a video really holds.

`scan` reads every packet of a file without decoding any, which gives the true duration, the number of frames and the
time stamp of each (also where the frame rate varies), and shows a file that stops short of what its header promises.
`vidreason.decode` decodes frames of what was scanned. Nothing here crashes on a bad file: `scan` and `probe` return a
`Clip` whose status says why.

A folder of pictures `00001.jpg`, `00002.jpg`, ... is a video too, at `FOLDER_FPS` frames per second.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.containers import (
    EMPTY_FILE,
    MISSING,
    NOT_A_VIDEO,
    TOO_SHORT,
    TRUNCATED,
    UNREADABLE,
    VideoError,
    as_video_error,
    open_video,
    read_picture,
    stamp_of,
)
from vidreason.files import looks_like_text
from vidreason.records import OK, Clip

STATUSES = (OK, MISSING, EMPTY_FILE, NOT_A_VIDEO, UNREADABLE, TRUNCATED, TOO_SHORT)

FOLDER_FPS = 3.0
"""Frame rate of a folder of pictures. Source: MVBench's tvqa folder `frames_fps3_hq`."""
PICTURE_FORMATS = ("image2", "gif")
"""FFmpeg's names of the formats of pictures, beside those that end in `_pipe`."""
SLACK_SECONDS = 0.5
"""A stream may end this much before its container says so: audio is often a little longer than the pictures."""
SLACK_FRACTION = 0.02
"""A stream may hold this fraction fewer frames than its header says: edit lists hide some at the start."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """What reading a container's packets gave.

    Attributes:
        clip: Status, duration, frame rate, number of frames, codec.
        times: float64 [frames], presentation time of every frame in seconds from the first, ascending; empty unless
            the status is `ok`.
        start: Time stamp of the first frame, in units of the stream's clock.
        keys: Of every key frame, from which decoding can begin, its time in seconds and its stamps of showing and of
            decoding; ascending.
    """

    clip: Clip
    times: np.ndarray
    start: int = 0
    keys: Sequence[tuple[float, int, int]] = ()


def probe(path: str | Path, key: str | None = None, decode: bool = False) -> Clip:
    """Say what a video file or frame folder holds.

    Args:
        path: The file or folder.
        key: `Clip.clip` of the result; the path itself by default.
        decode: Also decode every frame once, which finds damage that the packets do not show.

    Returns:
        The clip. Its status is one of `STATUSES`; this function does not raise on a bad file.
    """
    scanned = scan(path, key)
    if not decode or scanned.clip.status != OK:
        return scanned.clip
    try:
        decoded = sum(1 for _ in _frames_in_order(Path(path)))
    except VideoError as error:
        return dataclasses.replace(scanned.clip, status=error.status, detail=error.detail)
    if _clearly_fewer(decoded, len(scanned.times)):
        detail = f"only {decoded} of {len(scanned.times)} frames can be decoded"
        return dataclasses.replace(scanned.clip, status=UNREADABLE, detail=detail)
    return scanned.clip


def scan(path: str | Path, key: str | None = None) -> Scan:
    """Read the packets of a video, or list a frame folder, without decoding.

    Args:
        path: The file or folder.
        key: `Clip.clip` of the result; the path itself by default.

    Returns:
        The clip and the time of every frame.
    """
    path = Path(path)
    key = str(path) if key is None else key
    try:
        if path.is_dir():
            return _scan_folder(path, key)
        _refuse_impostors(path)
        return _scan_file(path, key)
    except VideoError as error:
        return Scan(Clip(key, error.status, detail=error.detail), np.zeros(0))


def _refuse_impostors(path: Path) -> None:
    """Raise `VideoError` for a file that is absent, empty, plain text, or an MP4 or AVI cut short."""
    if not path.exists():
        raise VideoError(MISSING, "no such file")
    size = path.stat().st_size
    if size == 0:
        raise VideoError(EMPTY_FILE, "the file has 0 bytes")
    with path.open("rb") as stream:
        head = stream.read(512)
        if looks_like_text(head):
            raise VideoError(NOT_A_VIDEO, f"the file is text and begins {head[:60].decode('utf-8', 'replace')!r}")
        if head[4:8] == b"ftyp":
            _refuse_cut_mp4(stream, size)
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little") + 8
        if promised > size:
            raise VideoError(TRUNCATED, f"the file has {size} of the {promised} bytes its header promises")


def _refuse_cut_mp4(stream: Any, size: int) -> None:
    """Raise `VideoError` if the last top-level box of an MP4 is longer than what is left of the file.

    The index usually comes last, so such a file cannot be opened at all, and the decoder's words do not tell why.
    """
    offset = 0
    while offset + 8 <= size:
        stream.seek(offset)
        header = stream.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return
        if length < 8:
            raise VideoError(UNREADABLE, f"broken MP4: a box of {length} bytes at byte {offset}")
        offset += length
    if offset > size:
        raise VideoError(TRUNCATED, f"the file has {size} of the {offset} bytes its MP4 boxes need")


def _scan_file(path: Path, key: str) -> Scan:
    """Scan a container with PyAV."""
    with open_video(path) as container:
        if not container.streams.video:
            raise VideoError(NOT_A_VIDEO, f"no video stream in this {container.format.name} file")
        stream = container.streams.video[0]
        if container.format.name.endswith("_pipe") or container.format.name in PICTURE_FORMATS:
            raise VideoError(NOT_A_VIDEO, f"a picture ({container.format.name})")
        if stream.codec_context is None:
            raise VideoError(UNREADABLE, "no decoder for its codec")
        base = stream.time_base
        stamps: list[int] = []
        keys: list[tuple[int, int]] = []
        whole_count = 0
        last, ends = 0, {0: 0}  # end of the pictures, and of every stream
        with as_video_error("while reading packets"):
            # Some hundred thousand packets in an hour: plain integers, and one number a stream beside the pictures'.
            own = stream.index
            for packet in container.demux():
                stamp = stamp_of(packet)
                if stamp is None or not packet.size:
                    continue
                number, end = packet.stream_index, stamp + (packet.duration or 0)
                ends[number] = max(end, ends.get(number, end))
                whole_count += number == own  # edit lists hide some, which the header counts
                if number == own and not packet.is_discard:
                    last = max(last, end) if stamps else end
                    stamps.append(stamp)
                    if packet.is_keyframe:
                        keys.append((stamp, stamp if packet.dts is None else packet.dts))
        container_end = max(float(end * container.streams[number].time_base) for number, end in ends.items())
        rate = float(stream.average_rate or 0)
        codec = stream.codec_context.name
        declared = float(stream.duration * base) if stream.duration and base else None
        whole = container.duration / 1_000_000 if container.duration else None
        clip = Clip(key, OK, fps=rate or None, frames=len(stamps), codec=codec)
        if not stamps:
            raise VideoError(TOO_SHORT, "the video stream has no frames")
        stamps.sort()
        start = stamps[0]
        duration = float((last - start) * base)
        clip = dataclasses.replace(
            clip, duration=duration, fps=rate or (len(stamps) / duration if duration > 0 else None)
        )
        problem = _shortfall(whole_count, stream.frames, duration, declared, container_end, whole)
    if duration <= 0:
        return Scan(dataclasses.replace(clip, status=TOO_SHORT, detail=f"duration {duration:g} s"), np.zeros(0))
    if problem:
        return Scan(dataclasses.replace(clip, status=TRUNCATED, detail=problem), np.zeros(0))
    times = (np.array(stamps, dtype=np.int64) - start) * float(base)
    return Scan(
        clip, times, start, [(float((shown - start) * base), shown, decoded) for shown, decoded in sorted(keys)]
    )


def _shortfall(
    frames: int, promised: int, duration: float, declared: float | None, container_end: float, whole: float | None
) -> str:
    """Say by how much a stream ends before its header says it does; `""` when it does not."""
    if promised and _clearly_fewer(frames, promised):
        return f"{frames} of {promised} frames"
    # Without a duration of its own (webm, mkv) the stream is judged by the container, whose longest stream counts.
    there, said = (duration, declared) if declared else (container_end, whole)
    if said and said - there > max(SLACK_SECONDS, SLACK_FRACTION * said):
        return f"{there:.2f} of {said:.2f} seconds"
    return ""


def _clearly_fewer(frames: int, promised: int) -> bool:
    """Whether frames are missing beyond what edit lists and rounding explain."""
    return promised - frames > max(2, SLACK_FRACTION * promised)


def folder_frames(path: Path) -> list[Path]:
    """The pictures of a frame folder, in order.

    Raises:
        VideoError: The folder has no pictures, or their names are not 00001.jpg, 00002.jpg, ... without a gap.
    """
    pictures = sorted(path.glob("*.jpg"))
    if not pictures:
        raise VideoError(NOT_A_VIDEO, "a folder without .jpg pictures")
    for number, picture in enumerate(pictures, start=1):
        if picture.name != f"{number:05d}.jpg":
            raise VideoError(
                TRUNCATED, f"expected {number:05d}.jpg as picture {number} of {len(pictures)}, found {picture.name}"
            )
    return pictures


def _scan_folder(path: Path, key: str) -> Scan:
    """Scan a folder of pictures: every one must be there and have bytes."""
    pictures = folder_frames(path)
    for picture in pictures:
        if picture.stat().st_size == 0:
            raise VideoError(EMPTY_FILE, f"{picture.name} has 0 bytes")
    count = len(pictures)
    clip = Clip(key, OK, duration=count / FOLDER_FPS, fps=FOLDER_FPS, frames=count, codec="frames")
    return Scan(clip, np.arange(count) / FOLDER_FPS)


def _frames_in_order(path: Path) -> Iterator[Any]:
    """Every frame of a video file or folder, decoded once."""
    if path.is_dir():
        yield from map(read_picture, folder_frames(path))
        return
    with open_video(path) as container, as_video_error("while decoding"):
        yield from container.decode(container.streams.video[0])
