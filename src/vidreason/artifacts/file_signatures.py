"""What a file is, judged by its first bytes: downloads often leave a web page or a git-lfs pointer in place of the file."""

import dataclasses
from pathlib import Path

HEAD = 512
"""Bytes that are looked at."""
EMPTY, POINTER, PAGE, TEXT = "empty", "git-lfs pointer", "web page", "text"
ZIP, GZIP, PICKLE, OTHER = "zip", "gzip", "pickle", "other"
TEXTS = (POINTER, PAGE, TEXT)

_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_BEGINNINGS = {
    ZIP: (b"PK",),
    GZIP: (b"\x1f\x8b",),
    PICKLE: (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
}


@dataclasses.dataclass(frozen=True)
class Signature:
    """The beginning of a file.

    Attributes:
        kind: One of the names above; `other` where nothing is recognized.
        head: The first bytes.
    """

    kind: str
    head: bytes

    @property
    def shown(self) -> str:
        """The beginning as a message can quote it."""
        return repr(self.head[: 60 if self.kind in TEXTS else 8].decode("utf-8", "replace"))


def check_signature(path: str | Path, *allowed: str) -> Signature | None:
    """Compare a file's first bytes with what it should be.

    Args:
        path: The file.
        allowed: Kinds that it may be.

    Returns:
        The signature of a file that is something else, or None. Few bytes can mislead: weights may begin like a pickle by chance,
        so ask this of a file that could not be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "videos.zip"
        >>> _ = path.write_text("<!DOCTYPE html>")
        >>> check_signature(path, ZIP)
        Signature(kind='web page', head=b'<!DOCTYPE html>')
    """
    with Path(path).open("rb") as stream:
        head = stream.read(HEAD)
    kind = _kind(head)
    return None if kind in allowed else Signature(kind, head)


def _kind(head: bytes) -> str:
    if not head:
        return EMPTY
    if looks_like_text(head):
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if text.startswith(b"version https://git-lfs"):
            return POINTER
        # A download that is cut off may hold the beginning of a mark only.
        return PAGE if any(text[: len(mark)] == mark[: max(len(text), 5)] for mark in _PAGES) else TEXT
    return next((kind for kind, starts in _BEGINNINGS.items() if head.startswith(starts)), OTHER)


def looks_like_text(head: bytes) -> bool:
    r"""Whether the first bytes of a file are text: a web page, an error message, a git-lfs pointer.

    Example:
        >>> looks_like_text(b"<!DOCTYPE html>"), looks_like_text(b"PK\x03\x04")
        (True, False)
        >>> looks_like_text(b"#EXTM3U\n#\x01\nhttp://127.0.0.1/")  # one control character does not make it a video
        True
    """
    control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return control <= max(1, len(head) // 64) and b"\0" not in head
