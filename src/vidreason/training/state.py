"""Saved training states: weights, optimiser and position, in safetensors and JSON, written aside and renamed."""

import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidreason.artifacts import locks
from vidreason.artifacts.digests import sha256_parts, sha256_text
from vidreason.artifacts.files import read_json, remove, write_aside, write_json
from vidreason.artifacts.locks import LockedError
from vidreason.training.distributed import Ranks
from vidreason.training.optimizer import Tensors, Updater, trained_weights, whole_weights

Item = TypeVar("Item")
WEIGHTS, MOMENTS, POSITION = "weights.safetensors", "optimizer.safetensors", "state.json"
OWNER = "owner.lock"
"""Name of the file that a training locks in its folder of states."""
DAMAGED = ".damaged"
"""Ending of a state that could not be read and is no longer taken for one."""
DIGEST = "sha256"
"""Key of a file's digest. The formats themselves would give flipped bits back as weights and numbers."""
MISSING = "nothing"
"""Stands in `differences` for a key that is not there."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Where a run stands.

    Attributes:
        step: Number of finished steps.
        metrics: The metrics' rows up to that step, which a growing file beside the states could not be trusted for.
        origin: What defines the run, as `vidreason.artifacts.provenance.fingerprint` gives it.
        parts: Number of processes that each hold a part of the optimiser's state; 1 where it is in one piece.
    """

    step: int
    metrics: str
    origin: Mapping[str, Any]
    parts: int = 1


class Saver:
    """Saves the states of a run beside its training.

    A state is copied into the host's memory, which is all that the training waits for; a thread writes it to
    `folder/step<number>`. One state is written at a time. Where the optimiser's state is divided, each process writes its
    part as `step<number>.part<rank>`, and a state without all of its parts counts as damaged.

    Attributes:
        longest: Most seconds that writing a state has taken.
    """

    def __init__(
        self, folder: Path, model: torch.nn.Module, updater: Updater, ranks: Ranks, minutes: float = 0, keep: int = 2
    ) -> None:
        """Begin the count of minutes.

        Args:
            folder: Folder of the states.
            model: Its trained weights are saved.
            updater: Its optimiser's state is saved.
            ranks: The processes; all of them have to save at the same steps.
            minutes: A state is overdue after so many; 0 never.
            keep: Number of states kept, and one more where the optimiser's state is divided: the parts of the newest may not
                all be there yet. Older ones are removed.
        """
        self.folder, self.model, self.updater, self.ranks = folder, model, updater, ranks
        self.minutes, self.keep = minutes, keep
        self.longest = 0.0
        self._began = time.monotonic()
        self._thread = ThreadPoolExecutor(1, "saver")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        if self._writing is not None and (error := self._writing.exception()):
            print(f"{self.folder}: the last state could not be written: {error}", file=sys.stderr, flush=True)

    @property
    def overdue(self) -> bool:
        """Whether it is time for a state by the first process's clock; the others have to be told."""
        return self.ranks.first and 0 < 60 * self.minutes <= time.monotonic() - self._began

    def save(self, state: TrainingState) -> None:
        """Copy a state and have it written; what the last one met is raised here."""
        self.finish()
        self._began = time.monotonic()
        divided, first = self.updater.divided, self.ranks.first
        moments = _copied(self.updater.moments()) if divided or first else {}
        with whole_weights(self.model):
            weights = _copied(trained_weights(self.model)) if first else {}
        parts = self.ranks.count if divided else 1
        self._writing = self._thread.submit(self._timed, dataclasses.replace(state, parts=parts), weights, moments)

    def finish(self) -> None:
        """Wait until the state that is being written is whole, in all processes.

        Raises:
            OSError: It could not be written.
        """
        if self._writing is not None:
            try:
                self._writing.result()
            except (OSError, SafetensorError) as error:
                raise OSError(
                    f"{self.folder}: a state could not be written ({error}). Make room there, or mend what is wrong; the same "
                    "command goes on from the state before it"
                ) from error
            self._writing = None
            self.ranks.wait()

    def _timed(self, state: TrainingState, weights: Tensors, moments: Tensors) -> None:
        began = time.monotonic()
        self._write(state, weights, moments)
        self.longest = max(self.longest, time.monotonic() - began)

    def _write(self, state: TrainingState, weights: Tensors, moments: Tensors) -> None:
        name = f"step{state.step:08d}"
        if not self.ranks.first:
            if moments:
                with write_aside(self.folder / f"{name}.part{self.ranks.rank}", durable=True) as aside:
                    write_tensors(moments, aside, state.step)
            return
        with write_aside(self.folder / name, durable=True) as aside:
            aside.mkdir(parents=True)
            write_tensors(weights, aside / WEIGHTS, state.step)
            write_tensors(moments, aside / MOMENTS, state.step)
            told = dataclasses.asdict(state)
            write_json(aside / POSITION, {"state": told, DIGEST: sha256_text(json.dumps(told))})
        for old in _states(self.folder)[: -self.keep - (1 if self.updater.divided else 0)]:
            for path in (*self.folder.glob(f"{old.name}.part*"), old):
                remove(path)


