"""A run: its settings, and what follows from them for arms, paths and sources."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.path_checks import is_there
from vidreason.config import paths
from vidreason.config.annotations import find_annotations
from vidreason.config.arms import TRAINED, weights_arm, without_dropped_arms, without_dropped_controls
from vidreason.config.datasets import DataEntry, TrainingData
from vidreason.config.messages import listing
from vidreason.config.optimization import Runtime
from vidreason.config.settings import Arm, Grpo, RunSettings, TrainingSpec
from vidreason.config.yaml_layers import Config, ConfigError, Layer, merge, problem_at


class Run(RunSettings):
    """The settings of a run, and the layers that they come from, by which messages name a value's file."""

    _layers: Sequence[Layer] = PrivateAttr(default=())

    @classmethod
    def of(cls, values: dict[str, Any], layers: Sequence[Layer]) -> "Run":
        """Build a run from checked values (`vidreason.config.arms.resolved`)."""
        run = cls.model_validate(values)
        run._layers = tuple(layers)
        return run

    def merged_layers(self) -> Config:
        """The values that the run was loaded from as one layer, of which `load_run` makes the same run."""
        merged = functools.reduce(merge, (values for _, values in self._layers), Config())
        return without_dropped_controls(without_dropped_arms(merged, self._layers), self._layers)

    def path(self, *key: str) -> str:
        """Path at a key, `run.path("datasets", "nextqa", "root")`, with `{run}` replaced by the run's name.

        What lies in the run's own results or in a source's folder is made by the graph; anything else must be on disk.

        Raises:
            ConfigError: The path must exist and does not.
        """
        node: Any = self
        for part in key:
            node = node[part] if isinstance(node, dict) else getattr(node, part)
        path = str(node).replace("{run}", self.run)
        if not self.makes(path) and not is_there(Path(path)):
            text = (
                f"{path} does not exist or cannot be read; allowed: a file or folder on this machine (relative to {Path.cwd()}), "
                f"or {paths.SOURCES}/<name> for a source that is fetched; sources: {listing(self.sources)}"
            )
            raise ConfigError(problem_at(self._layers, key, text))
        return path

    def dataset(self, name: str) -> DataEntry:
        """Settings of a data set.

        Raises:
            ConfigError: The run has no such data set.
        """
        if name not in self.datasets:
            raise ConfigError(
                f"results/{self.run}: {name} is no data set of this run; allowed: {listing(self.datasets)}"
            )
        return self.datasets[name]

    def is_filtered(self, dataset: str) -> bool:
        """Whether the questions of a data set are filtered by their videos, and some held out, before they are used."""
        return isinstance(self.dataset(dataset), TrainingData)

    def used_datasets(self) -> list[str]:
        """Data sets that the run reads: those that its arms are trained on, then its benchmarks."""
        return [*self.training_sets(), *self.evaluation.benchmarks]

    def training_sets(self) -> list[str]:
        """Data sets that the run's arms are trained on, in the order of the configuration."""
        trained_on = {arm.data for arm in self.arms.values()}
        return [name for name in self.datasets if name in trained_on]

    def data_of(self, arm: str) -> str:
        """The data set that an arm is trained on.

        Raises:
            ConfigError: The arm is not trained.
        """
        name = self.arm(arm).data
        if name is None:
            raise ConfigError(f"arms.{arm}: method {self.arms[arm].method} is not trained on any data set")
        return name

    def root(self, dataset: str) -> str:
        """Folder of a data set.

        Raises:
            ConfigError: The run has no such data set, or the folder must exist and does not.
        """
        self.dataset(dataset)
        return self.path("datasets", dataset, "root")

    def annotations(self, dataset: str) -> str | None:
        """Name of a data set's annotation file; None for a benchmark, whose files have fixed names.

        Raises:
            ConfigError: The file must exist and does not.
        """
        name: str | None = getattr(self.dataset(dataset), "annotations", None)
        if name is None:
            return None
        root = self.root(dataset)
        if not self.makes(root) and not self.makes(name):
            try:
                find_annotations(root, name)
            except ValueError as error:
                text = f"{Path(root) / name} does not exist or cannot be read; allowed: a file in {root}, or a path of its own ({error})"
                raise ConfigError(problem_at(self._layers, ["datasets", dataset, "annotations"], text)) from error
        return name

    def given(self, arm: str, key: str) -> str | None:
        """Folder that a given arm takes its `weights`, its `tokenizer` or its `processor` from; None for none.

        Raises:
            ConfigError: It must exist and does not.
        """
        return self.path("arms", arm, key) if getattr(self.arm(arm), key) else None

    def check_paths(self) -> None:
        """Refuse data sets and weights that are not there, unless the run has read them already.

        Results stay usable without the videos and weights that they were made from. Snakemake would ignore the refusal of an
        input function where a later result of the run exists, and start the jobs behind it.

        Raises:
            ConfigError: A path must exist and does not.
        """
        for dataset in self.used_datasets():
            if not is_there(Path(paths.QUESTIONS.format(run=self.run, dataset=dataset))):
                self.root(dataset)
                self.annotations(dataset)
        for arm in self.arms_by("given"):
            if not is_there(Path(paths.IMPORTED.format(run=self.run, arm=arm))):
                for key in ("weights", "tokenizer", "processor"):
                    self.given(arm, key)

    def source_of(self, path: str) -> str | None:
        """Name of the source that a path lies in; None for a path that is not fetched."""
        return paths.source_of(path, self.sources)

    def makes(self, path: str) -> bool:
        """Whether the graph makes a path, in the run's own results or in a source's folder."""
        return paths.is_made(path, self.run, self.sources)

    def ready(self, path: str) -> str:
        """What must be there before a path can be read: the last file of its source's preparation, or the path itself."""
        source = self.source_of(path)
        if source is None:
            return path
        return (paths.UNPACKED if self.sources[source].archives else paths.FETCHED).format(source=source)

    def used_sources(self) -> list[str]:
        """Names of the sources that the run reads, in the order of the configuration."""
        entries = [self.datasets[name] for name in self.used_datasets()]
        read = [entry.root for entry in entries]
        read += [name for entry in entries if (name := getattr(entry, "annotations", None))]
        given = [arm for arm in self.arms.values() if arm.method == "given"]
        read += [path for arm in given for path in (arm.weights, arm.tokenizer, arm.processor) if path]
        used = {self.source_of(path) for path in read}
        return [name for name in self.sources if name in used]

    def arm(self, name: str) -> Arm:
        """Settings of an arm.

        Raises:
            ConfigError: The run has no such arm.
        """
        if name not in self.arms:
            raise ConfigError(f"results/{self.run}: {name} is no arm of this run; allowed: {listing(self.arms)}")
        return self.arms[name]

    def arms_by(self, *methods: str) -> list[str]:
        """Names of the arms with one of these methods, in the order of the configuration."""
        return [name for name, arm in self.arms.items() if arm.method in methods]

    def sampled_arms(self) -> list[str]:
        """Names of the arms that several answers to every question are sampled from, in the order of the configuration."""
        sampling = self.evaluation.sampling
        if sampling is None:
            return []
        return (
            [name for name in self.arms if name in sampling.arms] if sampling.arms else self.arms_by("given", *TRAINED)
        )

    def weights_arm(self, arm: str) -> str:
        """The arm whose weights an arm uses: itself, or for a control the first ancestor that is not one."""
        return weights_arm(self.arms, arm)

    def parent(self, arm: str) -> str:
        """The arm whose weights a trained arm starts from."""
        return self.weights_arm(str(self.arm(arm).parent))

    def spec(self, arm: str, seed: int) -> TrainingSpec:
        """Everything that decides the weights of a trained arm, and nothing else.

        Labels, evaluation and selection are left out: what they change is another file that training reads, or nothing. So is
        `runtime`: a run that was short of memory resumes with other settings.

        Raises:
            ConfigError: The arm is not trained.
        """
        own = self.arm(arm)
        if own.training is None:
            text = f"arms.{arm}: method {own.method} is not trained; allowed: {listing(self.arms_by(*TRAINED))}"
            raise ConfigError(text)
        training = _with_digests(own.training) if isinstance(own.training, Grpo) else own.training
        return TrainingSpec.of(
            {
                "arm": arm,
                "seed": seed,
                "method": own.method,
                "style": own.style,
                "data": own.data,
                "parent": self.parent(arm),
                "protocol": self.protocol,
                "settings": training.model_dump(exclude={"runtime"}),
            }
        )

    def runtime(self, arm: str) -> Runtime:
        """How a trained arm's training runs on a machine.

        Raises:
            ConfigError: The arm is not trained.
        """
        training = self.arm(arm).training
        if training is None:
            raise ConfigError(f"arms.{arm}: method {self.arms[arm].method} is not trained")
        return training.runtime


def _with_digests(training: Grpo) -> Grpo:
    """The settings of a GRPO training with the digest of every reward function's file.

    Raises:
        OSError: A file cannot be read.
    """
    functions = training.rewards.functions
    if not functions:
        return training
    digests = {name: entry.model_copy(update={"sha256": sha256_of(entry.file)}) for name, entry in functions.items()}
    return training.model_copy(update={"rewards": training.rewards.model_copy(update={"functions": digests})})
