"""A request to stop: the signal that a cluster sends before it ends a job, or its owner by `kill`, and the end of its time.

A training that is asked finishes its step, saves its state and ends with an exit status of its own; the same command goes
on from there.

SLURM's signals reach a training only where the site has them sent to whole trees of processes (docs/cluster.md). The end of a
job's time is known beforehand, so a training sees to it by itself.
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
"""SLURM sends SIGTERM at the end of the time, when a job is pre-empted and by `scancel`; SIGUSR1 is usual with `--signal`."""
SPARE = 60.0
"""Seconds of a job's time that are left besides what a step and writing the state have taken before."""
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
        reason: The first signal's name, or that time is nearly over; empty as long as there was none.
        end: When the job's time is over, by `time.monotonic`; infinity where there is no limit.
    """

    def __init__(self, end: float) -> None:
        self.reason = ""
        self.end = end

    def take(self, number: int, _: FrameType | None) -> None:
        """Remember a signal."""
        self.reason = self.reason or signal.Signals(number).name

    def look(self, step: float, writing: float = 0) -> bool:
        """Whether to stop now: for another step, twice its seconds, those of writing a state and `SPARE` must be left."""
        if not self.reason and self.end - time.monotonic() < 2 * step + writing + SPARE:
            self.reason = "the time of its job is nearly over"
        return bool(self.reason)


def seconds_left() -> float:
    """Seconds that SLURM gives this job from now on; infinity outside of SLURM, without a limit, or where it does not say."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job or shutil.which("squeue") is None:
        return float("inf")
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        print(f"SLURM does not say how much time is left: {error}", file=sys.stderr, flush=True)
        return float("inf")
    return parse_duration(told)


def parse_duration(text: str) -> float:
    """Seconds of a duration as SLURM writes it; infinity for what is none.

    Example:
        >>> parse_duration("1-02:03:04"), parse_duration("2:03:04"), parse_duration("03:04"), parse_duration("UNLIMITED")
        (93784.0, 7384.0, 184.0, inf)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not found:
        return float("inf")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@contextlib.contextmanager
def listening() -> Iterator[Request]:
    """Take note of `SIGNALS` instead of dying of them; afterwards they do what they did before.

    In another thread than the main one, which alone may do this, no signal is noted.
    """
    request = Request(time.monotonic() + seconds_left())
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.take) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
