"""GRPO: sample a group of answers to every question, reward them, and reinforce the better ones.

One step: encode every clip once, sample G completions of every prompt from one prefill, reward each completion
(`vidreason.training.rollouts`), turn the rewards into group-relative advantages, and compute the gradient of the loss
(`vidreason.rl.objectives`) against the frozen reference policy, for one optimizer update or several.
How many questions are sampled or learned from at a time is a matter of memory and does not change the result.
Of R processes each does this for every R-th question of the step. Every random draw is named by its question, and the loss
is a mean over the step, so the mean of the R gradients is the gradient of one process with all questions.

Letters: B prompts, G rollouts per prompt, N = B * G completions, T completion tokens.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from vidreason.artifacts.files import read_jsonl
from vidreason.config.optimization import GrpoRuntime
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.engine.features import clips_of, connect_clips
from vidreason.engine.generation import Completions, generate, rollout_seed
from vidreason.engine.log_probs import completion_log_probs, completion_scores
from vidreason.engine.profiling import count, span
from vidreason.engine.prompts import fits, prompt_length
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM, VideoTokens
from vidreason.models.families import save_checkpoint
from vidreason.records import OK, Question
from vidreason.rl.advantages import group_advantages
from vidreason.rl.losses import EntropyKind, TokenScores
from vidreason.rl.objectives import Normalizer, TokenBatch, grpo_loss, learned_tokens
from vidreason.training.distributed import SINGLE_PROCESS, Ranks, start_ranks
from vidreason.training.files import TrainingFiles
from vidreason.training.optimizer import gathered_weights
from vidreason.training.reference import Policies, bf16_copy, cast_linears, loaded_on, offload, reference_of, sync_from
from vidreason.training.rollout_log import RolloutLog
from vidreason.training.rollout_metrics import step_metrics, summary
from vidreason.training.rollouts import Fresh, RolloutSampler, Sampled, grpo_settings
from vidreason.training.sampler import EpochSampler
from vidreason.training.state import Origin
from vidreason.training.timing import TRAINED
from vidreason.training.trainer import Backward, Job, Metrics, Trainer, gathered_features, load_for_training

STEP_QUESTIONS = 0x6B90
"""Name of the random order of the questions, next to the run's seed and the epoch."""


@dataclasses.dataclass(frozen=True)
class Group:
    """One question with its G completions, in the host's memory, as it is sent between processes.

    Attributes:
        question: The question.
        prompt: int64, ids of its prompt.
        completions: G completions.
        advantages: float32 [G].
    """

    question: Question
    prompt: torch.Tensor
    completions: Completions
    advantages: torch.Tensor

    def __post_init__(self) -> None:
        """Refuse tensors on a GPU: the receiving process would get them on the sender's GPU, not on its own."""
        for tensor in (self.prompt, self.completions.ids, self.completions.lengths, self.advantages):
            if tensor.device.type != "cpu":
                raise ValueError(
                    f"question {self.question.id!r}: a tensor is on {tensor.device}, not in the host's memory"
                )

    @property
    def tokens(self) -> int:
        """Cost of a pass over it: tokens of the prompt and of all completions."""
        return len(self.prompt) + int(self.completions.lengths.sum())


@dataclasses.dataclass
class Part:
    """Groups whose gradient is computed together, with what stays the same in all updates of a step.

    Attributes:
        groups: The groups.
        ref_logp: [N, T] log-probabilities under the reference policy; None if there is none.
        old_logp: [N, T] under the policy that sampled them; None before the first update, when that is the policy itself.
    """

    groups: Sequence[Group]
    ref_logp: torch.Tensor | None = None
    old_logp: torch.Tensor | None = None


