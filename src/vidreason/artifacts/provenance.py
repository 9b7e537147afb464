"""What an artifact was made from: a digest of the code that a rule uses, and a sidecar file next to each result.

Snakemake reruns a rule when its script changes, but not when a module that the script imports changes. Rules therefore
have `code_digest(...)` among their parameters. It follows the package's imports by parsing them, so the graph can be built on
a machine that has neither torch nor a video decoder.
"""

import ast
import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidreason import __version__
from vidreason.artifacts.digests import sha256_of, sha256_text
from vidreason.artifacts.files import read_json, write_json
from vidreason.artifacts.integrity import content_digest, sidecar_of, stamp_of

PACKAGE = Path(__file__).parents[1]
DISTRIBUTIONS = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "deepspeed",
    "numpy",
    "pillow",
    "decord",
    "av",
    "pyarrow",
    "pandas",
    "math-verify",
)
"""Packages whose version can change a number. The versions of those that are installed are recorded."""

DECLARATIONS = frozenset(
    f"{PACKAGE.name}.config.{name}" for name in ("base_model", "datasets", "optimization", "settings", "types", "world")
)
"""Modules that only declare settings: names, types, bounds and descriptions, without code that decides a result.

The values that a job uses are among its parameters or in its spec, so `code_digest` leaves these modules out: a new key, or a
description in better words, runs nothing again.
"""


@functools.cache
def code_digest(*modules: str) -> str:
    """Digest of modules of this package and of every module of this package that they import, directly or indirectly.

    Comments, docstrings and formatting do not count, so correcting a comment never retrains anything. Nor do imported
    `DECLARATIONS`.

    Args:
        modules: Dotted names, `vidreason.training.sft` for instance.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: A name is not a module of this package.

    Example:
        >>> code_digest("vidreason.records") == code_digest("vidreason.records")
        True
    """
    sources, known = _known_digests()
    key = " ".join(sorted(modules))
    if key not in known:
        known[key] = _code_digest(modules)
        if not sys.dont_write_bytecode and _sources_digest() == sources:  # nothing was edited meanwhile
            with contextlib.suppress(OSError):  # an installation that only an administrator may write
                write_json(_table(), {"sources": sources, "digests": known})
    return known[key]


def _table() -> Path:
    return PACKAGE / "__pycache__" / f"code_digests.{sys.implementation.cache_tag}.json"


@functools.cache
def _known_digests() -> tuple[str, dict[str, str]]:
    """Digest of the package's sources, and the stored code digests for exactly these sources (modules -> digest).

    Every job of a graph needs all digests, and parsing the sources takes a second. The table is stored beside Python's compiled
    files, and under the same conditions.
    """
    sources = _sources_digest()
    with contextlib.suppress(OSError, ValueError):
        table = read_json(_table())
        if isinstance(table, dict) and table.get("sources") == sources and isinstance(table.get("digests"), dict):
            return sources, table["digests"]
    return sources, {}


def _sources_digest() -> str:
    files = sorted(PACKAGE.rglob("*.py"))
    return sha256_text("\n".join(f"{file.relative_to(PACKAGE)} {sha256_of(file)}" for file in files))


def _code_digest(modules: Sequence[str]) -> str:
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in digests:
            continue
        if _module_file(name) is None:
            raise ValueError(
                f"{name}: not a module of {PACKAGE}; expected a dotted name such as vidreason.training.sft"
            )
        digests[name], imported = _module_digest(name)
        waiting.extend(imported - DECLARATIONS)
    return sha256_text("\n".join(f"{name} {digests[name]}" for name in sorted(digests)))[:16]


def _module_file(name: str) -> Path | None:
    """Source file of a module of this package; None for any other name."""
    first, *rest = name.split(".")
    if first != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*rest)
    for candidate in (base.with_suffix(".py") if rest else base / "__init__.py", base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _module_digest(name: str) -> tuple[str, frozenset[str]]:
    """Digest of one module's code, and the modules of the package that it imports, parent packages included."""
    file = _module_file(name)
    if file is None:
        raise ValueError(f"{name}: not a module of {PACKAGE}")
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    parts = name.split(".")
    imported = {".".join(parts[:length]) for length in range(1, len(parts))}
    here = parts if file.name == "__init__.py" else parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names if _module_file(alias.name))
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for candidate in (source, *(f"{source}.{alias.name}" for alias in node.names)):
                if _module_file(candidate):
                    imported.add(candidate)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A string that stands alone is documentation. A body must not become empty.
            node.body = [step for step in node.body if not _is_text(step)] or [ast.Pass()]
    return sha256_text(ast.unparse(tree)), frozenset(imported - {name})


