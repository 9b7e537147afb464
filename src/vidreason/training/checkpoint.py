"""Saved training states: weights, optimiser and position, in safetensors and JSON, written aside and renamed."""

import dataclasses
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vidreason.files import read_json, write_aside, write_json
from vidreason.training.ranks import Ranks
from vidreason.training.update import Updater, trained_weights, whole_weights

Item = TypeVar("Item")
KEPT = 2
"""Number of states kept; the older ones are removed."""
WEIGHTS, MOMENTS, POSITION = "weights.safetensors", "optimizer.safetensors", "state.json"
MISSING = "nothing"
"""Stands in `differences` for a key that is not there."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Number of finished steps.
        metrics_bytes: Size of the metrics file at that step.
        origin: What defines the run, as `vidreason.provenance.run_origin` gives it.
        parts: Number of processes that each hold a part of the optimiser's state; 1 where it is in one piece.
    """

    step: int
    metrics_bytes: int
    origin: Mapping[str, Any]
    parts: int = 1


def save_state(folder: Path, state: TrainingState, model: torch.nn.Module, updater: Updater, ranks: Ranks) -> None:
    """Write one state as `folder/step<number>` and drop all but the last `KEPT`.

    Parts of the optimiser's state that other processes hold are written first, as `step<number>.part<rank>`, so that
    the folder is there only when all is.

    Args:
        folder: Folder of the states.
        state: The position.
        model: Its trained weights are saved.
        updater: Its optimiser's state is saved.
        ranks: The processes; all of them have to call this.
    """
    name = f"step{state.step:08d}"
    moments = {key: tensor.contiguous() for key, tensor in updater.moments().items()}
    if updater.divided and not ranks.first:
        with write_aside(folder / f"{name}.part{ranks.rank}", durable=True) as aside:
            save_file(moments, aside)
    ranks.wait()
    with whole_weights(model):
        if ranks.first:
            with write_aside(folder / name, durable=True) as aside:
                aside.mkdir(parents=True)
                weights = {key: tensor.detach().contiguous() for key, tensor in trained_weights(model).items()}
                save_file(weights, aside / WEIGHTS)
                save_file(moments, aside / MOMENTS)
                parts = ranks.count if updater.divided else 1
                write_json(aside / POSITION, dataclasses.asdict(dataclasses.replace(state, parts=parts)))
            for old in _states(folder)[:-KEPT]:
                shutil.rmtree(old)
                for part in folder.glob(f"{old.name}.part*"):
                    part.unlink()


def load_latest(folder: Path, origin: Mapping[str, Any], updater: Updater, ranks: Ranks) -> TrainingState | None:
    """Give the newest state that can be read back to the run; one that cannot is told of and passed over.

    Args:
        folder: Folder of the states; it may not exist.
        origin: That of the present run.
        updater: Receives weights and optimiser's state.
        ranks: The processes.

    Returns:
        The state, or None when there is none.

    Raises:
        ValueError: The state was saved by a run with other settings, or by another number of processes.
    """
    for path in reversed(_states(folder)):
        state = _unless_damaged(ranks, _read_position, path / POSITION)
        if state is None:
            continue
        if changed := differences(state.origin, origin):
            listed = "; ".join(changed)
            raise ValueError(
                f"{path}: saved by a run with other settings, inputs or code ({listed}). Remove {folder} to start afresh, "
                "or restore what was changed to continue"
            )
        parts = ranks.count if updater.divided else 1
        if state.parts != parts:
            raise ValueError(
                f"{path}: the optimiser's state is in {state.parts} parts, this run needs {parts}; continue with "
                f"{state.parts} processes and the same DeepSpeed settings, or remove {folder} to start afresh"
            )
        own = path / MOMENTS if ranks.first or parts == 1 else folder / f"{path.name}.part{ranks.rank}"
        tensors = _unless_damaged(ranks, _read_tensors, path / WEIGHTS, own)
        if tensors is not None:
            updater.restore(*tensors)
            return state
    return None


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What is not the same in two plain values, by dotted key.

    Example:
        >>> differences({"spec": {"beta": 0.04, "seed": 0}}, {"spec": {"beta": 0.0, "seed": 0, "new": True}})
        ['spec.beta: 0.04 before, 0.0 now', 'spec.new: nothing before, True now']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        parts = [(f"{name}.{key}" if name else key, before.get(key, MISSING), now.get(key, MISSING)) for key in keys]
        return [line for key, old, new in parts for line in differences(old, new, key)]
    return [] if before == now else [f"{name}: {before} before, {now} now"]


def _read_position(path: Path) -> TrainingState:
    return TrainingState(**read_json(path))


def _read_tensors(*paths: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in paths]


def _unless_damaged(ranks: Ranks, read: Callable[..., Item], *paths: Path) -> Item | None:
    """What files of a state hold; None where any of the processes finds its own missing or damaged."""
    found = None
    try:
        found = read(*paths)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        print(f"{paths[0].parent} cannot be read and is passed over: {error}", file=sys.stderr, flush=True)
    return found if all(ranks.gather(found is not None)) else None


def discard_states(folder: Path) -> None:
    """Remove all states, once the final weights stand."""
    if folder.exists():
        shutil.rmtree(folder)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step????????")) if folder.exists() else []
