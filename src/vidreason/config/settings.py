"""The settings of a run, section by section, as they stand in the YAML files.

`vidreason.config.load_runs` puts the sections together and reads them from files; `vidreason.config.schema` derives the JSON schema
from them. Where a value comes from is a comment beside it in config/config.yaml.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from vidreason.config.base_model import Base
from vidreason.config.datasets import BenchmarkData, Demonstrations, Frames, SourceEntry, TrainingData
from vidreason.config.optimization import GrpoRuntime, Optimizer, Runtime
from vidreason.config.selection import SelectionRule
from vidreason.config.types import (
    MOST,
    Control,
    Count,
    Options,
    Parameters,
    Precision,
    Protocol,
    Sampling,
    Section,
    Seed,
    Shards,
    Share,
    Style,
    Text,
    View,
)
from vidreason.config.world import World

TEMPORAL = "temporal"
"""The reward term that compares the rollouts of a question with those whose frames were shuffled."""
NO_VARIANCE = "_zero_variance"
"""Suffix of the metric with the share of groups in which a reward term has the same value for all rollouts."""


class Views(Section):
    """Rollouts of a question, by the view of the clip that the model is shown."""

    ordered: int = Field(ge=2, le=1024, description="G, rollouts of a question with its frames in order.")
    shuffled: int = Field(
        ge=0,
        le=1024,
        description="Further rollouts of a question about a video, with its frames in one random order; they are compared with, "
        "never learned from. 0 for none.",
    )


class RewardFile(Section):
    """A reward term of your own: a function in a Python file."""

    file: Text = Field(description="Python file, relative to the folder that the run is started in.")
    function: Text = Field(description="Function in it: a RolloutGroup of G completions -> G numbers.")
    weight: float = Field(default=1.0, ge=0, le=100, description="Factor of its values in the combination.")
    sha256: SkipJsonSchema[str | None] = None
    """Digest of the file, which a spec has (`Run.spec`): another content is another training."""


Reading = Literal["tagged", "anywhere", "video_r1", "temporal_r1"]
"""Rules of reading that a reward can ask for; not every answer type has each (docs/answers.md)."""


class Rewards(Section):
    """Which terms a rollout's reward is made of, and how they combine."""

    combine: str = Field(description="Name of the combination of the terms (vidreason.rl.rewards).")
    reading: Reading | None = Field(
        default=None, description="Rule by which answers are read before they are graded; null for the protocol's."
    )
    penalize_wrong: bool = Field(description="Whether a wrong, well-formed answer loses its format reward.")
    terms: Mapping[str, Parameters] = Field(description="Parameters of every term, by the term's name.")
    functions: Mapping[str, RewardFile] = Field(
        default={}, description="Further terms, by names of your own: functions in Python files."
    )


class Advantage(Section):
    """How the rewards of a group become advantages."""

    std: Literal["unbiased", "population", "none"] = Field(description="What a group's advantages are divided by.")
    eps: float = Field(
        gt=0,
        le=1,
        description="Added to the standard deviation of a group's rewards, which is 0 where they are all equal.",
    )
    noise: float = Field(
        ge=0, le=100, description="Standard deviation of the Gaussian noise that is added to every advantage."
    )


