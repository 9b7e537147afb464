"""Saved training states: weights, optimizer and step number, in safetensors and JSON, written aside and renamed."""

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
from vidreason.training.optimizer import Optimizer, Tensors, gathered_weights, trained_weights

Item = TypeVar("Item")
Origin = Mapping[str, Any]
"""What defines a training: its settings, inputs and code, as nested mappings."""
WEIGHTS, OPTIMIZER, POSITION = "weights.safetensors", "optimizer.safetensors", "state.json"
OWNER = "owner.lock"
"""Name of the file that a training locks in its folder of states."""
DAMAGED = ".damaged"
"""Suffix of a state that could not be read and no longer counts as one."""
DIGEST = "sha256"
"""Key of a file's digest. Without it flipped bits would be loaded as weights and numbers."""
MISSING = "nothing"
"""Placeholder of a missing key in `differences`."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """How far a training has come.

    Attributes:
        step: Number of finished steps.
        metrics: Rows of the metrics up to that step. A growing file beside the states could have lost some of them.
        origin: What defines the training, from `vidreason.artifacts.provenance.fingerprint`.
        parts: Number of processes that each hold a shard of the optimizer's state; 1 if the state is in one piece.
    """

    step: int
    metrics: str
    origin: Origin
    parts: int = 1


class Saver:
    """Saves states in the background.

    The training waits only until a state is copied into the host's memory; a thread writes it to `folder/step<number>`. One
    state is written at a time. With a sharded optimizer each process writes its shard as `step<number>.part<rank>`, and a
    state without all of its parts counts as damaged.

    Attributes:
        longest: Most seconds that writing a state has taken.
    """

    def __init__(
        self,
        folder: Path,
        model: torch.nn.Module,
        optimizer: Optimizer,
        ranks: Ranks,
        minutes: float = 0,
        keep: int = 2,
    ) -> None:
        """Start the clock.

        Args:
            folder: Folder of the states.
            model: Its trained weights are saved.
            optimizer: Its state is saved.
            ranks: The processes; all of them must save at the same steps.
            minutes: Minutes after which a state is overdue; 0 never.
            keep: Number of states kept; older ones are removed. With a sharded optimizer one more is kept, because some
                parts of the newest may still be unwritten.
        """
        self.folder, self.model, self.optimizer, self.ranks = folder, model, optimizer, ranks
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
        """Whether the main process's clock says that a state is due; False in all other processes."""
        return self.ranks.is_main and 0 < 60 * self.minutes <= time.monotonic() - self._began

    def save(self, state: TrainingState) -> None:
        """Copy a state and write it in the background; an error from writing the previous state is raised here."""
        self.finish()
        self._began = time.monotonic()
        sharded, is_main = self.optimizer.sharded, self.ranks.is_main
        optimizer = _copied(self.optimizer.state()) if sharded or is_main else {}
        with gathered_weights(self.model):
            weights = _copied(trained_weights(self.model)) if is_main else {}
        parts = self.ranks.count if sharded else 1
        self._writing = self._thread.submit(self._timed, dataclasses.replace(state, parts=parts), weights, optimizer)

    def finish(self) -> None:
        """Wait until all processes have written their part of the state.

        Raises:
            OSError: It could not be written.
        """
        if self._writing is not None:
            try:
                self._writing.result()
            except (OSError, SafetensorError) as error:
                raise OSError(
                    f"{self.folder}: a state could not be written ({error}). Free space there, or remove the cause; the same "
                    "command then resumes from the state before it"
                ) from error
            self._writing = None
            self.ranks.barrier()

    def _timed(self, state: TrainingState, weights: Tensors, optimizer: Tensors) -> None:
        began = time.monotonic()
        self._write(state, weights, optimizer)
        self.longest = max(self.longest, time.monotonic() - began)

    def _write(self, state: TrainingState, weights: Tensors, optimizer: Tensors) -> None:
        name = f"step{state.step:08d}"
        if not self.ranks.is_main:
            if optimizer:
                with write_aside(self.folder / f"{name}.part{self.ranks.rank}", durable=True) as aside:
                    write_tensors(optimizer, aside, state.step)
            return
        with write_aside(self.folder / name, durable=True) as aside:
            aside.mkdir(parents=True)
            write_tensors(weights, aside / WEIGHTS, state.step)
            write_tensors(optimizer, aside / OPTIMIZER, state.step)
            position = dataclasses.asdict(state)
            write_json(aside / POSITION, {"state": position, DIGEST: sha256_text(json.dumps(position))})
        for old in _states(self.folder)[: -self.keep - (1 if self.optimizer.sharded else 0)]:
            for path in (*self.folder.glob(f"{old.name}.part*"), old):
                remove(path)


