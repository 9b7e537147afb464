"""The names that a configuration may use: the registered data sets and reward terms. Light: the graph is built from it."""

from vidreason.artifacts.provenance import code_digest
from vidreason.config.known import Known
from vidreason.config.run import Run
from vidreason.config.settings import Grpo
from vidreason.data.registry import BENCHMARKS
from vidreason.rl import terms
from vidreason.rl.rewards import COMBINATIONS


def registered() -> Known:
    """Everything that is registered."""
    return Known(
        datasets={"nextqa": "training", "coldstart": "demonstrations", **dict.fromkeys(BENCHMARKS, "benchmark")},
        terms=terms.factories(),
        combinations={name: combination.needs for name, combination in COMBINATIONS.items()},
    )


def training_code(run: Run, arm: str) -> str:
    """Digest of the code that decides the result of an arm's training: the method's, and that of its reward terms."""
    settings = run.spec(arm, 0).settings
    if isinstance(settings, Grpo):
        return code_digest("vidreason.training.grpo", *terms.modules_of(settings.rewards.terms))
    return code_digest("vidreason.training.sft")
