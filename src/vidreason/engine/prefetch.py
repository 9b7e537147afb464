"""Prefetching in worker processes while the main process computes.

The workers are forked (`torch.utils.data.DataLoader`). A fork starts in milliseconds; a spawned process would import for
seconds and run the calling script again. A fork must not inherit open files, CUDA tensors or held locks, so `load` opens its
files at its first call.

Workers help where computing waits for reading. At 384 pixels, 16 frames take 13 ms to read and check, which one worker hides
on a GPU machine: 60 clips waited 0.5 s, mostly for the start, instead of 2.1 s. At the demo's 32 pixels they take 1 ms, under 2%
of the time of an answer on the CPU, and a worker would take a core from the computation: there, use none.
"""

import contextlib
import copy
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
AHEAD = 2
"""Items that each worker prepares beyond the one in use."""


class WorkerLostError(RuntimeError):
    """A worker process was killed."""


@contextlib.contextmanager
def prefetch(
    items: Sequence[Item], load: Callable[[Item], Loaded], workers: int
) -> Iterator[Iterator[tuple[Item, Loaded]]]:
    """Load items in worker processes, a few ahead of the one in use.

    The order of the items does not depend on the number of workers, and the global random state does not change.

    Args:
        items: What to load, in order.
        load: Called with an item in a worker. Open files inside it, and return tensors on the CPU (they are passed in shared
            memory), numbers or texts.
        workers: Number of processes; 0 loads in this process, when the item is needed.

    Yields:
        An iterator over pairs (item, result of `load`). The workers end with the block.

    Raises:
        ValueError: A negative number of workers.
        WorkerLostError: A worker was killed, most likely for its memory.
        Exception: An exception of `load`, raised at its item with the same type and message, and with the worker's traceback as
            a note.

    Example:
        >>> with prefetch(["a", "b"], str.upper, workers=0) as loaded:
        ...     list(loaded)
        [('a', 'A'), ('b', 'B')]
    """
    if workers < 0:
        raise ValueError(f"workers is {workers}; allowed: 0 (load in this process) or more")
    workers = min(workers, len(items))
    if not workers:
        yield ((item, load(item)) for item in items)
        return
    loader: DataLoader[Any] = DataLoader(
        _Loads(items, load),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_identity,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # the default would draw from the global one
    )
    pairs = _in_order(items, iter(loader))
    try:
        yield pairs
    except RuntimeError as error:
        # DataLoader raises at any moment, also while the caller computes.
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerLostError(
            f"a worker that loads ahead was lost ({str(error).strip()}). Most likely memory ran out, or /dev/shm, through "
            f"which items are passed, is too small: {workers} workers hold up to {workers * AHEAD} items. Give the job "
            f"more memory, or its rule fewer threads"
        ) from error
    finally:
        pairs.close()  # the last reference to the loader, so its workers end here


class _Loads(Dataset[Any]):
    """A data set that loads an item when it is accessed."""

    def __init__(self, items: Sequence[Any], load: Callable[[Any], Any]) -> None:
        self.items, self.load = items, load

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.load(self.items[number])
        except Exception as error:
            return _Failed(error)


class _Failed:
    """An exception that is returned from a worker, because DataLoader would change its message."""

    def __init__(self, error: Exception) -> None:
        error.add_note("Raised in a worker that loads ahead:\n" + "".join(traceback.format_exception(error)))
        if not _can_be_pickled(error):
            plain = RuntimeError(f"{type(error).__name__}: {error}")
            plain.__notes__ = error.__notes__
            error = plain
        self.error = error


def _can_be_pickled(error: Exception) -> bool:
    """Whether an exception holds only plain values and can be rebuilt from its arguments."""
    values = [*error.args, *(value for name, value in vars(error).items() if name != "__notes__")]
    if not all(isinstance(value, str | int | float | None) for value in values):
        return False
    try:
        copy.copy(error)
    except TypeError:
        return False
    return True


def _identity(loaded: Any) -> Any:
    return loaded


def _in_order(items: Sequence[Item], loader: Iterator[Any]) -> Generator[tuple[Item, Any]]:
    """Pair items with the loader's results, and raise the exceptions of workers."""
    for item, loaded in zip(items, loader, strict=True):
        if isinstance(loaded, _Failed):
            raise loaded.error
        yield item, loaded