class Objective(Section):
    """The loss of GRPO or of one of its relatives (vidreason.rl.objectives)."""

    name: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"] = Field(
        description="grpo: mean over completions of the mean over their tokens. dr_grpo: completions are divided by the same "
        "length. dapo: mean over tokens. gspo: ratio of whole completions. cispo: clipped ratio as a constant weight."
    )
    beta: float = Field(ge=0, le=1000, description="Weight of the KL divergence from the reference policy; 0 for none.")
    kl_estimate: Literal["k3", "k1", "abs", "mse"] = Field(
        description="Estimate of a token's KL divergence from the difference of log-probabilities d = reference - policy: k3, "
        "exp(d) - d - 1; k1, -d; abs, |d|; mse, d^2 / 2."
    )
    kl_clamp: float | None = Field(
        gt=0, le=1_000_000, description="Limit of a token's KL estimate, in nats; null for none."
    )
    log_ratio_clamp: float | None = Field(
        gt=0,
        le=1000,
        description="Limit of the difference of log-probabilities that the KL estimate is made of; null for none.",
    )
    clip_low: float | None = Field(
        ge=0, le=1, description="Lowest ratio to the sampling policy is 1 minus this; null for the objective's own."
    )
    clip_high: float | None = Field(
        ge=0, le=1000, description="Highest ratio to the sampling policy is 1 plus this; null for the objective's own."
    )
    entropy: float = Field(ge=0, le=1000, description="Weight of the policy's mean entropy, which is maximized.")
    mask_unfinished: bool = Field(
        description="Whether answers that were cut at the maximum length are left out of the loss."
    )
    token_mean_over: int | None = Field(
        ge=1,
        le=1024,
        description="dapo and cispo: rollouts of a question over which tokens are averaged, before these averages are; null "
        "for all of a step.",
    )


class Validation(Section):
    """Accuracy on held-out questions during training."""

    every: int = Field(
        ge=0,
        le=MOST,
        description="Steps between validations, besides the one after the last step; 0 for that one only.",
    )
    limit: int = Field(ge=0, le=MOST, description="Held-out questions answered at a validation; 0 for none.")


class Sft(Section):
    """What decides the weights of a supervised fine-tuning, besides data, seed and parent."""

    epochs: float = Field(gt=0, le=10_000, description="Passes over the questions.")
    batch_size: int = Field(ge=1, le=65_536, description="Questions of one optimizer step over all devices.")
    optimizer: Optimizer = Field(description="How weights are updated.")


class Grpo(Section):
    """What decides the weights of a GRPO training, besides data, seed and parent."""

    epochs: float = Field(gt=0, le=10_000, description="Passes over the questions.")
    batch_size: int = Field(ge=1, le=65_536, description="Questions of one optimizer step over all devices.")
    updates: int = Field(
        ge=1,
        le=64,
        description="Optimizer updates from the rollouts of one step; with more than one the ratio is clipped.",
    )
    resample: int = Field(
        ge=0,
        le=64,
        description="Most rounds of a step in which groups whose rewards are all equal are replaced by those of fresh questions; "
        "0 for none.",
    )
    rollout_limit: Count | None = Field(
        description="The training ends after the step in which its rollouts reach this number; null for no limit."
    )
    views: Views = Field(description="Rollouts of a question, by the view of its clip.")
    sampling: Sampling = Field(description="How rollouts are sampled.")
    rewards: Rewards = Field(description="Terms of the reward, and how they combine.")
    advantage: Advantage = Field(description="How the rewards of a group become advantages.")
    objective: Objective = Field(description="The loss.")
    optimizer: Optimizer = Field(description="How weights are updated.")
    validation: Validation = Field(description="Accuracy on held-out questions during training.")


class SftMethod(Sft):
    """Supervised fine-tuning as configured: what decides the weights, and how it runs."""

    runtime: Runtime = Field(description="How the training runs on a machine; changing it retrains nothing.")


class GrpoMethod(Grpo):
    """GRPO as configured: what decides the weights, and how it runs."""

    runtime: GrpoRuntime = Field(description="How the training runs on a machine; changing it retrains nothing.")


class Methods(Section):
    """Settings of the two trainings. An arm may override each of them."""

    sft: SftMethod = Field(description="Supervised fine-tuning.")
    grpo: GrpoMethod = Field(description="Group relative policy optimization.")


class SelectionGeneration(Section):
    """How the answers are sampled from whose variance questions are selected."""

    rollouts: int = Field(ge=2, le=1024, description="N, answers sampled for each question.")
    sampling: Sampling = Field(description="How they are sampled.")
    batch_size: int = Field(ge=1, le=65_536, description="Questions of one batch. Shards are whole batches.")
    precision: Precision = Field(description="Number format that answers are computed in.")


