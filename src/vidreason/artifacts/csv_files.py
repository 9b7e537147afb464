r"""CSV tables that are safe to open in a spreadsheet: no cell becomes a formula or a row of its own.

- A text that a spreadsheet would run (one that begins with `=`, `+`, `-` or `@`) gets an apostrophe in front, which
  `read_csv` removes. Numbers stay numbers.
- A line break, tab or other control character in a text is written as an escape (`\n`), and so is one that turns the direction of
  text.

Source: OWASP, "CSV injection".
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vidreason.artifacts.control_characters import escaped
from vidreason.artifacts.files import write_text
from vidreason.artifacts.integrity import check_unchanged

LONGEST_CELL = 32_000
"""Characters of a cell; spreadsheets hold 32,767, and Python's reader refuses more than 131,072."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_FORMULA = re.compile(r"'*\s*[=+\-@＝＋－＠]")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table in one step."""
    write_text(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""A table as CSV in UTF-8 with Unix line ends; None is an empty cell.

    Example:
        >>> csv_text(["label", "gain"], [["=1+1", "-1.5"], ["two\nlines", None]])
        "label,gain\n'=1+1,-1.5\ntwo\\nlines,\n"
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in (header, *rows))
    return stream.getvalue()


def _cell(value: object) -> object:
    """A value as a cell holds it."""
    if not isinstance(value, str):
        return value
    text = escaped(value)
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]} ..."
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _unguarded(cell: str) -> str:
    """A text without the apostrophe that `_cell` put in front."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def read_csv(path: str | Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table as text.

    Args:
        path: The file. A `.tsv` is separated by tabs, and its lines that begin with `#` are comments.
        needed: Columns that the file must have.

    Raises:
        ChangedError: The file was changed after it was made.
        ValueError: The file is not CSV in UTF-8 (a byte-order mark is allowed), a column is missing, or a row has another number
            of cells than the header; the message names it.
    """
    check_unchanged(path)
    tabs = str(path).endswith(".tsv")
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in stream if not (tabs and line.startswith("#")))
            table = [row for row in csv.reader(lines, delimiter="\t" if tabs else ",") if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    header, *rows = table or [[]]
    absent = [name for name in needed if name not in header]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing; the file has {header}")
    for number, cells in enumerate(rows, start=1):
        if len(cells) != len(header):
            raise ValueError(f"{path}: row {number} has {len(cells)} cells, the header has {len(header)}: {header}")
    return [dict(zip(header, map(_unguarded, cells), strict=True)) for cells in rows]
