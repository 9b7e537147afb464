"""GRPO: sample a group of answers to every question, reward them, push towards the better ones.

One step: encode every clip once, sample G completions of every prompt from one prefill, reward each completion, turn
rewards into group-relative advantages, and take one optimiser step on the GRPO loss against the frozen reference policy.
How many questions are sampled or learnt from at a time is a matter of memory, not of the result.
Of R processes each does this for every R-th question of the step; every random draw is named by its question, and the loss
is a mean over questions, so the mean of the R gradients is the gradient of one process with all questions.

Letters: B prompts, G rollouts per prompt, N = B * G completions, T completion tokens.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from vidreason.artifacts.files import read_jsonl
from vidreason.engine.features import connect_clips
from vidreason.engine.generation import Completions, Decoding, generate, rollout_seed
from vidreason.engine.log_probs import completion_log_probs
from vidreason.engine.profiling import span
from vidreason.engine.prompts import fits, prompts_of
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM
from vidreason.models.families import save_checkpoint
from vidreason.records import OK, Question
from vidreason.rl.advantages import StdKind, group_advantages
from vidreason.rl.losses import LengthNorm, grpo_loss
from vidreason.rl.rewards import Reward, RewardRules, question_reward, rules_for
from vidreason.training.distributed import Ranks, start_ranks
from vidreason.training.optimizer import whole_weights
from vidreason.training.reference import halve, halved_copy, on_device, put_off, reference_of, refresh
from vidreason.training.sampler import EpochBatches
from vidreason.training.trainer import (
    ALONE,
    Backward,
    Metrics,
    Optimisation,
    gathered_features,
    load_for_training,
    run_steps,
)

STEP_QUESTIONS = 0x6B90
"""Name of the random order of the questions, next to the run's seed and the epoch."""


