"""From questions to what the model takes: prompt ids and pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from vidreason.choices import question_prompt
from vidreason.frame_store import FrameStore
from vidreason.model import TinyLlavaVideo
from vidreason.model.processing import normalize_frames
from vidreason.model.prompts import evaluation_query, prompt_ids, training_query
from vidreason.phases import phase
from vidreason.records import Question

VIEWS = ("ordered", "shuffled", "blind")
"""How the frames of a clip are shown: as they are; in a random order; as grey pictures that show nothing."""
GREY = 127


def query_text(question: Question, answer: str, training: bool) -> str:
    """What the user asks, video mark included.

    Args:
        question: The question.
        answer: `option` or `reason`.
        training: Training writes the instruction after a space, evaluation on a new line, as upstream does.
    """
    write = training_query if training else evaluation_query
    return write(question_prompt(question), answer)


def prompts_of(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], answer: str, training: bool
) -> list[torch.Tensor]:
    """Prompt ids of every question: int64 vectors that end where the answer begins."""
    return [prompt_ids(tokenizer, query_text(question, answer, training)) for question in questions]


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
