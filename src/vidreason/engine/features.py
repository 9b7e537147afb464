"""Features of the clips that questions are about: frames from the frame tables, through the vision tower.

Batch inference reads frames in worker processes (`read_clips`) and encodes them in the main one (`encode_clips`); training,
validation and the benchmark do both at once (`clip_features`). `connect_clips` orders the result by question.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from vidreason.engine.profiling import span
from vidreason.media.frame_store import FrameStore
from vidreason.media.views import NO_VIDEO, ORDERED, view_frames
from vidreason.models.base import Features, VideoLM, VideoTokens
from vidreason.records import Question


def clips_of(questions: Sequence[Question]) -> list[str]:
    """Keys of the different clips that questions are about, in the order of their first question."""
    return list(dict.fromkeys(question.clip.key for question in questions))


def read_clips(store: FrameStore, clips: Sequence[str], view: str = ORDERED, seed: int = 0) -> torch.Tensor:
    """Frames of C clips in a view: uint8 [C, F, S, S, 3]; [0] where no video is shown, and nothing is read.

    Args:
        store: Frames of all the clips.
        clips: C keys, at least one.
        view: One of `vidreason.media.views.VIEWS`, or `NO_VIDEO`.
        seed: With the clip's key, the seed of a view with random numbers.
    """
    if view == NO_VIDEO:
        return torch.empty(0, dtype=torch.uint8)
    return torch.from_numpy(np.stack([view_frames(store.pixels(clip), view, seed, clip) for clip in clips]))


def encode_clips(model: VideoLM, frames: torch.Tensor) -> Features:
    """Features of frames uint8 [C, F, S, S, 3], to be connected (`VideoLM.connect`)."""
    with span("encode"):
        return model.encode(frames)


def clip_features(model: VideoLM, store: FrameStore, questions: Sequence[Question]) -> dict[str, torch.Tensor]:
    """Features of the clips that questions are about, each clip encoded once: key of the clip -> features [N, Dv]."""
    clips = clips_of(questions)
    if not clips:
        return {}
    with span("read"):
        frames = read_clips(store, clips)
    return dict(zip(clips, encode_clips(model, frames), strict=True))


def connect_clips(model: VideoLM, features: Mapping[str, torch.Tensor], questions: Sequence[Question]) -> VideoTokens:
    """Embeddings of every question's clip in the order of the questions, with gradient where the connector is trained."""
    return model.connect([features[question.clip.key] for question in questions])