def _copied(tensors: Tensors) -> Tensors:
    """Copies in the host's memory, which later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def load_latest(folder: Path, origin: Origin, optimizer: Optimizer, ranks: Ranks) -> TrainingState | None:
    """Restore the newest readable state; unreadable ones are reported on stderr and skipped.

    Args:
        folder: Folder of the states; it may not exist.
        origin: What defines the present training.
        optimizer: Receives the weights and its own state.
        ranks: The processes.

    Returns:
        The state, or None if there is none.

    Raises:
        ValueError: The state was saved by a training with other settings, or by another number of processes.
    """
    # The main process's listing counts: on a shared file system another process may not see every file yet.
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
        parts = ranks.count if optimizer.sharded else 1
        if state.parts != parts:
            raise ValueError(
                f"{path}: the optimizer's state is in {state.parts} parts, this run needs {parts}; continue with "
                f"{state.parts} processes and the same DeepSpeed settings, or remove {folder} to start afresh"
            )
        own = path / OPTIMIZER if ranks.is_main or parts == 1 else folder / f"{path.name}.part{ranks.rank}"
        read = functools.partial(_read_tensors, state.step, path / WEIGHTS, own)
        tensors = _unless_damaged(ranks, path, read)
        if tensors is not None:
            _set_aside_newer(folder, path.name, ranks)
            optimizer.restore(*tensors)
            return state
    _set_aside_newer(folder, "", ranks)
    return None


def _set_aside_newer(folder: Path, name: str, ranks: Ranks) -> None:
    """Rename the states newer than the one that a training resumes from, and remove unfinished files.

    Otherwise they would count as the newest, and parts that two attempts wrote for the same step could be mixed up. They are
    renamed, not removed, because the reason may have been a temporary fault of the file system.
    """
    if ranks.is_main and folder.exists():
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
    ranks.barrier()


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """The differences between two plain values, one line for each dotted key.

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
    content = read_json(path)
    if isinstance(content, dict) and "origin" in (content.get("state") or ()):
        position = content["state"]
        if (
            sha256_text(json.dumps(position)) == content.get(DIGEST)
            and f"step{position['step']:08d}" == path.parent.name
        ):
            return TrainingState(**position)
    elif isinstance(content, dict) and "step" in content:
        # Saved by an earlier version of this package, without an origin: `load_latest` refuses it as different.
        return TrainingState(content["step"], "", {})
    raise ValueError(f"{path.name} does not have its digest, or is another step's")


def write_tensors(tensors: Tensors, path: Path, step: int) -> None:
    """Write a step's tensors together with their digest, which is checked when they are read."""
    save_file(tensors, path, {DIGEST: _digest(tensors, step)})


def _read_tensors(step: int, *paths: Path) -> list[dict[str, torch.Tensor]]:
    files = []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            wanted = (file.metadata() or {}).get(DIGEST)
            files.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (it is no mapping)
        if _digest(files[-1], step) != wanted:
            raise ValueError(f"{path.name} does not have its digest, or is another step's")
    return files


def _digest(tensors: Tensors, step: int) -> str:
    """Digest of a step's names, types, shapes and contents; their order does not matter."""

    def parts() -> Iterator[bytes | memoryview]:
        yield f"step {step}".encode()
        for name, tensor in sorted(tensors.items()):
            yield f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
            yield tensor.reshape(-1).view(torch.uint8).numpy().data

    return sha256_parts(parts())


def _unless_damaged(ranks: Ranks, state: Path, read: Callable[[], Item]) -> Item | None:
    """The content of a state's files; None in all processes if one of them finds its file missing or damaged."""
    content = None
    try:
        content = read()
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        print(f"{state} cannot be read and is passed over: {error}", file=sys.stderr, flush=True)
    return content if all(ranks.gather(content is not None)) else None


@contextlib.contextmanager
def exclusive(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Lock a folder of states against other trainings, if its file system supports locks.

    Args:
        folder: Folder of the states; created if necessary.
        ranks: The processes; the main one holds the lock.

    Raises:
        BlockingIOError: Another training holds it, for example one that outlived its killed Snakemake.
    """
    if not ranks.is_main:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.exclusive(folder / OWNER))
        except LockedError as error:
            raise BlockingIOError(
                f"{folder}: {error.holder or 'another training'} writes there. Wait until it ends, or end it; "
                "the same command then resumes"
            ) from error
        yield


def discard_states(folder: Path) -> None:
    """Remove all states; called once the final weights are written."""
    remove(folder)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step????????")) if folder.exists() else []
