"""Reward functions in files of the user's own: checked before a run starts, and their files' digests in every spec.

The file is parsed here, not imported: it may need libraries that the graph does not load. `vidreason.rl.own_functions` imports
it where a training runs.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.digests import sha256_of
from vidreason.config.messages import listing, show
from vidreason.config.registered_names import Known
from vidreason.config.settings import NO_VARIANCE, Grpo
from vidreason.config.yaml_layers import Layer, problem_at
from vidreason.records import check_name


def function_problems(
    functions: Mapping[str, Any], known: Known, path: Sequence[str], layers: Sequence[Layer]
) -> Iterable[str]:
    """One line for every reward function whose name is taken, or that its file does not have.

    Args:
        functions: The section `rewards.functions`.
        known: Names that reward terms and columns of the metrics have.
        path: Key of the section `rewards`.
        layers: Where its values come from.
    """
    for name, entry in functions.items():
        place = [*path, "rewards", "functions", name]
        try:
            check_name("reward function", name)
        except ValueError as error:
            yield problem_at(layers, place, str(error))
        if name in known.terms or name in known.columns or name.endswith(NO_VARIANCE):
            kind = "a reward term" if name in known.terms else "a column of the metrics"
            yield problem_at(layers, place, f"{show(name)} is the name of {kind}; allowed: another name")
        file, function = Path(entry["file"]), entry["function"]
        try:
            defined = functions_in(file)
        except (OSError, SyntaxError, ValueError) as error:
            text = f"{file} cannot be read as Python ({error}); allowed: a Python file, relative to {Path.cwd()}"
            yield problem_at(layers, [*place, "file"], text)
            continue
        if function not in defined:
            text = f"{show(function)} is no function of {file}; allowed: {listing(defined) or 'none, as it defines no function'}"
            yield problem_at(layers, [*place, "function"], text)


def functions_in(file: Path) -> list[str]:
    """Names of the functions that a Python file defines at its top level.

    Raises:
        OSError: It cannot be read.
        SyntaxError: It is no Python.
        ValueError: It is no text.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def with_digests(training: Grpo) -> Grpo:
    """The settings of a GRPO training with the digest of every reward function's file.

    Raises:
        OSError: A file cannot be read.
    """
    functions = training.rewards.functions
    if not functions:
        return training
    digests = {name: entry.model_copy(update={"sha256": sha256_of(entry.file)}) for name, entry in functions.items()}
    return training.model_copy(update={"rewards": training.rewards.model_copy(update={"functions": digests})})
