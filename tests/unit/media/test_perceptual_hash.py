"""dHash of frames: the bits of another implementation, and what changes them."""

import numpy as np
import pytest
from PIL import Image

from vidreason.media.perceptual_hash import difference_hashes

BY_IMAGEHASH = {
    # (seed, size): what ImageHash 4.3.2 gives for three frames of noise
    (0, 24): ["c8d46dc92f6a0d58", "64352662d41691be", "982e72320d91b935"],
    (1, 32): ["8bab4985ac52526e", "936425a92da795b1", "c959292e6be1ca9a"],
    (2, 384): ["0a90a9480c86648c", "a3912280492420c9", "81c24533d5988860"],
}


def noise(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("case", BY_IMAGEHASH)
def test_the_bits_are_those_of_imagehash(case: tuple[int, int]) -> None:
    assert [format(int(value), "016x") for value in difference_hashes(noise(*case))] == BY_IMAGEHASH[case]


def test_flat_frames_have_the_hash_0_and_size_changes_little() -> None:
    assert difference_hashes(np.full((2, 32, 32, 3), 77, np.uint8)).tolist() == [0, 0]
    assert difference_hashes(np.zeros((0, 32, 32, 3), np.uint8)).tolist() == []
    small = np.kron(np.random.default_rng(5).integers(0, 256, (8, 9, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    large = np.asarray(Image.fromarray(small).resize((384, 384), Image.Resampling.BICUBIC))
    one, other = (difference_hashes(frame[None])[0] for frame in (small, large))
    assert int(one ^ other).bit_count() <= 4
