"""Locks on files, so that two processes do not write the same thing.

A lock ends with the process that holds it, however that process ends, so no lock is ever left over. Some network file
systems have no locks; files are not locked there.
"""

import contextlib
import fcntl
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class LockedError(BlockingIOError):
    """Another process holds the lock.

    Attributes:
        holder: What the holder wrote into the file; empty where it wrote nothing.
    """

    def __init__(self, path: str | Path, holder: str = "") -> None:
        super().__init__(f"{path}: locked by {holder or 'another process'}")
        self.holder = holder


def lock_file(file: IO[bytes] | IO[str] | int, path: str | Path, by_process: bool = False) -> None:
    """Lock an open file without waiting for it.

    Args:
        file: The file, open for writing, or its descriptor.
        path: Its path, for messages.
        by_process: Lock for this process alone. By default the lock belongs to the open file, so a child or a program that
            inherits the file holds the lock too.

    Raises:
        LockedError: Another process has it.
    """
    lock = fcntl.lockf if by_process else fcntl.flock
    try:
        lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise LockedError(path) from error
    except OSError as error:
        print(f"{path}: cannot be locked here ({error})", file=sys.stderr, flush=True)


@contextlib.contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Hold the lock of a file that says who holds it.

    Args:
        path: The file; made, with its folder, where it does not exist.

    Raises:
        LockedError: Another process has it; `holder` names that process and its machine.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            lock_file(stream, path)
        except LockedError as error:
            stream.seek(0)
            raise LockedError(path, stream.read().strip()) from error
        stream.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=stream, flush=True)
        yield
