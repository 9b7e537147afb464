"""From the clips of questions to what the vision tower sees in them."""

from collections.abc import Sequence

import numpy as np
import torch

from vidreason.engine.profiling import phase
from vidreason.media.frame_store import FrameStore
from vidreason.media.views import view_frames
from vidreason.models.tinyllava import TinyLlavaVideo
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.records import Question


def clips_of(questions: Sequence[Question]) -> list[str]:
    """The different clips that questions ask about, in the order in which they first come."""
    return list(dict.fromkeys(question.clip for question in questions))


def read_clips(store: FrameStore, clips: Sequence[str], view: str = "ordered", seed: int = 0) -> torch.Tensor:
    """Frames of clips as they are shown: uint8 [C, F, S, S, 3].

    Args:
        store: Frames of all clips asked for.
        clips: C keys.
        view: One of `VIEWS`.
        seed: Names the random order of a `shuffled` view, together with the clip.
    """
    return torch.from_numpy(np.stack([view_frames(store.pixels(clip), view, seed, clip) for clip in clips]))


def encode_clips(model: TinyLlavaVideo, pixels: torch.Tensor) -> torch.Tensor:
    """What the vision tower sees in frames uint8 [C, F, S, S, 3]: [C, N, Dv], to be connected (`TinyLlavaVideo.connect`).

    Levels become numbers on the model's device, so that a quarter of the bytes travel there.
    """
    with phase("encode"):
        return model.encode_frames(normalize_frames(pixels.to(model.device)).to(model.dtype))
