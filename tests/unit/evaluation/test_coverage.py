"""Questions without frames: counted by category, refused when there are too many."""

from pathlib import Path

import pytest

from vidreason.artifacts.files import write_jsonl
from vidreason.data.registry import check_counts
from vidreason.evaluation.coverage import MissingVideosError, count_missing, read_coverage, refuse_missing
from vidreason.records import ClipRef, ClipStatus, Question


def question(number: int, task: str, video: str, group: str = "") -> Question:
    return Question(
        f"q{number}", "mvbench", "multiple_choice", "?", ClipRef(video), ("x", "y"), "A", category=task, group=group
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten questions on five videos: two videos of task b are missing, one is cut short."""
    questions = [question(n, "ab"[n >= 4], f"{'ab'[n >= 4]}{n // 2}.mp4") for n in range(10)]
    statuses = {"a0": "ok", "a1": "ok", "b2": "missing", "b3": "truncated", "b4": "missing"}
    write_jsonl(tmp_path / "questions.jsonl", questions)
    clips = [ClipStatus(f"{name}.mp4", status) for name, status in statuses.items()]
    write_jsonl(tmp_path / "shard0.jsonl", clips[:3])
    write_jsonl(tmp_path / "shard1.jsonl", clips[3:])
    count_missing(
        tmp_path / "questions.jsonl", [tmp_path / "shard0.jsonl", tmp_path / "shard1.jsonl"], tmp_path / "out.csv"
    )
    return tmp_path / "out.csv"


def test_every_question_is_counted_with_its_category_and_reason(table: Path) -> None:
    assert table.read_text() == (
        "category,questions,with_frames,without_frames,reasons\na,4,4,0,\nb,6,0,6,missing 4; truncated 2\n"
    )
    tasks = read_coverage(table)
    assert [(task.category, task.questions, dict(task.reasons)) for task in tasks] == [
        ("a", 4, {}),
        ("b", 6, {"missing": 4, "truncated": 2}),
    ]


def test_a_question_whose_clip_was_never_asked_for_is_named(table: Path) -> None:
    folder = table.parent
    with pytest.raises(ValueError, match=r"questions\.jsonl: 4 clips are in no list of clips: \['b3.mp4'"):
        count_missing(folder / "questions.jsonl", [folder / "shard0.jsonl"], table)


def test_too_many_are_refused_with_the_way_to_allow_it(table: Path) -> None:
    tasks = read_coverage(table)
    with pytest.raises(MissingVideosError) as caught:
        refuse_missing("mvbench", tasks, 0.5)
    text = str(caught.value)
    assert "mvbench: 6 of 10 questions (0.6000) have no frames, allowed is 0.5." in text
    assert "b | 6 | 6 | 0 | missing 4, truncated 2" in text
    assert "evaluation.scoring.max_missing_fraction in the config to 0.6000 or more" in text
    refuse_missing("mvbench", tasks, 0.6)


def test_known_ones_count_only_for_their_task(table: Path) -> None:
    tasks = read_coverage(table)
    refuse_missing("mvbench", tasks, 0.0, {"b": 6})
    with pytest.raises(MissingVideosError, match="2 of 10 questions"):
        refuse_missing("mvbench", tasks, 0.0, {"b": 4})
    with pytest.raises(MissingVideosError, match="6 of 10 questions"):
        refuse_missing("mvbench", tasks, 0.0, {"a": 6})


def test_counts_other_than_published_are_refused_by_part() -> None:
    questions = [question(0, "a", "v.mp4"), question(1, "a", "v.mp4"), question(2, "c", "v.mp4")]
    check_counts("mvbench", questions, None)
    check_counts("mvbench", questions, 3)
    check_counts("mvbench", questions, {"a": 2, "c": 1})
    with pytest.raises(ValueError, match=r"3 questions, expected are 4\.\n  all: 3 found, 4 expected"):
        check_counts("mvbench", questions, 4)
    with pytest.raises(ValueError, match=r"(?s)a: 2 found, 2 expected.*b: 0 found, 1 expected.*c: 1 found, 0 expected"):
        check_counts("mvbench", questions, {"a": 2, "b": 1})
    with pytest.raises(ValueError, match=r"set datasets\.nextqa\.questions to 3, or to null"):
        check_counts("nextqa", questions, 4)
    with pytest.raises(ValueError, match=r"set datasets\.mvbench\.questions to the numbers found, or to null"):
        check_counts("mvbench", questions, {"a": 3})


def test_video_mme_is_counted_by_duration() -> None:
    questions = [question(n, "Counting", "v.mp4", group) for n, group in enumerate(("short", "short", "long"))]
    check_counts("video_mme", questions, {"short": 2, "medium": 0, "long": 1})
    with pytest.raises(ValueError, match="medium: 0 found, 1 expected"):
        check_counts("video_mme", questions, {"short": 2, "medium": 1, "long": 1})
