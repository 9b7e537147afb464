"""When a training should stop early: after a signal, or shortly before its job's time is over.

A cluster sends a signal before it ends a job; a user sends one with `kill`. A training that is told to stop finishes its
step, saves its state and exits with a status of its own. Running the same command again resumes from that state.

SLURM's signals reach a training only where the site sends them to whole process trees (docs/cluster.md). The end of a job's
time is known beforehand, so the training also watches the clock.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""SLURM sends SIGTERM when the time is over, when a job is pre-empted and for `scancel`; SIGUSR1 is usual with `--signal`."""
SAFETY_MARGIN = 60.0
"""Seconds of a job's time kept free, in addition to what a step and writing a state have taken so far."""
EXIT_STATUS = 75
"""`EX_TEMPFAIL` of sysexits.h: a temporary failure, try again."""


class Stopped(SystemExit):
    """The training was told to stop and its state is saved. Ends the process with `EXIT_STATUS`."""

    def __init__(self, message: str) -> None:
        """Print the message on stderr."""
        print(message, file=sys.stderr, flush=True)
        super().__init__(EXIT_STATUS)


class StopSignal:
    """Whether this process should stop.

    Attributes:
        reason: Name of the first signal, or that time is nearly over; empty while there is no reason.
        end: When the job's time is over, by `time.monotonic`; infinity without a limit.
    """

    def __init__(self, end: float) -> None:
        self.reason = ""
        self.end = end

    def receive(self, number: int, _: FrameType | None) -> None:
        """Remember a signal; this is the handler that `signal.signal` installs."""
        self.reason = self.reason or signal.Signals(number).name

    def should_stop(self, step: float, writing: float = 0) -> bool:
        """Whether to stop before another step.

        True after a signal, or when less time is left than two steps, one state and `SAFETY_MARGIN`.

        Args:
            step: Seconds of the longest step so far.
            writing: Seconds that writing a state has taken at most.
        """
        if not self.reason and self.end - time.monotonic() < 2 * step + writing + SAFETY_MARGIN:
            self.reason = "the time of its job is nearly over"
        return bool(self.reason)


def seconds_left() -> float:
    """Seconds left of this SLURM job; infinity outside of SLURM, without a limit, or where `squeue` fails."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job or shutil.which("squeue") is None:
        return float("inf")
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"SLURM does not say how much time is left: {error}", file=sys.stderr, flush=True)
        return float("inf")
    return parse_duration(answer)


def parse_duration(text: str) -> float:
    """Seconds of a duration in SLURM's notation; infinity for any other text.

    Example:
        >>> parse_duration("1-02:03:04"), parse_duration("2:03:04"), parse_duration("03:04"), parse_duration("UNLIMITED")
        (93784.0, 7384.0, 184.0, inf)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return float("inf")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Record `SIGNALS` instead of being ended by them; the previous handlers return afterwards.

    Python allows signal handlers in the main thread only. In any other thread just the clock is watched.
    """
    stop = StopSignal(time.monotonic() + seconds_left())
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
