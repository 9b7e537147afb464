"""Which files a job of the graph reads, as functions of a run and of the wildcards of the job's outputs."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from vidreason.config import launcher, paths
from vidreason.config.datasets import BenchmarkData
from vidreason.config.run import Run
from vidreason.config.selection import is_sampled
from vidreason.config.settings import GrpoMethod
from vidreason.config.yaml_layers import ConfigError

Seed = int | str
"""A number, or the text that stands for it in a path."""


def value_at(run: Run, key: str) -> Any:
    """The setting at a dotted key as plain values, `value_at(run, "frames.count")`."""
    node: Any = run
    for part in key.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node.model_dump(mode="json") if isinstance(node, BaseModel) else node


def frames(run: Run, dataset: str) -> list[str]:
    """All frame tables of a data set."""
    return _shards(paths.FRAMES, run.datasets[dataset].shards.frames, run=run.run, dataset=dataset)


def clips(run: Run, dataset: str) -> list[str]:
    """What decoding the clips of a data set gave."""
    return list(map(paths.clips_of, frames(run, dataset)))


def decoded_questions(run: Run, dataset: str) -> list[str]:
    """Question files whose clips are decoded together: some training questions are held out in a file of their own."""
    patterns = (paths.QUESTIONS, paths.VALIDATION) if run.is_filtered(dataset) else (paths.QUESTIONS,)
    return [pattern.format(run=run.run, dataset=dataset) for pattern in patterns]


def weights(run: Run, arm: str, seed: Seed) -> str:
    """Checkpoint that an arm answers with: given and checked, or what its training writes."""
    run.arm(arm)
    name = run.weights_arm(arm)
    pattern = {"given": paths.IMPORTED, "sft": paths.SFT, "grpo": paths.GRPO}[run.arms[name].method]
    return pattern.format(run=run.run, arm=name, seed=seed)


def parent_weights(run: Run, arm: str, seed: Seed) -> str:
    """Checkpoint that an arm's training starts from."""
    return weights(run, run.parent(arm), seed)


def training_questions(run: Run, arm: str) -> str:
    """Questions that an SFT arm is trained on, and among which those of a GRPO arm are selected."""
    return paths.QUESTIONS.format(run=run.run, dataset=run.data_of(arm))


def validation_questions(run: Run, arm: str) -> str:
    """Questions that a GRPO arm is validated on: those that are held out of its data set."""
    return paths.VALIDATION.format(run=run.run, dataset=run.data_of(arm))


def training_frames(run: Run, arm: str) -> list[str]:
    """Frame tables of an arm's questions."""
    return frames(run, run.data_of(arm))


def training_clips(run: Run, arm: str) -> list[str]:
    """What decoding the clips of an arm's questions gave."""
    return clips(run, run.data_of(arm))


def training_spec(run: Run, arm: str, seed: Seed) -> dict[str, Any]:
    """The JSON of an arm's spec."""
    return run.spec(arm, int(seed)).model_dump(mode="json")


def runtime(run: Run, arm: str) -> str:
    """How an arm's training runs on a machine, as JSON."""
    return run.runtime(arm).model_dump_json()


def training_command(run: Run, arm: str, python: str, resources: Mapping[str, Any]) -> str:
    """The beginning of a training's command line; see `vidreason.config.launcher.training_command`."""
    training = run.arm(arm).training
    batch_size = training.batch_size if training else 0
    return launcher.training_command(python, resources, batch_size, f"results/{run.run}: {arm}")


def selection_rule(run: Run, arm: str) -> dict[str, Any]:
    """Which questions a GRPO arm is trained on.

    Raises:
        ValueError: The arm is none of GRPO.
    """
    selection = run.arm(arm).selection
    if selection is None:
        raise ValueError(f"results/{run.run}: {arm} is no arm of method grpo, for which alone questions are selected")
    return selection.model_dump(mode="json")


def selection_reading(run: Run, arm: str) -> str | None:
    """The reading by which an arm's rewards are computed, and its questions selected; None for the protocol's."""
    training = run.arm(arm).training
    return training.rewards.reading if isinstance(training, GrpoMethod) else None


def sampler_style(run: Run, arm: str) -> str:
    """How the arm is asked whose repeated answers an arm's questions are selected by: its parent."""
    return run.arm(run.parent(arm)).style


def rollouts(run: Run, arm: str, seed: Seed) -> list[str]:
    """All shards of the repeated answers by which an arm's questions are selected: its parent's; none for `all`."""
    if not is_sampled(selection_rule(run, arm)["strategy"]):
        return []
    values = {"arm": run.parent(arm), "dataset": run.data_of(arm)}
    return _shards(paths.ROLLOUTS, run.selection.shards, run=run.run, seed=seed, **values)


def predictions(run: Run, arm: str, seed: Seed, benchmark: str) -> list[str]:
    """All shards of an arm's answers to a benchmark."""
    shards = _benchmark(run, benchmark).shards.predict
    return _shards(paths.PREDICTIONS, shards, run=run.run, arm=arm, seed=seed, benchmark=benchmark)


def all_predictions(run: Run) -> list[str]:
    """All shards of every arm's answers to every benchmark."""
    pairs = itertools.product(run.arms, run.seeds, run.evaluation.benchmarks)
    return [path for arm, seed, benchmark in pairs for path in predictions(run, arm, seed, benchmark)]


def answer_sampling(run: Run) -> dict[str, Any]:
    """How several answers to every question are sampled; which arms are sampled from decides no answer.

    Raises:
        ConfigError: The run samples none.
    """
    sampling = run.evaluation.sampling
    if sampling is None:
        raise ConfigError(
            f"results/{run.run}: no answers are sampled, because evaluation.sampling is null; set it to get pass@k"
        )
    return sampling.model_dump(mode="json", exclude={"arms"}) | {"precision": run.evaluation.generation.precision}


