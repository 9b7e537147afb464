"""Seconds spent in named spans of a step, and counts of what was done in them.

Outside `profile` nothing is measured, and the device is never waited for.
"""

import contextlib
import contextvars
import time
from collections.abc import Iterator

import torch

Seconds = dict[str, float]
Counts = dict[str, int]
_profile: contextvars.ContextVar[tuple[Seconds, Counts] | None] = contextvars.ContextVar("profile", default=None)


@contextlib.contextmanager
def profile(counts: Counts | None = None) -> Iterator[Seconds]:
    """Measure the spans inside the block.

    Args:
        counts: Receives what `count` counts inside the block, added to what is there.

    Yields:
        Name of the span -> its seconds, summed over all its passes. Complete when the block ends.

    Example:
        >>> counts = {}
        >>> with profile(counts) as seconds:
        ...     with span("sample"):
        ...         count("tokens", 12)
        >>> list(seconds), counts
        (['sample'], {'tokens': 12})
    """
    seconds: Seconds = {}
    token = _profile.set((seconds, {} if counts is None else counts))
    try:
        yield seconds
    finally:
        _profile.reset(token)


@contextlib.contextmanager
def span(name: str) -> Iterator[None]:
    """Name a part of a step. Spans are not nested."""
    current = _profile.get()
    if current is None:
        yield
        return
    (seconds, _), began = current, now()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + now() - began


def count(name: str, amount: int) -> None:
    """Add to a count of the current profile."""
    current = _profile.get()
    if current is not None:
        current[1][name] = current[1].get(name, 0) + amount


def now() -> float:
    """Time on the clock, after the device has finished its queued work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
