"""Opening files of videos and pictures: what goes wrong becomes a `VideoError` with a status."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MISSING = "missing"
EMPTY_FILE = "empty_file"
NOT_A_VIDEO = "not_a_video"
UNREADABLE = "unreadable"
TRUNCATED = "truncated"
TOO_SHORT = "too_short"


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


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[Any]:
    """Open a container with PyAV, or raise `VideoError`."""
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(UNREADABLE, f"cannot be opened: {_words(error, path)}") from error
    with container:
        yield container


@contextlib.contextmanager
def as_video_error(doing: str) -> Iterator[None]:
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


def read_picture(path: Path) -> np.ndarray:
    """A picture of a frame folder: uint8 [height, width, 3], RGB.

    Raises:
        VideoError: It cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise VideoError(UNREADABLE, f"{path.name}: {error}") from error


def stamp_of(packet: Any) -> Any:
    """When a packet is shown; where the container does not say (AVI), when it is decoded."""
    return packet.dts if packet.pts is None else packet.pts
