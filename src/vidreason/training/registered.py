"""What is registered by import, for whoever builds the graph: names, and the modules whose code decides a result.

Registered modules are found by importing a folder, which `code_digest` does not see, so the rules name those that they use. A
new data set, answer type or reward term then changes no digest of results that do not use it. Loads no heavy library.
"""

from vidreason.artifacts.provenance import code_digest
from vidreason.config.known import Known
from vidreason.config.run import Run
from vidreason.config.settings import Grpo
from vidreason.data import registry
from vidreason.rl import terms
from vidreason.rl.rewards import COMBINATIONS
from vidreason.tasks import base as tasks


def registered() -> Known:
    """Everything that is registered."""
    return Known(
        datasets={name: dataset.role for name, dataset in sorted(registry.discover().items())},
        terms=terms.factories(),
        combinations={name: combination.needs for name, combination in COMBINATIONS.items()},
    )


def modules_with(module: str, *datasets: str) -> list[str]:
    """A module, and those that define the data sets it works on and their answer types."""
    own = {tasks.module_of(registry.dataset_of(name).task) for name in datasets}
    return [module, *sorted(own | {registry.module_of(name) for name in datasets})]


def training_modules(dataset: str, terms_used: list[str] | None) -> list[str]:
    """Modules that decide the weights of an arm.

    Args:
        dataset: What it is trained on.
        terms_used: Its reward terms; None for SFT.
    """
    if terms_used is None:
        return modules_with("vidreason.training.sft", dataset)
    return [*modules_with("vidreason.training.grpo", dataset), *terms.modules_of(terms_used)]


def code(run: Run, dataset: str, module: str) -> str:
    """Digest of the code of a rule that works on a data set."""
    return code_digest(*modules_with(module, dataset))


def training_code(run: Run, arm: str) -> str:
    """Digest of the code that decides an arm's weights."""
    spec = run.spec(arm, 0)
    used = list(spec.settings.rewards.terms) if isinstance(spec.settings, Grpo) else None
    return code_digest(*training_modules(spec.data, used))


def reader_protocol(run: Run, dataset: str) -> str | None:
    """The run's protocol, for a data set that is read differently under it."""
    return run.protocol if registry.dataset_of(dataset).protocols else None
