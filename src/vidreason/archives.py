"""Opening archives: only what is asked for, only inside the folder, and nothing partial.

Every .zip, .tar, .tar.gz and .tgz of the project is opened by `unpack`. It reads the archive's list of members first
and refuses a bad one before a byte is written: a zip carries that list at its end; a tar is read through once, which
for a .tar.gz also proves the checksum that only comes at its end. What is wanted and not there yet is then written,
each member aside and renamed when whole, so a run that is killed, or finds the disk full, goes on where it stopped.

Links are not supported, whether they stay inside the folder or not: data sets of videos do not need them.
"""

import contextlib
import copy
import dataclasses
import fnmatch
import functools
import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from vidreason.disk import DiskFullError
from vidreason.files import looks_like_text, write_aside

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
CHUNK = 1 << 20
"""Bytes copied at a time; also the most that a tar may spend on one long name or extended header."""
MAX_RATIO = 200
"""Unpacked bytes per packed byte. Videos and pictures stay near 1, annotations near 10, zeros reach 1000."""
RATIO_FLOOR = 1 << 20
"""Fewer unpacked bytes than this are harmless at any ratio."""
MAX_NAME = 4096
"""Longest path inside an archive, in characters: file systems open none beyond."""

_FETCH_AGAIN = "Remove it and fetch it again."
_FREE_SPACE = "Free space or move the folder, then run again: what is complete is kept."
_SIGNATURES = {b"PK": "a zip", b"\x1f\x8b": "a gzip, as .tar.gz is", b"": "neither a zip nor a gzip (a plain tar?)"}
_UTF8 = 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")
_Files = Iterator[tuple[str, Callable[[], Any]]]  # the name of each file and the function that opens it


