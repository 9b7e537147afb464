"""A request to stop: the signal that a cluster sends before it ends a job, or its owner by `kill`.

A training that is asked finishes its step, saves its state and ends with an exit status of its own; the same command goes
on from there.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""SLURM sends SIGTERM at the end of the time, when a job is pre-empted and by `scancel`; SIGUSR1 is usual with `--signal`."""
EXIT_STATUS = 75
"""`EX_TEMPFAIL` of sysexits.h: a temporary failure, try again."""


class Stopped(SystemExit):
    """The run was asked to stop and its state is saved. Ends the process with `EXIT_STATUS`."""

    def __init__(self, told: str) -> None:
        """Say on stderr what happened."""
        print(told, file=sys.stderr, flush=True)
        super().__init__(EXIT_STATUS)


class Request:
    """Whether this process was asked to stop.

    Attributes:
        name: The first signal's name; empty as long as there was none.
    """

    name = ""

    def take(self, number: int, _: FrameType | None) -> None:
        """Remember a signal."""
        self.name = self.name or signal.Signals(number).name


@contextlib.contextmanager
def listening() -> Iterator[Request]:
    """Take note of `SIGNALS` instead of dying of them; afterwards they do what they did before.

    In another thread than the main one, which alone may do this, nothing changes.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.take) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
