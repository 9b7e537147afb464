"""Settings of synthetic worlds: those of the demo, with changes."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vidreason.config.world import World

DEMO = Path(__file__).parents[2] / "config/demo.yaml"


@functools.cache
def _demo() -> dict[str, Any]:
    return yaml.safe_load(DEMO.read_text(encoding="utf-8"))["world"]


def world_settings(changes: Mapping[str, Any] | None = None) -> World:
    """The demo's `world` with some keys changed, one data set at a time where a key has one value for each."""
    values = dict(_demo())
    for key, value in (changes or {}).items():
        values[key] = {**values[key], **value} if isinstance(values.get(key), dict) else value
    return World.model_validate(values)
