"""A small document of headings, tables, lists and paragraphs, and how it looks in Markdown (as HTML: `templates/`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vidreason.artifacts.control_characters import escaped

_MARKUP = re.compile(
    r"[\\|`$\[~]|\*(?=\S)|(?<=\S)\*|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|:(?=//)|(?<=\bwww)\.",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$)))?([.)>]|#(?=#{0,5}(?:\s|$))|[-+*](?=\s|$)|-(?=[-\s]*$))")
"""How a heading, list, quotation or ruler begins, in two groups between which it is escaped."""
_CLOSING = re.compile(r"(?<!\S)(?=#+$)")
"""Where the signs begin that would close a heading."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes:
        header: Names of the columns.
        rows: The cells.
        links: (row, column) -> address that the cell leads to; Markdown shows none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `sign` is shown as code before the text that explains it."""

    text: str
    sign: str = ""


Block = Heading | Grid | Bullets | Paragraph


def to_markdown(blocks: Sequence[Block]) -> str:
    """A document in Markdown. All texts are plain: what they hold never becomes markup."""
    return "\n\n".join("\n".join(_lines(block)) for block in blocks) + "\n"


def _lines(block: Block) -> list[str]:
    """Lines of one block."""
    match block:
        case Heading():
            return ["#" * block.level + " " + _CLOSING.sub(r"\\", plain(block.text))]
        case Grid():
            return _table(block)
        case Bullets():
            return [f"- {_beginning(item)}" for item in block.items]
        case Paragraph():
            return [f"`{block.sign}`{plain(block.text)}" if block.sign else _beginning(block.text)]


def _beginning(text: str) -> str:
    """A text, escaped as by `plain`, that stands at the beginning of a line."""
    return _BLOCK.sub(r"\g<1>\\\g<2>", plain(text))


def plain(text: str) -> str:
    r"""A text on one line, escaped so that no cell, formula, link, code, emphasis or HTML begins or ends in it.

    Example:
        >>> plain("a|b\\c $x$ *y* my_name 1.0 ± 2.0 *")
        'a\\|b\\\\c \\$x\\$ \\*y\\* my_name 1.0 ± 2.0 *'
        >>> plain("<b>x</b> &lt; p < 0.05 & so on")
        '\\<b>x\\</b> \\&lt; p < 0.05 & so on'
    """
    return _MARKUP.sub(r"\\\g<0>", escaped(text).strip())


def _table(grid: Grid) -> list[str]:
    """A Markdown table whose columns line up in plain text too."""
    cells = [[plain(cell) for cell in row] for row in [grid.header, *grid.rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(grid.header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
