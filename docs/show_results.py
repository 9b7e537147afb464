"""Put the results of a finished demo into README.md: `python docs/show_results.py results/demo`.

It copies the figure of accuracy to docs/demo.png and writes a small table between the marks. Without the marks in README.md
it prints what would stand between them.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PICTURE = "docs/demo.png"
BEGIN, END = "<!-- results: begin (docs/show_results.py) -->", "<!-- results: end -->"
LEFT_OUT = ("style", "seed", "format followed", "unparsed")
"""Columns of `tables/main.md` that the README does not show."""


def small_table(main: str) -> str:
    """The first table of `tables/main.md`: arms and chance by benchmarks, without padding."""
    lines = [line for line in main.split("\n\n")[1].splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    places = [place for place, name in enumerate(header) if name not in LEFT_OUT]
    rows = [header, ["---"] + ["---:"] * (len(header) - 1), *(row for row in body if "frequent" not in row[0])]
    return "\n".join(f"| {' | '.join(row[place] for place in places)} |" for row in rows)


def block(run: Path) -> str:
    """The text between the marks in README.md."""
    table = small_table((run / "tables" / "main.md").read_text(encoding="utf-8"))
    words = "Accuracy of the arms on four benchmarks with 95% intervals; dashed: chance"
    return "\n\n".join([BEGIN, f'<img src="{PICTURE}" alt="{words}" width="720">', table, END])


if __name__ == "__main__":
    run = Path(sys.argv[1])
    shutil.copyfile(run / "figures" / "accuracy.png", ROOT / PICTURE)
    text = README.read_text(encoding="utf-8")
    if BEGIN in text:
        new = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block(run), text, flags=re.DOTALL)
        README.write_text(new, encoding="utf-8")
    else:
        print(block(run))
