"""This project's schedule, as training, selection and evaluation call it; the one place where the bench meets its interfaces."""

from collections.abc import Sequence

import numpy as np

from bench.workload import Workload
from vidreason.engine.batch_inference import complete
from vidreason.engine.features import clips_of, read_clips
from vidreason.engine.generation import Completions, Decoding
from vidreason.engine.prompts import prompts_of
from vidreason.records import Question
from vidreason.training.optimizer import PlainOptimizer


def grpo_step(work: Workload, optimizer: PlainOptimizer) -> float:
    """Sample, reward and learn from a step's questions; returns the loss."""
    ((loss, _),) = work.trainer.step(0, work.batch, optimizer.backward)
    return loss


def rollouts(work: Workload, questions: Sequence[Question], decoding: Decoding, purpose: str) -> Completions:
    """G completions of each of several questions, together."""
    seeds = [seed for question in questions for seed in work.seeds(purpose, question)]
    return _complete(work, questions, decoding, work.size.rollouts, seeds)


def answers(work: Workload, questions: Sequence[Question], decoding: Decoding) -> Completions:
    """One answer to each of several questions, together."""
    return _complete(work, questions, decoding)


def _complete(
    work: Workload,
    questions: Sequence[Question],
    decoding: Decoding,
    group: int = 1,
    seeds: Sequence[np.random.SeedSequence] | None = None,
) -> Completions:
    """A batch of selection or evaluation: its frames are read, its clips encoded, its questions answered."""
    prompts = prompts_of(work.policy, questions, "reason", training=True)
    pixels = read_clips(work.store, clips_of(questions))
    return complete(work.policy, questions, prompts, pixels, decoding, group, seeds)
