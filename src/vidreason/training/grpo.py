"""GRPO: sample a group of answers to every question, reward them, and reinforce the better ones.

One step: encode every clip once, sample G completions of every prompt from one prefill, reward each completion, turn the
rewards into group-relative advantages, and compute the gradient of the GRPO loss against the frozen reference policy.
How many questions are sampled or learned from at a time is a matter of memory and does not change the result.
Of R processes each does this for every R-th question of the step. Every random draw is named by its question, and the loss
is a mean over questions, so the mean of the R gradients is the gradient of one process with all questions.

Letters: B prompts, G rollouts per prompt, N = B * G completions, T completion tokens.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from vidreason.artifacts.files import read_jsonl
from vidreason.config.optimization import GrpoRuntime
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.engine.features import connect_clips
from vidreason.engine.generation import Completions, Decoding, generate, rollout_seed
from vidreason.engine.log_probs import completion_log_probs, completion_scores
from vidreason.engine.profiling import span
from vidreason.engine.prompts import Clock, fits, prompts_of
from vidreason.media.frame_store import FrameStore
from vidreason.models.base import VideoLM, VideoTokens
from vidreason.models.families import save_checkpoint
from vidreason.records import OK, Completion, Question
from vidreason.rl.advantages import group_advantages, group_std
from vidreason.rl.losses import EntropyKind, TokenScores
from vidreason.rl.objectives import Normalizer, TokenBatch, grpo_loss, learned_tokens
from vidreason.rl.rewards import RewardFunction, RewardTable
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks.base import grade
from vidreason.tasks.markup import think_text
from vidreason.training.distributed import SINGLE_PROCESS, Ranks, start_ranks
from vidreason.training.files import TrainingFiles
from vidreason.training.optimizer import gathered_weights
from vidreason.training.reference import bf16_copy, cast_linears, loaded_on, offload, reference_of, sync_from
from vidreason.training.sampler import EpochSampler
from vidreason.training.state import Origin
from vidreason.training.trainer import Backward, Job, Metrics, Trainer, gathered_features, load_for_training

STEP_QUESTIONS = 0x6B90
"""Name of the random order of the questions, next to the run's seed and the epoch."""
LOGGED = ("accuracy", "format", "think_length")
"""Terms that every row of the metrics has anyway; think_length as `think_characters`."""


@dataclasses.dataclass(frozen=True)
class Policies:
    """The trained policy and the models beside it.

    Attributes:
        policy: Trained in place.
        reference: Frozen; what the KL term compares with. None if `beta` is 0.
        sampler: Copy of the policy with bf16 matrices that rollouts are sampled from; None to sample from the policy.
    """

    policy: VideoLM
    reference: VideoLM | None = None
    sampler: VideoLM | None = None


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
        ValueError: No question has frames, or the processes cannot share a step's questions evenly.
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


