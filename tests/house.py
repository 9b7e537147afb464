"""Count what the layout of the house promises: `python -m tests.house`.

`tests/unit/project/test_house.py` holds the numbers; run by hand, this prints them.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src/vidreason"
FLOORS = (
    ("artifacts",),
    ("records",),
    ("config",),
    ("media", "tasks"),
    ("data", "models", "rl"),
    ("engine", "sources"),
    ("training",),
    ("evaluation",),
    ("results",),
    ("world",),
    ("plan", "cli"),
)
"""Rooms from the ground up: a module may import from its own room and from the floors below."""
MOST_ENTRIES, MOST_LINES = 25, 400
TAGS = "</?(think|answer)>"


def python_files(*folders: str) -> list[Path]:
    """Python files below folders of the repository, and rules."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".smk"))


def entries(folder: Path) -> list[str]:
    """Names in a folder, without what Python or an editor leaves there."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith((".", "__pycache__")))


def crowded_folders() -> dict[str, int]:
    """Folders of src, workflow and tests with more than `MOST_ENTRIES` entries."""
    folders = [path for top in ("src", "workflow", "tests") for path in (ROOT / top).rglob("*") if path.is_dir()]
    counts = {str(path.relative_to(ROOT)): len(entries(path)) for path in folders if "__pycache__" not in path.parts}
    return {name: count for name, count in counts.items() if count > MOST_ENTRIES}


def long_files() -> dict[str, int]:
    """Source files of more than `MOST_LINES` lines."""
    files = python_files("src", "workflow", "bench")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    return {name: length for name, length in lengths.items() if length > MOST_LINES}


def imports(path: Path) -> list[str]:
    """Dotted names of the modules that a file imports, wherever the statement stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def upward_imports() -> list[str]:
    """Imports of another room on the same floor or one above, and any import of snakemake in src."""
    floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    upward = []
    for path in python_files("src"):
        room = path.relative_to(SRC).with_suffix("").parts[0]
        for name in imports(path):
            parts = name.split(".")
            target = parts[1] if parts[0] == "vidreason" and len(parts) > 1 else ""
            if parts[0] == "snakemake" or (
                room in floor_of and target in floor_of and target != room and floor_of[target] >= floor_of[room]
            ):
                upward.append(f"{path.relative_to(ROOT)} imports {name}")
    return upward


def wide_functions(most: int = 7) -> dict[str, int]:
    """Functions of src with more than `most` parameters; `self` and `cls` do not count."""
    found = {}
    for path in python_files("src"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in names if name not in ("self", "cls")])
                if count > most:
                    found[f"{path.relative_to(ROOT)}:{node.name}"] = count
    return found


def untyped_mappings() -> list[str]:
    """Parameters that are a mapping of anything, outside config/ and artifacts/."""
    found = []
    for path in python_files("src"):
        if path.relative_to(SRC).parts[0] in ("config", "artifacts"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg) and node.annotation is not None:
                kind = ast.unparse(node.annotation)
                if re.search(r"\b(dict|Mapping)\[str, Any\]", kind):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.arg}: {kind}")
    return found


_DIRECTIVES = re.compile(
    r"(rule|checkpoint|include|configfile|container|localrules|ruleorder|wildcard_constraints|min_version|onstart|onsuccess"
    r"|onerror|storage|report)\b"
)


def rule_python_lines() -> int:
    """Lines of Python in the Snakefile and the rules: whatever belongs to no directive, without comments and docstrings."""
    return sum(_python_lines(path) for path in (ROOT / "Snakefile", *python_files("workflow/rules")))


def _python_lines(path: Path) -> int:
    text = re.sub(r'"""(?s:.*?)"""', "", path.read_text(encoding="utf-8"))
    total, python = 0, False
    for line in filter(str.strip, text.splitlines()):
        if not line[0].isspace():
            python = not _DIRECTIVES.match(line)
        total += python and not line.lstrip().startswith("#")
    return total


def snakefile_lines() -> int:
    """Lines of the Snakefile without the docstring or comment on its paths."""
    text = re.sub(r'"""(?s:.*?)"""', "", (ROOT / "Snakefile").read_text(encoding="utf-8"))
    return len([line for line in text.splitlines() if line.strip() and not line.startswith("#")])


def common_lines() -> int:
    """Lines of `workflow/rules/common.smk`."""
    return len((ROOT / "workflow/rules/common.smk").read_text(encoding="utf-8").splitlines())


def files_with(pattern: str, *, outside: str = "") -> list[str]:
    """Files of src whose text matches a pattern, without those below a room."""
    files = [path for path in python_files("src") if not outside or path.relative_to(SRC).parts[0] != outside]
    return [str(path.relative_to(ROOT)) for path in files if re.search(pattern, path.read_text(encoding="utf-8"))]


def report() -> dict[str, object]:
    """Every count by its name."""
    return {
        "entries at the top of src/vidreason": len(entries(SRC)),
        f"folders with more than {MOST_ENTRIES} entries": crowded_folders(),
        f"files with more than {MOST_LINES} lines": long_files(),
        "imports upward": upward_imports(),
        "functions with more than 7 parameters": wide_functions(),
        "lines of Python in the rules": rule_python_lines(),
        "lines of common.smk": common_lines(),
        "lines of the Snakefile beside its comment": snakefile_lines(),
        "parameters that are a mapping of anything": untyped_mappings(),
        "files that name the think and answer tags": files_with(TAGS),
        "files outside models/ that name the TinyLLaVA class": files_with("TinyLlava", outside="models"),
    }


if __name__ == "__main__":
    for name, value in report().items():
        if isinstance(value, int):
            print(f"{name}: {value}")
        else:
            print(f"{name}: {len(value)}")  # type: ignore[arg-type]
            lines = value.items() if isinstance(value, dict) else value  # type: ignore[union-attr]
            for line in lines:  # type: ignore[union-attr]
                print("   ", *(line if isinstance(line, tuple) else (line,)))