@dataclasses.dataclass(frozen=True)
class GrpoSettings:
    """What GRPO itself needs from a spec.

    Attributes:
        epochs: Passes over the questions.
        batch_size: Questions a step, B.
        rollouts: Completions a question, G.
        temperature: Of the rollouts.
        top_k: Of the rollouts.
        max_new_tokens: Limit of a rollout, in tokens.
        beta: Weight of the KL term.
        kl_clamp: Limit of the KL estimate per token.
        length_norm: `sequence` or `constant` (see `vidreason.rl.losses.grpo_loss`).
        advantage_std: `unbiased`, `population` or `none` (see `vidreason.rl.advantages.group_advantages`).
        advantage_eps: Added to the standard deviation of a group's rewards.
        advantage_noise: Standard deviation of the Gaussian noise added to every advantage.
        validation_limit: Held-out questions answered at a validation; 0 for none.
        rollout_batch: Questions whose rollouts are sampled together; None for all of this process.
        micro_batch: Questions whose gradient is computed together; None for all of this process.
        offload_reference: Keep the reference policy in the host's memory between its passes.
    """

    epochs: float
    batch_size: int
    rollouts: int
    temperature: float
    top_k: int
    max_new_tokens: int
    beta: float
    kl_clamp: float
    length_norm: LengthNorm
    advantage_std: StdKind
    advantage_eps: float
    advantage_noise: float
    validation_limit: int
    rollout_batch: int | None = None
    micro_batch: int | None = None
    offload_reference: bool = False

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "GrpoSettings":
        """Take the keys of this class out of a spec."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in spec.items() if key in names})

    @property
    def decoding(self) -> Decoding:
        """How rollouts are sampled."""
        return Decoding(self.max_new_tokens, self.temperature, self.top_k)


def train_grpo(
    spec: dict[str, Any],
    init: Path,
    questions: Path,
    validation: Path,
    frames: Sequence[Path],
    out: Path,
    metrics: Path,
    state: Path,
) -> None:
    """Train one GRPO arm from its parent's weights, which also stay as the reference policy.

    Args:
        spec: The resolved spec: `answer`, `seed`, `origin`, `protocol`, `gradient_checkpointing`, the keys of
            `GrpoSettings`, of `Optimisation` and of `reward_rules`.
        init: Checkpoint folder of the parent.
        questions: Question records to train on; those whose clip has no frames, and those whose
            prompt and answer are longer than the context, are left out and counted.
        validation: Held-out question records for the accuracy during training.
        frames: Frame tables.
        out: Checkpoint folder to write.
        metrics: JSON lines to write.
        state: Folder of the saved training states.

    Raises:
        ValueError: No question has frames, or the processes cannot share a step's questions evenly.
        DivergedError: Loss or gradient is not finite.

    Source: arXiv 2504.09641 section 3.3; TinyLLaVA-Video-R1@efe76a1:tinyllava/train/tinyllava_trainer_reason.py.
    Differs from the source: a clip is encoded once a step and a prompt prefilled once; every draw is seeded; accuracy on
    held-out questions is logged.
    """
    settings, optimisation = GrpoSettings.from_spec(spec), Optimisation.from_settings(spec)
    rules = reward_rules(spec)
    ranks = start_ranks(optimisation.deepspeed is not None)
    policy, tokenizer = load_for_training(init, optimisation)
    reference = reference_of(policy) if settings.beta else None
    sampler = None
    if optimisation.precision == "bf16" and optimisation.deepspeed is None:
        reference, sampler = reference and halve(reference), halved_copy(policy)
    if reference is not None and settings.offload_reference:
        put_off(reference)
    store = FrameStore(frames)

    def answerable(question: Question) -> bool:
        (prompt,) = prompts_of(policy, [question], spec["answer"], training=True)
        return fits(prompt, policy, settings.max_new_tokens)

    batches = EpochBatches(questions, store, settings.batch_size, (spec["seed"], STEP_QUESTIONS), answerable)
    asked = read_jsonl(validation, Question)
    seen = [question for question in asked if store.status(question.clip.key) == OK and answerable(question)]
    held_out = seen[: settings.validation_limit][ranks.rank :: ranks.count]

    def step_function(step: int, backward: Backward) -> tuple[float, Metrics]:
        batch = ranks.part(batches.batch(step))
        loss, row = grpo_step(
            policy, reference, tokenizer, store, batch, spec, settings, rules, step, backward, ranks, sampler
        )
        return loss, {**row, **batches.left_out}

    def validate(step: int) -> tuple[Metrics, int]:
        if sampler is not None:
            refresh(sampler, policy)
        found = validation_metrics(sampler or policy, tokenizer, store, held_out, spec, settings, rules)
        return found | {"left_out": float(len(asked) - len(seen))}, len(held_out)

    run_steps(
        policy,
        optimisation,
        batches.steps(settings.epochs),
        step_function,
        metrics,
        state,
        spec["origin"],
        "grpo",
        validate if seen and settings.validation_limit else None,
        ranks,
    )
    with whole_weights(policy):
        if ranks.first:
            save_checkpoint(policy, out)


@dataclasses.dataclass(frozen=True)
class Group:
    """One question with its G completions, in the host's memory, as it travels between processes.

    Attributes:
        question: The question.
        prompt: int64, its prompt's ids.
        completions: G completions.
        advantages: float32 [G].
    """

    question: Question
    prompt: torch.Tensor
    completions: Completions
    advantages: torch.Tensor

    def __post_init__(self) -> None:
        """Refuse tensors of a card: another process would get them back on that card, and not on its own."""
        for tensor in (self.prompt, self.completions.ids, self.completions.lengths, self.advantages):
            if tensor.device.type != "cpu":
                raise ValueError(
                    f"question {self.question.id!r}: a tensor is on {tensor.device}, not in the host's memory"
                )

    @property
    def tokens(self) -> int:
        """What a pass over it costs: tokens of the prompt and of all completions."""
        return len(self.prompt) + int(self.completions.lengths.sum())


def grpo_step(
    policy: VideoLM,
    reference: VideoLM | None,
    tokenizer: PreTrainedTokenizerBase,
    store: FrameStore,
    batch: Sequence[Question],
    spec: dict[str, Any],
    settings: GrpoSettings,
    rules: RewardRules,
    step: int,
    backward: Backward,
    ranks: Ranks = ALONE,
    sampler: VideoLM | None = None,
) -> tuple[float, Metrics]:
    """Roll out, reward and score one batch of B questions, and have the gradient computed.

    Every clip goes through the frozen tower once; sampling, policy and reference connect what it saw. The random numbers
    of a question's rollouts and of its advantages' noise are named by seed, step and question, so they do not depend on
    the other questions of the batch. With several questions a process, groups are dealt out anew once their lengths are
    known; a process encodes the clip of a group that it is given.

    Returns:
        The loss, and the step's metrics.
    """
    prompts = prompts_of(policy, batch, spec["answer"], training=True)
    seen = gathered_features(policy, store, batch)
    if sampler is not None:
        refresh(sampler, policy)
    completions = _rollouts(sampler or policy, tokenizer, batch, prompts, seen, spec["seed"], settings, step)
    completions = completions.to(torch.device("cpu"))  # rewards read them there, and groups travel
    rewards = rewards_of(tokenizer, completions, batch, settings.rollouts, rules)
    total = torch.tensor([row.total for row in rewards], dtype=torch.float32)  # [N]
    names = (rollout_seed(spec["seed"], "grpo noise", step, question.id) for question in batch)
    noise = np.concatenate([np.random.default_rng(name).standard_normal(settings.rollouts) for name in names])
    advantages = group_advantages(
        total,
        settings.rollouts,
        std=settings.advantage_std,
        eps=settings.advantage_eps,
        noise=torch.from_numpy(settings.advantage_noise * noise).float(),
    )
    parts = zip(batch, prompts, completions.split(settings.rollouts), advantages.split(settings.rollouts), strict=True)
    groups = [Group(*part) for part in parts]
    groups = ranks.dealt(groups, [group.tokens for group in groups])
    seen |= gathered_features(
        policy, store, [group.question for group in groups if group.question.clip.key not in seen]
    )
    loss, kl = _learn(policy, reference, groups, seen, spec["gradient_checkpointing"], settings, tokenizer, backward)
    flat = total.reshape(-1, settings.rollouts).std(dim=1) == 0
    return loss, {**summary(rewards, completions), "kl": kl, "zero_variance": float(flat.float().mean())}


def _rollouts(
    policy: VideoLM,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Question],
    prompts: Sequence[torch.Tensor],
    seen: dict[str, torch.Tensor],
    seed: int,
    settings: GrpoSettings,
    step: int,
) -> Completions:
    """Sample G completions of each of B questions, `rollout_batch` questions at a time."""
    group, size, found = settings.rollouts, settings.rollout_batch or len(batch), []
    with span("sample"), torch.no_grad(), whole_weights(policy):
        for start in range(0, len(batch), size):
            asked = batch[start : start + size]
            videos = connect_clips(policy, seen, asked)
            seeds = [rollout_seed(seed, "grpo", step, question.id, g) for question in asked for g in range(group)]
            found.append(
                generate(
                    policy,
                    prompts[start : start + size],
                    videos,
                    settings.decoding,
                    tokenizer.eos_token_id,
                    group,
                    seeds,
                )
            )
    return Completions.concatenated(found, tokenizer.eos_token_id)


def _learn(
    policy: VideoLM,
    reference: VideoLM | None,
    groups: Sequence[Group],
    seen: dict[str, torch.Tensor],
    recompute: bool,
    settings: GrpoSettings,
    tokenizer: PreTrainedTokenizerBase,
    backward: Backward,
) -> tuple[float, float]:
    """Loss and mean KL of groups; their gradient is taken `micro_batch` groups at a time."""

    def log_probs(model: VideoLM, part: Sequence[Group], recompute: bool = False) -> torch.Tensor:
        videos = connect_clips(model, seen, [group.question for group in part])
        told = _told(part, tokenizer).to(model.device)
        return completion_log_probs(model, [group.prompt for group in part], videos, told, settings.rollouts, recompute)

    size = settings.micro_batch or len(groups)
    parts = [groups[start : start + size] for start in range(0, len(groups), size)]
    with span("score"), torch.no_grad(), on_device(reference, policy.device, settings.offload_reference):
        ref_logps = [None if reference is None else log_probs(reference, part) for part in parts]
    loss, kl = 0.0, 0.0
    for part, ref_logp in zip(parts, ref_logps, strict=True):
        with span("score"):
            logp = log_probs(policy, part, recompute)
            told = _told(part, tokenizer).to(logp.device)
            result = grpo_loss(
                logp,
                ref_logp,
                torch.cat([group.advantages for group in part]).to(logp.device),
                told.mask,
                settings.beta,
                length_norm=settings.length_norm,
                kl_clamp=settings.kl_clamp,
                limit=settings.max_new_tokens,
            )
        share = len(part) / len(groups)
        with span("backward"):
            backward(share * result.loss, part is parts[-1])
        loss, kl = loss + share * float(result.loss.detach()), kl + share * float(result.kl)
    return loss, kl


def _told(groups: Sequence[Group], tokenizer: PreTrainedTokenizerBase) -> Completions:
    """The completions of several groups."""
    return Completions.concatenated([group.completions for group in groups], tokenizer.eos_token_id)


def reward_rules(spec: dict[str, Any]) -> RewardRules:
    """The rewards of an arm: its protocol's, with `max_think_length`, `length_weight` and `penalise_wrong` of the spec."""
    return rules_for(
        spec["protocol"],
        max_think=spec["max_think_length"],
        length_weight=spec["length_weight"],
        penalise_wrong=spec["penalise_wrong"],
    )