class ArchiveError(ValueError):
    """An archive, or a member of one, that is not unpacked; the message says which, why and what to do."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file inside an archive.

    Attributes:
        name: Path inside the archive: relative, with `/`, without `.` or empty parts.
        size: Bytes unpacked.
    """

    name: str
    size: int


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A line of an archive's list: the name as it stands there, bytes unpacked and packed, why it is refused if so."""

    raw: str
    size: int
    packed: int
    folder: bool
    refusal: str


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

    A file that is there with the declared size is not written again, unless `keep` is False. What macOS leaves behind
    (`__MACOSX` folders, `._*` and `.DS_Store` files) is never unpacked. `into` itself may be a symbolic link; nothing below it is written through one.

    Args:
        archive: The archive.
        into: The folder to unpack into; created if absent.
        members: Patterns over the whole path, upper and lower case told apart; `*` also stands for `/`. A pattern
            without `*`, `?` and `[` is a path.
        keep: Take a file of the declared size for what the archive holds. False where files may come from another
            archive: everything is written anew.
        taken: Files and folders, as paths that begin with `into` or a folder above it, that no member may replace.

    Returns:
        The files wanted, in order of name, whether written now or there before.

    Raises:
        ArchiveError: The archive is absent, cut short or damaged, a member is refused, a pattern matches nothing, the
            folder holds something in a member's place, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with zipfile.ZipFile(folder / "data.zip", "w") as packed:
        ...     packed.writestr("./videos/a.mp4", b"frames")
        >>> unpack(folder / "data.zip", folder / "data", ["*.mp4"])
        [Member(name='videos/a.mp4', size=6)]
    """
    archive, into = Path(archive), Path(into)
    if isinstance(members, str) or not members:
        raise ValueError(f"members={members!r}: expected a sequence of patterns, such as ['*.mp4']")
    _refuse_impostors(archive)
    zipped = archive.name.lower().endswith(".zip")
    wanted = _select(archive, _zip_entries(archive) if zipped else _tar_entries(archive), members)
    _refuse_taken(archive, wanted, into, taken)
    missing = _missing(archive, wanted, into, keep)
    if missing:
        with _explained(archive):
            into.mkdir(parents=True, exist_ok=True)
            needed, free = sum(missing.values()), shutil.disk_usage(into).free
        if needed > free:
            raise ArchiveError(
                f"{archive}: {needed} bytes are still to be written, {into} has {free} free. {_FREE_SPACE}"
            )
        for name, open_file in _zip_files(archive, missing) if zipped else _tar_files(archive, missing):
            _write(archive, Member(name, missing[name]), open_file, into / name)
        for name, size in _missing(archive, wanted, into).items():
            raise ArchiveError(
                f"{archive}: {name!r}: not in {into} with its {size} bytes after unpacking. Does another process write "
                "to the archive or the folder? Run again."
            )
    return [Member(name, wanted[name]) for name in sorted(wanted)]


def _refuse_impostors(archive: Path) -> None:
    """Raise `ArchiveError` for a file that is absent, empty, text, or of another format than its name says."""
    if not looks_like_archive(archive):
        raise ArchiveError(f"{archive}: not the name of an archive; known are {', '.join(SUFFIXES)}")
    if not archive.is_file():
        raise ArchiveError(f"{archive}: {'not a file' if archive.exists() else 'no such file. Fetch it first'}.")
    with _explained(archive), archive.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise ArchiveError(f"{archive}: the file is empty. {_FETCH_AGAIN}")
    text = looks_like_text(head)
    signature = next(known for known in _SIGNATURES if head.startswith(known))
    if text or signature != {".zip": b"PK", ".tar": b""}.get(archive.suffix.lower(), b"\x1f\x8b"):
        kind = "text, such as a web page or an error message" if text else _SIGNATURES[signature]
        begins = head[: 60 if text else 8].decode("utf-8", "replace")
        raise ArchiveError(f"{archive}: begins with {begins!r}: {kind}, not what its name says. {_FETCH_AGAIN}")


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    """The list at the end of a zip."""
    with _explained(archive), zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        # The reader takes the last list it finds, which in a zip cut short may be that of a zip packed inside it.
        # Four bytes may come first: the mark of a zip that was once in several parts.
        if infos and min(info.header_offset for info in infos) > 4:
            raise EOFError("its first member is not in its list")
        for info in infos:
            raw, kind = _name_in_zip(info), stat.S_IFMT(info.external_attr >> 16)
            folder = not info.file_size and (raw.endswith("/") or kind == stat.S_IFDIR)
            refusal = ""
            if kind == stat.S_IFLNK:
                refusal = "a symbolic link; links are not supported, not even within the folder"
            elif kind not in (0, stat.S_IFREG) or raw.endswith("/"):
                refusal = "neither a file nor an empty folder; devices, pipes and sockets are not unpacked"
            elif info.flag_bits & 0x41:
                refusal = "encrypted. Unpack it by hand with its password"
            elif info.compress_type not in _METHODS:
                refusal = f"compression method {info.compress_type}; known are {_METHODS}. Unpack it by hand"
            yield _Entry(raw, info.file_size, info.compress_size, folder, refusal)


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """A member's name. Many zips hold names in UTF-8 without the flag that says so; by the rules they are in cp437."""
    name = info.orig_filename  # `filename` ends at a NUL byte
    if info.flag_bits & _UTF8:
        return name
    with contextlib.suppress(UnicodeError):
        return name.encode("cp437").decode("utf-8")
    return name


def _zip_files(archive: Path, wanted: dict[str, int]) -> _Files:
    """The wanted files of a zip."""
    with _explained(archive), zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if (name := _normal(_name_in_zip(info))) in wanted:
                # The reader stops at the declared size in silence; told that more may come, it shows a lie.
                longer = copy.copy(info)
                longer.file_size += CHUNK
                yield name, functools.partial(opened.open, longer)


