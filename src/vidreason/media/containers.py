"""Opening videos and pictures: allowed formats, a time limit, and errors with a status.

Every failure becomes a `VideoError` with a status. Only regular files are opened. Playlists and other formats that name further
files are refused.
"""

import contextlib
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.artifacts.file_signatures import looks_like_text

MISSING = "missing"
EMPTY_FILE = "empty_file"
NOT_A_VIDEO = "not_a_video"
NOT_AN_IMAGE = "not_an_image"
UNREADABLE = "unreadable"
TRUNCATED = "truncated"
TOO_SHORT = "too_short"
TIMED_OUT = "timed_out"

CONTAINERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "rm", "mxf", "nut", "dv", "wtv"),
    *("ivf", "obu", "m4v", "h264", "hevc", "yuv4mpegpipe"),
)
"""FFmpeg's names of the allowed containers. Each holds its pictures itself."""
PICTURES = ("JPEG", "PNG", "WEBP", "BMP")
"""Pillow's names of the allowed formats of pictures in a frame folder, whatever their file names say."""
DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(AssertionError, RuntimeError, struct.error, zlib.error),
)
"""What Pillow raises on damaged pictures: a broken PNG is a SyntaxError, one without its palette an AssertionError."""
TIME_LIMIT = 1800.0
"""Seconds allowed for reading or decoding one video. The longest published videos last nine hours."""
MAX_PIXELS = 178_956_970
"""Most pixels of one frame; Pillow reports a decompression bomb beyond that."""


class VideoError(Exception):
    """A video that cannot be decoded.

    Attributes:
        status: One of `vidreason.media.probe.STATUSES`.
        detail: Message of the decoder, or of this package.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class Deadline:
    """Time limit for the work on one video."""

    def __init__(self, duration: float | None = None) -> None:
        """Start the clock.

        Args:
            duration: Duration of the video in seconds, if known; it is added to `TIME_LIMIT`.
        """
        self._seconds = TIME_LIMIT + (duration or 0.0)
        self._end = time.monotonic() + self._seconds

    def check(self) -> None:
        """Raise `VideoError` if the limit is exceeded."""
        if time.monotonic() > self._end:
            raise VideoError(TIMED_OUT, f"not done within {self._seconds:.0f} s")


def is_folder(path: Path) -> bool:
    """Whether a path is a folder.

    Raises:
        VideoError: The path cannot be looked up.
    """
    with as_video_error("cannot be looked up", path):
        return path.is_dir()


def file_size(path: Path) -> int:
    """Size of a regular file in bytes.

    Raises:
        VideoError: It is absent, empty, or not a regular file: reading from a pipe may never return.
    """
    with as_video_error("cannot be looked up", path):
        try:
            state = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            dangling = path.is_symlink()
            raise VideoError(MISSING, "a link to a file that is not there" if dangling else "no such file") from error
    if not stat.S_ISREG(state.st_mode):
        raise VideoError(NOT_A_VIDEO, "neither a file nor a folder, but a pipe, socket or device")
    if state.st_size == 0:
        raise VideoError(EMPTY_FILE, "the file has 0 bytes")
    return state.st_size


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[Any]:
    """Open a container with PyAV.

    Raises:
        VideoError: It is none of `CONTAINERS`, or damaged.
    """
    import av

    name = str(path.absolute())  # an absolute path is never mistaken for a URL
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    try:
        container = av.open(name, container_options=options, timeout=TIME_LIMIT)
    except av.ArgumentError as error:
        detail = "a picture, sound, playlist or other file that is no container of video, or damaged at its beginning"
        raise VideoError(NOT_A_VIDEO, f"{detail} ({_message(error, name)})") from error
    except EOFError as error:  # av.EOFError is one
        raise VideoError(TRUNCATED, f"the file ends within its header ({_message(error, name)})") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(UNREADABLE, f"cannot be opened: {_message(error, name)}") from error
    with container:
        yield container


def main_video_stream(container: Any) -> Any:
    """The video stream that FFmpeg itself would choose, apart from cover pictures.

    Raises:
        VideoError: There is none, or no decoder for it.
    """
    from av.stream import Disposition

    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        cover = ", only a cover picture" if container.streams.video else ""
        raise VideoError(NOT_A_VIDEO, f"no video stream in this {container.format.name} file{cover}")
    best = container.streams.best("video")
    stream = best if best in candidates else candidates[0]
    if stream.codec_context is None:
        raise VideoError(UNREADABLE, "no decoder for its codec")
    pixels = stream.codec_context.width * stream.codec_context.height
    if pixels > MAX_PIXELS:
        raise VideoError(UNREADABLE, f"frames of {pixels} pixels; allowed: {MAX_PIXELS}")
    return stream


@contextlib.contextmanager
def as_video_error(doing: str, path: str | Path | None = None) -> Iterator[None]:
    """Turn errors of the decoder and the disk into `VideoError`."""
    import av

    try:
        yield
    except (av.FFmpegError, EOFError, OSError, ValueError, MemoryError) as error:
        raise VideoError(UNREADABLE, f"{doing}: {_message(error, path)}") from error


def refuse_text(head: bytes) -> None:
    """Raise `VideoError` for a file that begins like text: a web page, an error message, a playlist."""
    if looks_like_text(head):
        raise VideoError(NOT_A_VIDEO, f"the file is text and begins {head[:60].decode('utf-8', 'replace')!r}")


def in_eight_bits(picture: Any) -> Any:
    """A Pillow picture with 16 bits of gray scaled to 8, which `convert` would cut off at 255; any other as it is."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    return Image.fromarray(np.clip(np.round(np.asarray(picture, np.float64) / 257), 0, 255).astype(np.uint8))


def read_picture(path: Path) -> np.ndarray:
    """Read a picture of a frame folder: uint8 [height, width, 3], RGB.

    Raises:
        VideoError: It cannot be read, or has too many pixels.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=PICTURES) as picture:
            return np.asarray(in_eight_bits(picture).convert("RGB"))
    except (*DAMAGE, Image.DecompressionBombError, MemoryError) as error:
        raise VideoError(UNREADABLE, f"{path.name}: {_message(error, path)}") from error


def packets_of(container: Any, deadline: Deadline, *streams: Any) -> Iterator[Any]:
    """The packets of some streams of a container, or of all. Each stream ends with an empty packet.

    Raises:
        VideoError: The time limit is exceeded.
    """
    try:
        for packet in container.demux(*streams):
            deadline.check()
            yield packet
    except IndexError:
        # PyAV raises this after the last packet if a stream (of MPEG-TS) began after the file was opened.
        return


def decoded(packet: Any) -> tuple[list[Any], str]:
    """Frames that the decoder gives for a packet, and its error message, `""` if there is none."""
    import av

    try:
        return packet.decode(), ""
    except (av.FFmpegError, ValueError) as error:
        return [], _message(error)


def stamp_of(packet: Any) -> Any:
    """Presentation time of a packet; its decoding time if the container (AVI) gives no other."""
    return packet.dts if packet.pts is None else packet.pts


def _message(error: BaseException, path: str | Path | None = None) -> str:
    """Message of the decoder or the system, without error number, function and path, which the row names already."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.replace(f" '{path}'", "") if path is not None else text