def rewards_of(
    tokenizer: PreTrainedTokenizerBase,
    completions: Completions,
    batch: Sequence[Question],
    group: int,
    rules: RewardRules,
) -> list[Reward]:
    """Reward of every completion, in the order of the rows."""
    texts = completions.texts(tokenizer)
    return [question_reward(text, batch[row // group], rules) for row, text in enumerate(texts)]


def summary(rewards: Sequence[Reward], completions: Completions) -> Metrics:
    """Means over a set of completions."""
    return {
        "reward": float(np.mean([row.total for row in rewards])),
        "accuracy": float(np.mean([row.accuracy for row in rewards])),
        "format": float(np.mean([row.format > 0 for row in rewards])),
        "think_characters": float(np.mean([row.think_characters for row in rewards])),
        "tokens": float(completions.lengths.float().mean()),
        "finished": float(completions.finished.float().mean()),
    }


def validation_metrics(
    policy: VideoLM,
    tokenizer: PreTrainedTokenizerBase,
    store: FrameStore,
    held_out: Sequence[Question],
    spec: dict[str, Any],
    settings: GrpoSettings,
    rules: RewardRules,
) -> Metrics:
    """Greedy answers to the held-out questions; nothing where there are none."""
    greedy = Decoding(settings.max_new_tokens, temperature=0.0)
    rows: list[tuple[Metrics, int]] = []
    size = (settings.rollout_batch or settings.batch_size) * settings.rollouts
    with torch.no_grad():
        for start in range(0, len(held_out), size):
            batch = held_out[start : start + size]
            prompts = prompts_of(policy, batch, spec["answer"], training=True)
            clips = gathered_features(policy, store, batch)
            videos = connect_clips(policy, clips, batch)
            completions = generate(policy, prompts, videos, greedy, tokenizer.eos_token_id)
            rows.append((summary(rewards_of(tokenizer, completions, batch, 1, rules), completions), len(batch)))
    keys = rows[0][0] if rows else ()
    return {key: float(np.average([row[key] for row, _ in rows], weights=[n for _, n in rows])) for key in keys}
