"""A short name for what a frame looks like, which survives another encoding and another size.

Letters: F frames of a clip, S height and width.
"""

import numpy as np
from PIL import Image

BITS = 64
"""Bits of a hash."""
_SIDE = 8


def difference_hashes(pixels: np.ndarray) -> np.ndarray:
    """The dHash of every frame: where the picture, shrunk to 9 x 8 gray pixels, gets brighter from left to right.

    A frame without any edge has the hash 0.

    Args:
        pixels: uint8 [F, S, S, 3], RGB.

    Returns:
        uint64 [F]; the first bit is that of the upper left corner.

    Source: JohannesBuchner/imagehash@v4.3.2:imagehash/__init__.py (`dhash`), which gives the same bits.

    Example:
        >>> from vidreason.media.perceptual_hash import difference_hashes
        >>> ramp = np.repeat(np.arange(0, 252, 7, dtype=np.uint8)[None, None, :, None], 36, axis=1).repeat(3, axis=3)
        >>> format(int(difference_hashes(ramp)[0]), "x"), int(difference_hashes(ramp[:, :, ::-1])[0])
        ('ffffffffffffffff', 0)
    """
    hashes = np.zeros(len(pixels), np.uint64)
    for number, frame in enumerate(pixels):
        small = np.asarray(Image.fromarray(frame).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.LANCZOS))
        brighter = small[:, 1:] > small[:, :-1]
        hashes[number] = np.packbits(brighter).view(">u8")[0]
    return hashes
