"""The names that a configuration may use and that are registered elsewhere: data sets and terms of the reward.

`config/` stands below the rooms in which data sets and terms register themselves, so whoever loads a configuration hands
their names over.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, create_model

from vidreason.config.datasets import BenchmarkData, DataEntry, Demonstrations, TrainingData
from vidreason.config.types import Section

Weight = Annotated[float, Field(ge=0, le=100, description="Factor of the term in the combination.")]
ROLES: Mapping[str, type[DataEntry]] = {
    "training": TrainingData,
    "demonstrations": Demonstrations,
    "benchmark": BenchmarkData,
}
"""What a data set is for -> its settings."""


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """Registered names.

    Attributes:
        datasets: Data set -> its role, a key of `ROLES`.
        terms: Reward term -> its factory, whose keyword arguments are the term's parameters.
        combinations: Combination of reward terms -> the terms that it needs.
        unweighted: Combination -> the terms whose weight it does not use, so that it has to be 1.
        columns: Columns of a training's metrics that are no reward terms, so that none may be named like one.
        tasks: Answer types.
        contrasting: Reward terms that compare rollouts with those of shuffled frames.
        tasks_of: Data set -> the answer types of its questions.
        readings: Answer type -> the rules by which its answers can be read.
        timed: Answer types whose prompts state when the frames were taken.
        choices: Answer types whose questions have lettered options.
    """

    datasets: Mapping[str, str]
    terms: Mapping[str, Callable[..., Any]]
    combinations: Mapping[str, Sequence[str]]
    unweighted: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    columns: Sequence[str] = ()
    tasks: Sequence[str] = ()
    contrasting: Sequence[str] = ()
    tasks_of: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    readings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    timed: Sequence[str] = ()
    choices: Sequence[str] = ()

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Data sets that can be evaluated on."""
        return tuple(name for name, role in self.datasets.items() if role == "benchmark")

    @property
    def filtered(self) -> tuple[str, ...]:
        """Data sets of questions to train on, which are filtered by their videos."""
        return tuple(name for name, role in self.datasets.items() if role == "training")

    @property
    def training_data(self) -> tuple[str, ...]:
        """Data sets that can be trained on."""
        return tuple(name for name, role in self.datasets.items() if role != "benchmark")

    def parameters_of(self, term: str) -> type[Section]:
        """The parameters of a reward term as a section: its weight, and the keyword arguments of its factory."""
        factory = self.terms[term]
        fields: dict[str, Any] = {"weight": (Weight, 1.0)}
        for name, parameter in inspect.signature(factory, eval_str=True).parameters.items():
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (parameter.annotation, default)
        summary = (inspect.getdoc(factory) or term).splitlines()[0]
        return create_model(f"{term}_parameters", __base__=Section, __doc__=summary, **fields)
