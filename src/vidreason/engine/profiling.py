"""Seconds spent in named spans of a step. Outside `profile` nothing is measured and the device is never waited for."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

import torch

Seconds = dict[str, float]
_profile: contextvars.ContextVar[Seconds | None] = contextvars.ContextVar("profile", default=None)


@contextlib.contextmanager
def profile() -> Iterator[Seconds]:
    """Measure the spans inside the block.

    Yields:
        Name of the span -> its seconds, summed over all its passes. Complete when the block ends.

    Example:
        >>> with profile() as seconds:
        ...     with span("encode"):
        ...         pass
        >>> list(seconds)
        ['encode']
    """
    seconds: Seconds = {}
    token = _profile.set(seconds)
    try:
        yield seconds
    finally:
        _profile.reset(token)


@contextlib.contextmanager
def span(name: str) -> Iterator[None]:
    """Name a part of a step. Spans are not nested."""
    seconds = _profile.get()
    if seconds is None:
        yield
        return
    began = _now()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + _now() - began


def _now() -> float:
    """Time on the clock, after the device has finished its queued work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