def _copied(tensors: Tensors) -> Tensors:
    """Copies in the host's memory, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


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
    # What one process sees in a shared folder another may not see yet.
    for name in ranks.gather([path.name for path in reversed(_states(folder))])[0]:
        path = folder / name
        state = _unless_damaged(ranks, path, functools.partial(_read_position, path / POSITION))
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
        read = functools.partial(_read_tensors, state.step, path / WEIGHTS, own)
        tensors = _unless_damaged(ranks, path, read)
        if tensors is not None:
            _set_aside_newer(folder, path.name, ranks)
            updater.restore(*tensors)
            return state
    _set_aside_newer(folder, "", ranks)
    return None


def _set_aside_newer(folder: Path, name: str, ranks: Ranks) -> None:
    """Put aside the states later than the one that a run goes on from, and remove what is unfinished.

    Left where they are, they would count as the newest, and the parts that two attempts have written of one step could be
    taken for one state. They are renamed and not removed: what could not be read may have been a file system's bad hour.
    """
    if ranks.first and folder.exists():
        states = {path.name for path in _states(folder)}
        for path in (*folder.glob("step*"), *folder.glob(".*.tmp")):
            step = path.name.split(".")[0]
            if path.name.endswith(DAMAGED) or (not path.name.startswith(".") and step <= name):
                continue
            if step in states:
                remove(path.with_name(path.name + DAMAGED))
                path.rename(path.with_name(path.name + DAMAGED))
            else:
                remove(path)
    ranks.wait()


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
    found = read_json(path)
    if isinstance(found, dict) and "origin" in (found.get("state") or ()):
        told = found["state"]
        if sha256_text(json.dumps(told)) == found.get(DIGEST) and f"step{told['step']:08d}" == path.parent.name:
            return TrainingState(**told)
    elif isinstance(found, dict) and "step" in found:
        # Saved by an earlier version of this package: refused, for what its origin does not say.
        return TrainingState(found["step"], "", {})
    raise ValueError(f"{path.name} does not have its digest, or is another step's")


def write_tensors(tensors: Tensors, path: Path, step: int) -> None:
    """Write a step's tensors with the digest that they are checked against when they are read."""
    save_file(tensors, path, {DIGEST: _digest(tensors, step)})


def _read_tensors(step: int, *paths: Path) -> list[dict[str, torch.Tensor]]:
    found = []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            wanted = (file.metadata() or {}).get(DIGEST)
            found.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (it is no mapping)
        if _digest(found[-1], step) != wanted:
            raise ValueError(f"{path.name} does not have its digest, or is another step's")
    return found


def _digest(tensors: Tensors, step: int) -> str:
    """Digest of a step's names, types, shapes and contents, whatever their order."""

    def parts() -> Iterator[bytes | memoryview]:
        yield f"step {step}".encode()
        for name, tensor in sorted(tensors.items()):
            yield f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
            yield tensor.reshape(-1).view(torch.uint8).numpy().data

    return sha256_parts(parts())


def _unless_damaged(ranks: Ranks, state: Path, read: Callable[[], Item]) -> Item | None:
    """What files of a state hold; None where any of the processes finds its own missing or damaged."""
    found = None
    try:
        found = read()
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        print(f"{state} cannot be read and is passed over: {error}", file=sys.stderr, flush=True)
    return found if all(ranks.gather(found is not None)) else None


@contextlib.contextmanager
def exclusive(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other trainings away from a folder of states, as far as its file system has locks.

    Args:
        folder: Folder of the states; made where it is not there.
        ranks: The processes, of which the first holds the lock.

    Raises:
        BlockingIOError: Another training has it, such as one that outlived its killed Snakemake.
    """
    if not ranks.first:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.exclusive(folder / OWNER))
        except LockedError as error:
            raise BlockingIOError(
                f"{folder}: {error.holder or 'another training'} writes there. Wait until it is through, or end it; "
                "then the same command goes on"
            ) from error
        yield


def discard_states(folder: Path) -> None:
    """Remove all states, once the final weights stand."""
    remove(folder)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step????????")) if folder.exists() else []
