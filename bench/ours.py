"""This project's schedule, as training, selection and evaluation call it; the one place where the bench meets its interfaces."""

from collections.abc import Sequence

import torch

from bench.workload import Workload
from vidreason.generation import Completions, Decoding, generate
from vidreason.inputs import encode_questions, prompts_of
from vidreason.phases import phase
from vidreason.records import Question
from vidreason.training.grpo import grpo_step as train_step
from vidreason.training.update import PlainUpdater


def grpo_step(work: Workload, updater: PlainUpdater) -> float:
    """Sample, reward and learn from a step's questions; returns the loss."""
    loss, _ = train_step(
        work.policy,
        work.reference,
        work.tokenizer,
        work.store,
        work.batch,
        work.size.spec,
        work.settings,
        work.rules,
        0,
        updater.backward,
    )
    return loss


@torch.no_grad()
def rollouts(work: Workload, questions: Sequence[Question], decoding: Decoding, purpose: str) -> Completions:
    """G completions of each of several questions, together."""
    prompts = prompts_of(work.tokenizer, questions, "reason", training=True)
    videos = encode_questions(work.policy, work.store, questions)
    seeds = [seed for question in questions for seed in work.seeds(purpose, question)]
    with phase("sample"):
        return generate(work.policy, prompts, videos, decoding, work.end, work.size.rollouts, seeds)


@torch.no_grad()
def answers(work: Workload, questions: Sequence[Question], decoding: Decoding) -> Completions:
    """One answer to each of several questions, together."""
    prompts = prompts_of(work.tokenizer, questions, "reason", training=True)
    videos = encode_questions(work.policy, work.store, questions)
    with phase("sample"):
        return generate(work.policy, prompts, videos, decoding, work.end)
