"""Single pictures as clips: reading them, and what a picture is to a model that expects a video.

A connector that expects F frames gets a picture as a video in which nothing moves: the same frame F times, which is what a
published model makes of a still video. One frame alone would be a length that its connector was never trained on, and the
positions of an image in the prompt would differ from those of a video. The frame table stores the picture once
(`vidreason.media.frame_store`), and the vision tower encodes it once. A picture is resized to the tower's square like any frame.
Shuffling changes nothing in it, gray frames hide it as they hide a video, and it has no duration.

What is read is what a viewer shows: turned as its EXIF orientation says, transparency over white, 16 bits scaled to 8, palettes
and CMYK as RGB, and the first frame of an animation.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vidreason.media.containers import (
    DAMAGE,
    NOT_A_VIDEO,
    NOT_AN_IMAGE,
    PICTURES,
    TRUNCATED,
    UNREADABLE,
    VideoError,
    file_size,
    in_eight_bits,
    is_folder,
)

FORMATS = (*PICTURES, "GIF")
"""Pillow's names of the allowed formats, whatever the file's name says."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright."""


def read_still(path: Path) -> np.ndarray:
    """Read a picture: uint8 [height, width, 3], RGB, upright.

    Raises:
        VideoError: It is missing, empty, no picture, truncated, damaged, or has too many pixels.
    """
    if is_folder(path):
        raise VideoError(NOT_AN_IMAGE, "a folder; a picture is one file")
    try:
        file_size(path)
    except VideoError as error:
        status = NOT_AN_IMAGE if error.status == NOT_A_VIDEO else error.status
        raise VideoError(status, error.detail) from error
    try:
        with Image.open(path, formats=FORMATS) as picture:
            picture.load()  # before the EXIF data, whose errors are ignored, and which some formats keep behind the pixels
            upright = _TURNS.get(_orientation(picture))
            pixels = _as_rgb(picture)
            return np.asarray(pixels if upright is None else pixels.transpose(upright))
    except UnidentifiedImageError as error:
        raise VideoError(NOT_AN_IMAGE, f"none of {', '.join(FORMATS)}, or damaged at its beginning") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise VideoError(UNREADABLE, f"too large: {error}") from error
    except DAMAGE as error:
        # A file that ends early: Pillow says so in words.
        ends = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise VideoError(
            TRUNCATED if ends else UNREADABLE, str(error) or f"damaged ({type(error).__name__})"
        ) from error


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where none is given, or where the EXIF data are damaged though the picture may not be."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except DAMAGE:
        return 1


def _as_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode in 8-bit RGB, transparency over white."""
    picture = in_eight_bits(picture)
    if picture.has_transparency_data:
        colors = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colors.size, "white"), colors).convert("RGB")
    return picture.convert("RGB")