def train_grpo(spec: TrainingSpec, runtime: GrpoRuntime, files: TrainingFiles, origin: Origin) -> Ranks:
    """Train one GRPO arm from its parent's weights, which also serve as the reference policy.

    Args:
        spec: With settings of GRPO.
        runtime: How it runs on this machine.
        files: Questions whose clip has no frames, and those whose prompt and answer are longer than the context, are skipped
            and counted in the metrics.
        origin: What defines the training.

    Returns:
        The processes that trained.

    Raises:
        ValueError: No question has frames, the processes cannot share a step's questions evenly, or a reward is not a number.
        DivergedError: Loss or gradient is not finite.

    Source: arXiv 2504.09641 section 3.3; TinyLLaVA-Video-R1@efe76a1:tinyllava/train/tinyllava_trainer_reason.py.
    Differs from the source: a clip is encoded once a step and a prompt prefilled once; every draw is seeded; accuracy on
    held-out questions is logged.
    """
    settings = grpo_settings(spec)
    ranks = start_ranks(settings.optimizer.deepspeed is not None)
    policies = load_policies(settings, runtime, files)
    GrpoTrainer(spec, runtime, policies, FrameStore(files.frames), ranks).fit(files, origin)
    with gathered_weights(policies.policy):
        if ranks.is_main:
            save_checkpoint(policies.policy, files.checkpoint)
    return ranks


def load_policies(settings: Grpo, runtime: GrpoRuntime, files: TrainingFiles) -> Policies:
    """Load the parent's weights as the policy, and make the reference and the sampler that the settings need."""
    policy = load_for_training(files.init, settings.optimizer)
    reference = reference_of(policy) if settings.objective.beta else None
    sampler = None
    if settings.optimizer.precision == "bf16" and settings.optimizer.deepspeed is None:
        reference, sampler = reference and cast_linears(reference), bf16_copy(policy)
    if reference is not None and runtime.offload_reference:
        offload(reference)
    return Policies(policy, reference, sampler)


def no_question(_: int) -> Sequence[Question | None]:
    """Fresh questions of a training that resamples none."""
    return ()


