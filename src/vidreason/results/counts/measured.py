"""What a training measured at its steps: the rows of `metrics.jsonl`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json_lines
from vidreason.artifacts.typed_records import in_words, is_a


@dataclass(frozen=True)
class Measured:
    """One line of `metrics.jsonl`: what was measured at a step.

    Attributes:
        kind: `train` or `validation`.
        step: Optimizer step.
        values: Metric -> value, None where it could not be measured.
    """

    kind: str
    step: int
    values: Mapping[str, float | None]


def read_metrics(path: str | Path) -> list[Measured]:
    """Read training curves.

    Raises:
        ValueError: A row has no kind or step, or a value is not a number.
    """
    measured = []
    for number, row in enumerate(read_json_lines(path), start=1):
        kinds: dict[str, Any] = dict.fromkeys(row, float | None) | {"kind": str, "step": int}
        for name, kind in kinds.items():
            if not is_a(row.get(name), kind):
                raise ValueError(f"{path}: row {number}: {name} is {row.get(name)!r}; needed is {in_words(kind)}")
        values = {name: value for name, value in row.items() if name not in ("kind", "step")}
        measured.append(Measured(row["kind"], row["step"], values))
    return measured
