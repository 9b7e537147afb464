"""Reading tables of counts, with every cell checked."""

import re
from collections.abc import Sequence
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


def read_histogram(path: str | Path) -> list[dict[str, int]]:
    """Read a selection's `histogram.csv`: questions with 0, 1 ... N right answers, and how many of them were kept.

    There are no rows where nothing was sampled.

    Raises:
        ValueError: As `read_counts`; rows are not 0 to N in order, or a row kept more questions than it has.
    """
    rows = read_counts(path, ("correct", "questions", "kept"))
    if [row["correct"] for row in rows] != list(range(len(rows))):
        raise ValueError(
            f"{path}: correct is {[row['correct'] for row in rows]}; needed is a row for each of 0, 1 ... N"
        )
    if odd := [row for row in rows if row["kept"] > row["questions"]]:
        raise ValueError(
            f"{path}: of {odd[0]['questions']} questions {odd[0]['kept']} were kept, in the row of {odd[0]}"
        )
    return rows