class GrpoTrainer:
    """GRPO on connector and language model; the vision tower stays frozen."""

    def __init__(
        self,
        spec: TrainingSpec,
        runtime: GrpoRuntime,
        policies: Policies,
        store: FrameStore,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """Nothing is read yet.

        Args:
            spec: With settings of GRPO.
            runtime: How it runs on this machine.
            policies: The policy is trained in place.
            store: Frames of all clips.
            ranks: The processes of the training.

        Raises:
            ValueError: The spec's rewards or views cannot be used.
        """
        self.spec, self.runtime, self.policies, self.store, self.ranks = spec, runtime, policies, store, ranks
        self.settings = grpo_settings(spec)
        self.policy = policies.policy
        self.sampler = RolloutSampler(spec, runtime, policies, store, ranks)
        self.rollouts = self.settings.views.ordered
        self.kept: RolloutLog | None = None

    def fit(self, files: TrainingFiles, origin: Origin) -> None:
        """Train on the questions of `files`; resumes from a saved state if there is one."""
        spec, settings, shard = self.spec, self.settings, self.ranks.shard
        data = EpochSampler(files.questions, self.store, settings.batch_size, (spec.seed, STEP_QUESTIONS), self.fits)
        held_out = [] if files.validation is None else read_jsonl(files.validation, Question)
        usable = [
            question for question in held_out if self.store.status(question.clip.key) == OK and self.fits(question)
        ]
        own = usable[: settings.validation.limit][self.ranks.rank :: self.ranks.count]

        kept = self.kept = (
            RolloutLog(files.rollouts, files.state, self.runtime.keep_rollouts, self.ranks) if files.rollouts else None
        )

        def step(number: int, backward: Backward) -> Iterator[tuple[float, Metrics]]:
            if kept:
                kept.begin(number)
            losses = self.step(
                number, shard(data.batch(number)), backward, lambda turn: shard(data.fresh(number, turn))
            )
            yield from ((loss, {**row, **data.skipped}) for loss, row in losses)

        def validate(_: int) -> tuple[Metrics, int]:
            return self.validate(own) | {"left_out": float(len(held_out) - len(usable))}, len(own)

        steps, limit = data.steps(settings.epochs), settings.rollout_limit
        if limit is not None:
            steps = min(steps, math.ceil(limit / (data.size * self.rollouts)))
        job = Job(
            "grpo",
            steps,
            settings.optimizer,
            self.runtime,
            files.metrics,
            files.state,
            origin,
            validate_every=settings.validation.every,
            updates=settings.updates,
            rollout_limit=limit,
            timing=files.timing,
        )
        has_validation = bool(usable and settings.validation.limit)
        Trainer(self.policy, job, step, validate if has_validation else None, self.ranks).fit()
        if kept:
            kept.finish()

    def step(
        self, step: int, questions: Sequence[Question], backward: Backward, fresh: Fresh = no_question
    ) -> Iterator[tuple[float, Metrics]]:
        """Sample and reward the rollouts of a step, and compute the gradient of each of its updates.

        Every clip passes through the frozen tower once; sampler, policy and reference connect the same features. The random
        numbers of a question's rollouts and of its advantages' noise are named by seed, step and question, so they do not
        depend on the other questions of the step. With several questions a process, groups are redistributed once their
        lengths are known; a process encodes the clips of the groups that it receives.

        Args:
            step: Step number; names the random draws.
            questions: This process's share of the step.
            backward: Receives the loss in parts.
            fresh: Questions that may replace them.

        Yields:
            For each update the loss and the step's metrics; the caller updates the weights before it goes on.
        """
        rollouts = self.sampler.sample(step, questions, fresh)
        own = self._groups(step, rollouts.groups)
        if self.kept:
            self.kept.write(step, rollouts.groups, [group.advantages for group in own])
        groups = self.ranks.rebalance(own, [group.tokens for group in own])
        received = [group.question for group in groups if group.question.clip.key not in rollouts.features]
        features = rollouts.features | gathered_features(self.policy, self.store, received)
        self.sampler.flops.encoded(len(clips_of(received)))
        parts, normalizer = self._parts(groups, features), self._normalizer(groups)
        metrics = step_metrics(rollouts, self.settings, self.ranks)
        for _ in range(self.settings.updates):
            count(TRAINED, int(self._learned_tokens(groups).sum()))
            self._count_passes(groups, learned=True)
            loss, losses = self._learn(parts, features, normalizer, backward)
            yield loss, {**metrics.of_rollouts, **losses, **metrics.of_step}

    def validate(self, questions: Sequence[Question]) -> Metrics:
        """Mean metrics of greedy answers to this process's held-out questions; empty if it has none."""
        if self.policies.sampler is not None:
            sync_from(self.policies.sampler, self.policy)
        policy = self.policies.sampler or self.policy
        greedy = dataclasses.replace(self.sampler.decoding, temperature=0.0)
        rows: list[tuple[Metrics, int]] = []
        size = (self.runtime.rollout_batch or self.settings.batch_size) * self.rollouts
        with torch.no_grad():
            for start in range(0, len(questions), size):
                batch = questions[start : start + size]
                prompts = self.sampler.prompts(batch)
                videos = connect_clips(policy, gathered_features(policy, self.store, batch), batch)
                answers = generate(policy, prompts, videos, greedy, policy.end_id).split(1)
                groups = [self.sampler.graded(*pair) for pair in zip(batch, answers, strict=True)]
                rows.append((summary(groups, self.sampler.reward(groups)), len(batch)))
        keys = rows[0][0] if rows else ()
        return {key: float(np.average([row[key] for row, _ in rows], weights=[n for _, n in rows])) for key in keys}

    def fits(self, question: Question) -> bool:
        """Whether a question's prompt and the longest answer fit into the context."""
        (prompt,) = self.sampler.prompts([question])
        return fits(prompt, self.policy, self.settings.sampling.max_new_tokens)

    def _groups(self, step: int, sampled: Sequence[Sampled]) -> list[Group]:
        """What is learned from: the completions of every question with their advantages, whose noise step and question name."""
        names = (rollout_seed(self.spec.seed, "grpo noise", step, one.question.id) for one in sampled)
        noise = np.concatenate([np.random.default_rng(name).standard_normal(self.rollouts) for name in names])
        total, advantage = torch.cat([one.total for one in sampled]), self.settings.advantage  # [N]
        scaled = torch.from_numpy(advantage.noise * noise).float()
        advantages = group_advantages(total, self.rollouts, advantage.std, advantage.eps, scaled).split(self.rollouts)
        return [
            Group(one.question, one.prompt, one.completions, own) for one, own in zip(sampled, advantages, strict=True)
        ]

    def _parts(self, groups: Sequence[Group], features: Mapping[str, torch.Tensor]) -> list[Part]:
        """The groups, `micro_batch` at a time, with their log-probabilities under the reference policy."""
        size, reference = self.runtime.micro_batch or len(groups), self.policies.reference
        parts = [Part(groups[start : start + size]) for start in range(0, len(groups), size)]
        if reference is not None:
            self._count_passes(groups, learned=False)
            with (
                span("reference"),
                torch.no_grad(),
                loaded_on(reference, self.policy.device, self.runtime.offload_reference),
            ):
                for part in parts:
                    part.ref_logp = completion_log_probs(reference, *self._texts(reference, part.groups, features))
        return parts

    def _learn(
        self, parts: Sequence[Part], features: Mapping[str, torch.Tensor], normalizer: Normalizer, backward: Backward
    ) -> tuple[float, Metrics]:
        """Loss and metrics of one update; the gradient is computed part by part."""
        loss, row = 0.0, {"kl": 0.0, "clip_fraction": 0.0, "entropy": 0.0}
        for part in parts:
            with span("score"):
                scores = self._scores(part.groups, features)
                device = scores.log_probs.device
                batch = TokenBatch(
                    scores.log_probs,
                    torch.cat([group.advantages for group in part.groups]).to(device),
                    self._learned_tokens(part.groups).to(device),
                    part.old_logp,
                    part.ref_logp,
                    scores.entropy,
                )
                result = grpo_loss(batch, self.settings.objective, normalizer)
            if part.old_logp is None and self.settings.updates > 1:
                part.old_logp = scores.log_probs.detach()
            with span("backward"):
                backward(result.loss, part is parts[-1])
            loss += float(result.loss.detach())
            row = {key: value + float(getattr(result, key)) for key, value in row.items()}
        return loss, row

    def _count_passes(self, groups: Sequence[Group], learned: bool) -> None:
        """Count the FLOPs of a pass over the groups, and of its backward pass if they are learned from."""
        for group in groups:
            prompt, lengths = prompt_length(group.prompt, self.policy), group.completions.lengths.tolist()
            self.sampler.flops.scored(prompt, lengths, learned, self.runtime.gradient_checkpointing)

    def _normalizer(self, groups: Sequence[Group]) -> Normalizer:
        """Sizes of the step, as the mean over the processes, whose gradients are averaged."""
        tokens = float(self._learned_tokens(groups).sum())
        own = {"completions": float(len(groups) * self.rollouts), "tokens": tokens}
        return Normalizer(**self.ranks.mean(own), limit=self.settings.sampling.max_new_tokens)

    def _learned_tokens(self, groups: Sequence[Group]) -> torch.Tensor:
        completions = self._completions_of(groups)
        return learned_tokens(completions.mask, completions.finished, self.settings.objective)

    def _scores(self, groups: Sequence[Group], features: Mapping[str, torch.Tensor]) -> TokenScores:
        """Log-probabilities and entropies [N, T] of the groups' completions under the policy."""
        entropy: EntropyKind = "gradient" if self.settings.objective.entropy else "value"
        texts = self._texts(self.policy, groups, features)
        return completion_scores(self.policy, *texts, self.runtime.gradient_checkpointing, entropy)

    def _texts(
        self, model: VideoLM, groups: Sequence[Group], features: Mapping[str, torch.Tensor]
    ) -> tuple[list[torch.Tensor], VideoTokens | None, Completions, int]:
        """Prompts, clips and completions of groups as a model gets them, and G."""
        videos = connect_clips(model, features, [group.question for group in groups])
        completions = self._completions_of(groups).to(model.device)
        return [group.prompt for group in groups], videos, completions, self.rollouts

    def _completions_of(self, groups: Sequence[Group]) -> Completions:
        return Completions.concatenated([group.completions for group in groups], self.policy.end_id)
