"""Noticing that an artifact was changed after it was made.

Every artifact has a sidecar beside it that holds its digest (`vidreason.artifacts.provenance.write_sidecar`). Whoever reads an
artifact calls `check_unchanged` first, which compares the two.
"""

import contextlib
import json
import os
import platform
from pathlib import Path

from vidreason.artifacts import strict_json
from vidreason.artifacts.digests import sha256_of, sha256_parts, sha256_text
from vidreason.artifacts.path_checks import is_there

SIDECAR = ".provenance.json"
LARGE = 64 * 2**20
"""Bytes above which an artifact is read in full once per run instead of once per process."""
CALL_VARIABLE = "VIDREASON_RUN"
"""Environment variable that names a run of the workflow. Without it every process counts as its own run."""
_checked: set[tuple[str, str]] = set()
"""Path and state of the artifacts that this process has verified."""


class ChangedError(ValueError):
    """An artifact was changed after it was made."""


def sidecar_of(artifact: str | Path) -> Path:
    """Path of an artifact's sidecar: `<name>.provenance.json` next to it."""
    artifact = Path(artifact)
    return artifact.with_name(artifact.name + SIDECAR)


def check_unchanged(artifact: str | Path) -> None:
    """Compare an artifact with the digest in its sidecar. A file without a sidecar is a user's own and passes.

    Every process reads a small artifact in full. One of more than `LARGE` bytes is read in full once per run: a hidden file
    beside it records the run and the sizes, times and inodes of its files, and later processes compare those.

    Args:
        artifact: A file or folder.

    Raises:
        ChangedError: The digests differ.
        ValueError: The sidecar holds no digest.
    """
    path, sidecar = Path(artifact), sidecar_of(artifact)
    if not is_there(sidecar) or not path.exists():
        return
    if _is_checked(path):
        return
    known = strict_json.read(sidecar)
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
            _note_of(path).write_text(json.dumps({"run": _run(), "state": state}), encoding="utf-8")


def content_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder's names and contents (hidden files are not content).

    The digest in the sidecar is used without reading the contents if `check_unchanged` has verified them, or if names, sizes
    and times are still those that the sidecar records. So weights of several gigabytes are hashed once and not for every shard.
    """
    path, sidecar = Path(path), sidecar_of(path)
    if is_there(sidecar):
        known = strict_json.read(sidecar)
        has_digest = isinstance(known, dict) and isinstance(known.get("sha256"), str)
        if has_digest and (known.get("files") == stamp_of(path) or _is_checked(path)):
            return str(known["sha256"])
    return _whole_digest(path)


def stamp_of(path: Path) -> str:
    """Digest of the names, sizes and times of a file, or of all files of a folder."""
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in _stats(path)]
    return sha256_text(json.dumps(listing))


def _is_checked(path: Path) -> bool:
    """Whether this process, or for a large artifact this run, has verified it and nothing has touched it since."""
    state = _state(path)
    if (str(path), state) in _checked:
        return True
    with contextlib.suppress(OSError, ValueError):
        return _size_of(path) > LARGE and bool(strict_json.read(_note_of(path)) == {"run": _run(), "state": state})
    return False


def _run() -> str:
    return os.environ.get(CALL_VARIABLE) or f"{platform.node()}:{os.getpid()}"


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked.json")


def _state(path: Path) -> str:
    """As `stamp_of`, with the inode and the time of the last inode change, which ordinary commands cannot set back."""
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
    return sha256_parts(f"{file.relative_to(path)} {sha256_of(file)}\n".encode() for file in _visible_files(path))


def _visible_files(folder: Path) -> list[Path]:
    """Files below a folder, sorted by name, without hidden ones (Snakemake keeps its time stamps in those)."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
