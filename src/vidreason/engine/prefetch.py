"""Loading ahead in worker processes, while the main process computes.

The workers are forks (`torch.utils.data.DataLoader`): a fork starts in milliseconds where a fresh process imports for
seconds, and a fresh process would run the script that started it once more. What a fork must not inherit in use is a
file, a CUDA tensor or a lock, so `load` opens what it reads when it is first called, not before.

Worth it where computing waits for reading: 16 frames take 13 ms to read and check at 384 pixels, which one worker hides
beside a GPU (2.1 s of waiting for 60 clips became 0.5 s, most of it the start). At the demo's 32 pixels they take 1 ms, under
2% of what answering on a CPU takes, and a worker only takes a core from it: none is right there.
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
"""Items that each worker has ready or under way, beyond the one that is used."""


class WorkerLostError(RuntimeError):
    """A worker process was killed."""


@contextlib.contextmanager
def prefetch(
    items: Sequence[Item], load: Callable[[Item], Loaded], workers: int
) -> Iterator[Iterator[tuple[Item, Loaded]]]:
    """Load items in worker processes, a few ahead of the one in use.

    The order, and so every result, is the same for any number of workers; the global random state is not touched.

    Args:
        items: What to load, in order.
        load: Called with an item in a worker. Open files inside, and return tensors on the CPU (they travel in shared
            memory), numbers or texts.
        workers: Processes; 0 loads in this process, when an item is asked for.

    Yields:
        An iterator over pairs (item, what `load` returned). The workers end with the block.

    Raises:
        ValueError: A negative number of workers.
        WorkerLostError: A worker was killed, for its memory most likely.
        Exception: Whatever `load` raised, when its item's turn comes: the same type and message, with the worker's
            traceback as a note.

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
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # or it would draw from the global one
    )
    pairs = _in_order(items, iter(loader))
    try:
        yield pairs
    except RuntimeError as error:
        # DataLoader notices at any moment, also while the caller computes.
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorkerLostError(
            f"a process that loads ahead was lost ({str(error).strip()}). Most likely memory ran out, or /dev/shm, through "
            f"which what is loaded travels, is too small: {workers} workers hold up to {workers * AHEAD} items. Give the job "
            f"more memory, or its rule fewer threads"
        ) from error
    finally:
        pairs.close()  # nothing else holds the loader, so its workers end here


class _Loads(Dataset[Any]):
    """Items that are loaded when they are looked up."""

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
    """An error on its way out of a worker: DataLoader itself would change its message."""

    def __init__(self, error: Exception) -> None:
        error.add_note("Raised in a process that loads ahead:\n" + "".join(traceback.format_exception(error)))
        if not _can_travel(error):
            told = RuntimeError(f"{type(error).__name__}: {error}")
            told.__notes__ = error.__notes__
            error = told
        self.error = error


def _can_travel(error: Exception) -> bool:
    """Whether an error holds nothing but plain values, and can be built again from what it was made with."""
    carried = [*error.args, *(value for name, value in vars(error).items() if name != "__notes__")]
    if not all(isinstance(value, str | int | float | None) for value in carried):
        return False
    try:
        copy.copy(error)
    except TypeError:
        return False
    return True


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _in_order(items: Sequence[Item], loader: Iterator[Any]) -> Generator[tuple[Item, Any]]:
    """Pair what comes out of the loader with the items, and raise what was raised in a worker."""
    for item, loaded in zip(items, loader, strict=True):
        if isinstance(loaded, _Failed):
            raise loaded.error
        yield item, loaded
