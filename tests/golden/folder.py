"""A folder of golden data, and how one comparison with it is reported."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from vidreason.models.tinyllava.checkpoint import load_checkpoint
from vidreason.models.tinyllava.modeling import TinyLlavaVideo

EXACT = 0.0


@dataclasses.dataclass(frozen=True)
class Item:
    """One compared quantity.

    Attributes:
        name: What was compared.
        deviation: Largest deviation found, or the number of cases that differ.
        tolerance: Largest deviation allowed.
        detail: Where the largest deviation is, or what went wrong.
    """

    name: str
    deviation: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the deviation is within the tolerance (not-a-number never is)."""
        return self.deviation <= self.tolerance

    def __str__(self) -> str:
        """One line for the report."""
        mark = "ok  " if self.passed else "FAIL"
        detail = f"  ({self.detail})" if self.detail else ""
        return f"{mark}  {self.name:<64} deviation {self.deviation:<9.3g} tolerance {self.tolerance:<8.3g}{detail}"


Check = Callable[["Folder"], Iterable[Item]]


class Folder:
    """Golden data in one folder; every file is read once, when asked for."""

    def __init__(self, path: Path, real_tokenizer: Path | None = None) -> None:
        """Name the folder.

        Args:
            path: The folder.
            real_tokenizer: Folder of the real Qwen2.5 tokenizer, which is not shipped; None leaves its cases out.
        """
        self.path = path
        self.real_tokenizer = real_tokenizer
        self._json: dict[str, Any] = {}
        self._tensors: dict[str, dict[str, torch.Tensor]] = {}

    def json(self, name: str) -> Any:
        """Content of `<name>.json`."""
        if name not in self._json:
            self._json[name] = json.loads((self.path / f"{name}.json").read_text(encoding="utf-8"))
        return self._json[name]

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Content of `<name>.safetensors`."""
        if name not in self._tensors:
            self._tensors[name] = load_file(self.path / f"{name}.safetensors")
        return self._tensors[name]

    @functools.cached_property
    def model(self) -> TinyLlavaVideo:
        """The checkpoint, shared by checks that leave it as it is."""
        return load_checkpoint(self.path / "checkpoint")

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer."""
        return self.model.tokenizer

    def new_model(self) -> TinyLlavaVideo:
        """A model of one's own, to change."""
        return load_checkpoint(self.path / "checkpoint")


def close(name: str, found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> Item:
    """Largest absolute difference of two tensors; infinite if their shapes differ."""
    if found.shape != wanted.shape:
        return Item(name, math.inf, tolerance, f"shape {tuple(found.shape)}, expected {tuple(wanted.shape)}")
    if not found.numel():
        return Item(name, 0.0, tolerance, "empty")
    return Item(name, float((found.detach().double() - wanted.double()).abs().max()), tolerance)


def relative(name: str, found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> Item:
    """Largest difference of two tensors, relative to 1 + |wanted|: for values that grow exponentially."""
    scale = 1 + wanted.abs()
    return close(name, found / scale if found.shape == wanted.shape else found, wanted / scale, tolerance)


def number(name: str, found: float, wanted: float, tolerance: float) -> Item:
    """Difference of two numbers, relative to 1 + |wanted|."""
    return Item(name, abs(float(found) - float(wanted)) / (1 + abs(float(wanted))), tolerance)


def same(name: str, cases: Iterable[tuple[str, Any, Any]]) -> Item:
    """Number of cases (label, found, wanted) that are not equal; no case at all is a failure."""
    listed = list(cases)
    if not listed:
        return Item(name, math.inf, EXACT, "no cases")
    wrong = [(label, found, wanted) for label, found, wanted in listed if found != wanted]
    detail = f"{len(listed)} cases"
    if wrong:
        label, found, wanted = wrong[0]
        detail += f"; first: {label}: {str(found)[:80]!r}, expected {str(wanted)[:80]!r}"
    return Item(name, float(len(wrong)), EXACT, detail)


def worst(name: str, cases: Iterable[tuple[str, float, float]], tolerance: float) -> Item:
    """Largest absolute difference over cases (label, found, wanted); infinite where one is not a number."""
    differences = [(float(found) - float(wanted), label) for label, found, wanted in cases]
    listed = [(math.inf if math.isnan(value) else abs(value), label) for value, label in differences]
    if not listed:
        return Item(name, math.inf, tolerance, "no cases")
    deviation, label = max(listed)
    return Item(name, deviation, tolerance, f"{len(listed)} cases, largest at {label}")
