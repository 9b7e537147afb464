"""MLVU: questions about long videos, seven multiple-choice tasks (the two generation tasks are not used).

Layout (MLVU/MVLU, the repository's name is a typo of its own): `MLVU/json/<n>_<task>.json`, `MLVU/video/<n>_<task>/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.data.fields import need, option_texts, plain_text, questions_of, read_records, video_path
from vidreason.data.options import letter_of
from vidreason.data.registry import Dataset, register
from vidreason.records import ClipRef, Question
from vidreason.tasks.prompts import with_brackets_cut

TASKS: Mapping[str, str] = {
    "plotQA": "1_plotQA",
    "needle": "2_needle",
    "ego": "3_ego",
    "count": "4_count",
    "order": "5_order",
    "anomaly_reco": "6_anomaly_reco",
    "topic_reasoning": "7_topic_reasoning",
}
"""Task -> name of its file and of its folder. Records of `needle` call themselves `findNeedle`."""
FOLDER = "MLVU"


def read(root: str | Path) -> list[Question]:
    """Read the questions of every task whose file is there.

    Args:
        root: Folder of the benchmark, with `MLVU/json` or `json` in it.

    Returns:
        Questions, task by task in the order of `TASKS`.

    Raises:
        ValueError: No task's file is there, or a record is malformed.
    """
    root = Path(root)
    questions: list[Question] = []
    prefix = prefix_of(root)
    for task, source in zip(TASKS, annotation_files(root), strict=True):
        if source.is_file():
            questions += _read_task(source, task, prefix)
    if not questions:
        raise ValueError(f"{root / prefix}json: none of the tasks' files is there: {', '.join(TASKS.values())}")
    return questions


def prefix_of(root: Path) -> str:
    """Folder between the root and `json/` and `video/`, with a slash at its end; empty where there is none."""
    return f"{FOLDER}/" if (root / FOLDER / "json").is_dir() else ""


def annotation_files(root: Path) -> list[Path]:
    """The files that questions are read from, in the order of `TASKS`; some may not exist."""
    return [root / f"{prefix_of(root)}json" / f"{name}.json" for name in TASKS.values()]


def _read_task(source: Path, task: str, prefix: str) -> list[Question]:
    """The questions of one file."""

    def parse(record: Any, index: int) -> Question:
        return parse_record(record, task, index, prefix)

    return questions_of(source, read_records(source), parse)


def parse_record(record: Any, task: str, index: int = 0, prefix: str = "") -> Question:
    """Turn one record into a question.

    Args:
        record: `{video, duration, question, candidates, answer, question_type}`; the answer is a text.
        task: Key of `TASKS`.
        index: Place in the task's file, from 0; makes the id.
        prefix: Folder between the root and `video/`, with a slash at its end.

    Returns:
        The question as published, even where its text, candidates and answer are all empty (one record of
        `topic_reasoning`): the answer is the last candidate equal to it, or `NO_OPTION` when there is none (two
        records of `needle`).

    Raises:
        ValueError: Unknown task, or a key is absent.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
    need(record, ("video", "question", "candidates", "answer"))
    candidates = option_texts(record["candidates"], "candidates")
    return Question(
        id=f"{task}-{index}",
        dataset="mlvu",
        task="multiple_choice",
        text=plain_text(record["question"], "question"),
        clip=ClipRef(f"{prefix}video/{TASKS[task]}/{video_path(record['video'])}"),
        options=candidates,
        gold=letter_of(plain_text(record["answer"], "answer"), candidates),
        category=task,
    )


register(
    Dataset(
        name="mlvu",
        title="MLVU",
        description="MLVU (multiple choice, dev)",
        citation="Zhou et al., MLVU, CVPR 2025, arXiv 2406.04264",
        role="benchmark",
        template=with_brackets_cut,
        read=lambda source: read(source.root),
        annotation_files=lambda source: annotation_files(source.root),
        headline="macro",
    )
)
