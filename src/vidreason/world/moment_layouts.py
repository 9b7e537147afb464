"""Writing moments in the published layouts of temporal grounding: Charades-STA, and NExT-GQA's grounded multiple choice."""

from collections.abc import Sequence
from pathlib import Path

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.files import write_aside, write_json
from vidreason.data.nextgqa import COLUMNS, MAP, SEGMENTS
from vidreason.world.encode import SIZE, timing
from vidreason.world.layouts import Job, encode_all
from vidreason.world.questions import WorldQuestion
from vidreason.world.scenes import STEPS
from vidreason.world.splits import WorldItem

BEYOND = 0.4
"""Seconds by which some segments of Charades-STA end after the video does; 194 of the first 1,200 of its test split do so."""
TYPES = {"existence": "CW", "colour": "TC", "change": "TN"}
"""Category of the world -> NExT-GQA's type of question."""


def segment_of(item: WorldItem, question: WorldQuestion) -> tuple[float, float]:
    """Start and end of a question's evidence in seconds.

    Raises:
        ValueError: The question has no evidence.
    """
    if question.steps is None:
        raise ValueError(f"video {item.video_id}: question {question.text!r} has no steps")
    start, end = question.steps
    seconds = timing(item.duration, "mp4").duration / STEPS
    return start * seconds, end * seconds


def write_charades_sta(
    folder: Path, items: Sequence[WorldItem], table: str, size: int = SIZE, threads: int = 2
) -> None:
    """Charades-STA: lines `ID START END##SENTENCE`, durations in `charades.json`, videos in `Charades_v1_480/`.

    As in the real files, some segments end after their video.

    Args:
        folder: Root of the data set.
        items: Videos, each with one query.
        table: Name of the annotations: `charades_sta_train.txt` or `charades_sta_test.txt`.
        size: Height and width in pixels.
        threads: Videos encoded at the same time.
    """
    lines, durations, jobs = [], {}, []
    for item in items:
        name, clip = f"W{item.video_id:04d}", timing(item.duration, "mp4")
        jobs.append(Job(item.scene, folder / "Charades_v1_480" / f"{name}.mp4", clip, "mp4", size=size))
        durations[name] = {"duration": clip.duration}
        for question in item.questions:
            start, end = segment_of(item, question)
            if end == clip.duration and item.video_id % 2:
                end += BEYOND
            lines.append(f"{name} {start:.1f} {end:.1f}##{question.text}\n")
    encode_all(jobs, threads)
    with write_aside(folder / table) as aside:
        aside.write_text("".join(lines), encoding="utf-8")
    write_json(folder / "charades.json", durations)


def write_nextgqa(folder: Path, items: Sequence[WorldItem], table: str, size: int = SIZE, threads: int = 2) -> None:
    """NExT-GQA: a table of questions, their segments by video and question, and the folder of each video.

    Args:
        folder: Root of the data set.
        items: Videos, each with questions of five options.
        table: Name of the questions: `val.csv` or `test.csv`.
        size: Height and width in pixels.
        threads: Videos encoded at the same time.
    """
    rows, segments, paths, jobs = [], {}, {}, []
    for item in items:
        name, clip = str(3_000_000_000 + 7919 * item.video_id), timing(item.duration, "mp4")
        paths[name] = f"{1100 + item.video_id // 50}/{name}"
        jobs.append(Job(item.scene, folder / f"{paths[name]}.mp4", clip, "mp4", size=size))
        locations = {}
        for number, question in enumerate(item.questions):
            kind = TYPES[question.category]
            rows.append((name, question.text, question.gold_text, str(number), kind, *question.options))
            locations[str(number)] = [list(segment_of(item, question))]
        segments[name] = {"duration": clip.duration, "fps": clip.fps, "location": locations}
    encode_all(jobs, threads)
    write_csv(folder / table, COLUMNS, rows)
    write_json(folder / SEGMENTS[table], segments)
    write_json(folder / MAP, paths)
