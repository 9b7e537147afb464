"""Write the picture of the graph in config/README.md from the real graph: `python docs/draw_graph.py` (or `--check`).

The picture is Snakemake's own rule graph of the paper's run without the arrows that follow from others.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "config" / "README.md"
BEGIN, END = "<!-- graph: begin (docs/draw_graph.py) -->", "<!-- graph: end -->"


def rule_graph() -> set[tuple[str, str]]:
    """Pairs (rule, rule that uses its output) of the paper's run."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", "--forceall"]
    text = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    ).stdout
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", text, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)", text, re.MULTILINE)
    found = {(names[source], names[user]) for source, user in edges if names[user] != "all"}
    return found | {("lock_source", "fetch_source")}  # not in the graph where every source is locked already


def reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges without those that a longer way implies."""
    users: dict[str, set[str]] = {}
    for source, user in edges:
        users.setdefault(source, set()).add(user)

    def reach(rule: str) -> set[str]:
        return {found for user in users.get(rule, ()) for found in {user} | reach(user)}

    far = {rule: {found for user in users[rule] for found in reach(user)} for rule in users}
    return {(source, user) for source, user in edges if user not in far[source]}


def picture() -> str:
    """The block of the page."""
    lines = [f"    {source} --> {user}" for source, user in sorted(reduced(rule_graph()))]
    return "\n".join([BEGIN, "```mermaid", "flowchart LR", *lines, "```", END])


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    drawn = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: picture(), text, flags=re.DOTALL)
    if "--check" in sys.argv:
        sys.exit(
            "config/README.md: the picture is not the graph; run python docs/draw_graph.py" if drawn != text else 0
        )
    PAGE.write_text(drawn, encoding="utf-8")