def grpo_settings(spec: TrainingSpec) -> Grpo:
    """The settings of a GRPO arm.

    Raises:
        ValueError: The spec is of another method.
    """
    if not isinstance(spec.settings, Grpo):
        raise ValueError(f"arm {spec.arm!r}: method is {spec.method!r}; expected grpo")
    return spec.settings


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
        self.reward = RewardFunction(self.settings.rewards, spec.protocol)
        self.rollouts = self.settings.views.ordered

    @property
    def decoding(self) -> Decoding:
        """How rollouts are sampled."""
        sampling = self.settings.sampling
        return Decoding(sampling.max_new_tokens, sampling.temperature, sampling.top_k)

    def fit(self, files: TrainingFiles, origin: Origin) -> None:
        """Train on the questions of `files`; resumes from a saved state if there is one."""
        spec, settings = self.spec, self.settings
        sampler = EpochSampler(files.questions, self.store, settings.batch_size, (spec.seed, STEP_QUESTIONS), self.fits)
        held_out = [] if files.validation is None else read_jsonl(files.validation, Question)
        usable = [
            question for question in held_out if self.store.status(question.clip.key) == OK and self.fits(question)
        ]
        own = usable[: settings.validation.limit][self.ranks.rank :: self.ranks.count]

        def step(number: int, backward: Backward) -> tuple[float, Metrics]:
            loss, row = self.step(number, self.ranks.shard(sampler.batch(number)), backward)
            return loss, {**row, **sampler.skipped}

        def validate(_: int) -> tuple[Metrics, int]:
            return self.validate(own) | {"left_out": float(len(held_out) - len(usable))}, len(own)

        steps = sampler.steps(settings.epochs)
        job = Job(
            "grpo",
            steps,
            settings.optimizer,
            self.runtime,
            files.metrics,
            files.state,
            origin,
            settings.validation.every,
        )
        has_validation = bool(usable and settings.validation.limit)
        Trainer(self.policy, job, step, validate if has_validation else None, self.ranks).fit()

    def step(self, step: int, questions: Sequence[Question], backward: Backward) -> tuple[float, Metrics]:
        """Sample, reward and compute the gradient of one step.

        Every clip passes through the frozen tower once; sampler, policy and reference connect the same features. The random
        numbers of a question's rollouts and of its advantages' noise are named by seed, step and question, so they do not
        depend on the other questions of the step. With several questions a process, groups are redistributed once their
        lengths are known; a process encodes the clips of the groups that it receives.

        Args:
            step: Step number; names the random draws.
            questions: This process's share of the step.
            backward: Receives the loss in parts.

        Returns:
            The loss, and the step's metrics.
        """
        prompts = prompts_of(self.policy, questions, self.spec.style, True, Clock(self.store))
        features = gathered_features(self.policy, self.store, questions)
        if self.policies.sampler is not None:
            sync_from(self.policies.sampler, self.policy)
        completions = self._sample(step, questions, prompts, features)
        completions = completions.to(torch.device("cpu"))  # rewards read them there, and groups are sent from there
        rollouts = self.groups_of(questions, completions)
        table = self.reward(rollouts)
        total = torch.from_numpy(table.total).float()  # [N]
        advantages = self._advantages(step, questions, total)
        parts = (questions, prompts, completions.split(self.rollouts), advantages.split(self.rollouts))
        groups = [Group(*part) for part in zip(*parts, strict=True)]
        groups = self.ranks.rebalance(groups, [group.tokens for group in groups])
        received = [group.question for group in groups if group.question.clip.key not in features]
        loss, losses = self._learn(groups, features | gathered_features(self.policy, self.store, received), backward)
        no_variance = group_std(total, self.rollouts) == 0
        row = {**summary(rollouts, table), **losses, "zero_variance": float(no_variance.float().mean())}
        return loss, row

    def validate(self, questions: Sequence[Question]) -> Metrics:
        """Mean metrics of greedy answers to this process's held-out questions; empty if it has none."""
        if self.policies.sampler is not None:
            sync_from(self.policies.sampler, self.policy)
        policy = self.policies.sampler or self.policy
        greedy = dataclasses.replace(self.decoding, temperature=0.0)
        rows: list[tuple[Metrics, int]] = []
        size = (self.runtime.rollout_batch or self.settings.batch_size) * self.rollouts
        with torch.no_grad():
            for start in range(0, len(questions), size):
                batch = questions[start : start + size]
                prompts = prompts_of(self.policy, batch, self.spec.style, True, Clock(self.store))
                videos = connect_clips(policy, gathered_features(policy, self.store, batch), batch)
                completions = generate(policy, prompts, videos, greedy, policy.end_id)
                rollouts = self.groups_of(batch, completions)
                rows.append((summary(rollouts, self.reward(rollouts)), len(batch)))
        keys = rows[0][0] if rows else ()
        return {key: float(np.average([row[key] for row, _ in rows], weights=[n for _, n in rows])) for key in keys}

    def fits(self, question: Question) -> bool:
        """Whether a question's prompt and the longest answer fit into the context."""
        (prompt,) = prompts_of(self.policy, [question], self.spec.style, True, Clock(self.store))
        return fits(prompt, self.policy, self.settings.sampling.max_new_tokens)

    def groups_of(self, questions: Sequence[Question], completions: Completions) -> list[RolloutGroup]:
        """Decode and grade completions, equally many for each question.

        Args:
            questions: B questions.
            completions: N completions, rows of one question as neighbors.
        """
        texts = completions.texts(self.policy.tokenizer)
        rows = zip(texts, completions.lengths.tolist(), completions.finished.tolist(), strict=True)
        answers = [Completion(*row) for row in rows]
        size = len(answers) // len(questions)
        groups = []
        for number, question in enumerate(questions):
            own = tuple(answers[number * size : (number + 1) * size])
            groups.append(
                RolloutGroup(question, own, tuple(grade(one.text, question, self.reward.rule) for one in own))
            )
        return groups

    def _sample(
        self,
        step: int,
        questions: Sequence[Question],
        prompts: Sequence[torch.Tensor],
        features: Mapping[str, torch.Tensor],
    ) -> Completions:
        """Sample G completions of each of B questions, `rollout_batch` questions at a time."""
        policy = self.policies.sampler or self.policy
        count, size, parts = self.rollouts, self.runtime.rollout_batch or len(questions), []
        end, name = policy.end_id, (self.spec.seed, "grpo", step)
        with span("sample"), torch.no_grad(), gathered_weights(policy):
            for start in range(0, len(questions), size):
                batch = questions[start : start + size]
                videos = connect_clips(policy, features, batch)
                seeds = [rollout_seed(*name, question.id, number) for question in batch for number in range(count)]
                parts.append(generate(policy, prompts[start : start + size], videos, self.decoding, end, count, seeds))
        return Completions.concatenated(parts, end)

    def _advantages(self, step: int, questions: Sequence[Question], total: torch.Tensor) -> torch.Tensor:
        """Advantages float32 [N] of rewards [N], with noise named by seed, step and question."""
        names = (rollout_seed(self.spec.seed, "grpo noise", step, question.id) for question in questions)
        noise = np.concatenate([np.random.default_rng(name).standard_normal(self.rollouts) for name in names])
        advantage = self.settings.advantage
        scaled = torch.from_numpy(advantage.noise * noise).float()
        return group_advantages(total, self.rollouts, advantage.std, advantage.eps, scaled)

    def _learn(
        self, groups: Sequence[Group], features: Mapping[str, torch.Tensor], backward: Backward
    ) -> tuple[float, Metrics]:
        """Loss and metrics of groups; the gradient is computed `micro_batch` groups at a time."""
        size = self.runtime.micro_batch or len(groups)
        parts = [groups[start : start + size] for start in range(0, len(groups), size)]
        ref_logps = self._reference_log_probs(parts, features)
        normalizer = self._normalizer(groups)
        loss, row = 0.0, {"kl": 0.0, "clip_fraction": 0.0, "entropy": 0.0}
        for part, ref_logp in zip(parts, ref_logps, strict=True):
            with span("score"):
                scores = self._scores(part, features)
                device = scores.log_probs.device
                batch = TokenBatch(
                    scores.log_probs,
                    torch.cat([group.advantages for group in part]).to(device),
                    self._learned_tokens(part).to(device),
                    ref_logp=ref_logp,
                    entropy=scores.entropy,
                )
                result = grpo_loss(batch, self.settings.objective, normalizer)
            with span("backward"):
                backward(result.loss, part is parts[-1])
            loss += float(result.loss.detach())
            row = {key: value + float(getattr(result, key)) for key, value in row.items()}
        return loss, row

    def _normalizer(self, groups: Sequence[Group]) -> Normalizer:
        """Sizes of the step, as the mean over the processes, whose gradients are averaged."""
        tokens = float(self._learned_tokens(groups).sum())
        own = {"completions": float(len(groups) * self.rollouts), "tokens": tokens}
        return Normalizer(**self.ranks.mean(own), limit=self.settings.sampling.max_new_tokens)

    def _learned_tokens(self, groups: Sequence[Group]) -> torch.Tensor:
        completions = self._completions_of(groups)
        return learned_tokens(completions.mask, completions.finished, self.settings.objective)

    def _reference_log_probs(
        self, parts: Sequence[Sequence[Group]], features: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor | None]:
        reference = self.policies.reference
        if reference is None:
            return [None] * len(parts)
        with span("score"), torch.no_grad(), loaded_on(reference, self.policy.device, self.runtime.offload_reference):
            return [completion_log_probs(reference, *self._texts(reference, part, features)) for part in parts]

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


def summary(groups: Sequence[RolloutGroup], table: RewardTable) -> Metrics:
    """Means over the completions of some groups.

    Every method and every reward logs the same first six; a column of the reward table that is not among them follows under
    the name of its term.
    """
    completions = [completion for group in groups for completion in group.completions]
    grades = [grade for group in groups for grade in group.grades]
    thoughts = [think_text(completion.text) or "" for completion in completions]
    return {
        "reward": float(np.mean(table.total)),
        "accuracy": float(np.mean([grade.value for grade in grades])),
        "format": float(np.mean([grade.well_formed for grade in grades])),
        "think_characters": float(np.mean([len(thought) for thought in thoughts])),
        "tokens": _float32_mean([completion.tokens for completion in completions]),
        "finished": _float32_mean([completion.finished for completion in completions]),
        **{name: float(np.mean(column)) for name, column in table.columns.items() if name not in LOGGED},
    }


def _float32_mean(values: Sequence[float]) -> float:
    """Mean in float32, so that the metrics keep the digits they have always had."""
    return float(torch.tensor(values, dtype=torch.float32).mean())