class Selection(Section):
    """Selection of the training questions by the variance of repeated answers."""

    generation: SelectionGeneration = Field(description="How the repeated answers are sampled.")
    rule: SelectionRule = Field(description="Which questions are kept, unless an arm says otherwise.")
    shards: Shards = Field(description="Number of jobs that share the sampling.")


class EvaluationGeneration(Section):
    """How answers to the benchmarks are generated."""

    decoding: Literal["greedy", "upstream"] = Field(
        description="greedy, or upstream's sampling (temperature 1, top_k 50) with a seed."
    )
    max_new_tokens: int = Field(ge=1, le=131_072, description="Most tokens of an answer, end of sequence included.")
    batch_size: int = Field(ge=1, le=65_536, description="Questions of one batch. Shards are whole batches.")
    precision: Precision = Field(description="Number format that answers are computed in.")


class AnswerSampling(Section):
    """How several answers to every question of the benchmarks are sampled."""

    answers: int = Field(ge=1, le=1024, description="Answers sampled for each question.")
    sampling: Sampling = Field(description="How they are sampled.")
    batch_size: int = Field(ge=1, le=65_536, description="Questions of one batch. Shards are whole batches.")
    questions: Count | None = Field(
        description="Questions of each benchmark: whole videos, in the order of a digest, until they have this many; null for all."
    )
    arms: tuple[str, ...] | None = Field(
        strict=False, min_length=1, description="Arms that are sampled from; null for all but the controls."
    )


class Scoring(Section):
    """How answers are graded; changing this generates nothing again."""

    parser: Literal["strict", "upstream", "video_r1", "temporal_r1"] = Field(
        description="Which reading of an answer decides: strict, or what the evaluation of TinyLLaVA-Video-R1 (upstream), of "
        "Video-R1 or of Temporal-R1 reads. strict and upstream are always recorded."
    )
    unparsed: Literal["wrong", "random"] = Field(
        description="What an answer without a letter is: wrong, or a random letter as upstream does (parser strict or upstream)."
    )
    max_missing_fraction: Share = Field(
        description="Share of the questions whose video cannot be read that is tolerated; they count as wrong."
    )


class Evaluation(Section):
    """Which benchmarks arms answer, and how answers are graded."""

    benchmarks: tuple[str, ...] = Field(
        strict=False, min_length=1, description="The benchmarks, in the order of the tables' columns."
    )
    generation: EvaluationGeneration = Field(description="How answers are generated.")
    sampling: AnswerSampling | None = Field(
        description="Several answers to every question, for pass@k and the majority's answer; null for none."
    )
    scoring: Scoring = Field(description="How answers are graded; changing this generates nothing again.")


class Gallery(Section):
    """The pages that show every answer."""

    clips: int = Field(
        ge=0,
        le=MOST,
        description="Most clips whose frames are shown, some 10 to 50 kB each; every benchmark gets an equal share. 0 shows none.",
    )


class ArmKeys(Section):
    """What an arm is, besides the settings of its method that it overrides."""

    label: Text = Field(description="Words for the tables, on one line.")
    method: Literal["given", "sft", "grpo", "control"] = Field(
        description="given: weights from `weights`. sft, grpo: trained from `parent`. control: the parent's weights, shown "
        "another view."
    )
    style: Style = Field(description="option: answers with the letter alone. reason: thinks first.")
    parent: str | None = Field(default=None, description="Arm whose weights it starts from.")
    weights: Text | None = Field(default=None, description="Checkpoint folder; `{run}` stands for the run's name.")
    tokenizer: Text | None = Field(
        default=None, description="Folder whose tokenizer is taken where the checkpoint has none; null for none."
    )
    processor: Text | None = Field(
        default=None,
        description="Folder whose preprocessor_config.json is taken where the checkpoint has none; null for the known settings.",
    )
    data: str | None = Field(
        default=None, description="Data set that it is trained on; a grpo arm sees the selected part of it."
    )
    view: View | None = Field(
        default=None,
        description="What a control is shown: frames in order, in random order, gray frames, the times of the frames in random order, "
        "or none: no video.",
    )
    options: Options | None = Field(
        default=None, description="How a control's options are changed; see the section controls."
    )
    selection: SelectionRule | None = Field(
        default=None,
        description="Questions of a grpo arm: a strategy, or keys of selection.rule that differ for this arm.",
    )


