"""Ways to show a clip's frames to a model: as they are, and controls that take something away.

A view is a function of the frames and a random generator, listed by name in `VIEWS`; to add one, add an entry. `NO_VIDEO` is none of
them: no frames are read, and the prompt has no place for a video.
"""

from collections.abc import Callable, Mapping

import numpy as np

ORDERED = "ordered"
TIMES_SHUFFLED = "times_shuffled"
NO_VIDEO = "none"
"""The question alone, without a video and without the times of its frames."""
GRAY_LEVEL = 127

View = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Frames uint8 [F, S, S, 3] and a generator -> the frames that are shown, of the same shape."""


def ordered(frames: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """The frames as they are."""
    return frames


def shuffled(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames in a random order."""
    return frames[rng.permutation(len(frames))]


def gray(frames: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Uniformly gray frames, which show nothing."""
    return np.full_like(frames, GRAY_LEVEL)


VIEWS: Mapping[str, View] = {ORDERED: ordered, "shuffled": shuffled, "gray": gray, TIMES_SHUFFLED: ordered}
"""Name of a view -> the view. `times_shuffled` leaves the frames as they are: the prompt states their times in a random order
(`vidreason.engine.prompts.Clock`)."""


def view_frames(frames: np.ndarray, view: str, seed: int, clip: str) -> np.ndarray:
    """Show the frames of one clip in a view.

    Args:
        frames: uint8 [F, S, S, 3].
        view: One of `VIEWS`.
        seed: With `clip`, the seed of the view's random numbers.
        clip: Key of the clip.

    Raises:
        ValueError: An unknown view.
    """
    if view not in VIEWS:
        raise ValueError(f"view: {view!r}; allowed: {', '.join(VIEWS)}")
    return VIEWS[view](frames, np.random.default_rng([seed, *clip.encode()]))
