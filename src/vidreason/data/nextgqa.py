"""NExT-GQA: multiple-choice questions with the parts of the video that justify the answer.

Layout (doc-doc/NExT-GQA): `val.csv` and `test.csv` with `gsub_val.json` and `gsub_test.json`, the segments by video and question;
`map_vid_vidorID.json`, the folder of each video; videos `<VidOR folder>/<id>.mp4`. The flat records that OpenGVLab/VideoChat-R1
made of them, `nextgqa_val.json` and `nextgqa_test.json`, are read too.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_json
from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.fields import (
    UnusableRecordError,
    as_text,
    as_texts,
    questions_of,
    read_records,
    require_keys,
    video_path,
)
from vidreason.data.moments import video_finder, with_duration, with_segments, without_suffix
from vidreason.data.options import answer_letter, letter_of
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import LETTERS, NO_OPTION, ClipRef, Question
from vidreason.tasks.prompt_templates import with_options_line

VAL = ("val.csv", "nextgqa/val.csv", "annotations/val.csv", "nextgqa_val.json")
"""Names of the annotation file below the root, in the order in which they are tried."""
TEST = ("test.csv", "nextgqa/test.csv", "annotations/test.csv", "nextgqa_test.json")
SEGMENTS = {"val.csv": "gsub_val.json", "test.csv": "gsub_test.json"}
"""Table of questions -> its segments, in the same folder."""
MAP = "map_vid_vidorID.json"
"""Path of each video without its suffix, in the folder of the table."""
FOLDERS = (".", "videos", "NExTVideo", "nextqa/videos")
"""Folders that the paths may be relative to, below the root, in the order in which they are tried."""
NO_SEGMENT = "no_segment"
COLUMNS = ("video_id", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4")


def read_val(source: Source) -> list[Question]:
    """Read the validation split, which is trained on: 3,358 questions about 567 videos."""
    return _read("nextgqa_val", source, VAL, for_training=True)


def read_test(source: Source) -> list[Question]:
    """Read the test split: 5,553 questions about 990 videos."""
    return _read("nextgqa", source, TEST, for_training=False)


def _read(dataset: str, source: Source, names: Sequence[str], for_training: bool) -> list[Question]:
    """Read a split in published order; `category` is the type of question (CW, CH, TN, TC, TP)."""
    file = find_annotations(source.root, source.annotations, names)
    located = video_finder(source.root, FOLDERS)
    table = Table.beside(file) if file.suffix == ".csv" else None

    def parse(record: Any, index: int) -> Question:
        video, question, duration, pairs = flat(dataset, record) if table is None else table.parse(dataset, record)
        question = dataclasses.replace(question, clip=ClipRef(located(video)))
        if for_training and question.gold == NO_OPTION:
            raise UnusableRecordError("no_gold", "the text of the answer is none of the options", question)
        if not pairs:
            raise UnusableRecordError(NO_SEGMENT, "no segment is annotated for the question", question)
        return with_segments(with_duration(question, duration), pairs, source)

    records = read_records(file) if table is None else read_csv(file, COLUMNS)
    return questions_of(file, records, parse, for_training, source)


Parsed = tuple[str, Question, Any, Any]
"""Path of the video without its suffix; the question without clip; duration and segments as published."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The files that the rows of a table are read with.

    Attributes:
        file: The segments.
        segments: Video -> its duration and the segments of its questions.
        paths: Video -> its path without the suffix; empty where there is no map.
    """

    file: Path
    segments: Mapping[str, Any]
    paths: Mapping[str, Any]

    @classmethod
    def beside(cls, file: Path) -> "Table":
        """Read them from the folder of the table.

        Raises:
            ValueError: There are no segments, or a file does not hold an object.
        """
        name = SEGMENTS.get(file.name)
        if name is None or not (file.parent / name).is_file():
            raise ValueError(
                f"{file}: the segments are not beside it; allowed: {' and '.join(map(' with '.join, SEGMENTS.items()))} in one "
                f"folder"
            )
        paths = file.parent / MAP
        return cls(file.parent / name, _object(file.parent / name), _object(paths) if paths.is_file() else {})

    def parse(self, dataset: str, row: Any) -> Parsed:
        """Take a row apart. The answer is a text; where two options have it, the last one is right (`letter_of`)."""
        video = row["video_id"]
        options = tuple(row[name] for name in COLUMNS[-5:])
        entry = self.segments.get(video)
        try:
            places = require_keys(entry, ("duration", "location"))["location"] if entry is not None else {}
            pairs = places.get(row["qid"]) if isinstance(places, dict) else None
        except ValueError as error:
            raise ValueError(f"{self.file}: video {video!r}: {error}") from error
        question = Question(
            id=f"{video}_{row['qid']}",
            dataset=dataset,
            task="grounded_choice",
            text=row["question"],
            clip=ClipRef(video_path(video, "video_id")),
            options=options,
            gold=letter_of(row["answer"], options),
            category=row["type"],
        )
        path = video_path(self.paths.get(video, video), f"path of {video}")
        return path, question, entry["duration"] if entry is not None else None, pairs


def flat(dataset: str, record: Any) -> Parsed:
    """Take a flat record apart: `{id, video, question, options: ["(A) ..", ..], answer: "(C)", duration, glue, type}`.

    Raises:
        ValueError: A key is absent, the options are not lettered in order, or the answer names none of them.
    """
    require_keys(record, ("id", "video", "question", "options", "answer", "duration", "glue"))
    published = as_texts(record["options"], "options")
    letters = [_LETTERED.match(option) for option in published]
    if [match and match.group(1) for match in letters] != list(LETTERS[: len(published)]):
        raise ValueError(f"the options must begin with (A), (B), ..; found {list(published)}")
    options = tuple(match.group(2) for match in letters if match)
    video = video_path(record["video"])
    question = Question(
        id=as_text(record["id"], "id"),
        dataset=dataset,
        task="grounded_choice",
        text=as_text(record["question"], "question"),
        clip=ClipRef(video),
        options=options,
        gold=answer_letter(as_text(record["answer"], "answer"), options),
        category=as_text(record.get("type", ""), "type"),
    )
    return without_suffix(video), question, record["duration"], record["glue"]


_LETTERED = re.compile(r"\(([A-J])\) ?(.*)", re.DOTALL)


def _object(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise ValueError(f"{file}: expected an object by video, found {type(value).__name__}")
    return value


def files_of(source: Source, names: Sequence[str]) -> list[Path]:
    """The annotation file and those read with it, as far as they exist."""
    files = existing_annotations(source.root, source.annotations, names)
    with_it = [file.parent / name for file in files for name in (SEGMENTS.get(file.name), MAP) if name]
    return [*files, *(path for path in with_it if path.is_file())]


BENCHMARK = Dataset(
    name="nextgqa",
    title="NExT-GQA",
    description="NExT-GQA (grounded multiple choice, test split)",
    citation="Xiao et al., Can I Trust Your Answer? Visually Grounded Video Question Answering, CVPR 2024, arXiv 2309.01327",
    role="benchmark",
    template=with_options_line,
    read=read_test,
    annotation_files=lambda source: files_of(source, TEST),
    tasks=("grounded_choice",),
)
register(BENCHMARK)
register(
    dataclasses.replace(
        BENCHMARK,
        name="nextgqa_val",
        title="NExT-GQA val",
        description="NExT-GQA (grounded multiple choice, validation split)",
        role="training",
        read=read_val,
        annotation_files=lambda source: files_of(source, VAL),
    )
)
