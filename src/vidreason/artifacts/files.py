"""Writing files so that a reader sees the old file, the new file or no file, never a part of one; and reading them.

Every writer of the project goes through `write_aside`: it writes the bytes next to the target under a temporary name and
renames them at the end. Every reader checks first that a result has not been changed since it was made
(`vidreason.artifacts.integrity`).
"""

import contextlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vidreason.artifacts import strict_json
from vidreason.artifacts.digests import sha256_bytes, sha256_text
from vidreason.artifacts.disk import explain_full_disk
from vidreason.artifacts.integrity import check_unchanged, sidecar_of
from vidreason.artifacts.path_checks import is_there
from vidreason.artifacts.typed_records import record_of, row_of

Record = TypeVar("Record")


@contextlib.contextmanager
def write_aside(target: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block succeeds.

    The block may create a file or a folder at the yielded path. On an error that is removed and `target` stays as it was. The
    temporary name depends on target, machine and process, so two writers never share one. Its length is fixed.

    Args:
        target: The file or folder to write. Parents are created.
        durable: Wait until the bytes are on the disk before the rename, so that a power cut leaves no empty file.

    Yields:
        The path to write to.

    Raises:
        DiskFullError: The disk is full; the message names the target.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a" / "b.txt"
        >>> with write_aside(target) as path:
        ...     _ = path.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(target)
    name = sha256_bytes(os.fsencode(target.name))[:12]
    aside = target.with_name(f".{name}-{_machine()}-{os.getpid():010d}.tmp")
    with explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(aside)
        try:
            yield aside
            if durable:
                _sync(aside)
            if is_there(sidecar_of(target)):  # it describes the file that is replaced
                sidecar_of(target).unlink()
            if aside.is_dir():
                remove(target)
            aside.replace(target)
        finally:
            remove(aside)


def _machine() -> str:
    """Eight hexadecimal digits that stand for this machine's name."""
    return sha256_text(platform.node())[:8]


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove temporary files below a folder whose writers, on this machine, were killed.

    Files of running processes stay, and so do those of other machines, whose processes cannot be checked.

    Returns:
        The paths that were removed.
    """
    own = re.compile(rf"\.[0-9a-f]{{12}}-{_machine()}-(\d{{10}})\.tmp")
    removed = []
    for path in Path(folder).rglob(".*.tmp"):
        match = own.fullmatch(path.name)
        if match and not _alive(int(match.group(1))):
            remove(path)
            removed.append(path)
    return removed


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _sync(path: Path) -> None:
    """Wait until a file, or all files of a folder, are on the disk."""
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file. Where the file system can, both copies share their blocks until one is changed."""
    with source.open("rb") as original, target.open("wb") as copy, contextlib.suppress(OSError, AttributeError):
        while os.copy_file_range(original.fileno(), copy.fileno(), 2**30):
            pass
    if target.stat().st_size != source.stat().st_size:  # two file systems, or a system without this call
        shutil.copyfile(source, target)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def read_text(path: str | Path) -> str:
    """Read a text that `write_text` wrote; raises as `check_unchanged` does."""
    check_unchanged(path)
    return Path(path).read_text(encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises:
        ChangedError: The file was changed after it was made.
        ValueError: The file is not JSON, or an object has a key twice; the message names the file and the place.
    """
    check_unchanged(path)
    return strict_json.read(path)


def write_jsonl(path: str | Path, records: Iterable[Any]) -> int:
    """Write records (dataclasses or plain mappings), one JSON object a line; return how many."""
    count = 0
    with write_aside(path) as aside, aside.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json_line(record))
            count += 1
    return count


def json_line(record: Any) -> str:
    """One record as a line of JSON, newline included."""
    return json.dumps(row_of(record), ensure_ascii=False) + "\n"


def read_jsonl(path: str | Path, record_type: type[Record]) -> list[Record]:
    """Read records of a frozen dataclass, one JSON object a line.

    Args:
        path: The file.
        record_type: The dataclass of every line; lists become tuples where the field is a tuple.

    Returns:
        The records in file order. Empty lines are skipped.

    Raises:
        ChangedError: The file was changed after it was made.
        ValueError: A line is not JSON, or its fields are not those of `record_type` by name and type; the message names
            the line.
    """
    return [record_of(record_type, row, f"{path}:{number}") for number, row in _numbered_rows(path)]


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file as plain objects.

    Raises:
        ChangedError: The file was changed after it was made.
        ValueError: A line is not a JSON object, or has a key twice; the message names the file and the line.
    """
    return [row for _, row in _numbered_rows(path)]


def _numbered_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the line, from 1, and its object."""
    check_unchanged(path)
    with Path(path).open("rb") as head:
        encoding = json.detect_encoding(head.read(4))
    # What cannot be decoded becomes something that no JSON text may hold, so its line can be named.
    utf_8 = encoding.startswith("utf-8")
    encoding, errors = ("utf-8-sig", "surrogateescape") if utf_8 else (encoding, "backslashreplace")
    with Path(path).open(encoding=encoding, errors=errors) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = strict_json.loads(line.encode("utf-8", "surrogateescape"))
            except strict_json.RepeatedKeyError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}); the line begins {line[:60]!r}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
            yield number, row
