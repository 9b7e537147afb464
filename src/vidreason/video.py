"""Opening videos: what a container really holds, and the frames at given positions.

`scan` reads every packet of a file without decoding any, which gives the true duration, the number of frames and the
time stamp of each (also where the frame rate varies), and shows a file that stops short of what its header promises.
`decode_frames` then decodes the frames asked for and as few others as it can, with PyAV, and with decord where PyAV fails.
Nothing here crashes on a bad file: `scan` returns a `Clip` whose status says why, `decode_frames` raises `VideoError` with a
status.

A folder of pictures `00001.jpg`, `00002.jpg`, ... is a video too, at `FOLDER_FPS` frames per second.
"""

import bisect
import contextlib
import dataclasses
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.files import looks_like_text
from vidreason.records import OK, Clip

MISSING = "missing"
EMPTY_FILE = "empty_file"
NOT_A_VIDEO = "not_a_video"
UNREADABLE = "unreadable"
TRUNCATED = "truncated"
TOO_SHORT = "too_short"
STATUSES = (OK, MISSING, EMPTY_FILE, NOT_A_VIDEO, UNREADABLE, TRUNCATED, TOO_SHORT)

FOLDER_FPS = 3.0
"""Frame rate of a folder of pictures. Source: MVBench's tvqa folder `frames_fps3_hq`."""
PICTURE_FORMATS = ("image2", "gif")
"""FFmpeg's names of the formats of pictures, beside those that end in `_pipe`."""
SKIPPABLE = ("h264", "hevc", "mpeg2video", "mpeg4", "vp8", "vp9")
"""Decoders that skip frames from one packet to the next; that of AV1 decides once for the whole file."""
SLACK_SECONDS = 0.5
"""A stream may end this much before its container says so: audio is often a little longer than the pictures."""
SLACK_FRACTION = 0.02
"""A stream may hold this fraction fewer frames than its header says: edit lists hide some at the start."""


