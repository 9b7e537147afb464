"""MLVU: questions about long videos in seven multiple-choice categories (the two of free-form answers are not used).

Layout (MLVU/MVLU, the repository's name is a typo of its own): `MLVU/json/<n>_<task>.json`, `MLVU/video/<n>_<task>/`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.data.fields import as_text, as_texts, questions_of, read_records, require_keys, video_path
from vidreason.data.options import letter_of
from vidreason.data.registry import Dataset, register
from vidreason.records import ClipRef, Question
from vidreason.tasks.prompt_templates import with_brackets_cut

CATEGORIES: Mapping[str, str] = {
    "plotQA": "1_plotQA",
    "needle": "2_needle",
    "ego": "3_ego",
    "count": "4_count",
    "order": "5_order",
    "anomaly_reco": "6_anomaly_reco",
    "topic_reasoning": "7_topic_reasoning",
}
"""Category -> name of its file and of its folder. Records of `needle` call themselves `findNeedle`."""
FOLDER = "MLVU"


def read(root: str | Path) -> list[Question]:
    """Read the questions of every category whose file is there.

    Args:
        root: Folder of the benchmark, with `MLVU/json` or `json` in it.

    Returns:
        Questions, category by category in the order of `CATEGORIES`.

    Raises:
        ValueError: No category's file is there, or a record is malformed.
    """
    root = Path(root)
    questions: list[Question] = []
    prefix = prefix_of(root)
    for category, source in zip(CATEGORIES, annotation_files(root), strict=True):
        if source.is_file():
            questions += _read_category(source, category, prefix)
    if not questions:
        raise ValueError(
            f"{root / prefix}json: none of the files of the categories is there: {', '.join(CATEGORIES.values())}"
        )
    return questions


def prefix_of(root: Path) -> str:
    """Folder between the root and `json/` and `video/`, with a slash at its end; empty where there is none."""
    return f"{FOLDER}/" if (root / FOLDER / "json").is_dir() else ""


def annotation_files(root: Path) -> list[Path]:
    """The files that questions are read from, in the order of `CATEGORIES`; some may not exist."""
    return [root / f"{prefix_of(root)}json" / f"{name}.json" for name in CATEGORIES.values()]


def _read_category(source: Path, category: str, prefix: str) -> list[Question]:
    """The questions of one file."""

    def parse(record: Any, index: int) -> Question:
        return parse_record(record, category, index, prefix)

    return questions_of(source, read_records(source), parse)


def parse_record(record: Any, category: str, index: int = 0, prefix: str = "") -> Question:
    """Turn one record into a question.

    Args:
        record: `{video, duration, question, candidates, answer, question_type}`; the answer is a text.
        category: Key of `CATEGORIES`.
        index: Place in the category's file, from 0; makes the id.
        prefix: Folder between the root and `video/`, with a slash at its end.

    Returns:
        The question as published, even where its text, candidates and answer are all empty (one record of
        `topic_reasoning`): the answer is the last candidate equal to it, or `NO_OPTION` when there is none (two
        records of `needle`).

    Raises:
        ValueError: Unknown category, or a key is absent.
    """
    if category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r}; allowed: {', '.join(CATEGORIES)}")
    require_keys(record, ("video", "question", "candidates", "answer"))
    candidates = as_texts(record["candidates"], "candidates")
    return Question(
        id=f"{category}-{index}",
        dataset="mlvu",
        task="multiple_choice",
        text=as_text(record["question"], "question"),
        clip=ClipRef(f"{prefix}video/{CATEGORIES[category]}/{video_path(record['video'])}"),
        options=candidates,
        gold=letter_of(as_text(record["answer"], "answer"), candidates),
        category=category,
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
