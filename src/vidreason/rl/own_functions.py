"""Reward functions of the user's own files, as terms of the reward."""

import importlib.util
import types
from pathlib import Path

import numpy as np

from vidreason.artifacts.digests import sha256_of
from vidreason.config.settings import RewardFile
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms import Term


class RewardFunctionError(ValueError):
    """A reward function of the user's raised an exception."""


def load_function(name: str, entry: RewardFile) -> Term:
    """The function of a user's file as a term.

    Args:
        name: Key of the configuration's `rewards.functions`.
        entry: File, function and, in a spec, the file's digest.

    Raises:
        ValueError: The file has changed since the spec was written, or has no such function.
        RewardFunctionError: The file raises an exception when it is imported.
        OSError: The file cannot be read.
    """
    path = Path(entry.file)
    if entry.sha256 is not None and (digest := sha256_of(path)) != entry.sha256:
        raise ValueError(
            f"rewards.functions.{name}: {path} has the SHA-256 {digest[:12]}..., the training's spec has "
            f"{entry.sha256[:12]}...: the file has changed since; run the same command again"
        )
    function = getattr(_module_of(name, path), entry.function, None)
    if not callable(function):
        raise ValueError(f"rewards.functions.{name}: {path} has no function {entry.function!r}")

    def values(group: RolloutGroup) -> np.ndarray:
        try:
            return np.asarray(function(group), dtype=np.float64)
        except (Exception, SystemExit) as error:  # a training that a reward ends must not look as if it had succeeded
            texts = "; ".join(f"{number}: {one.text[:200]!r}" for number, one in enumerate(group.completions))
            raise RewardFunctionError(
                f"reward function {name!r} ({entry.function} of {path}): {type(error).__name__}: {error}; question "
                f"{group.question.id!r}, completions {texts}"
            ) from error

    return values


def _module_of(name: str, path: Path) -> types.ModuleType:
    """Import a file under a name of its own, which no other import finds."""
    spec = importlib.util.spec_from_file_location(f"reward_function_{name}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"rewards.functions.{name}: {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RewardFunctionError(
            f"rewards.functions.{name}: {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return module
