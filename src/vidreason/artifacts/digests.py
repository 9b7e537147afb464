"""Digests of files, texts and bytes, in hex."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def sha256_parts(parts: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of the concatenation of parts, in hex; only one part is held at a time."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def git_sha1_of(path: str | Path) -> str:
    """Git's digest of a file: SHA-1 of `blob <size>`, a zero byte and the content.

    Example:
        >>> import tempfile
        >>> empty = Path(tempfile.mkdtemp()) / "empty"
        >>> empty.touch()
        >>> git_sha1_of(empty)
        'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    path = Path(path)
    total = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()