def sampled_questions(run: Run) -> int | None:
    """How many questions of each benchmark several answers are sampled to; None for all."""
    questions: int | None = answer_sampling(run)["questions"]
    return questions


def samples(run: Run, arm: str, seed: Seed, benchmark: str) -> list[str]:
    """All shards of an arm's sampled answers to a benchmark."""
    shards = _benchmark(run, benchmark).shards.predict
    return _shards(paths.SAMPLES, shards, run=run.run, arm=arm, seed=seed, benchmark=benchmark)


def scored_samples(run: Run) -> list[str]:
    """Grades of the sampled answers, one file for every arm that is sampled from, seed and benchmark."""
    values = itertools.product(run.sampled_arms(), run.seeds, run.evaluation.benchmarks)
    return [
        paths.SCORED_SAMPLES.format(run=run.run, arm=arm, seed=seed, benchmark=benchmark)
        for arm, seed, benchmark in values
    ]


def option_edit(run: Run, arm: str) -> dict[str, Any]:
    """How the options of an arm's questions are changed, as `OptionEdit` takes it; only where they are does the seed matter."""
    edit = run.arm(arm).shown_options
    return {"name": edit} if edit == "published" else {"name": edit, "seed": run.seed}


def known_missing(run: Run, benchmark: str) -> dict[str, int]:
    """Questions of a benchmark, by category, whose video is not distributed."""
    return dict(_benchmark(run, benchmark).known_missing or {})


def allowed_missing(run: Run, benchmark: str) -> dict[str, Any]:
    """How many questions of a benchmark may be without frames before an arm answers any."""
    return {"allowed": run.evaluation.scoring.max_missing_fraction, "known": known_missing(run, benchmark)}


def truth(run: Run) -> str | list[str]:
    """What the world knows about its clips; nothing for real data."""
    return paths.TRUTH.format(run=run.run) if run.world else []


def published(run: Run) -> str | list[str]:
    """The papers' numbers; a world of its own is not to be compared with them."""
    return [] if run.world else "config/published.tsv"


def scored(run: Run, pattern: str) -> list[str]:
    """One file for every arm, seed and benchmark of a run."""
    return [
        pattern.format(run=run.run, arm=arm, seed=seed, benchmark=benchmark)
        for arm in run.arms
        for seed in run.seeds
        for benchmark in run.evaluation.benchmarks
    ]


def scores_of(run: Run, arm: str, seed: Seed) -> list[str]:
    """Scores of an arm on every benchmark of its run."""
    return [
        paths.SCORE.format(run=run.run, arm=arm, seed=seed, benchmark=benchmark)
        for benchmark in run.evaluation.benchmarks
    ]


def cards(run: Run) -> list[str]:
    """Model cards of all trained arms."""
    return [
        paths.CARD.format(run=run.run, arm=arm, seed=seed) for arm in run.arms_by("sft", "grpo") for seed in run.seeds
    ]


def of_arms(run: Run, pattern: str, method: str) -> list[str]:
    """One file for every seed of every arm with a method."""
    return [pattern.format(run=run.run, arm=arm, seed=seed) for arm in run.arms_by(method) for seed in run.seeds]


def all_clips(run: Run) -> list[str]:
    """What decoding every clip of a run gave."""
    return _each(clips, run, run.used_datasets())


def set_aside(run: Run) -> list[str]:
    """Tables of the records and questions of a run that are left out before any frame is decoded."""
    return [
        (paths.filtered("dropped.csv") if run.is_filtered(name) else paths.SET_ASIDE).format(run=run.run, dataset=name)
        for name in run.used_datasets()
    ]


def filtered(run: Run, table: str) -> list[str]:
    """One table of the filter of every training set of a run."""
    used = filter(run.is_filtered, run.used_datasets())
    return [paths.filtered(table).format(run=run.run, dataset=name) for name in used]


def benchmark_questions(run: Run) -> list[str]:
    """Questions of all benchmarks of a run."""
    return [paths.QUESTIONS.format(run=run.run, dataset=name) for name in run.evaluation.benchmarks]


def benchmark_frames(run: Run) -> list[str]:
    """Frame tables of all benchmarks of a run."""
    return _each(frames, run, run.evaluation.benchmarks)


def all_training_frames(run: Run) -> list[str]:
    """Frame tables of all data sets that the run's arms are trained on."""
    return _each(frames, run, run.training_sets())


def shown_arms(run: Run) -> dict[str, dict[str, str]]:
    """What tables say about the arms; settings of a training change no table."""
    keys = ("label", "style", "method", "parent", "view", "options")
    shown = {
        name: {key: value for key in keys if (value := getattr(arm, key)) is not None} for name, arm in run.arms.items()
    }
    for name in run.arms_by("grpo"):
        if is_sampled(selection_rule(run, name)["strategy"]):
            sampled = {"sampler": f"{run.parent(name)}/{run.data_of(name)}"}
            shown[name] |= sampled | {"repeats": str(run.selection.generation.rollouts)}
    return shown


def shown_benchmarks(run: Run) -> list[str]:
    """Benchmarks of a run in the order of the columns."""
    return list(run.evaluation.benchmarks)


def _benchmark(run: Run, name: str) -> BenchmarkData:
    entry = run.datasets[name]
    if not isinstance(entry, BenchmarkData):
        raise ValueError(f"results/{run.run}: {name} is no benchmark")
    return entry


def _each(function: Any, run: Run, datasets: Iterable[str]) -> list[str]:
    return [path for dataset in datasets for path in function(run, dataset)]


def _shards(pattern: str, count: int, **values: Seed | None) -> list[str]:
    return [pattern.format(shard=shard, **values) for shard in range(count)]
