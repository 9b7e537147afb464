"""The rollouts of a GRPO step: sampled, graded, rewarded, and replaced where they teach nothing.

Each question gets G rollouts with its frames in order, which the policy learns from. With `views.shuffled` it also gets
rollouts with its frames in one random order; they are the contrast that reward terms compare with (T-GRPO), and nothing else.
With `resample` a group whose rewards are all equal is replaced by that of a fresh question (dynamic sampling): such a group has
no advantages.

Every random draw is named by seed, step and question, and a fresh question by its place in the step. Rollouts do therefore not
depend on how many processes share a step, nor on what is sampled together.

Letters: B questions, G rollouts of a question.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from vidreason.config.optimization import GrpoRuntime
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.engine.features import clips_of, encode_clips
from vidreason.engine.generation import Completions, Decoding, generate, rollout_seed
from vidreason.engine.profiling import count, span
from vidreason.engine.prompts import Clock, prompt_length, prompts_of
from vidreason.media.frame_store import FrameStore
from vidreason.media.views import shuffled
from vidreason.records import IMAGE, Completion, Question
from vidreason.rl.rewards import RewardFunction, RewardTable
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks.base import grade
from vidreason.training.distributed import Ranks
from vidreason.training.flops import FlopCounter
from vidreason.training.optimizer import gathered_weights
from vidreason.training.reference import Policies, sync_from
from vidreason.training.timing import GENERATED
from vidreason.training.trainer import gathered_features, gathered_tower

HOST = torch.device("cpu")
Fresh = Callable[[int], Sequence[Question | None]]
"""Number of a round of resampling -> for each of this process's questions of a step one that may replace it; None if no question
is left."""


@dataclasses.dataclass(frozen=True)
class Sampled:
    """One question with its rollouts and their rewards, in the host's memory.

    Attributes:
        prompt: int64, ids of its prompt.
        completions: G completions with the frames in order.
        group: The same, graded, with the contrast.
        rewards: Of the G completions.
    """

    prompt: torch.Tensor
    completions: Completions
    group: RolloutGroup
    rewards: RewardTable

    @property
    def question(self) -> Question:
        """The question."""
        return self.group.question

    @property
    def total(self) -> torch.Tensor:
        """The rewards as the advantages are computed from them: float32 [G]."""
        return torch.from_numpy(self.rewards.total).float()

    @property
    def has_variance(self) -> bool:
        """Whether the rewards differ."""
        return bool((self.total != self.total[0]).any())

    @property
    def cost(self) -> int:
        """Number of completions that were sampled, those of the contrast included."""
        contrast = self.group.contrast
        return len(self.group.completions) + (len(contrast.completions) if contrast else 0)


@dataclasses.dataclass(frozen=True)
class StepRollouts:
    """What one process samples in a step.

    Attributes:
        groups: A group for each of its questions, those that were replaced by fresh ones.
        features: Key of a clip -> its features, at least for the clips of the groups.
        sampled: Number of completions that were sampled, those of replaced groups and of contrasts included.
        replaced: Number of groups that were replaced.
    """

    groups: Sequence[Sampled]
    features: dict[str, torch.Tensor]
    sampled: int
    replaced: int


@dataclasses.dataclass(frozen=True)
class _Request:
    """One question as the policy gets it: prompt ids, and the features of its clip in some view."""

    question: Question
    prompt: torch.Tensor
    features: torch.Tensor


class RolloutSampler:
    """Samples and rewards the rollouts of a GRPO training."""

    def __init__(
        self, spec: TrainingSpec, runtime: GrpoRuntime, policies: Policies, store: FrameStore, ranks: Ranks
    ) -> None:
        """Make the reward.

        Args:
            spec: With settings of GRPO.
            runtime: How many questions are sampled together.
            policies: Rollouts come from the policy, or from its copy for sampling.
            store: Frames of all clips.
            ranks: The processes of the training.

        Raises:
            ValueError: The spec is of another method, or its rewards cannot be used.
        """
        self.spec, self.runtime, self.policies, self.store, self.ranks = spec, runtime, policies, store, ranks
        self.settings = grpo_settings(spec)
        self.reward = RewardFunction(self.settings.rewards, spec.protocol)
        self.flops = FlopCounter.of(policies.policy, store, self.settings.optimizer.precision)
        self._untried = bool(self.settings.rewards.functions and self.settings.validation.limit)

    @property
    def decoding(self) -> Decoding:
        """How rollouts are sampled."""
        sampling = self.settings.sampling
        return Decoding(sampling.max_new_tokens, sampling.temperature, sampling.top_k, sampling.top_p)

    def prompts(self, questions: Sequence[Question]) -> list[torch.Tensor]:
        """Prompt ids of questions, as training writes them."""
        return prompts_of(self.policies.policy, questions, self.spec.style, True, Clock(self.store))

    def sample(self, step: int, questions: Sequence[Question], fresh: Fresh) -> StepRollouts:
        """Sample the groups of a step; all processes call this together.

        A group without variance is replaced by that of the fresh question in its place, if that group has variance. Otherwise
        the next round tries the next question; a group that no round replaces stays.

        Args:
            step: Step number; names the random draws.
            questions: This process's share of the step.
            fresh: Questions that may replace them.
        """
        if self.policies.sampler is not None:
            sync_from(self.policies.sampler, self.policies.policy)
        features: dict[str, torch.Tensor] = {}
        groups = self._round(step, questions, features)
        sampled, replaced = sum(group.cost for group in groups), 0
        for number in range(self.settings.resample):
            candidates = zip(groups, fresh(number), strict=True)
            wanted = {
                slot: question
                for slot, (group, question) in enumerate(candidates)
                if question is not None and not group.has_variance
            }
            # Under ZeRO-3 sampling gathers weights from all processes: all take part in a round, or none.
            if not any(self.ranks.gather(bool(wanted))):
                break
            others = self._round(step, list(wanted.values()), features)
            sampled += sum(group.cost for group in others)
            better = {slot: group for slot, group in zip(wanted, others, strict=True) if group.has_variance}
            groups, replaced = [better.get(slot, group) for slot, group in enumerate(groups)], replaced + len(better)
        return StepRollouts(groups, features, sampled, replaced)

    def graded(
        self, question: Question, completions: Completions, contrast: RolloutGroup | None = None, view: str = "ordered"
    ) -> RolloutGroup:
        """Decode and grade the completions of one question.

        Args:
            question: The question.
            completions: Its completions under one view.
            contrast: Those under another view, graded.
            view: The view.
        """
        with span("reward"):
            texts = completions.texts(self.policies.policy.tokenizer)
            rows = zip(texts, completions.lengths.tolist(), completions.finished.tolist(), strict=True)
            answers = tuple(Completion(*row) for row in rows)
            grades = tuple(grade(answer.text, question, self.reward.rule, self.spec.style) for answer in answers)
        return RolloutGroup(question, answers, grades, view, contrast)

    def _round(self, step: int, questions: Sequence[Question], features: dict[str, torch.Tensor]) -> list[Sampled]:
        """Groups of some questions; the features of their clips are added to `features`."""
        policy, views = self.policies.policy, self.settings.views
        prompts = self.prompts(questions)
        missing = [question for question in questions if question.clip.key not in features]
        features |= gathered_features(policy, self.store, missing)
        self.flops.encoded(len(clips_of(missing)))
        in_order = (features[question.clip.key] for question in questions)
        requests = [_Request(*parts) for parts in zip(questions, prompts, in_order, strict=True)]
        completions = self._generate(requests, views.ordered, (self.spec.seed, "grpo", step))
        contrasts = self._contrasts(step, requests) if views.shuffled else {}
        groups = [
            self.graded(question, own, contrasts.get(question.id))
            for question, own in zip(questions, completions, strict=True)
        ]
        with span("reward"):
            rewards = self.reward(groups).split(views.ordered) if groups else []
        if groups and self._untried:
            self._try_one_answer(groups[0])
        return [Sampled(*parts) for parts in zip(prompts, completions, groups, rewards, strict=True)]

    def _try_one_answer(self, group: RolloutGroup) -> None:
        """Reward what validation rewards, so that a user's function that cannot do it fails in the first step and not in the last.

        Raises:
            ValueError: It cannot.
        """
        self._untried = False
        one = dataclasses.replace(
            group, completions=group.completions[:1], grades=group.grades[:1], view="ordered", contrast=None
        )
        try:
            self.reward([one])
        except ValueError as error:
            raise ValueError(
                f"{error}. Validation rewards groups of one answer without a contrast; let the function take such a group, or set "
                f"validation.limit to 0"
            ) from error

    def _contrasts(self, step: int, requests: Sequence[_Request]) -> dict[str, RolloutGroup]:
        """Rollouts of each question about a video with its frames in a random order, by the question's id.

        All rollouts of a question see the same order, which is drawn for the frames as they are stored, before the model
        prepares them. The prompt stays the same. A picture has no order.

        Source: T-GRPO of tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/trainer/grpo_trainer.py.
        Differs from the source: the order is drawn with a seed of its own, not from the global generator.
        """
        videos = [one for one in requests if one.question.clip.kind != IMAGE]
        pixels = [self._shuffled(step, one.question) for one in videos]
        policy = self.policies.policy
        with gathered_tower(policy):
            features = encode_clips(policy, torch.from_numpy(np.stack(pixels))) if pixels else []
        self.flops.encoded(len(pixels))
        shown = [dataclasses.replace(one, features=own) for one, own in zip(videos, features, strict=True)]
        name = (self.spec.seed, "grpo shuffled", step)
        completions = self._generate(shown, self.settings.views.shuffled, name)
        return {
            one.question.id: self.graded(one.question, own, view="shuffled")
            for one, own in zip(shown, completions, strict=True)
        }

    def _shuffled(self, step: int, question: Question) -> np.ndarray:
        """Frames of a question's clip in the order that its seed, step and id name: uint8 [F, S, S, 3]."""
        name = rollout_seed(self.spec.seed, "shuffle", step, question.id)
        return shuffled(self.store.pixels(question.clip.key), np.random.default_rng(name))

    def _generate(self, requests: Sequence[_Request], number: int, name: tuple[int | str, ...]) -> list[Completions]:
        """Sample `number` completions of each question, `rollout_batch` questions at a time.

        Args:
            requests: Questions, prompts and clips; may be empty, in processes that only take part.
            number: Completions of each.
            name: Names the random draws, together with question and index.
        """
        policy, completions = self.policies.sampler or self.policies.policy, list[Completions]()
        size = self.runtime.rollout_batch or max(1, len(requests))
        with span("sample"), torch.no_grad(), gathered_weights(policy):
            for start in range(0, len(requests), size):
                batch = requests[start : start + size]
                videos = policy.connect([one.features for one in batch])
                prompts = [one.prompt for one in batch]
                seeds = [rollout_seed(*name, one.question.id, index) for one in batch for index in range(number)]
                made = generate(policy, prompts, videos, self.decoding, policy.end_id, number, seeds)
                # Rewards read them in the host's memory, and groups are sent from there.
                made = made.to(HOST)
                completions += made.split(number)
                count(GENERATED, int(made.lengths.sum()))
                for prompt, own in zip(prompts, made.split(number), strict=True):
                    self.flops.sampled(prompt_length(prompt, policy), own.lengths.tolist())
        return completions


def grpo_settings(spec: TrainingSpec) -> Grpo:
    """The settings of a GRPO arm.

    Raises:
        ValueError: The spec is of another method.
    """
    if not isinstance(spec.settings, Grpo):
        raise ValueError(f"arm {spec.arm!r}: method is {spec.method!r}; expected grpo")
    return spec.settings
