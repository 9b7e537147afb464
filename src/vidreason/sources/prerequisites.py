"""What must be there before a job can read data sets, weights and sources, and whether a user's own files have changed."""

import json
from pathlib import Path
from typing import Any

from vidreason.config import paths
from vidreason.config.run import Run
from vidreason.sources.lock import Lock, Source
from vidreason.sources.own_files import annotation_files, checkpoint_files, fingerprint, video_digest

GIVEN = ("weights", "tokenizer", "processor")


def root_ready(run: Run, dataset: str) -> list[str]:
    """The last step that makes the folder of a data set; nothing for a folder of the user's own."""
    root = run.root(dataset)
    return [run.ready(root)] if run.makes(root) else []


def questions_ready(run: Run, dataset: str) -> list[str]:
    """What a data set's questions are read from: what makes its folder, and annotation files of the user's own."""
    return [*root_ready(run, dataset), *_annotations_ready(run, dataset)]


def _annotations_ready(run: Run, dataset: str) -> list[str]:
    """Annotation files of the user's own, or the source of one that is not in the data set's folder."""
    root, name = run.root(dataset), run.annotations(dataset)
    if name and run.makes(name):
        return [run.ready(name)]
    if run.makes(root):
        return [name] if name and Path(name).is_file() else []
    return [str(path) for path in annotation_files(dataset, root, name)]


def own_annotations(run: Run, dataset: str) -> str | None:
    """Fingerprint of annotation files of the user's own; None where there are none."""
    return _fingerprint(run, _annotations_ready(run, dataset))


def own_videos(run: Run, dataset: str) -> str | None:
    """Names and sizes of the videos in a folder of the user's own, as a digest; None for what the graph makes."""
    root = run.root(dataset)
    return None if run.makes(root) else video_digest(root)


def weights_ready(run: Run, arm: str) -> list[str]:
    """What given weights are imported from: files of the user's own, or the last step that makes their folder."""
    run.arm(arm)
    files: list[str] = []
    for key in GIVEN:
        folder = run.given(arm, key)
        if folder and run.makes(folder):
            files.append(run.ready(folder))
        elif folder:
            files += map(str, checkpoint_files(folder, key))
    return list(dict.fromkeys(files))


def own_weights(run: Run, arm: str) -> str | None:
    """Fingerprint of the files of given weights that are the user's own; None where there are none."""
    return _fingerprint(run, weights_ready(run, arm))


def _fingerprint(run: Run, files: list[str]) -> str | None:
    own = [file for file in files if not run.makes(file)]
    return fingerprint(own) if own else None


def source_settings(run: Run, source: str) -> dict[str, Any]:
    """A source's entry as plain values."""
    return run.sources[source].model_dump(mode="json")


def source_json(run: Run, source: str) -> str:
    """A source's entry as JSON."""
    return json.dumps(source_settings(run, source))


def delete_archives(run: Run) -> str:
    """Whether archives are removed once they are unpacked, as JSON."""
    return json.dumps(run.delete_archives)


def unpacked_by(run: Run, source: str) -> dict[str, Any]:
    """What of a source's entry decides what is unpacked."""
    return dict(source_settings(run, source)["archives"])


def fetched_by(run: Run, source: str) -> dict[str, Any]:
    """What of a source's entry decides which files are fetched."""
    entry = source_settings(run, source)
    return {key: entry[key] for key in ("repo", "type", "revision", "files", "asked_by")}


def is_locked(source: str) -> bool:
    """Whether a source has a lock. A lock is made once, and no rule makes it again."""
    return Path(paths.LOCK.format(source=source)).exists()


def checked_lock(run: Run, source: str) -> str:
    """Lock of a source; one that is there must be of the source as it is configured.

    Raises:
        SourceError: It is of something else.
    """
    path = paths.LOCK.format(source=source)
    if is_locked(source):
        Lock.load(path).check(Source.of(source, source_settings(run, source)), path)
    return path
