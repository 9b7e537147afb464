"""Charades-STA: find the part of a video of a room that a sentence describes.

Layout: `charades_sta_train.txt` and `charades_sta_test.txt`; beside them, or in the data set's folder, the durations
(`charades.json` or `durations.json`); videos `Charades_v1_480/<id>.mp4`. The flat records of the hub are read too, which round
times to half precision (24.3 becomes 24.296875), and the regrouped form with durations (`vidreason.data.moments`).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json
from vidreason.artifacts.strict_json import abridged
from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.moments import as_seconds, query, read_moments, video_finder
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import Question

TRAIN = ("charades_sta_train.txt", "charades_sta/charades_sta_train.txt")
"""Names of the annotation file below the root, in the order in which they are tried."""
TEST = ("charades_sta_test.txt", "charades_sta/charades_sta_test.txt", "data/test-00000-of-00001.parquet")
DURATIONS = ("charades.json", "durations.json")
"""Names of the file of durations, beside the annotations or in the root: `{id: {"duration": s}}` or `{id: s}`."""
FOLDERS = ("Charades_v1_480", "videos", "videos_3fps_480_noaudio", ".")
"""Folders of the videos below the root, in the order in which they are tried."""


def read_train(source: Source) -> list[Question]:
    """Read the training split: 12,408 sentences about 5,338 videos."""
    return _read("charades_sta_train", source, TRAIN, for_training=True)


def read_test(source: Source) -> list[Question]:
    """Read the test split: 3,720 sentences about 1,334 videos."""
    return _read("charades_sta", source, TEST, for_training=False)


def _read(dataset: str, source: Source, names: tuple[str, ...], for_training: bool) -> list[Question]:
    file = find_annotations(source.root, source.annotations, names)
    located = video_finder(source.root, FOLDERS)
    return read_moments(dataset, source, file, located, read_durations(source.root, file), for_training)


def files_of(source: Source, names: tuple[str, ...]) -> list[Path]:
    """The annotation file and the file of durations, as far as they exist."""
    files = existing_annotations(source.root, source.annotations, names)
    return [*files, *(path for file in files if (path := _durations_file(source.root, file)))]


def read_durations(root: Path, file: Path) -> dict[str, float]:
    """Seconds by the name of a video; none where there is no file of durations.

    Args:
        root: Folder of the data set.
        file: The annotations.

    Raises:
        ValueError: The file holds something else than a number of seconds for each name, or the annotations are of the form
            that needs it, and there is none.
    """
    path = _durations_file(root, file)
    if path is None:
        if file.suffix == ".txt":
            raise ValueError(
                f"{file} gives no durations, and there is none of {', '.join(DURATIONS)} in {file.parent} or {root}. Put "
                f"the published charades.json there"
            )
        return {}
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected an object of videos, found {type(entries).__name__}")
    try:
        return {name: as_seconds(_duration(entry), f"the duration of {name!r}") for name, entry in entries.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {abridged(str(error))}") from error


def _duration(entry: Any) -> Any:
    return entry.get("duration") if isinstance(entry, Mapping) else entry


def _durations_file(root: Path, file: Path) -> Path | None:
    places = [folder / name for folder in (file.parent, root) for name in DURATIONS]
    return next((path for path in places if path.is_file()), None)


BENCHMARK = Dataset(
    name="charades_sta",
    title="Charades-STA",
    description="Charades-STA (temporal grounding, test split)",
    citation="Gao et al., TALL: Temporal Activity Localization via Language Query, ICCV 2017, arXiv 1705.02101",
    role="benchmark",
    template=query,
    read=read_test,
    annotation_files=lambda source: files_of(source, TEST),
    tasks=("grounding",),
)
register(BENCHMARK)
register(
    dataclasses.replace(
        BENCHMARK,
        name="charades_sta_train",
        title="Charades-STA train",
        description="Charades-STA (temporal grounding, training split)",
        role="training",
        read=read_train,
        annotation_files=lambda source: files_of(source, TRAIN),
    )
)
