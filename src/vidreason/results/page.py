"""Pieces of a self-contained HTML page: no file beside it, no script, no network, legible in light and dark."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import check_unchanged

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #ffffff; --soft: #f3f4f6; --line: #d5d8dd; --dim: #5b6270;
  --right: #00704f; --wrong: #a8430c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #15171b; --soft: #20242b; --line: #3a404a;
  --dim: #a3abb8; --right: #4fd1a5; --wrong: #ff9a5c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
p, li, figcaption { max-width: 52rem; } figcaption, .dim { color: var(--dim); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; margin: .6rem 0; }
th, td { text-align: left; padding: .22rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { background: var(--soft); } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; background: #ffffff; padding: .4rem; border-radius: 4px; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .6rem 1rem; margin: 1rem 0; }
.strip img { width: 6rem; height: 6rem; object-fit: contain; image-rendering: pixelated; margin-right: .3rem; }
.right { color: var(--right); } .wrong { color: var(--wrong); } code, pre { font-size: .85rem; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; } nav a { margin-right: 1rem; } a { color: inherit; }
"""

_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?( ± [\d.]+)?( \*)?|-")


def escape(text: object) -> str:
    """Text for an element or an attribute: nothing in it is markup any more."""
    return html.escape(str(text), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A whole document.

    The content policy forbids scripts and every request, so not even a mistake in escaping could load anything.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "Nothing to show.") -> str:
    """A table; cells that are numbers are set right-aligned. `empty` is said when there are no rows."""
    lines = ["<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows]
    if not lines:
        return f"<p>{escape(empty)}</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _cell(value: object) -> str:
    """One cell."""
    text = str(value)
    mark = ' class="number"' if _NUMBER.fullmatch(text) else ""
    return f"<td{mark}>{escape(text)}</td>"


def csv_table(path: str | Path, empty: str = "Nothing to show.") -> str:
    """A CSV file as a table."""
    rows = read_csv(path)
    return table(list(rows[0]) if rows else [], [list(row.values()) for row in rows], empty)


def figure(path: str | Path, caption: str) -> str:
    """A picture inside the page, with its caption (the text for those who cannot see it, too)."""
    check_unchanged(path)
    kind = "svg+xml" if Path(path).suffix == ".svg" else "png"
    return f'<figure><img alt="{escape(caption)}" src="{data_uri(Path(path).read_bytes(), kind)}"><figcaption>{escape(caption)}</figcaption></figure>'


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def fold(title: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def from_markdown(text: str) -> str:
    """The Markdown that `vidreason.results.markdown` writes as HTML: headings, tables, lists, paragraphs, nothing else."""
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().split("\n")
        if lines[0].startswith("#"):
            level = min(len(lines[0]) - len(lines[0].lstrip("#")) + 1, 4)
            parts.append(f"<h{level}>{escape(lines[0].lstrip('# '))}</h{level}>")
        elif lines[0].startswith("|"):
            header, _, *rows = [_row(line) for line in lines]
            parts.append(table(header, rows))
        elif lines[0].startswith("- "):
            parts.append("<ul>" + "".join(f"<li>{escape(_unescaped(line[2:]))}</li>" for line in lines) + "</ul>")
        else:
            parts.append(f"<p>{escape(' '.join(lines))}</p>")
    return "\n".join(parts)


def _row(line: str) -> list[str]:
    """Cells of one line of a Markdown table."""
    parts = re.findall(r"\\.|[^\\|]++|[\\|]", line.strip().removeprefix("|"))
    cells = [""]
    for part in parts:
        if part == "|":
            cells.append("")
        else:
            cells[-1] += part
    return [_unescaped(cell.strip()) for cell in cells[:-1]]


def _unescaped(text: str) -> str:
    r"""Text without Markdown's escapes.

    Example:
        >>> _unescaped(r"a\|b\\c")
        'a|b\\c'
    """
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


def plain_caption(path: str | Path) -> str:
    """A caption written as reStructuredText, as one line of plain text (its markup characters removed)."""
    return re.sub(r"[`*]+", "", " ".join(Path(path).read_text(encoding="utf-8").split()))
