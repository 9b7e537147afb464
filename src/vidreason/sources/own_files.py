"""A user's own data and weights: the files that decide a result, and digests of them.

Files that the graph fetches or makes change only with the graph. A user's own files may be edited at any time, so the rules that
read them take them as inputs and their digest as a parameter: Snakemake compares times only, and would miss a file that was
moved or copied with its old time.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from vidreason.artifacts.digests import sha256_of, sha256_text
from vidreason.artifacts.integrity import LARGE
from vidreason.artifacts.path_checks import is_there
from vidreason.data.registry import Source, dataset_of
from vidreason.models.tinyllava.checkpoint_files import PROCESSOR, TOKENIZER_FILES

NO_VIDEOS = frozenset({"json", "jsonl", "parquet", "csv", "tsv", "txt", "md", "yaml", "log"})
"""Endings of files in a data set's folder that are neither videos nor pictures."""


def annotation_files(dataset: str, root: str | Path, annotations: str | Path | None = None) -> list[Path]:
    """List the files that the questions of a data set are read from, as far as they exist.

    Args:
        dataset: Name of the data set.
        root: Folder of the data set.
        annotations: See `vidreason.data.registry.Source`.
    """
    files = dataset_of(dataset).annotation_files(Source(Path(root), annotations))
    return [path for path in files if is_there(path) and path.is_file()]


def checkpoint_files(folder: str | Path, key: str) -> list[Path]:
    """List the existing files that are read from a folder of given weights.

    Args:
        folder: The folder.
        key: Its use: `weights`, `tokenizer` or `processor`.
    """
    if key == "tokenizer":
        names: list[str] = list(TOKENIZER_FILES)
    elif key == "processor":
        names = [PROCESSOR]
    else:
        kinds = ("*.json", "*.safetensors", "merges.txt")
        names = sorted({path.name for kind in kinds for path in Path(folder).glob(kind)})
    return [Path(folder) / name for name in names if (Path(folder) / name).is_file()]


def fingerprint(files: list[str]) -> str:
    """Digest of files: of the contents of small ones, and of the sizes and times of large ones.

    Args:
        files: Paths; a missing file counts as missing.
    """
    return sha256_text("\n".join(f"{name} {_fingerprint(name)}" for name in sorted(files)))[:16]


@functools.cache
def _fingerprint(name: str) -> str:
    try:
        stat = Path(name).stat()
        return sha256_of(name) if stat.st_size <= LARGE else f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError as error:
        return type(error).__name__


@functools.cache
def video_digest(root: str) -> str:
    """Digest of the names and sizes of the videos and pictures below a folder.

    Contents would take hours to read. Times do not count because clusters touch files to keep them.
    """
    return sha256_text("\n".join(f"{name} {size}" for name, size in sorted(_videos(root, "", frozenset()))))[:16]


def _videos(folder: str, name: str, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Name and size of every file below a folder; a link to a folder above it is not followed."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from _videos(entry.path, f"{name}{entry.name}/", above | {here})
                elif entry.name.rpartition(".")[2].lower() not in NO_VIDEOS:
                    yield f"{name}{entry.name}", _size(entry)
    except OSError:  # a folder that cannot be read; its videos are rows with a reason
        yield name, -1


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a dangling link
        return -1
