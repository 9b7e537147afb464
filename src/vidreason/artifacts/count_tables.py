"""Reading tables of counts, with every cell checked."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidreason.artifacts.csv_files import read_csv


def read_counts(path: str | Path, needed: Sequence[str]) -> list[dict[str, int]]:
    """Read the columns of a CSV file that hold whole numbers.

    Raises:
        ValueError: As `read_csv`, or a cell is no whole number of 0 or more.
    """
    rows = read_csv(path, needed)
    for number, row in enumerate(rows, start=1):
        for name in needed:
            count_of(row[name], f"{path}: row {number}: {name}")
    return [{name: int(row[name]) for name in needed} for row in rows]


def count_of(text: str, where: str) -> int:
    """Read a whole number of 0 or more.

    Raises:
        ValueError: The text is something else.
    """
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"{where} is {text[:80]!r}; needed is a whole number, 0 or more")
    return int(text)


@dataclass(frozen=True)
class Bin:
    """One row of a selection's `histogram.csv`.

    Attributes:
        task: Answer type of the questions.
        measure: `correct`, the number of right answers, or the name of a spread.
        low: Lower bound of the bin: a number of right answers, or a spread, which is not in the bin itself unless it equals `high`.
        high: Upper bound, which is in the bin.
        rollouts: Answers to each question.
        questions: Questions in the bin.
        kept: Those of them that are trained on.
    """

    task: str
    measure: str
    low: float
    high: float
    rollouts: int
    questions: int
    kept: int


HISTOGRAM = ("task", "measure", "low", "high", "rollouts", "questions", "kept")
"""Columns of a histogram."""
CORRECT = "correct"
"""Measure of the answers that are right or wrong."""


def read_histogram(path: str | Path) -> list[Bin]:
    """Read a selection's `histogram.csv`: for every answer type its bins in order; no rows where nothing was sampled.

    Raises:
        ValueError: As `read_counts`; the bins of an answer type overlap or have two measures, numbers of right answers are not 0 to
            N, or a bin kept more questions than it has.
    """
    counts, bins = read_counts(path, ("rollouts", "questions", "kept")), []
    for number, (row, count) in enumerate(zip(read_csv(path, HISTOGRAM), counts, strict=True), start=1):
        low, high = (_bound(row[name], f"{path}: row {number}: {name}") for name in ("low", "high"))
        bins.append(Bin(row["task"], row["measure"], low, high, **count))
    for task in dict.fromkeys(one.task for one in bins):
        _check_bins(str(path), [one for one in bins if one.task == task])
    return bins


def _check_bins(path: str, bins: Sequence[Bin]) -> None:
    """Refuse bins of one answer type that no selection writes."""
    if any(one.measure != bins[0].measure or one.rollouts != bins[0].rollouts for one in bins):
        raise ValueError(f"{path}: {bins[0].task} has rows of several measures or numbers of rollouts")
    places = [one.low for one in bins]
    if bins[0].measure == CORRECT and places != list(range(bins[0].rollouts + 1)):
        raise ValueError(
            f"{path}: low is {places}; needed is a row for each of 0, 1 ... {bins[0].rollouts} right answers"
        )
    if any(two.low < one.high for one, two in itertools.pairwise(bins)) or any(one.high < one.low for one in bins):
        raise ValueError(f"{path}: low is {places}; needed are bins in rising order that do not overlap")
    if odd := [one for one in bins if one.kept > one.questions]:
        raise ValueError(f"{path}: of {odd[0].questions} questions {odd[0].kept} were kept, in the row of {odd[0]}")


def _bound(text: str, where: str) -> float:
    """Read a number of 0 or more.

    Raises:
        ValueError: The text is something else.
    """
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError(f"{where} is {text[:80]!r}; needed is a number, 0 or more")
    return float(text)
