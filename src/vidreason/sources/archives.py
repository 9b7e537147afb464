"""Unpacking archives: only the members that match, only inside the folder, and no partial file.

`unpack` opens every .zip, .tar, .tar.gz and .tgz of the project. It first checks the whole list of members
(`vidreason.sources.archive_formats`), so a bad archive is refused before a byte is written. Then it writes the files that are
missing. Each is written under a temporary name and renamed when complete, so a run that was killed, or stopped by a full disk,
resumes.

Links are refused even if they stay inside the folder: data sets of videos do not need them. Members of a tar pass Python's
own extraction filter besides; zipfile has no such filter.
"""

import dataclasses
import fnmatch
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.file_signatures import EMPTY, GZIP, OTHER, PICKLE, TEXTS, ZIP, check_signature
from vidreason.artifacts.files import write_aside
from vidreason.sources.archive_formats import (
    CHUNK,
    FETCH_AGAIN,
    ArchiveError,
    Entry,
    explained,
    normal_name,
    refuse_absurd,
    tar_entries,
    tar_files,
    zip_entries,
    zip_files,
)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_NAME = 4096
"""Longest path inside an archive, in characters; file systems allow no longer one."""

_ODD = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")
"""Control characters and undecodable bytes, which would break lists and tables."""
_FREE_SPACE = "Free space or move the folder, then run again: what is complete is kept."
_KINDS = {
    ZIP: "a zip",
    GZIP: "a gzip, as .tar.gz is",
    **dict.fromkeys((OTHER, PICKLE), "neither a zip nor a gzip (a plain tar?)"),
    **dict.fromkeys(TEXTS, "text, such as a web page or an error message"),
}
"""What a file is that is not what its name says."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file inside an archive.

    Attributes:
        name: Path inside the archive: relative, with `/`, without `.` or empty parts.
        size: Bytes unpacked.
    """

    name: str
    size: int


def looks_like_archive(name: str | Path) -> bool:
    """Whether a file's name ends as those that `unpack` opens.

    Example:
        >>> looks_like_archive("videos/NExTVideo.ZIP"), looks_like_archive("clip.mp4")
        (True, False)
    """
    return str(name).lower().endswith(SUFFIXES)


def unpack(
    archive: str | Path,
    into: str | Path,
    members: Sequence[str] = ("*",),
    keep: bool = True,
    taken: Sequence[Path] = (),
) -> list[Member]:
    """Unpack the files of a .zip, .tar, .tar.gz or .tgz whose names match one of the patterns.

    A file that exists with the declared size is not written again, unless `keep` is False. What macOS adds to archives
    (`__MACOSX` folders, `._*` and `.DS_Store` files) is never unpacked. `into` itself may be a symbolic link; nothing below it is
    written through one.

    Args:
        archive: The archive.
        into: The folder to unpack into; created if absent.
        members: Patterns for the whole path, case-sensitive; `*` also matches `/`. A pattern without `*`, `?` and `[` is a path.
        keep: Trust existing files of the declared size. False where they may come from another archive: then every file
            is written anew.
        taken: Files and folders, as paths that begin with `into` or a folder above it, that no member may replace.

    Returns:
        The files that match, sorted by name, whether they were written now or existed before.

    Raises:
        ArchiveError: The archive is absent, truncated or damaged, a member is refused, a pattern matches nothing, something
            else stands where a member belongs, or the disk is full.

    Example:
        >>> import tempfile, zipfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(folder / "data.zip", "w") as packed:
        ...     packed.writestr("./videos/a.mp4", b"frames")
        >>> unpack(folder / "data.zip", folder / "data", ["*.mp4"])
        [Member(name='videos/a.mp4', size=6)]
    """
    archive, into = Path(archive), Path(into)
    if isinstance(members, str) or not members:
        raise ValueError(f"members={members!r}: expected a sequence of patterns, such as ['*.mp4']")
    _refuse_other_files(archive)
    zipped = archive.name.lower().endswith(".zip")
    wanted = _select(archive, zip_entries(archive) if zipped else tar_entries(archive), members)
    _refuse_taken(archive, wanted, into, taken)
    missing = _missing(archive, wanted, into, keep)
    if missing:
        with explained(archive):
            into.mkdir(parents=True, exist_ok=True)
            needed, free = sum(missing.values()), shutil.disk_usage(into).free
        if needed > free:
            raise ArchiveError(
                f"{archive}: {needed} bytes are still to be written, {into} has {free} free. {_FREE_SPACE}"
            )
        for name, open_file in zip_files(archive, missing, CHUNK) if zipped else tar_files(archive, missing, into):
            _write(archive, Member(name, missing[name]), open_file, into / name)
        for name, size in _missing(archive, wanted, into).items():
            raise ArchiveError(
                f"{archive}: {name!r}: not in {into} with its {size} bytes after unpacking. Does another process write "
                "to the archive or the folder? Run again."
            )
    return [Member(name, wanted[name]) for name in sorted(wanted)]


