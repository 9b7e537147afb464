"""Video-MME: 2,700 questions about 900 videos of three lengths, without subtitles.

Layout (lmms-lab/Video-MME): `videomme/test-00000-of-00001.parquet`; videos unpacked to `data/<videoID>.mp4`, a few of
them `.MP4` or `.mkv`.
"""

from pathlib import Path
from typing import Any

from vidreason.artifacts.path_checks import is_there
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
from vidreason.tasks.prompt_templates import with_options_line

DURATIONS = ("short", "medium", "long")
TABLE = "videomme/test-00000-of-00001.parquet"
SUFFIXES = (".mp4", ".MP4", ".mkv")


def read(root: str | Path) -> list[Question]:
    """Read the questions in published order.

    Args:
        root: Folder of the benchmark.

    Returns:
        Questions; `category` is the task type, `group` the duration class.

    Raises:
        ValueError: The table is absent or a record is malformed.
    """
    (table,) = annotation_files(Path(root))
    if not table.is_file():
        raise ValueError(f"{table}: no such file. The root must be the folder that holds {TABLE} and data/")
    records = read_records(table)

    def parse(record: Any, index: int) -> Question:
        return parse_record(record, root, index)

    questions = questions_of(table, records, parse)
    refuse_withheld(table, questions)
    return questions


def annotation_files(root: Path) -> list[Path]:
    """The file that questions are read from; it may not exist."""
    return [root / TABLE]


def parse_record(record: Any, root: str | Path = ".", index: int = 0) -> Question:
    """Turn one row into a question.

    Args:
        record: A row; `options` is a list or a NumPy array of `A. text` strings.
        root: Folder of the benchmark, to find the video's suffix.
        index: Place in the table, from 0; used as the id if the row has none.

    Returns:
        The question; its options are the published texts after `A. `, with their spacing and final full stop.

    Raises:
        ValueError: A key is absent, an option does not begin with its letter, or the answer is no letter.
    """
    require_keys(dict(record), ("videoID", "question", "options", "answer", "duration"))
    options = []
    for letter, option in zip(LETTERS, as_texts(record["options"], "options"), strict=False):
        if option.strip() and not option.startswith(f"{letter}."):
            raise ValueError(f"expected an option that begins with '{letter}. ', found {option!r}")
        options.append(option[2:].removeprefix(" ") if option.strip() else "")
    duration = record["duration"]
    if duration not in DURATIONS:
        raise ValueError(f"duration {duration!r}; allowed: {', '.join(DURATIONS)}")
    return Question(
        id=as_optional_text(record.get("question_id"), "question_id") or f"row_{index}",
        dataset="video_mme",
        task="multiple_choice",
        text=as_text(record["question"], "question"),
        clip=ClipRef(find_video(Path(root), video_path(record["videoID"], "videoID"))),
        options=tuple(options),
        gold=gold_letter(record["answer"], LETTERS[: len(options)]),
        category=as_optional_text(record.get("task_type"), "task_type"),
        group=duration,
    )


def find_video(root: Path, name: str) -> str:
    """Path of a video below the root: the first suffix that exists, `.mp4` if none does."""
    for suffix in SUFFIXES:
        if is_there(root / "data" / f"{name}{suffix}"):
            return f"data/{name}{suffix}"
    return f"data/{name}{SUFFIXES[0]}"


register(
    Dataset(
        name="video_mme",
        title="Video-MME",
        description="Video-MME (without subtitles)",
        citation="Fu et al., Video-MME, CVPR 2025, arXiv 2405.21075",
        role="benchmark",
        template=with_options_line,
        read=lambda source: read(source.root),
        annotation_files=lambda source: annotation_files(source.root),
        parts="group",
    )
)
