"""Reading and writing files so that nothing partial is ever taken for whole.

Every writer of the project goes through `write_aside`: the bytes are written next to the target under a temporary
name and renamed at the end, so a reader sees either the old file, the new file or no file.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")


@contextlib.contextmanager
def write_aside(target: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block succeeds.

    The block may create a file or a folder at the yielded path. On an error the temporary is removed and `target`
    is left as it was. The temporary name depends on machine and process, so two writers never share it.

    Args:
        target: The file or folder to write. Parents are created.
        durable: Have the bytes on the disk before the rename, so that a power cut leaves no empty file behind the name.

    Yields:
        The path to write to.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a" / "b.txt"
        >>> with write_aside(target) as path:
        ...     _ = path.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{platform.node()}.{os.getpid()}.tmp")
    remove(aside)
    try:
        yield aside
        if durable:
            _sync(aside)
        if aside.is_dir():
            remove(target)
        aside.replace(target)
    finally:
        remove(aside)


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove what writers that were killed on this machine have left unfinished below a folder.

    What a living process writes stays, and so does what another machine wrote, which cannot be asked.

    Returns:
        What was removed.
    """
    ending = re.compile(rf"\.{re.escape(platform.node())}\.(\d+)\.tmp$")
    removed = []
    for path in Path(folder).rglob(".*.tmp"):
        found = ending.search(path.name)
        if found and not _alive(int(found.group(1))):
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
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: The file is not JSON; the message names the file, the line and the column.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}). Was it cut short, or is it a web page?") from error


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
    value = dataclasses.asdict(record) if dataclasses.is_dataclass(record) else record  # type: ignore[arg-type]
    return json.dumps(value, ensure_ascii=False) + "\n"


def read_jsonl(path: str | Path, record_type: type[Record]) -> list[Record]:
    """Read records of a frozen dataclass, one JSON object a line.

    Args:
        path: The file.
        record_type: The dataclass of every line; lists become tuples where the field is a tuple.

    Returns:
        The records in file order. Empty lines are skipped.

    Raises:
        ValueError: A line is not JSON, or its fields are not those of `record_type`; the message names the line.
    """
    names = {field.name: str(field.type) for field in dataclasses.fields(record_type)}  # type: ignore[arg-type]
    records = []
    for number, row in enumerate(read_json_lines(path), start=1):
        unknown = sorted(set(row) - set(names))
        if unknown:
            raise ValueError(
                f"{path}: record {number}: unknown fields {unknown}; {record_type.__name__} has {sorted(names)}"
            )
        fields = {
            key: tuple(value) if isinstance(value, list) and "tuple" in names[key] else value
            for key, value in row.items()
        }
        try:
            records.append(record_type(**fields))
        except TypeError as error:
            raise ValueError(f"{path}: record {number}: {error}") from error
    return records


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file as plain objects.

    Raises:
        ValueError: A line is not a JSON object; the message names the file and the line.
    """
    rows = []
    # A byte that is no UTF-8 becomes a mark that no JSON text may hold, so its line can be named.
    with Path(path).open(encoding="utf-8", errors="surrogateescape") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.encode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: not JSON ({error}); the line begins {line[:60]!r}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
            rows.append(row)
    return rows


def is_inside(path: str) -> bool:
    """Whether a path names something below the folder that it is relative to, as far as its text tells.

    Example:
        >>> is_inside("a/b.mp4"), is_inside("../b.mp4"), is_inside("/b.mp4"), is_inside("")
        (True, False, False, False)
    """
    parts = path.split("/")
    short = len(path) < 4096 and all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in parts)
    return bool(path) and short and not path.startswith("/") and ".." not in parts and "\0" not in path


def looks_like_text(head: bytes) -> bool:
    r"""Whether the first bytes of a file are text: a web page, an error message, a Git LFS pointer.

    Example:
        >>> looks_like_text(b"<!DOCTYPE html>"), looks_like_text(b"PK\x03\x04")
        (True, False)
        >>> looks_like_text(b"#EXTM3U\n#\x01\nhttp://127.0.0.1/")  # one control character does not make it a video
        True
    """
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return control <= max(1, len(head) // 64) and b"\0" not in head


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