class _Header(tarfile.TarInfo):
    """A tar header, read strictly: the standard reader takes a damaged one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read a block of 512 bytes; one of zeros, the mark of the end, stays a `HeaderError`."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) < tarfile.BLOCKSIZE:
                raise EOFError("the mark of its end is missing") from error
            if any(buf):
                raise tarfile.ReadError(f"{error}: {bytes(buf[:16])!r}") from error
            raise
        # The standard reader reads long headers whole into memory, and with a negative size runs in circles.
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > CHUNK):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


@contextlib.contextmanager
def _open_tar(archive: Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    """Open a tar for reading from front to back; yield it and its unpacked bytes.

    `gzip` checks the checksum and reads several gzips in a row as one; tarfile's own gzip streams do neither.
    """
    reader: Any = Path.open if archive.suffix.lower() == ".tar" else gzip.open
    with (
        reader(archive, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header, encoding="utf-8", errors="surrogateescape") as opened,
    ):
        yield opened, stream


def _tar_entries(archive: Path) -> Iterator[_Entry]:
    """The members of a tar, which is read to its very end."""
    with _explained(archive), _open_tar(archive) as (opened, stream):
        packed = archive.stat().st_size
        for info in opened:
            if info.size < 0:
                raise tarfile.ReadError(f"{info.name!r} announces {info.size} bytes")
            end = info.offset_data + (info.size if info.isreg() and not info.issparse() else 0)
            _refuse_absurd(archive, info.name, end, packed)
            if archive.suffix.lower() == ".tar" and end > packed:
                raise EOFError(f"{info.name!r} ends at byte {end}, the archive at {packed}")
            refusal = ""
            if info.issym() or info.islnk():
                refusal = f"a link to {info.linkname!r}; links are not supported, not even within the folder"
            elif info.issparse():
                refusal = "a sparse file. Make the archive anew without --sparse"
            elif not info.isreg():
                refusal = f"of type {info.type!r}, not a file; devices, pipes and sockets are not unpacked"
            yield _Entry(info.name, info.size, packed, info.isdir(), refusal)
        while chunk := stream.read(CHUNK):
            _refuse_absurd(archive, "the end", stream.tell(), packed)
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("more follows after the mark of its end; several tars in one file?")


def _tar_files(archive: Path, wanted: dict[str, int]) -> _Files:
    """The wanted files of a tar; each must be read before the next."""
    left = set(wanted)
    with _explained(archive), _open_tar(archive) as (opened, _):
        for info in opened:
            if info.isreg() and (name := _normal(info.name)) in left:
                left.remove(name)
                yield name, functools.partial(opened.extractfile, info)
            if not left:
                return


def _refuse_absurd(archive: Path, name: str, unpacked: int, packed: int) -> None:
    """Raise `ArchiveError` if data swell more than any honest data set does."""
    if unpacked > max(RATIO_FLOOR, MAX_RATIO * packed):
        raise ArchiveError(
            f"{archive}: {name!r}: {unpacked} bytes from {packed} packed ones, more than {MAX_RATIO} to 1: a "
            "decompression bomb? Ask who published it."
        )


def _select(archive: Path, entries: Iterable[_Entry], patterns: Sequence[str]) -> dict[str, int]:
    """Check an archive's list; return name and size of the files wanted."""
    wanted: dict[str, int] = {}
    files: dict[str, None] = {}
    folders: set[str] = set()
    # Paths apart from globs: thousands of paths over thousands of members must not be compared pairwise.
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
            if entry.refusal:
                raise ArchiveError(f"{archive}: {name!r}: {entry.refusal}.")
            _refuse_absurd(archive, name, entry.size, entry.packed)
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
    _refuse_absurd(archive, "all members", sum(wanted.values()), archive.stat().st_size)
    return wanted


def _safe_name(archive: Path, entry: _Entry) -> str:
    """The normal form of a member's name; `""` for the root folder."""
    raw, name = entry.raw, _normal(entry.raw)
    problems = {
        "a NUL byte": "\0" in raw,
        "a backslash": "\\" in raw,
        "an absolute path": raw.startswith("/") or re.match("[A-Za-z]:", raw),
        "a way out of the folder, '..'": ".." in name.split("/"),
        f"more than {MAX_NAME} characters": len(raw) > MAX_NAME,
        "an empty name": not raw or not (name or entry.folder),
    }
    for problem, found in problems.items():
        if found:
            raise ArchiveError(
                f"{archive}: {raw[:200]!r}: {problem}; allowed are relative paths with '/'. Ask who published it, or "
                "make the archive anew."
            )
    return name


