"""Video-MME: 2,700 questions about 900 videos of three lengths, without subtitles.

Layout (lmms-lab/Video-MME): `videomme/test-00000-of-00001.parquet`; videos unpacked to `data/<videoID>.mp4`, a few of
them `.MP4` or `.mkv`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.choices import PROMPTS, check_questions, need, plain_text, plain_texts
from vidreason.records import LETTERS, Question

TITLE = "Video-MME (without subtitles)"
CITATION = "Fu et al., Video-MME, CVPR 2025, arXiv 2405.21075"
DURATIONS = ("short", "medium", "long")
TABLE = "videomme/test-00000-of-00001.parquet"
SUFFIXES = (".mp4", ".MP4", ".mkv")

prompt = PROMPTS["video_mme"]


def read(root: str | Path) -> list[Question]:
    """Read the questions in published order.

    Args:
        root: Folder of the benchmark.

    Returns:
        Questions; `task` is the task type, `group` the duration class.

    Raises:
        ValueError: The table is absent or a record is malformed.
    """
    import pyarrow.parquet as pq

    (table,) = annotation_files(Path(root))
    if not table.is_file():
        raise ValueError(f"{table}: no such file. The root must be the folder that holds {TABLE} and data/")
    try:
        records = pq.read_table(table).to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(f"{table}: not a parquet file ({error}). Was it cut short, or is it a web page?") from error
    questions = (
        parse_record(record, root, f"{table}: record {number}") for number, record in enumerate(records, start=1)
    )
    return check_questions(questions, table)


def annotation_files(root: Path) -> list[Path]:
    """The file that questions are read from; it may not exist."""
    return [root / TABLE]


def parse_record(record: Mapping[str, Any], root: str | Path = ".", where: str = "record") -> Question:
    """Turn one row into a question.

    Args:
        record: A row; `options` is a list or a NumPy array of `A. text` strings.
        root: Folder of the benchmark, to find the video's suffix.
        where: File and number, for the message.

    Returns:
        The question; its options are what stands after `A. `, spacing and final full stop as published.

    Raises:
        ValueError: A key is absent, an option does not begin with its letter, or the answer is no letter.
    """
    need(dict(record), ("videoID", "question", "options", "answer", "duration"), where)
    options = []
    published = plain_texts(record["options"], "options", where)
    if len(published) > len(LETTERS):
        raise ValueError(f"{where}: {len(published)} options; allowed: 2 to {len(LETTERS)}")
    for letter, option in zip(LETTERS, published, strict=False):
        if not option.startswith(f"{letter}."):
            raise ValueError(f"{where}: expected an option that begins with '{letter}. ', found {option!r}")
        options.append(option[2:].removeprefix(" "))
    duration = str(record["duration"])
    if duration not in DURATIONS:
        raise ValueError(f"{where}: duration {duration!r}; allowed: {', '.join(DURATIONS)}")
    answer = str(record["answer"]).strip()
    if answer not in tuple(LETTERS[: len(options)]):
        raise ValueError(f"{where}: the answer {answer!r} is not one of the letters {LETTERS[: len(options)]!r}")
    video = plain_text(record["videoID"], "videoID", where)
    return Question(
        id=str(record.get("question_id") or f"{video}-{record['question']}"),
        dataset="video_mme",
        video=find_video(Path(root), video),
        question=plain_text(record["question"], "question", where),
        options=tuple(options),
        answer=answer,
        task=str(record.get("task_type") or ""),
        group=duration,
    )


def find_video(root: Path, name: str) -> str:
    """Path of a video below the root: the first suffix that exists, `.mp4` if none does."""
    for suffix in SUFFIXES:
        if (root / "data" / f"{name}{suffix}").exists():
            return f"data/{name}{suffix}"
    return f"data/{name}{SUFFIXES[0]}"
