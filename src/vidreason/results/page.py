"""Self-contained HTML pages from the templates of this room: no file beside them, no script, no network, light and dark.

Templates escape every value. What is markup is written in the templates alone; the code hands over texts and data.
"""

import base64
import functools
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vidreason.artifacts.control_characters import visible
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.integrity import check_unchanged
from vidreason.results.markdown import Bullets, Grid, Heading, Paragraph
from vidreason.results.registry import TEMPLATES

LONGEST = 1200
"""Characters shown of a think text, a question or any other text of a card."""
_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?( ± [\d.]+)?( \*)?|-")


@functools.cache
def _environment() -> Environment:
    """The templates, with autoescape; a name that the code does not give is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    environment.tests |= {
        "number_cell": lambda value: bool(_NUMBER.fullmatch(str(value))),
        "heading": lambda block: isinstance(block, Heading),
        "grid": lambda block: isinstance(block, Grid),
        "bullets": lambda block: isinstance(block, Bullets),
        "paragraph": lambda block: isinstance(block, Paragraph),
    }
    return environment


def cut(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text as `visible` shows it, with the number of characters that are left out."""
    left_out = len(text) - longest
    return visible(f"{text[:longest]} ... ({left_out} more characters)" if left_out > 0 else text)


def render(template: str, **values: object) -> str:
    """Fill in a template of `results/templates/`."""
    return _environment().get_template(template).render(**values)


def csv_grid(path: str | Path) -> Grid:
    """A CSV file as a table."""
    rows = read_csv(path)
    return Grid(list(rows[0]) if rows else [], [list(row.values()) for row in rows])


def picture_uri(path: str | Path) -> str:
    """A picture, PNG or SVG, as an address that needs no file.

    Raises:
        ChangedError: The picture is not the one that its sidecar describes.
    """
    check_unchanged(path)
    kind = "svg+xml" if Path(path).suffix == ".svg" else "png"
    return data_uri(Path(path).read_bytes(), kind)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def plain_caption(path: str | Path) -> str:
    """A caption written as reStructuredText, as one line of plain text without its markup."""
    return re.sub(r"[`*]+", "", " ".join(Path(path).read_text(encoding="utf-8").split()))
