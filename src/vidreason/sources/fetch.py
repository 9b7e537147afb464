"""Fetching the files of a source, each verified against the lock. A fetch that was killed resumes."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import write_json
from vidreason.config.paths import SOURCES
from vidreason.data.registry import read_questions
from vidreason.sources import hub
from vidreason.sources.hub import PARTIAL, HubFile
from vidreason.sources.lock import FROM_MIRROR, Lock, Source, SourceError, copy_command, mirror_of
from vidreason.sources.unpack import Contents

DOWNLOADS = 4
"""Number of files downloaded at a time."""


def fetch_source(source: Source, lock_path: str | Path, folder: str | Path, out: str | Path) -> dict[str, Any]:
    """Fetch every file that is needed into a folder, verified. Files that are there already are not fetched again.

    Args:
        source: The source.
        lock_path: Its lock.
        folder: Folder for the files, which keep their paths in the repository.
        out: JSON to write at the end: source, revision, origin, and the files with their digests.

    Returns:
        The contents of `out`.

    Raises:
        HubError: A file cannot be fetched.
        SourceError: The lock is for another source, the number of files is not the expected one, or the disk is full.
    """
    folder = Path(folder)
    lock = Lock.load(lock_path)
    lock.check(source, lock_path)
    mirror = mirror_of(source)
    if mirror is not None and folder.exists() and folder.resolve() == mirror.resolve():
        raise SourceError(
            f"source {source.name}: {folder} is the mirror's own folder, which is never written to. Remove that link: the "
            f"mirror's files are linked into {folder} one by one"
        )
    needed = list(lock.files)
    if source.asked_by is not None:
        questions = [file for file in needed if Path(file.path).suffix == ".json"]
        _fetch_all(source, lock, questions, folder, mirror)
        needed = [*questions, *_videos_of_questions(source, lock, folder)]
    if source.expected_files is not None and len(needed) != source.expected_files:
        raise SourceError(
            f"source {source.name}: {len(needed)} files are needed of {lock.repo} at {lock.revision}, expected are "
            f"{source.expected_files}. If that is right, set sources.{source.name}.expected_files to {len(needed)}; if not, "
            f"it is another revision, or a file is missing"
        )
    _fetch_all(source, lock, needed, folder, mirror)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    origin = lock.origin if mirror is None else FROM_MIRROR
    fetched = {
        "source": source.name,
        "repo": source.repo,
        "type": source.type,
        "revision": lock.revision,
        "origin": origin,
        "files": [{"path": file.path, "size": file.size, "digest": file.digest} for file in needed],
    }
    write_json(out, fetched)
    return fetched


def _videos_of_questions(source: Source, lock: Lock, folder: Path) -> list[HubFile]:
    """Videos that the questions of the source's data set are about, as far as the repository has them."""
    named = {question.clip.path for question in read_questions(str(source.asked_by), folder)}
    files = [file for file in lock.files if file.path in named]
    absent = sorted(named - {file.path for file in files})
    if absent:
        # Not an error here: a question without a video is a counted row of the benchmark.
        print(
            f"{source.name}: {len(absent)} of {len(named)} videos asked about are not in it: {absent[:5]}", flush=True
        )
    return files


def _fetch_all(source: Source, lock: Lock, files: Sequence[HubFile], folder: Path, mirror: Path | None) -> None:
    """Fetch missing files, a few at a time."""
    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        there = list(pool.map(lambda file: _is_there(file, folder), files))
    missing = [file for file, exists in zip(files, there, strict=True) if not exists]
    if not missing:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"source {source.name}: the folder {folder} cannot be made ({error.strerror}). Is {SOURCES} a link to a disk that is "
            f"not there?"
        ) from error
    free = shutil.disk_usage(folder).free
    needed = 0 if mirror else sum(hub.bytes_left(source.hub, lock.revision, file, folder) for file in missing)
    if needed > free:
        raise SourceError(
            f"source {source.name}: {needed / 1e9:.2f} GB are still to be fetched, {free / 1e9:.2f} GB are free in {folder}. "
            f"Make room, or let `data` be a link to a larger disk"
        )
    print(
        f"{source.name}: {len(missing)} of {len(files)} files to fetch, {needed / 1e9:.3f} GB to download", flush=True
    )

    def fetch(file: HubFile) -> None:
        target = folder / file.path
        if target.is_dir():
            raise SourceError(f"source {source.name}: {target} is a folder where a file should be; move it away")
        if mirror is None:
            hub.download(source.hub, lock.revision, file, folder)
        else:
            _link_from_mirror(source, lock.revision, file, mirror, target)
        print(f"{source.name}: {file.path} ({file.size} bytes)", flush=True)

    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        jobs = [pool.submit(fetch, file) for file in missing]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _link_from_mirror(source: Source, revision: str, file: HubFile, mirror: Path, target: Path) -> None:
    """Link a file of the mirror, if it is the one in the lock."""
    copy = mirror / file.path
    if not copy.is_file():
        raise SourceError(f"source {source.name}: {copy} is missing; {copy_command(source, mirror, revision)}")
    if not file.describes(copy):
        raise SourceError(
            f"source {source.name}: {copy} was refused: it has {copy.stat().st_size} bytes or another digest than the lock "
            f"says ({file.size} bytes, {file.digest}). Copy it again: {copy_command(source, mirror, revision)}"
        )
    hub.link(copy, target)


def _is_there(file: HubFile, folder: Path) -> bool:
    """Whether a file need not be fetched: it exists, or it is an archive that was unpacked and then removed."""
    if file.describes(folder / file.path):
        return True
    contents = Contents.of(folder, file.path)
    return contents is not None and contents.digest == file.digest and contents.is_whole(folder)
