"""Errors of a full disk, turned into a message that names the file and what to do."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded", "os error 28)", "os error 122)")
"""Words of the system that libraries repeat in errors of their own."""


class DiskFullError(OSError):
    """A file could not be written because the disk or a quota is full.

    Attributes:
        words: The cause and what to do, without the file's name.
    """

    def __init__(self, target: str | Path, words: str) -> None:
        super().__init__(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {target}: {words}")
        self.words = words


@contextlib.contextmanager
def explain_full_disk(target: str | Path) -> Iterator[None]:
    """Turn errors of a full disk or quota into one that names the file.

    Raises:
        DiskFullError: The disk or a quota is full.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not _is_full(error):
            raise
        words = (
            f"the disk is full ({_free(Path(target))}), or a quota is used up. Make room there, or let the folder be a link to "
            "a larger disk, and run again: what is complete is kept"
        )
        raise DiskFullError(target, words) from error


def _is_full(error: BaseException) -> bool:
    """Whether an error, or one of its causes, means a full disk or quota."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in FULL or any(words in str(cause) for words in _WORDS):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _free(path: Path) -> str:
    """Free bytes on the disk of a path."""
    folder = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    return f"{shutil.disk_usage(folder).free:,} bytes are free in {folder}"
