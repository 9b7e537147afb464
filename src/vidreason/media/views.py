"""How the frames of a clip are shown to a model."""

import numpy as np

VIEWS = ("ordered", "shuffled", "blind")
"""How the frames of a clip are shown: as they are; in a random order; as grey pictures that show nothing."""


GREY = 127


def view_frames(frames: np.ndarray, view: str, seed: int, clip: str) -> np.ndarray:
    """Show the frames of one clip in the way of a view.

    Args:
        frames: uint8 [F, S, S, 3].
        view: One of `VIEWS`.
        seed: With `clip`, the seed of the shuffled order.
        clip: Key of the clip.

    Raises:
        ValueError: An unknown view.
    """
    if view == "ordered":
        return frames
    if view == "blind":
        return np.full_like(frames, GREY)
    if view == "shuffled":
        rng = np.random.default_rng([seed, *clip.encode()])
        return frames[rng.permutation(len(frames))]
    raise ValueError(f"view: {view!r}; allowed: {', '.join(VIEWS)}")