def _normal(raw: str) -> str:
    """A path without `.` and empty parts."""
    return "/".join(part for part in raw.split("/") if part not in ("", "."))


def _is_junk(name: str) -> bool:
    """Whether macOS put a member beside the data: `__MACOSX/...`, `._clip.mp4`, `.DS_Store`."""
    parts = name.split("/")
    return parts[-1] == ".DS_Store" or any(part == "__MACOSX" or part.startswith("._") for part in parts)


def _parents(path: str) -> Iterator[str]:
    """The folders above a path, the deepest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _refuse_taken(archive: Path, wanted: dict[str, int], into: Path, taken: Sequence[Path]) -> None:
    """Raise `ArchiveError` if a file would replace one of those named, or lie in it."""
    kept = {os.path.normpath(path) for path in taken}
    for name in wanted:
        target = os.path.normpath(into / name)
        if kept.intersection((target, *_parents(target))):
            raise ArchiveError(f"{archive}: {name!r}: would replace {target}, which is not its own. Unpack elsewhere.")


def _missing(archive: Path, wanted: dict[str, int], into: Path, keep: bool = True) -> dict[str, int]:
    """The wanted files that are not in the folder with their size; without `keep` all of them.

    Raises:
        ArchiveError: Something else stands in the place of a file or of its folder.
    """
    missing = {}
    if into.exists() and not into.is_dir():
        raise ArchiveError(f"{archive}: {into} is a file, expected a folder or nothing. Unpack elsewhere.")
    own = archive.stat()
    folders: set[str] = set()
    for name, size in wanted.items():
        with _explained(archive, name):
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
    """What stands at a path, links not followed; None if nothing does."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _in_the_way(archive: Path, name: str, path: Path, expected: str) -> ArchiveError:
    """The error for a path that is taken."""
    kind = "a symbolic link" if path.is_symlink() else "a folder" if path.is_dir() else "a file or device"
    return ArchiveError(
        f"{archive}: {name!r}: {path} is {kind}, expected {expected} or nothing. Move it away, or unpack elsewhere."
    )


def _write(archive: Path, member: Member, open_file: Callable[[], Any], target: Path) -> None:
    """Write one member, whole or not at all."""
    written = 0
    with _explained(archive, member.name), write_aside(target) as aside:
        with open_file() as source, aside.open("xb") as sink:
            while written <= member.size and (chunk := source.read(CHUNK)):
                written += len(chunk)
                sink.write(chunk)
        if written != member.size:
            held = "more" if written > member.size else f"only {written}"
            raise ArchiveError(
                f"{archive}: {member.name!r}: declared with {member.size} bytes, holds {held}. {_FETCH_AGAIN}"
            )


@contextlib.contextmanager
def _explained(archive: Path, name: str | None = None) -> Iterator[None]:
    """Turn the errors of readers and of the disk into `ArchiveError`."""
    where = f"{archive}: " if name is None else f"{archive}: {name!r}: "
    try:
        yield
    except ArchiveError:
        raise
    # The last two: flags that zipfile does not know; names that are not UTF-8 and sizes beyond 64 bits.
    except (
        EOFError,
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        RuntimeError,
        ValueError,
    ) as error:
        damage = "cut short" if isinstance(error, EOFError) else "cut short or damaged"
        raise ArchiveError(f"{where}the archive is {damage} ({error}). {_FETCH_AGAIN}") from error
    except DiskFullError as error:
        raise ArchiveError(f"{where}{error.words}") from error
    except OSError as error:
        raise ArchiveError(f"{where}cannot be read or written ({error})") from error
