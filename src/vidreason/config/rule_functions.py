"""Input functions and parameters of Snakemake's rules, made of functions of a run.

Snakemake calls them with the wildcards of a job. It compares a parameter with that of the last time, and runs the job again
where they differ, unless the function also takes the job's resources: those are no part of a result.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vidreason.config import job_inputs, launcher
from vidreason.config.run import Run

Wildcards = Any
"""Snakemake's wildcards: by key and by attribute."""
OfWildcards = Callable[[Wildcards], Any]
OfResources = Callable[[Wildcards, Any], Any]


@dataclasses.dataclass(frozen=True)
class RuleFunctions:
    """Makes functions of wildcards.

    Attributes:
        runs: Run name -> run, for the wildcard `run`.
        configured: The run that files without this wildcard belong to.
        python: The interpreter, for a shell.
        expected: Exceptions whose text says what to do.
        refusal: The exception that Snakemake shows without a traceback.
    """

    runs: Mapping[str, Run]
    configured: Run
    python: str
    expected: tuple[type[Exception], ...]
    refusal: type[Exception]

    def of_run(self, function: Callable[..., Any], *names: str, **fixed: Any) -> OfWildcards:
        """A function of a file's run, of some of its wildcards and of fixed values.

        Args:
            function: Takes the run, then the wildcards, then the fixed values by name.
            names: Names of the wildcards.
            fixed: The fixed values.
        """

        def value(wildcards: Wildcards) -> Any:
            name = wildcards.get("run")
            run = self.configured if name is None else self.runs[name]
            try:
                return function(run, *(wildcards[name] for name in names), **fixed)
            except self.expected as error:
                raise self.refusal(str(error)) from None

        return value

    def setting(self, key: str) -> OfWildcards:
        """The setting at a dotted key, which may hold wildcards: `datasets.{dataset}.shards.frames`."""

        def value(wildcards: Wildcards) -> Any:
            return self.of_run(job_inputs.value_at, key=key.format(**wildcards))(wildcards)

        return value

    def uncompared(self, value: OfWildcards) -> OfResources:
        """The same parameter, whose change runs nothing again."""

        def with_resources(wildcards: Wildcards, resources: Any) -> Any:
            return value(wildcards)

        return with_resources

    def interpreter(self, wildcards: Wildcards, resources: Any) -> str:
        """The interpreter; another one runs nothing again."""
        return self.python

    def launch(self, wildcards: Wildcards, resources: Any) -> str:
        """The beginning of a training's command line: more GPUs or nodes retrain nothing."""
        given = {"python": self.python, "resources": dict(resources.items())}
        return str(self.of_run(job_inputs.training_command, "arm", **given)(wildcards))

    def single_gpu(self, wildcards: Wildcards, resources: Any) -> int:
        """GPUs of a job that is one process."""

        def value(_: Run) -> int:
            return launcher.single_gpu(dict(resources.items()))

        return int(self.of_run(value)(wildcards))


def one_of(names: Iterable[str]) -> str:
    """Regular expression for one of the names; matches nothing when there is none.

    Example:
        >>> one_of(["r1", "base", "r1"]), one_of([])
        ('base|r1', '(?!)')
    """
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"
