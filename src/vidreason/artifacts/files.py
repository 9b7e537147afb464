"""Reading and writing files so that nothing partial, and nothing that was changed afterwards, is taken for a result.

Every writer of the project goes through `write_aside`: the bytes are written next to the target under a temporary
name and renamed at the end, so a reader sees either the old file, the new file or no file. Every reader of a result goes
through `check_unchanged`, which compares it with the sidecar beside it (`vidreason.artifacts.provenance.write_sidecar`).
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

from vidreason.artifacts import strict_json
from vidreason.artifacts.disk import explain_full_disk
from vidreason.artifacts.typed import record_of

Record = TypeVar("Record")
SIDECAR = ".provenance.json"
LARGE = 64 * 2**20
"""Bytes above which an artefact is read wholly once a run, and not once a process."""
CALL_VARIABLE = "VIDREASON_RUN"
"""Environment variable that names a run of the workflow; without it, every process is a run of its own."""
_checked: set[tuple[str, str]] = set()
"""Path and state of the artefacts that this process has found to be what was made."""


class ChangedError(ValueError):
    """An artefact is not what was made."""


@contextlib.contextmanager
def write_aside(target: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block succeeds.

    The block may create a file or a folder at the yielded path. On an error the temporary is removed and `target`
    is left as it was. The temporary name depends on target, machine and process, so two writers never share it, and is short
    however long the target's is.

    Args:
        target: The file or folder to write. Parents are created.
        durable: Have the bytes on the disk before the rename, so that a power cut leaves no empty file behind the name.

    Yields:
        The path to write to.

    Raises:
        DiskFullError: There is no room for it; the message names the target.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a" / "b.txt"
        >>> with write_aside(target) as path:
        ...     _ = path.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(target)
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    aside = target.with_name(f".{name}-{_machine()}-{os.getpid():010d}.tmp")
    with explain_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(aside)
        try:
            yield aside
            if durable:
                _sync(aside)
            if is_there(sidecar_of(target)):  # it tells of what is replaced
                sidecar_of(target).unlink()
            if aside.is_dir():
                remove(target)
            aside.replace(target)
        finally:
            remove(aside)


def _machine() -> str:
    """Eight hexadecimal digits for this machine's name, which may have up to 64 characters."""
    return sha256_text(platform.node())[:8]


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove what writers that were killed on this machine have left unfinished below a folder.

    What a living process writes stays, and so does what another machine wrote, which cannot be asked.

    Returns:
        What was removed.
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
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes. The file system is asked to share them until one of the two is changed, where it can."""
    with source.open("rb") as original, target.open("wb") as copy, contextlib.suppress(OSError, AttributeError):
        while os.copy_file_range(original.fileno(), copy.fileno(), 2**30):
            pass
    if target.stat().st_size != source.stat().st_size:  # another file system, or a system without this call
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
        ChangedError: The file is not what its sidecar tells of.
        ValueError: The file is not JSON, or an object has a key twice; the message names the file and the place.
    """
    check_unchanged(path)
    try:
        return strict_json.loads(Path(path).read_bytes())
    except strict_json.RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from error
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
        ChangedError: The file is not what its sidecar tells of.
        ValueError: A line is not JSON, or its fields are not those of `record_type` by name and type; the message names
            the line.
    """
    return [record_of(record_type, row, f"{path}:{number}") for number, row in _numbered_rows(path)]


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file as plain objects.

    Raises:
        ChangedError: The file is not what its sidecar tells of.
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


def is_inside(path: str) -> bool:
    """Whether a path names something below the folder that it is relative to, as far as its text tells.

    Example:
        >>> is_inside("a/b.mp4"), is_inside("../b.mp4"), is_inside("/b.mp4"), is_inside("")
        (True, False, False, False)
    """
    parts = path.split("/")
    short = len(path) < 4096 and all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in parts)
    return bool(path) and short and not path.startswith("/") and ".." not in parts and "\0" not in path


def is_there(path: Path) -> bool:
    """Whether something is at a path; not where one may not look or the name is too long (`Path.exists` raises there)."""
    try:
        return path.exists()
    except OSError:
        return False


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


def sidecar_of(artefact: str | Path) -> Path:
    """Path of the sidecar of an artefact: next to it, its whole name and `.provenance.json`."""
    artefact = Path(artefact)
    return artefact.with_name(artefact.name + SIDECAR)


def check_unchanged(artefact: str | Path) -> None:
    """Compare an artefact with the digest in its sidecar; what has no sidecar is a user's own and may be anything.

    Every process reads a small artefact wholly. One of more than `LARGE` bytes is read wholly once a run; a hidden file
    beside it notes the run and its files' sizes, times and inodes, by which it is compared after that.

    Args:
        artefact: A file or folder.

    Raises:
        ChangedError: It has another digest.
        ValueError: The sidecar holds no digest.
    """
    path, sidecar = Path(artefact), sidecar_of(artefact)
    if not is_there(sidecar) or not path.exists():
        return
    if _is_checked(path):
        return
    known = read_json(sidecar)
    recorded = known.get("sha256") if isinstance(known, dict) else None
    if not isinstance(recorded, str):
        raise ValueError(f"{sidecar}: no sha256 of {path.name} in it; remove it to use {path} as it is")
    state = _state(path)
    current = _whole_digest(path)
    if current != recorded:
        raise ChangedError(
            f"{path}: changed since it was made ({known.get('created', 'at an unknown time')}): its sha256 was "
            f"{recorded[:16]}... and is {current[:16]}... now. Remove it to have it made again, or remove {sidecar} to use it "
            "as it is"
        )
    _checked.add((str(path), state))
    if _size_of(path) > LARGE:
        with contextlib.suppress(OSError):  # a folder that may only be read
            write_json(_note_of(path), {"run": _run(), "state": state})


def content_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder's names and contents (hidden files are not content).

    A file or folder that `check_unchanged` has passed, or whose files are those that its sidecar tells of by names, sizes
    and times, is not read again. Weights of several gigabytes are then hashed once and not for every shard.
    """
    path, sidecar = Path(path), sidecar_of(path)
    if is_there(sidecar):
        known = read_json(sidecar)
        has_digest = isinstance(known, dict) and isinstance(known.get("sha256"), str)
        if has_digest and (known.get("files") == stamp_of(path) or _is_checked(path)):
            return str(known["sha256"])
    return _whole_digest(path)


