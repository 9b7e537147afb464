"""MMVU: expert questions; the 625 multiple-choice ones of the 1,000 of the validation split.

Layout (yale-nlp/MMVU): `validation.json`; single files `videos/<Subject>/<n>.mp4`, which the records name by the URL of
the file on the hub.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.choices import PROMPTS, check_questions, need, plain_text, plain_texts
from vidreason.files import read_json
from vidreason.records import LETTERS, Question

TITLE = "MMVU (multiple choice, validation)"
CITATION = "Zhao et al., MMVU, CVPR 2025, arXiv 2501.12380"
TABLE = "validation.json"
MULTIPLE_CHOICE = "multiple-choice"
OPEN_ENDED = "open-ended"
_PREFIX = re.compile(r"^https?://[^/]+/datasets/yale-nlp/MMVU/resolve/[^/]+/")

prompt = PROMPTS["mmvu"]


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
    records = read_json(source)
    if not isinstance(records, list):
        raise ValueError(f"{source}: expected a list of records, found {type(records).__name__}")
    parsed = (parse_record(record, index, f"{source}: record {index + 1}") for index, record in enumerate(records))
    return check_questions([question for question in parsed if question is not None], source)


def annotation_files(root: Path) -> list[Path]:
    """The file that questions are read from; it may not exist."""
    return [root / TABLE]


def parse_record(record: Mapping[str, Any], index: int = 0, where: str = "record") -> Question | None:
    """Turn one record into a question.

    Args:
        record: `{id, video, question_type, metadata, question, choices, answer}`; choices are `{"A": text, ...}`.
        index: Place in the file, from 0; the id where the record has none.
        where: File and number, for the message.

    Returns:
        The question, every published choice kept, also an empty one; None for an open-ended record.

    Raises:
        ValueError: A key is absent, the choices are not lettered from A on, or the answer is no letter of theirs.
    """
    need(record, ("video", "question_type", "question", "choices", "answer"), where)
    kind = record["question_type"]
    if kind == OPEN_ENDED:
        return None
    if kind != MULTIPLE_CHOICE:
        raise ValueError(f"{where}: question_type {kind!r}; allowed: {MULTIPLE_CHOICE}, {OPEN_ENDED}")
    choices = record["choices"]
    letters = "".join(choices) if isinstance(choices, dict) else ""
    if not letters or letters != LETTERS[: len(letters)]:
        raise ValueError(f"{where}: choices must be lettered A, B, ..., found {choices!r}")
    answer = str(record["answer"]).strip()
    if len(answer) != 1 or answer not in letters:
        raise ValueError(f"{where}: the answer {answer!r} is not one of the letters {letters!r}")
    video = _PREFIX.sub("", plain_text(record["video"], "video", where))
    if "://" in video:
        raise ValueError(f"{where}: video {video!r} is neither a path nor a URL of yale-nlp/MMVU")
    metadata = record.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError(f"{where}: metadata is {str(metadata)[:80]!a}; expected an object")
    return Question(
        id=str(record.get("id") or f"validation_{index}"),
        dataset="mmvu",
        video=video,
        question=plain_text(record["question"], "question", where),
        options=tuple(plain_texts(list(choices.values()), "choices", where)),
        answer=answer,
        group=str(metadata.get("subject", "")),
    )
