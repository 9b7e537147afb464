"""Reading archives: the list of a zip or a tar, and its files one after the other.

A zip carries its list at its end; a tar is read through once, which for a .tar.gz also proves the checksum that only comes
at its end. Nothing is written here, and nothing decided: `vidreason.sources.archives` does both.
"""

import contextlib
import copy
import dataclasses
import functools
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vidreason.artifacts.disk import DiskFullError

CHUNK = 1 << 20
"""Bytes copied at a time; also the most that a tar may spend on one long name or extended header."""
MAX_RATIO = 200
"""Unpacked bytes per packed byte. Videos and pictures stay near 1, annotations near 10, zeros reach 1000."""
RATIO_FLOOR = 1 << 20
"""Fewer unpacked bytes than this are harmless at any ratio."""

FETCH_AGAIN = "Remove it and fetch it again."
_UTF8 = 0x800
"""The flag of a member whose name is in UTF-8."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")
Files = Iterator[tuple[str, Callable[[], Any]]]  # the name of each file and the function that opens it


class ArchiveError(ValueError):
    """An archive, or a member of one, that is not unpacked; the message says which, why and what to do."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of an archive's list: the name as it stands there, bytes unpacked and packed, why it is refused if so."""

    raw: str
    size: int
    packed: int
    folder: bool
    refusal: str


def zip_entries(archive: Path) -> Iterator[Entry]:
    """The list at the end of a zip."""
    with explained(archive), zipfile.ZipFile(archive) as opened:
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
            yield Entry(raw, info.file_size, info.compress_size, folder, refusal)


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """A member's name. Many zips hold names in UTF-8 without the flag that says so; by the rules they are in cp437."""
    name = info.orig_filename  # `filename` ends at a NUL byte
    if info.flag_bits & _UTF8:
        return name
    with contextlib.suppress(UnicodeError):
        return name.encode("cp437").decode("utf-8")
    return name


def zip_files(archive: Path, wanted: dict[str, int], chunk: int) -> Files:
    """The wanted files of a zip, which are then read by so many bytes at a time."""
    with explained(archive), zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if (name := normal_name(_name_in_zip(info))) in wanted:
                # The reader stops at the declared size in silence; told that more may come, it shows a lie.
                longer = copy.copy(info)
                longer.file_size += chunk
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


def tar_entries(archive: Path) -> Iterator[Entry]:
    """The members of a tar, which is read to its very end."""
    with explained(archive), _open_tar(archive) as (opened, stream):
        packed = archive.stat().st_size
        for info in opened:
            if info.size < 0:
                raise tarfile.ReadError(f"{info.name!r} announces {info.size} bytes")
            end = info.offset_data + (info.size if info.isreg() and not info.issparse() else 0)
            refuse_absurd(archive, info.name, end, packed)
            if archive.suffix.lower() == ".tar" and end > packed:
                raise EOFError(f"{info.name!r} ends at byte {end}, the archive at {packed}")
            refusal = ""
            if info.issym() or info.islnk():
                refusal = f"a link to {info.linkname!r}; links are not supported, not even within the folder"
            elif info.issparse():
                refusal = "a sparse file. Make the archive anew without --sparse"
            elif not info.isreg():
                refusal = f"of type {info.type!r}, not a file; devices, pipes and sockets are not unpacked"
            yield Entry(info.name, info.size, packed, info.isdir(), refusal)
        while chunk := stream.read(CHUNK):
            refuse_absurd(archive, "the end", stream.tell(), packed)
            if chunk.count(0) != len(chunk):
                raise tarfile.ReadError("more follows after the mark of its end; several tars in one file?")


def tar_files(archive: Path, wanted: dict[str, int]) -> Files:
    """The wanted files of a tar; each must be read before the next."""
    left = set(wanted)
    with explained(archive), _open_tar(archive) as (opened, _):
        for info in opened:
            if info.isreg() and (name := normal_name(info.name)) in left:
                left.remove(name)
                yield name, functools.partial(opened.extractfile, info)
            if not left:
                return


def refuse_absurd(archive: Path, name: str, unpacked: int, packed: int) -> None:
    """Raise `ArchiveError` if data swell more than any honest data set does."""
    if unpacked > max(RATIO_FLOOR, MAX_RATIO * packed):
        raise ArchiveError(
            f"{archive}: {name!r}: {unpacked} bytes from {packed} packed ones, more than {MAX_RATIO} to 1: a "
            "decompression bomb? Ask who published it."
        )


def normal_name(raw: str) -> str:
    """A path without `.` and empty parts."""
    return "/".join(part for part in raw.split("/") if part not in ("", "."))


@contextlib.contextmanager
def explained(archive: Path, name: str | None = None) -> Iterator[None]:
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
        raise ArchiveError(f"{where}the archive is {damage} ({error}). {FETCH_AGAIN}") from error
    except DiskFullError as error:
        raise ArchiveError(f"{where}{error.words}") from error
    except OSError as error:
        raise ArchiveError(f"{where}cannot be read or written ({error})") from error