def _is_text(step: ast.stmt) -> bool:
    return isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant) and isinstance(step.value.value, str)


def file_digest(path: str | Path) -> str:
    """Digest (16 hexadecimal digits) of a script that a rule starts by name, so that editing it reruns the rule."""
    return sha256_of(path)[:16]


def write_sidecar(
    artifact: str | Path,
    inputs: Iterable[str | Path],
    params: Mapping[str, Any],
    modules: Iterable[str],
    made: Mapping[str, Any] | None = None,
) -> Path:
    """Write next to an artifact what it was made from, so that it can be traced without Snakemake's records.

    Args:
        artifact: A complete file or folder.
        inputs: Files and folders that were read.
        params: Settings that were used; values that are not JSON are stored as text.
        modules: Modules whose code made it.
        made: For an artifact from the shared cache, the `environment` of the process that made it.

    Returns:
        The sidecar's path. The sidecar holds the digests of the artifact and its inputs, a stamp of its files' names, sizes and
        times, the settings, the code digest, the `environment`, and whether the artifact is from the shared cache.
    """
    modules = sorted(modules)
    path = sidecar_of(artifact)
    write_json(
        path,
        {
            "artifact": str(artifact),
            "sha256": content_digest(artifact),
            "files": stamp_of(Path(artifact)),
            "inputs": {str(name): content_digest(name) for name in sorted(str(name) for name in inputs)},
            "params": {key: _plain(value) for key, value in params.items()},
            "modules": modules,
            "code": code_digest(*modules),
            **{key: value for key, value in (made or environment()).items() if key in _ENVIRONMENT},
            "cached": made is not None,
        },
    )
    return path


_ENVIRONMENT: Mapping[str, Any] = {
    "commit": str,
    "python": str,
    "versions": dict,
    "ranks": int,
    "nodes": str,
    "devices": str | None,
    "created": str,
}
"""Keys of `environment`, with their types."""


def environment() -> dict[str, Any]:
    """Describe where this process runs, and with which versions.

    Returns:
        The commit, the versions of Python and of the packages that can change a number, the number of ranks and the nodes of a
        training, the GPUs that its first rank sees (null where nothing limits them), and the time.
    """
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions(),
        "ranks": int(os.environ.get("WORLD_SIZE", "1")),
        "nodes": os.environ.get("SLURM_JOB_NODELIST", platform.node()),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def is_environment(value: object) -> bool:
    """Whether a value from outside has exactly the keys of `environment`, each of its type."""
    if not isinstance(value, dict) or value.keys() != _ENVIRONMENT.keys():
        return False
    versions_ = value["versions"]
    return all(
        isinstance(value[key], kind) and not isinstance(value[key], bool) for key, kind in _ENVIRONMENT.items()
    ) and all(isinstance(text, str) for text in versions_.values())


def fingerprint(spec: Mapping[str, Any], inputs: Iterable[str | Path], modules: Iterable[str]) -> dict[str, Any]:
    """Everything that defines a training run: its resolved spec, the contents of its inputs, and its code.

    A saved training state carries the fingerprint of its run. A run with another one does not resume it, and lists what differs.

    Returns:
        `spec`, `inputs` (path -> digest) and `code`, as JSON would give them back.
    """
    contents = {str(path): content_digest(path) for path in inputs}
    parts = {"spec": spec, "inputs": contents, "code": code_digest(*sorted(modules))}
    plain: dict[str, Any] = json.loads(json.dumps(_plain(parts)))
    return plain


def digest(spec: Mapping[str, Any], inputs: Iterable[str | Path], modules: Iterable[str]) -> str:
    """Digest of everything that defines a job; paths of inputs do not count. It names journals and entries of the cache."""
    contents = [content_digest(path) for path in inputs]
    return sha256_text(json.dumps([spec, contents, code_digest(*sorted(modules))], sort_keys=True, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def versions() -> dict[str, str]:
    """Versions of this package and of the installed packages that can change a number."""
    installed = {PACKAGE.name: __version__}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def commit() -> str:
    """Commit of the working tree, with `+changes` when files differ from it; empty outside a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
