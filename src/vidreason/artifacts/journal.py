"""Append-only journal of a shard's finished batches, so that a killed job resumes with the next batch.

The first line says what the answers belong to. Every finished batch adds one line, a digest and JSON, which is on the disk before
the next batch begins. So a kill can tear the last line only. A line that is torn, or that does not match its digest, is dropped
with all lines after it, and their batches are answered again.

A journal is named by the digest of its job. A journal of other settings, inputs or code stays where it is and is not used, so
answers never mix and nothing has to be removed by hand. It is used again if the change is undone before the shard is finished.
(A saved training state of other settings stops the training instead, because starting over could lose weeks.)
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidreason.artifacts.digests import sha256_bytes, sha256_text
from vidreason.artifacts.disk import explain_full_disk
from vidreason.artifacts.files import json_line
from vidreason.artifacts.locks import LockedError, lock_file

FORMAT = 2
DIGITS = 16
"""Length of a line's digest, in hexadecimal digits of SHA-256."""


class JournalInUseError(RuntimeError):
    """Another process is answering this shard."""


class Journal:
    """The journal of one shard, open for writing.

    Attributes:
        path: The file, `<identity>.jsonl` in the folder.
        entries: Entries read from the file and appended since, in order.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with Journal(folder, "0123") as journal:
        ...     journal.append({"batch": 0})
        >>> with Journal(folder, "0123") as journal:
        ...     journal.entries
        [{'batch': 0}]
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        """Open the journal of an identity; make it if it is not there.

        Dropped lines, and journals of other jobs, are reported on stderr.

        Args:
            folder: Folder of the shard's journals, made if needed.
            identity: Digest of everything that decides the answers, as `vidreason.artifacts.provenance.digest` gives it.

        Raises:
            JournalInUseError: Another process has it open.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{identity[:16]}.jsonl"
        self.entries: list[dict[str, Any]] = []
        self._head = {"journal": FORMAT, "identity": identity}
        self._stream = self.path.open("ab+")
        try:
            self._lock()
            self._read()
            self._report_others()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry and wait until it is on the disk."""
        self._write(entry)
        self.entries.append(dict(entry))

    def _write(self, line: Mapping[str, Any]) -> None:
        text = json_line(line)
        with explain_full_disk(self.path):
            self._stream.write(f"{sha256_text(text)[:DIGITS]} {text}".encode())
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def _lock(self) -> None:
        """Keep other processes out. The lock is the process's: workers that read frames ahead may outlive it by seconds."""
        try:
            lock_file(self._stream, self.path, by_process=True)
        except LockedError as error:
            raise JournalInUseError(
                f"{self.path}: another process is writing it, so the same answers are being made twice. Is a job of an "
                f"earlier run still alive? Wait for it or end it, then start again"
            ) from error

    def _read(self) -> None:
        """Read the complete lines, truncate the file after them, and write the first line of a new journal."""
        self._stream.seek(0)
        content = self._stream.read()
        lines: list[dict[str, Any]] = []
        kept = 0
        for line in content.splitlines(keepends=True):  # JSON has no line ends but these
            entry = _parsed(line)
            if entry is None or (not lines and entry != self._head):
                break
            lines.append(entry)
            kept += len(line)
        if kept < len(content):
            lost = content[kept:].count(b"\n") + (not content.endswith(b"\n"))
            print(
                f"{self.path}: {lost} lines from line {len(lines) + 1} on are torn or damaged; they are dropped and the "
                f"batches are answered again",
                file=sys.stderr,
                flush=True,
            )
            self._stream.truncate(kept)
        if not lines:
            self._write(self._head)
            _sync_folder(self.path.parent)
        self.entries = lines[1:]

    def _report_others(self) -> None:
        """Report the journals of this shard that are not used."""
        for other in sorted(self.path.parent.glob("*.jsonl")):
            if other != self.path and other.is_file():
                done = max(0, other.read_bytes().count(b"\n") - 1)
                print(
                    f"{other}: {done} batches were answered under other settings, inputs or code. They are set aside: "
                    f"{self.path.name} has {len(self.entries)}. Take the change back to go on from them; they are removed "
                    f"when this shard is done",
                    file=sys.stderr,
                    flush=True,
                )


def discard_journals(folder: str | Path) -> None:
    """Remove all journals of a shard whose results are complete."""
    shutil.rmtree(folder, ignore_errors=True)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None if the line is torn, was changed, or holds no object."""
    digest, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or sha256_bytes(text)[:DIGITS].encode() != digest:
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _sync_folder(folder: Path) -> None:
    """Wait until a new file's name is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
