"""What both sides of a benchmark work on: models, questions, frames, and one step's settings.

The reference policy differs a little from the policy, so that the KL term and its gradient are not zero. The embedding of the
end token is zero in both: with tied embeddings its logit is then 0, in the middle of some hundreds of logits, so it is never
among the 50 that are sampled from and never the greatest. Every completion has its full length, and both sides do equal work.
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2Tokenizer

from bench.sizes import Size, tokenizer
from vidreason.artifacts.files import write_jsonl
from vidreason.engine.generation import rollout_seed
from vidreason.engine.prompts import query_text
from vidreason.media.frame_store import FrameStore
from vidreason.media.frames import extract_frames
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.template import prompt_ids
from vidreason.records import ClipRef, Question
from vidreason.rl.rewards import RewardRules
from vidreason.training.grpo import GrpoSettings, reward_rules
from vidreason.training.reference import reference_of
from vidreason.world.scenes import COLOURS, THINGS

SEED = 0
UNLIKE = 0.02
"""Relative difference of the policy's weights from the reference's."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """Everything that a step needs.

    Attributes:
        size: The size.
        policy: The model that is trained, vision tower frozen.
        reference: The model that stays.
        tokenizer: Of both.
        store: Frames of all clips.
        questions: Questions, each about a clip of its own.
        settings: GRPO's settings.
        rules: The rewards.
    """

    size: Size
    policy: TinyLlavaVideo
    reference: TinyLlavaVideo
    tokenizer: Qwen2Tokenizer
    store: FrameStore
    questions: tuple[Question, ...]
    settings: GrpoSettings
    rules: RewardRules

    @property
    def end(self) -> int:
        """Id of the end of sequence."""
        return int(self.tokenizer.eos_token_id)

    @property
    def batch(self) -> tuple[Question, ...]:
        """The questions of a step."""
        return self.questions[: self.size.questions]

    def seeds(self, purpose: str, question: Question, step: int = 0) -> list[np.random.SeedSequence]:
        """Seeds of a question's G rollouts; with purpose `grpo`, those of a training step."""
        return [rollout_seed(SEED, purpose, step, question.id, g) for g in range(self.size.rollouts)]


def build(size: Size, folder: Path, clips: int, device: torch.device, shared: bool = True) -> Workload:
    """Make the models, the questions and the frames of a size.

    Args:
        size: The size.
        folder: Where pictures and frame tables are written.
        clips: Questions to make, each with a clip of its own.
        device: Where the models are.
        shared: Whether policy and reference have one vision tower, as this project trains; else each has its own.
    """
    with torch.random.fork_rng(devices=[]), device:
        policy = initialize(size.model, SEED).to(device=device, dtype=getattr(torch, size.dtype)).eval()
        policy.tokenizer = tokenizer()
        policy.freeze_vision()
        reference = reference_of(policy) if shared else copy.deepcopy(policy)
        torch.manual_seed(SEED + 1)
        with torch.no_grad():
            for weight in policy.parameters():
                if weight.requires_grad:
                    weight.mul_(1 + UNLIKE * torch.randn_like(weight))
            for model in (policy, reference):
                embedding: Any = model.language_model.get_input_embeddings()
                embedding.weight[tokenizer().eos_token_id] = 0
    spec = size.spec
    questions = tuple(make_question(size, number) for number in range(clips))
    store = make_frames(folder, questions, size)
    reference.requires_grad_(False)
    return Workload(
        size, policy, reference, tokenizer(), store, questions, GrpoSettings.from_spec(spec), reward_rules(spec)
    )


def make_question(size: Size, number: int) -> Question:
    """A question of random words whose prompt has exactly `Size.prompt` positions with its video.

    Raises:
        ValueError: The template alone is longer.
    """
    rng = np.random.default_rng([SEED, number])
    options = tuple(str(word) for word in rng.choice(tuple(THINGS), size=4, replace=False))
    question = Question(
        f"q{number}", "nextqa", "multiple_choice", "Which", ClipRef(f"clip{number}"), options, "ABCD"[number % 4]
    )
    missing = size.prompt - size.model.queries + 1 - len(prompt_of(question))
    if missing < 0:
        raise ValueError(
            f"size {size.name}: a prompt has {size.prompt - missing} positions at least, not {size.prompt}"
        )
    words = rng.choice(tuple(COLOURS), size=missing)  # a token each, after a space
    return dataclasses.replace(question, text=" ".join(["Which", *map(str, words)]))


def prompt_of(question: Question) -> torch.Tensor:
    """Prompt ids as training asks; the video is one of them."""
    return prompt_ids(tokenizer(), query_text(question, "reason", training=True))


def make_frames(folder: Path, questions: Sequence[Question], size: Size) -> FrameStore:
    """Write random pictures as frame folders and take their frames into a table."""
    side = size.model.image_size
    for number, question in enumerate(questions):
        clip = folder / question.clip.path
        clip.mkdir(parents=True, exist_ok=True)
        pictures = np.random.default_rng([SEED, number, 1]).integers(
            0, 256, (size.frames, side, side, 3), dtype=np.uint8
        )
        for place, picture in enumerate(pictures, start=1):
            Image.fromarray(picture).save(clip / f"{place:05d}.jpg")
    asked, table = folder / "questions.jsonl", folder / "frames.parquet"
    write_jsonl(asked, questions)
    extract_frames([asked], folder, table, folder / "frames.clips.jsonl", count=size.frames, size=side)
    return FrameStore([table])
