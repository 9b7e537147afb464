"""What is registered by import, for whoever builds the graph: names, and the modules whose code decides a result.

Registered modules are found by importing a folder, which `code_digest` does not see, so the rules name those that they use. A
new data set, answer type or reward term then changes no digest of results that do not use it. Loads no heavy library.
"""

from collections.abc import Sequence

from vidreason.artifacts.provenance import code_digest
from vidreason.config.registered_names import Known
from vidreason.config.run import Run
from vidreason.config.settings import Grpo, TrainingSpec
from vidreason.data import registry
from vidreason.rl import terms
from vidreason.rl.rewards import COMBINATIONS
from vidreason.tasks import base as tasks
from vidreason.tasks.option_edits import CHOICES


def registered() -> Known:
    """Everything that is registered."""
    return Known(
        datasets={name: dataset.role for name, dataset in sorted(registry.discover().items())},
        terms=terms.factories(),
        contrasting=terms.contrasting(),
        combinations={name: combination.needs for name, combination in COMBINATIONS.items()},
        unweighted={name: combination.unweighted for name, combination in COMBINATIONS.items()},
        columns=terms.RESERVED,
        tasks=sorted(tasks.discover()),
        tasks_of={name: dataset.tasks for name, dataset in registry.discover().items()},
        readings={name: task.rules for name, task in sorted(tasks.discover().items())},
        timed=sorted(name for name, task in tasks.discover().items() if task.timed),
        choices=CHOICES,
    )


def definitions(*datasets: str) -> list[str]:
    """Modules that define data sets and their answer types."""
    own = {tasks.module_of(task) for name in datasets for task in registry.dataset_of(name).tasks}
    return sorted(own | {registry.module_of(name) for name in datasets})


def modules_with(module: str, *datasets: str) -> list[str]:
    """A module, and those that define the data sets it works on and their answer types."""
    return [module, *definitions(*datasets)]


def training_modules(spec: TrainingSpec) -> list[str]:
    """Modules whose code decides the weights of an arm; its rule and its sidecars use the same."""
    if not isinstance(spec.settings, Grpo):
        return modules_with("vidreason.training.sft", spec.data)
    return [*modules_with("vidreason.training.grpo", spec.data), *terms.modules_of(spec.settings.rewards.terms)]


def code(run: Run, dataset: str, module: str) -> str:
    """Digest of the code of a rule that works on a data set."""
    return code_digest(*modules_with(module, dataset))


def selection_code(run: Run, arm: str) -> str:
    """Digest of the code that selects an arm's questions."""
    return code_digest(*modules_with("vidreason.training.select_by_variance", run.data_of(arm)))


def training_code(run: Run, arm: str) -> str:
    """Digest of the code that decides an arm's weights."""
    return code_digest(*training_modules(run.spec(arm, 0)))


def results_code(run: Run, modules: Sequence[str]) -> str:
    """Digest of the code that makes results out of scores: some modules, and what defines the run's benchmarks.

    Titles, metrics and chance levels come from the definitions.
    """
    return code_digest(*modules, *definitions(*run.evaluation.benchmarks))


def reader_protocol(run: Run, dataset: str) -> str | None:
    """The run's protocol, for a data set that is read differently under it."""
    return run.protocol if registry.dataset_of(dataset).protocols else None