def _refuse_other_files(archive: Path) -> None:
    """Raise `ArchiveError` for a file that is absent, empty, text, or of another format than its name says."""
    if not looks_like_archive(archive):
        raise ArchiveError(f"{archive}: not the name of an archive; known are {', '.join(SUFFIXES)}")
    if not archive.is_file():
        raise ArchiveError(f"{archive}: {'not a file' if archive.exists() else 'no such file. Fetch it first'}.")
    allowed = {".zip": (ZIP,), ".tar": (OTHER, PICKLE)}.get(archive.suffix.lower(), (GZIP,))
    with explained(archive):
        other = check_signature(archive, *allowed)
    if other is not None and other.kind == EMPTY:
        raise ArchiveError(f"{archive}: the file is empty. {FETCH_AGAIN}")
    if other is not None:
        raise ArchiveError(
            f"{archive}: begins with {other.shown}: {_KINDS[other.kind]}, not what its name says. {FETCH_AGAIN}"
        )


def _select(archive: Path, entries: Iterable[Entry], patterns: Sequence[str]) -> dict[str, int]:
    """Check an archive's list; return names and sizes of the files that match."""
    wanted: dict[str, int] = {}
    files: dict[str, None] = {}
    folders: set[str] = set()
    # Plain paths are looked up in a set: comparing thousands of paths with thousands of members pairwise is slow.
    globs = {glob: re.compile(fnmatch.translate(glob)).match for glob in patterns if not set(glob).isdisjoint("*?[")}
    paths = set(patterns) - set(globs)
    unmatched = dict.fromkeys(patterns)
    for entry in entries:
        name = _safe_name(archive, entry)
        if _is_junk(name):
            continue
        for folder in _parents(name + "/" * entry.folder):
            if folder in folders:
                break
            folders.add(folder)
        if entry.folder:
            continue
        if name in files:
            raise ArchiveError(f"{archive}: {name!r}: twice in the archive; which is meant? Make the archive anew.")
        files[name] = None
        matching = [glob for glob, match in globs.items() if match(name)] + [name] * (name in paths)
        if matching:
            refusal = entry.refusal or (
                "control characters, or bytes that are not UTF-8, in its name" if _ODD.search(name) else ""
            )
            if refusal:
                raise ArchiveError(f"{archive}: {name!r}: {refusal}.")
            refuse_absurd(archive, name, entry.size, entry.packed)
            wanted[name] = entry.size
            for pattern in matching:
                unmatched.pop(pattern, None)
    for name in files:
        if name in folders:
            raise ArchiveError(f"{archive}: {name!r}: both a file and a folder in the archive. Make the archive anew.")
    if unmatched:
        raise ArchiveError(
            f"{archive}: no member matches {list(unmatched)[:5]} (patterns: {list(patterns)[:5]}); it has {len(files)} "
            f"files, the first are {list(files)[:5]}. Is it the right archive? Do paths in it begin with a folder?"
        )
    refuse_absurd(archive, "all members", sum(wanted.values()), archive.stat().st_size)
    return wanted


