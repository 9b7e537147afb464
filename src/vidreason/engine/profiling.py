"""How long the phases of a step take, for whoever asks: nothing is measured, and nothing waits, unless somebody does."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

import torch

Seconds = dict[str, float]
_listening: contextvars.ContextVar[Seconds | None] = contextvars.ContextVar("phases", default=None)


@contextlib.contextmanager
def measured() -> Iterator[Seconds]:
    """Measure the phases that pass inside.

    Yields:
        Name of the phase -> seconds, of all its times together. Complete when the block ends.

    Example:
        >>> with measured() as seconds:
        ...     with phase("encode"):
        ...         pass
        >>> list(seconds)
        ['encode']
    """
    seconds: Seconds = {}
    token = _listening.set(seconds)
    try:
        yield seconds
    finally:
        _listening.reset(token)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Mark what happens inside as a phase of a step; phases do not contain each other."""
    seconds = _listening.get()
    if seconds is None:
        yield
        return
    began = _now()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + _now() - began


def _now() -> float:
    """Clock time once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
