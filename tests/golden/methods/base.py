"""The folders of the two methods, and mistakes that the checks must notice."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.golden.folder import Folder, Item

METHODS = ("video_r1", "temporal_r1")


class Methods:
    """Golden data of Video-R1 and Temporal-R1."""

    def __init__(self, path: Path) -> None:
        """Name the folder that holds `video_r1` and `temporal_r1`."""
        self.path = path

    @functools.cached_property
    def video_r1(self) -> Folder:
        """What Video-R1 computes: `json("loss")`, `tensors("loss")`, ..."""
        return Folder(self.path / "video_r1")

    @functools.cached_property
    def temporal_r1(self) -> Folder:
        """What Temporal-R1 computes."""
        return Folder(self.path / "temporal_r1")

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a folder has this layout."""
        return any((path / name).is_dir() for name in METHODS)


MethodCheck = Callable[[Methods], Iterable[Item]]


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A mistake in the implementation, and what notices it.

    Attributes:
        plant: Makes the context in which the implementation has the mistake.
        noticed: Names of the items that must fail in it.
        check: The check that yields them.
    """

    plant: Callable[[], AbstractContextManager[Any]]
    noticed: tuple[str, ...]
    check: MethodCheck


Mutations = Mapping[str, Mutation]


def number_of(value: float | str) -> float:
    """A number of the JSON files, where those that JSON lacks are "NaN", "Infinity" and "-Infinity"."""
    return float(value)
