"""Saved training states: weights, optimiser and position, in safetensors and JSON, written aside and renamed."""

import dataclasses
import shutil
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
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


def load_latest(folder: Path, identity: str, updater: Updater, ranks: Ranks) -> TrainingState | None:
    """Give the newest state that can be read back to the run; one that cannot is told of and passed over.

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
    for newest in reversed(_states(folder)):
        found = _read_state(newest, folder, updater, ranks)
        if all(ranks.gather(found is not None)) and found is not None:
            break
    else:
        return None
    state, weights, moments = found
    if state.identity != identity:
        raise ValueError(
            f"{newest}: saved by a run with other settings, inputs or code (identity {state.identity[:12]}, this run "
            f"{identity[:12]}). Remove {folder} to start afresh, or restore what was changed to continue"
        )
    parts = ranks.count if updater.divided else 1
    if state.parts != parts:
        raise ValueError(
            f"{newest}: the optimiser's state is in {state.parts} parts, this run needs {parts}; "
            f"continue with {state.parts} processes and the same DeepSpeed settings, or remove {folder} to start afresh"
        )
    updater.restore(weights, moments)
    return state


def _read_state(
    path: Path, folder: Path, updater: Updater, ranks: Ranks
) -> tuple[TrainingState, dict[str, torch.Tensor], dict[str, torch.Tensor]] | None:
    """Position, weights and this process's part of the optimiser's state; None where a file is missing or damaged."""
    own = folder / f"{path.name}.part{ranks.rank}" if updater.divided and not ranks.first else path / MOMENTS
    try:
        state = TrainingState(**read_json(path / POSITION))
        divided = not updater.divided and state.parts > 1  # refused by the caller, without a part of its own
        return state, load_file(path / WEIGHTS), {} if divided else load_file(own)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        print(f"{path} cannot be read and is passed over: {error}", file=sys.stderr, flush=True)
        return None


def discard_states(folder: Path) -> None:
    """Remove all states, once the final weights stand."""
    if folder.exists():
        shutil.rmtree(folder)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step????????")) if folder.exists() else []
