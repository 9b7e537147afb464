"""Saved training states: weights, optimiser and position, in safetensors and JSON, written aside and renamed."""

import dataclasses
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from vidreason.files import read_json, write_aside, write_json
from vidreason.training.ranks import Ranks
from vidreason.training.update import Updater, trained_weights, whole_weights

KEPT = 2
"""Number of states kept; the older ones are removed."""
WEIGHTS, MOMENTS, POSITION = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Number of finished steps.
        metrics_bytes: Size of the metrics file at that step.
        identity: Digest of what defines the run.
        parts: Number of processes that each hold a part of the optimiser's state; 1 where it is in one piece.
    """

    step: int
    metrics_bytes: int
    identity: str
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
        with write_aside(folder / f"{name}.part{ranks.rank}") as aside:
            save_file(moments, aside)
    ranks.wait()
    with whole_weights(model):
        if ranks.first:
            with write_aside(folder / name) as aside:
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


def load_latest(folder: Path, identity: str, updater: Updater, ranks: Ranks) -> TrainingState | None:
    """Give the newest state back to the run.

    Args:
        folder: Folder of the states; it may not exist.
        identity: Digest of the present run.
        updater: Receives weights and optimiser's state.
        ranks: The processes.

    Returns:
        The state, or None when there is none.

    Raises:
        ValueError: The state was saved by a run with other settings, or by another number of processes.
    """
    states = _states(folder)
    if not states:
        return None
    newest = states[-1]
    state = TrainingState(**read_json(newest / POSITION))
    if state.identity != identity:
        raise ValueError(
            f"{newest}: saved by a run with other settings (identity {state.identity[:12]}, this run {identity[:12]}). "
            f"Remove {folder} to start afresh, or restore the settings to continue"
        )
    parts = ranks.count if updater.divided else 1
    if state.parts != parts:
        raise ValueError(
            f"{newest}: the optimiser's state is in {state.parts} parts, this run needs {parts}; "
            f"continue with {state.parts} processes and the same DeepSpeed settings, or remove {folder} to start afresh"
        )
    own = newest / MOMENTS if ranks.first or parts == 1 else folder / f"{newest.name}.part{ranks.rank}"
    updater.restore(load_file(newest / WEIGHTS), load_file(own))
    return state


def discard_states(folder: Path) -> None:
    """Remove all states, once the final weights stand."""
    if folder.exists():
        shutil.rmtree(folder)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step????????")) if folder.exists() else []