class VideoError(Exception):
    """A video that cannot be decoded.

    Attributes:
        status: One of `STATUSES`.
        detail: The decoder's own words.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


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
    with _open(path) as container:
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
        with _as_video_error("while reading packets"):
            # Some hundred thousand packets in an hour: plain integers, and one number a stream beside the pictures'.
            own = stream.index
            for packet in container.demux():
                stamp = _stamp(packet)
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


def decode_frames(path: str | Path, indices: Sequence[int], scanned: Scan) -> list[np.ndarray]:
    """Decode the frames at the given positions.

    Args:
        path: Video file or frame folder.
        indices: Positions in order of presentation, from 0; any order, repeats allowed.
        scanned: What `scan` found in the same file.

    Returns:
        One uint8 [height, width, 3] RGB picture per index, in the order asked for.

    Raises:
        VideoError: A frame cannot be decoded by any of the decoders.
        IndexError: An index is outside the video.
    """
    path = Path(path)
    wanted = sorted({int(index) for index in indices})
    count = len(scanned.times)
    if wanted and not 0 <= wanted[0] <= wanted[-1] < count:
        raise IndexError(f"{path}: frames {wanted[0]}..{wanted[-1]} asked for, the video has 0..{count - 1}")
    if path.is_dir():
        found = _decode_folder(path, wanted)
    else:
        try:
            found = _decode_with_av(path, wanted, scanned)
        except VideoError:
            other = _decode_with_decord(path, wanted, count)
            if other is None:
                raise
            found = other
    return [found[int(index)] for index in indices]


def _decode_folder(path: Path, wanted: list[int]) -> dict[int, np.ndarray]:
    """Read pictures of a frame folder."""
    from PIL import Image, UnidentifiedImageError

    pictures = folder_frames(path)
    found = {}
    for index in wanted:
        try:
            with Image.open(pictures[index]) as picture:
                found[index] = np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise VideoError(UNREADABLE, f"{pictures[index].name}: {error}") from error
    return found


def _decode_with_decord(path: Path, wanted: list[int], frames: int) -> dict[int, np.ndarray] | None:
    """Decode with decord, in order from the start, since what it seeks may be another frame.

    Returns:
        None where it is not installed, fails, or counts other frames than the packets show.
    """
    if importlib.util.find_spec("decord") is None:
        return None
    import decord

    found = {}
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != frames:
            return None
        for index in range(wanted[-1] + 1):
            picture = reader.next()
            if index in wanted:
                found[index] = picture.asnumpy()
    # decord raises RuntimeError for files it cannot open, DECORDError, an Exception of its own, for the rest.
    except (RuntimeError, StopIteration, decord.DECORDError):
        return None
    return found


def _decode_with_av(path: Path, wanted: list[int], scanned: Scan) -> dict[int, np.ndarray]:
    """Decode with PyAV: with shortcuts, and what these do not find in order from the start."""
    found: dict[int, np.ndarray] = {}
    for shortcuts in (True, False):
        missing = [index for index in wanted if index not in found]
        if missing:
            found |= _pass_over(path, missing, scanned, shortcuts)
    missing = [index for index in wanted if index not in found]
    if missing:
        raise VideoError(UNREADABLE, f"no frame could be decoded at positions {missing}")
    return found


def _pass_over(path: Path, wanted: list[int], scanned: Scan, shortcuts: bool) -> dict[int, np.ndarray]:
    """One pass over a file.

    Args:
        path: The file.
        wanted: Positions, ascending.
        scanned: What `scan` found in the file.
        shortcuts: Begin at the last key frame before a frame, and on the way to it decode only what others depend on. What a
            container finds when it is sought is checked: most go by the time of showing, some (MPEG-TS) by that of decoding,
            which is earlier. If the first packet is not the key frame's or an earlier one, the other is tried, then the key
            frames before.

    Returns:
        Those that were found.
    """
    found: dict[int, np.ndarray] = {}
    times, waiting = scanned.times, list(wanted)
    half_frame = max(0.5 * float(np.min(np.diff(times))), _TICK) if len(times) > 1 else 1.0
    key_times = [key[0] for key in scanned.keys] if shortcuts else []
    with _open(path) as container, _as_video_error(f"frames {wanted}"):
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # videos are decoded side by side
        skippable = shortcuts and stream.codec_context.name in SKIPPABLE
        base = float(stream.time_base)

        def pictures(packets: Iterator[Any]) -> Iterator[Any]:
            stream.codec_context.skip_frame = "DEFAULT"
            skips = False
            for packet in packets:
                # A frame that no other depends on need not be decoded unless it is wanted or comes after.
                early = skippable and packet.pts is not None and bool(waiting)
                early = early and (packet.pts - scanned.start) * base < times[waiting[0]] - half_frame
                if early != skips:
                    stream.codec_context.skip_frame = "NONREF" if early else "DEFAULT"
                    skips = early
                yield from packet.decode()

        def sought(number: int) -> Iterator[Any]:
            """Pictures from a key frame on, or from one before it."""
            for _, shown, decoded in reversed(scanned.keys[1 : number + 1]):
                for stamp in (shown, decoded):
                    container.seek(stamp, stream=stream, backward=True)
                    packets = container.demux(stream)
                    packet = next(packets, None)
                    if packet is not None and packet.size and _stamp(packet) <= shown:
                        return pictures(itertools.chain([packet], packets))
            container.seek(_BEGINNING, stream=stream, backward=True)
            return pictures(container.demux(stream))

        position, frames = 0.0, pictures(container.demux(stream))
        while waiting:
            target = float(times[waiting[0]])
            key = bisect.bisect_right(key_times, target + _TICK) - 1
            if key > 0 and key_times[key] > position + half_frame:
                position, frames = key_times[key], sought(key)
            frame = next(frames, None)
            if frame is None:
                break
            if frame.pts is None:
                continue
            stamp = (frame.pts - scanned.start) * base
            position = max(position, stamp)
            if shortcuts and stamp > target + half_frame:
                break  # a shortcut has missed it; only in order can a frame that is lacking be told from one that was missed
            if stamp >= target - half_frame:
                picture = _upright(frame)
                # Some streams lack a frame that the packets announced: the next one shown stands for it.
                while waiting and times[waiting[0]] <= stamp + half_frame:
                    found[waiting.pop(0)] = picture
    return found


def _stamp(packet: Any) -> Any:
    """When a packet is shown; where the container does not say (AVI), when it is decoded."""
    return packet.dts if packet.pts is None else packet.pts


_BEGINNING = -(2**62)
"""A time stamp before any other."""
_TICK = 1e-5
"""Smallest difference of time stamps that counts, in seconds."""


def _upright(frame: Any) -> np.ndarray:
    """The picture of a PyAV frame, turned as its metadata say (decord does so by itself)."""
    picture = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _frames_in_order(path: Path) -> Iterator[Any]:
    """Every frame of a video file or folder, decoded once."""
    if path.is_dir():
        count = len(folder_frames(path))
        for index in range(count):
            yield _decode_folder(path, [index])[index]
        return
    with _open(path) as container, _as_video_error("while decoding"):
        yield from container.decode(container.streams.video[0])


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a container with PyAV, or raise `VideoError`."""
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(UNREADABLE, f"cannot be opened: {_words(error, path)}") from error
    with container:
        yield container


@contextlib.contextmanager
def _as_video_error(doing: str) -> Iterator[None]:
    """Turn the decoder's errors into `VideoError`."""
    import av

    try:
        yield
    except (av.FFmpegError, EOFError, OSError, ValueError) as error:
        raise VideoError(UNREADABLE, f"{doing}: {_words(error)}") from error


def _words(error: BaseException, path: Path | None = None) -> str:
    """The decoder's message without the path, which the row names already."""
    text = str(error)
    return text.replace(f": '{path}'", "") if path is not None else text
