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

from bench.sizes import Size, tokenizer
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import Grpo
from vidreason.engine.generation import Decoding, rollout_seed
from vidreason.engine.prompts import query_text
from vidreason.media.extract_frames import FrameSpec, extract_frames
from vidreason.media.frame_store import FrameStore
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.template import prompt_ids
from vidreason.records import ClipRef, Question
from vidreason.training.distributed import SINGLE_PROCESS, Ranks
from vidreason.training.grpo import GrpoTrainer
from vidreason.training.reference import Policies, reference_of
from vidreason.world.scenes import COLOURS, THINGS

SEED = 0
UNLIKE = 0.02
"""Relative difference of the policy's weights from the reference's."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """Everything that a step needs.

    Attributes:
        size: The size.
        trainer: Policy, reference and settings, ready for a step.
        policy: The trainer's policy, vision tower frozen.
        reference: The trainer's reference policy.
        questions: Questions, each about its own clip.
    """

    size: Size
    trainer: GrpoTrainer
    policy: TinyLlavaVideo
    reference: TinyLlavaVideo
    questions: tuple[Question, ...]

    @property
    def store(self) -> FrameStore:
        """Frames of all clips."""
        return self.trainer.store

    @property
    def settings(self) -> Grpo:
        """GRPO's settings."""
        return self.trainer.settings

    @property
    def decoding(self) -> Decoding:
        """How rollouts are sampled."""
        return self.trainer.sampler.decoding

    def with_settings(
        self, tokens: int | None = None, micro_batch: int | None = None, ranks: Ranks = SINGLE_PROCESS
    ) -> "Workload":
        """The same models with other settings.

        Args:
            tokens: Limit of a completion; None leaves it.
            micro_batch: Questions whose gradient is computed together; None leaves it.
            ranks: The processes.
        """
        spec, runtime = self.trainer.spec, self.trainer.runtime
        if tokens is not None:
            sampling = self.settings.sampling.model_copy(update={"max_new_tokens": tokens})
            spec = spec.model_copy(update={"settings": self.settings.model_copy(update={"sampling": sampling})})
        if micro_batch is not None:
            runtime = runtime.model_copy(update={"micro_batch": micro_batch})
        trainer = GrpoTrainer(spec, runtime, self.trainer.policies, self.store, ranks)
        return dataclasses.replace(self, trainer=trainer)

    @property
    def end(self) -> int:
        """Id of the end of sequence."""
        return self.policy.end_id

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
    questions = tuple(make_question(size, number) for number in range(clips))
    store = make_frames(folder, questions, size)
    reference.requires_grad_(False)
    trainer = GrpoTrainer(size.spec, size.runtime, Policies(policy, reference), store)
    return Workload(size, trainer, policy, reference, questions)


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
    records, table = folder / "questions.jsonl", folder / "frames.parquet"
    write_jsonl(records, questions)
    extract_frames([records], folder, table, folder / "frames.clips.jsonl", FrameSpec(size.frames, side))
    return FrameStore([table])
