"""The names that a configuration may use: the registered data sets and reward terms. Light: the graph is built from it."""

from vidreason.config.known import Known
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