def stamp_of(path: Path) -> str:
    """Digest of names, sizes and times of a file, or of the files of a folder: other contents are not to have the same."""
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in _stats(path)]
    return sha256_text(json.dumps(listing))


def _is_checked(path: Path) -> bool:
    """Whether an artefact was read wholly in this process or, where it is large, in this run, and is the same since."""
    state = _state(path)
    if (str(path), state) in _checked:
        return True
    with contextlib.suppress(OSError, ValueError):
        return _size_of(path) > LARGE and bool(read_json(_note_of(path)) == {"run": _run(), "state": state})
    return False


def _run() -> str:
    return os.environ.get(CALL_VARIABLE) or f"{platform.node()}:{os.getpid()}"


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked.json")


def _state(path: Path) -> str:
    """As `stamp_of`, with what no ordinary command sets back: inode and time of the last change of it."""
    listing = [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in _stats(path)]
    return sha256_text(json.dumps(listing))


def _size_of(path: Path) -> int:
    return sum(stat.st_size for _, stat in _stats(path))


def _stats(path: Path) -> list[tuple[str, os.stat_result]]:
    files = _visible_files(path) if path.is_dir() else [path]
    return [(file.relative_to(path).as_posix(), file.stat()) for file in files]


def _whole_digest(path: Path) -> str:
    if not path.is_dir():
        return sha256_of(path)
    total = hashlib.sha256()
    for file in _visible_files(path):
        total.update(f"{file.relative_to(path)} {sha256_of(file)}\n".encode())
    return total.hexdigest()


def _visible_files(folder: Path) -> list[Path]:
    """Files below a folder in order of their names, without hidden ones: Snakemake leaves its time stamps there."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
