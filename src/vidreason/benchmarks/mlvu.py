"""MLVU: questions about long videos, seven multiple-choice tasks (the two generation tasks are not used).

Layout (MLVU/MVLU, the repository's name is a typo of its own): `MLVU/json/<n>_<task>.json`, `MLVU/video/<n>_<task>/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.choices import PROMPTS, check_questions, letter_of, need, plain_text, plain_texts
from vidreason.files import read_json
from vidreason.records import Question

TITLE = "MLVU (multiple choice, dev)"
CITATION = "Zhou et al., MLVU, CVPR 2025, arXiv 2406.04264"
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

prompt = PROMPTS["mlvu"]


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
    prefix = prefix_of(root)
    questions = []
    for task, source in zip(TASKS, annotation_files(root), strict=True):
        if not source.is_file():
            continue
        records = read_json(source)
        if not isinstance(records, list):
            raise ValueError(f"{source}: expected a list of records, found {type(records).__name__}")
        questions += [
            parse_record(record, task, index, prefix, f"{source}: record {index + 1}")
            for index, record in enumerate(records)
        ]
    return check_questions(questions, root / f"{prefix}json")


def prefix_of(root: Path) -> str:
    """Folder between the root and `json/` and `video/`, with a slash at its end; empty where there is none."""
    return f"{FOLDER}/" if (root / FOLDER / "json").is_dir() else ""


def annotation_files(root: Path) -> list[Path]:
    """The files that questions are read from, in the order of `TASKS`; some may not exist."""
    return [root / f"{prefix_of(root)}json" / f"{name}.json" for name in TASKS.values()]


def parse_record(
    record: Mapping[str, Any], task: str, index: int = 0, prefix: str = "", where: str = "record"
) -> Question:
    """Turn one record into a question.

    Args:
        record: `{video, duration, question, candidates, answer, question_type}`; the answer is a text.
        task: Key of `TASKS`.
        index: Place in the task's file, from 0; makes the id.
        prefix: Folder between the root and `video/`, with a slash at its end.
        where: File and number, for the message.

    Returns:
        The question; the answer is `NO_OPTION` when it is not among the candidates (two published records).

    Raises:
        ValueError: Unknown task, or a key is absent.
    """
    if task not in TASKS:
        raise ValueError(f"{where}: unknown task {task!r}; allowed: {', '.join(TASKS)}")
    need(record, ("video", "question", "candidates", "answer"), where)
    candidates = plain_texts(record["candidates"], "candidates", where)
    return Question(
        id=f"{task}-{index}",
        dataset="mlvu",
        video=f"{prefix}video/{TASKS[task]}/{plain_text(record['video'], 'video', where)}",
        question=plain_text(record["question"], "question", where),
        options=tuple(candidates),
        answer=letter_of(plain_text(record["answer"], "answer", where), candidates),
        task=task,
    )