def _safe_name(archive: Path, entry: Entry) -> str:
    """A member's name without `.` and empty parts, checked; `""` for the root folder."""
    raw, name = entry.raw, normal_name(entry.raw)
    problems = {
        "a NUL byte": "\0" in raw,
        "a backslash": "\\" in raw,
        "an absolute path": raw.startswith("/") or re.match("[A-Za-z]:", raw),
        "a way out of the folder, '..'": ".." in name.split("/"),
        f"more than {MAX_NAME} characters": len(raw) > MAX_NAME,
        "an empty name": not raw or not (name or entry.folder),
    }
    for problem, present in problems.items():
        if present:
            raise ArchiveError(
                f"{archive}: {raw[:200]!r}: {problem}; allowed are relative paths with '/'. Ask who published it, or "
                "make the archive anew."
            )
    return name


def _is_junk(name: str) -> bool:
    """Whether a member is one that macOS adds: `__MACOSX/...`, `._clip.mp4`, `.DS_Store`."""
    parts = name.split("/")
    return parts[-1] == ".DS_Store" or any(part == "__MACOSX" or part.startswith("._") for part in parts)


def _parents(path: str) -> Iterator[str]:
    """The folders above a path, from the deepest up."""
    while path := path.rpartition("/")[0]:
        yield path


def _refuse_taken(archive: Path, wanted: dict[str, int], into: Path, taken: Sequence[Path]) -> None:
    """Raise `ArchiveError` for a file that would replace one of the paths in `taken`, or lie below it."""
    kept = {os.path.normpath(path) for path in taken}
    for name in wanted:
        target = os.path.normpath(into / name)
        if kept.intersection((target, *_parents(target))):
            raise ArchiveError(f"{archive}: {name!r}: would replace {target}, which is not its own. Unpack elsewhere.")


def _missing(archive: Path, wanted: dict[str, int], into: Path, keep: bool = True) -> dict[str, int]:
    """The wanted files that the folder does not hold with their size; all of them if `keep` is False.

    Raises:
        ArchiveError: Something else stands where a file or its folder belongs.
    """
    missing = {}
    if into.exists() and not into.is_dir():
        raise ArchiveError(f"{archive}: {into} is a file, expected a folder or nothing. Unpack elsewhere.")
    own = archive.stat()
    folders: set[str] = set()
    for name, size in wanted.items():
        with explained(archive, name):
            for folder in _parents(name):
                if folder in folders:
                    break
                folders.add(folder)
                state = _state(into / folder)
                if state and not stat.S_ISDIR(state.st_mode):
                    raise _in_the_way(archive, name, into / folder, "a folder")
            state = _state(into / name)
            if state and (not stat.S_ISREG(state.st_mode) or os.path.samestat(state, own)):
                raise _in_the_way(archive, name, into / name, "a file other than the archive")
            if state is None or state.st_size != size or not keep:
                missing[name] = size
    return missing


def _state(path: Path) -> os.stat_result | None:
    """Status of a path without following links; None if nothing is there."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _in_the_way(archive: Path, name: str, path: Path, expected: str) -> ArchiveError:
    """The error for a path where something else stands."""
    kind = "a symbolic link" if path.is_symlink() else "a folder" if path.is_dir() else "a file or device"
    return ArchiveError(
        f"{archive}: {name!r}: {path} is {kind}, expected {expected} or nothing. Move it away, or unpack elsewhere."
    )


def _write(archive: Path, member: Member, open_file: Callable[[], Any], target: Path) -> None:
    """Write one member completely or not at all."""
    written = 0
    with explained(archive, member.name), write_aside(target) as aside:
        with open_file() as source, aside.open("xb") as sink:
            while written <= member.size and (chunk := source.read(CHUNK)):
                written += len(chunk)
                sink.write(chunk)
        if written != member.size:
            held = "more" if written > member.size else f"only {written}"
            raise ArchiveError(
                f"{archive}: {member.name!r}: declared with {member.size} bytes, holds {held}. {FETCH_AGAIN}"
            )
