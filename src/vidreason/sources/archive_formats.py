"""Reading archives: list the members of a zip or a tar, and open its files one after the other.

A zip has its list at its end. A tar has none, so it is read to its end, which for a .tar.gz also verifies the checksum there.
`vidreason.sources.archives` decides what is unpacked and writes it.
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
"""Bytes copied at a time, and the longest header of a tar (a long name, an extended header)."""
MAX_RATIO = 200
"""Highest ratio of unpacked to packed bytes. Videos and pictures are near 1, annotations near 10, zeros near 1000."""
RATIO_FLOOR = 1 << 20
"""Unpacked bytes below which any ratio is harmless."""

FETCH_AGAIN = "Remove it and fetch it again."
_UTF8 = 0x800
"""Flag of a member whose name is stored in UTF-8."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")
Files = Iterator[tuple[str, Callable[[], Any]]]  # names of files, with a function that opens each


class ArchiveError(ValueError):
    """An archive or a member is refused; the message names it and says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A member of an archive.

    Attributes:
        raw: Its name as it is stored.
        size: Bytes unpacked, as declared.
        packed: Bytes packed; in a tar, those of the whole archive.
        folder: Whether it is a folder.
        refusal: Why it is refused; empty where it is not.
    """

    raw: str
    size: int
    packed: int
    folder: bool
    refusal: str


def zip_entries(archive: Path) -> Iterator[Entry]:
    """List the members of a zip."""
    with explained(archive), zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        # zipfile takes the last list it finds. In a truncated zip that may be the list of a zip packed inside it.
        # Four bytes may come before the first member: they mark a zip that was once split into parts.
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
    """A member's name. Without the flag for UTF-8 names are in cp437 by the rules, but many zips forget the flag."""
    name = info.orig_filename  # `filename` ends at a NUL byte
    if info.flag_bits & _UTF8:
        return name
    with contextlib.suppress(UnicodeError):
        return name.encode("cp437").decode("utf-8")
    return name


def zip_files(archive: Path, wanted: dict[str, int], chunk: int) -> Files:
    """Open the wanted files of a zip; `chunk` is the number of bytes that each read will ask for."""
    with explained(archive), zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if (name := normal_name(_name_in_zip(info))) in wanted:
                # zipfile stops silently at the declared size. With a larger one it shows that a member holds more.
                longer = copy.copy(info)
                longer.file_size += chunk
                yield name, functools.partial(opened.open, longer)


class _Header(tarfile.TarInfo):
    """A tar header, read strictly: tarfile takes a damaged header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Parse a block of 512 bytes. For a block of zeros, which marks the end, `HeaderError` is raised as usual."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) < tarfile.BLOCKSIZE:
                raise EOFError("the mark of its end is missing") from error
            if any(buf):
                raise tarfile.ReadError(f"{error}: {bytes(buf[:16])!r}") from error
            raise
        # tarfile reads a long header into memory as a whole, and loops for ever at a negative size.
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > CHUNK):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


@contextlib.contextmanager
def _open_tar(archive: Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    """Open a tar for one pass from front to back; yield it and the stream of its unpacked bytes.

    The stream comes from `gzip`, which verifies the checksum and reads concatenated gzips; tarfile's own streams do neither.
    """
    reader: Any = Path.open if archive.suffix.lower() == ".tar" else gzip.open
    with (
        reader(archive, "rb") as stream,
        tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header, encoding="utf-8", errors="surrogateescape") as opened,
    ):
        yield opened, stream


def tar_entries(archive: Path) -> Iterator[Entry]:
    """List the members of a tar, and read it to its end."""
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


def tar_files(archive: Path, wanted: dict[str, int], into: Path) -> Files:
    """Open the wanted files of a tar; each has to be read before the next.

    Python's filter for data refuses special files and whatever would end outside the folder, through links that are already
    there too. By itself it would allow links within the folder and strip the slash of an absolute path.
    """
    left = set(wanted)
    with explained(archive), _open_tar(archive) as (opened, _):
        for info in opened:
            if info.isreg() and (name := normal_name(info.name)) in left:
                left.remove(name)
                yield name, functools.partial(opened.extractfile, tarfile.data_filter(info, str(into)))
            if not left:
                return


def refuse_absurd(archive: Path, name: str, unpacked: int, packed: int) -> None:
    """Raise `ArchiveError` for a decompression bomb."""
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
    """Turn errors of zipfile, tarfile, gzip and the disk into `ArchiveError`."""
    where = f"{archive}: " if name is None else f"{archive}: {name!r}: "
    try:
        yield
    except ArchiveError:
        raise
    except tarfile.FilterError as error:
        raise ArchiveError(f"{where}refused ({error})") from error
    # RuntimeError: flags that zipfile does not know. ValueError: names that are not UTF-8, sizes beyond 64 bits.
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
