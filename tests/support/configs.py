"""Runs for tests, from the shipped configuration files and changes."""

import functools
from pathlib import Path
from typing import Any

from vidreason.config.load_runs import load_run
from vidreason.config.registered_names import Known
from vidreason.config.run import Run
from vidreason.config.yaml_layers import Layer, read_layer
from vidreason.training.registered import registered

ROOT = Path(__file__).parents[2]
SOURCES, PAPER, DEMO = (ROOT / f"config/{name}.yaml" for name in ("sources", "config", "demo"))
SHIPPED = ((str(SOURCES), str(PAPER)), (str(SOURCES), str(PAPER), str(DEMO)))


@functools.cache
def known() -> Known:
    """What is registered."""
    return registered()


def papers_layers(*more: Layer) -> list[Layer]:
    """Layers of the paper's run, and others over them."""
    return [read_layer(SOURCES), read_layer(PAPER), *more]


def demos_layers(*more: Layer) -> list[Layer]:
    """Layers of the demo, and others over them."""
    return papers_layers(read_layer(DEMO), *more)


def paper(**changes: Any) -> Run:
    """The paper's run with changes."""
    return load_run(papers_layers(("change.yaml", changes)), known())


def demo(**changes: Any) -> Run:
    """The demo with changes."""
    return load_run(demos_layers(("change.yaml", changes)), known())
