"""MMVU: expert questions; the 625 multiple-choice ones of the 1,000 of the validation split.

Layout (yale-nlp/MMVU): `validation.json`; single files `videos/<Subject>/<n>.mp4`, which the records give as URLs of the
hub.
"""

import re
from pathlib import Path
from typing import Any

from vidreason.data.fields import (
    as_optional_text,
    as_text,
    as_texts,
    gold_letter,
    questions_of,
    read_records,
    refuse_withheld,
    require_keys,
    video_path,
)
from vidreason.data.registry import Dataset, register
from vidreason.records import LETTERS, ClipRef, Question
from vidreason.tasks.prompt_templates import with_letters

TABLE = "validation.json"
MULTIPLE_CHOICE = "multiple-choice"
OPEN_ENDED = "open-ended"
_PREFIX = re.compile(r"^https?://[^/]+/datasets/yale-nlp/MMVU/resolve/[^/]+/")


def read(root: str | Path) -> list[Question]:
    """Read the multiple-choice questions in published order.

    Args:
        root: Folder of the benchmark.

    Returns:
        Questions; `group` is the subject.

    Raises:
        ValueError: The file is absent or a record is malformed.
    """
    (source,) = annotation_files(Path(root))
    if not source.is_file():
        raise ValueError(f"{source}: no such file. The root must be the folder that holds {TABLE} and videos/")
    questions = questions_of(source, read_records(source), parse_record)
    refuse_withheld(source, questions)
    return questions


def annotation_files(root: Path) -> list[Path]:
    """The file that questions are read from; it may not exist."""
    return [root / TABLE]


def parse_record(record: Any, index: int = 0) -> Question | None:
    """Turn one record into a question.

    Args:
        record: `{id, video, question_type, metadata, question, choices, answer}`; choices are `{"A": text, ...}`.
        index: Place in the file, from 0; used as the id if the record has none.

    Returns:
        The question, every published choice kept, also an empty one; None for an open-ended record. The answer is
        `NO_OPTION` where none is given.

    Raises:
        ValueError: A key is absent, the choices are not lettered from A on, or the answer is no letter of theirs.
    """
    require_keys(record, ("video", "question_type", "question", "choices", "answer"))
    kind = record["question_type"]
    if kind == OPEN_ENDED:
        return None
    if kind != MULTIPLE_CHOICE:
        raise ValueError(f"question_type {kind!r}; allowed: {MULTIPLE_CHOICE}, {OPEN_ENDED}")
    choices = record["choices"]
    letters = list(choices) if isinstance(choices, dict) else []
    if not letters or letters != list(LETTERS[: len(letters)]):
        raise ValueError(
            f"choices must be an object with the keys A, B, ... in this order, at most {LETTERS[-1]}; found {choices!r}"
        )
    video = _PREFIX.sub("", as_text(record["video"], "video"))
    if "://" in video:
        raise ValueError(f"video {video!r} is neither a path nor a URL of yale-nlp/MMVU")
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata is {str(metadata)[:80]!a}; expected an object")
    return Question(
        id=as_optional_text(record.get("id"), "id") or f"validation_{index}",
        dataset="mmvu",
        task="multiple_choice",
        text=as_text(record["question"], "question"),
        clip=ClipRef(video_path(video)),
        options=as_texts(list(choices.values()), "choices"),
        gold=gold_letter(record["answer"], "".join(letters)),
        group=as_optional_text(metadata.get("subject"), "metadata.subject"),
    )


register(
    Dataset(
        name="mmvu",
        title="MMVU",
        description="MMVU (multiple choice, validation)",
        citation="Zhao et al., MMVU, CVPR 2025, arXiv 2501.12380",
        role="benchmark",
        template=with_letters,
        read=lambda source: read(source.root),
        annotation_files=lambda source: annotation_files(source.root),
    )
)
