"""Write docs/tables.md from the registry of tables and figures: `python docs/list_tables.py` (or `--check`)."""

import sys
from pathlib import Path

from vidreason.results.columns import COLUMNS
from vidreason.results.registry import FIGURES, TABLES, Figure, Table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tables.md"
INTRODUCTION = """# Tables and figures

Every run writes these files to `results/<run>/tables/` and `results/<run>/figures/`. `report/index.html` shows them on one page.
Metrics, differences and their intervals are in percent; other shares are fractions. Equal scores give equal bytes, except for
the seconds in `ablations.csv` and `timing.csv`.

This page is written from `src/vidreason/results/registry.py` and `columns.py`. To add a table or a figure, write the function that makes it, register it
there, and put its caption in `workflow/report/`."""


def entry(item: Table | Figure) -> str:
    """File, title, caption and columns of a table or figure."""
    lines = [f"### {item.file}", f"{item.title}."]
    if item.caption == item.name:
        caption = (ROOT / f"workflow/report/{item.caption}.rst").read_text(encoding="utf-8").strip()
        lines.append(caption.replace("``", "`"))
    if isinstance(item, Table) and item.columns:
        lines.append("Columns: " + ", ".join(f"`{column}`" for column in item.columns) + ".")
    return "\n\n".join(lines)


def page() -> str:
    """The whole page."""
    rows = [f"| `{column}` | {meaning} |" for column, meaning in sorted(COLUMNS.items())]
    parts = [INTRODUCTION, "## Tables", *map(entry, TABLES)]
    parts += ["## Columns", "\n".join(["| column | meaning |", "|---|---|", *rows]), "## Figures", *map(entry, FIGURES)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        current = PAGE.read_text(encoding="utf-8") == page()
        sys.exit(0 if current else "docs/tables.md differs from the registry; run python docs/list_tables.py")
    PAGE.write_text(page(), encoding="utf-8")