class Arm(ArmKeys):
    """An arm, resolved: `like` and its method's settings are merged in.

    `training` holds all settings of a trained arm, None for any other.
    """

    training: SftMethod | GrpoMethod | None = None

    @property
    def shown_view(self) -> View:
        """The view that the arm answers the benchmarks with."""
        return self.view or "ordered"

    @property
    def shown_options(self) -> Options:
        """How the options of the benchmarks' questions are changed for the arm."""
        return self.options or "published"


class TrainingSpec(Section):
    """Everything that decides the weights of a trained arm, and nothing else; the JSON file of rule resolve_spec."""

    arm: str
    seed: Seed
    method: Literal["sft", "grpo"]
    style: Style
    data: str
    parent: str
    protocol: Protocol
    settings: Sft | Grpo

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrainingSpec":
        """Build a spec from the values of its JSON file; `settings` is read as the method's class."""
        kind: type[Sft] | type[Grpo] = Grpo if values["method"] == "grpo" else Sft
        return cls(**{**values, "settings": kind.model_validate(values["settings"])})

    def runtime_of(self, values: Mapping[str, Any]) -> Runtime:
        """Read the runtime settings that belong to this spec's method."""
        return (GrpoRuntime if self.method == "grpo" else Runtime).model_validate(values)


class RunSettings(Section):
    """One run, config/config.yaml with overlays. Sources and the paper's values stand in config/config.yaml."""

    run: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z",
        description="Name of the run; everything it makes is in results/<run>/.",
    )
    seed: Seed = Field(
        description="Seed of the world, of the base model's pre-training, of the validation split and of sampling data."
    )
    seeds: tuple[Annotated[Seed, Field(description="Seed of one replicate.")], ...] = Field(
        strict=False, min_length=1, description="One training and evaluation replicate of every arm for each."
    )
    protocol: Protocol = Field(
        description="Which of the two to follow where the published code and the article differ."
    )
    delete_archives: bool = Field(description="Remove archives once they are unpacked and verified.")
    sources: Mapping[str, SourceEntry] = Field(
        description="Models and data sets that are fetched, by the name of their folder below data/."
    )
    datasets: Mapping[str, TrainingData | Demonstrations | BenchmarkData] = Field(
        description="Training data and benchmarks, by name."
    )
    frames: Frames = Field(description="Which pixels the model sees.")
    methods: Methods = Field(description="Settings of the two trainings. An arm may override each of them.")
    selection: Selection = Field(description="Selection of the training questions by the variance of repeated answers.")
    evaluation: Evaluation = Field(description="Which benchmarks arms answer, and how answers are graded.")
    gallery: Gallery = Field(description="The pages that show every answer.")
    arms: Mapping[str, Arm] = Field(min_length=1, description="Rows of the final table, by name, in their order.")
    controls: Mapping[str, Control] | None = Field(
        default=None,
        description="Other ways to ask finished weights, by name; each is an arm `<arm>_<control>` for every arm in `of`.",
    )
    world: World | None = Field(
        default=None, description="Sizes of the generated data; only in a run that makes its own."
    )
    base: Base | None = Field(
        default=None,
        description="Pre-training of the small model that stands for published weights; only in a run with a world.",
    )
