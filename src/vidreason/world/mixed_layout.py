"""Writing pictures and clips with questions of five types in the published layout of Video-R1's training data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vidreason.artifacts.files import write_json
from vidreason.data.video_r1 import RL
from vidreason.tasks.markup import as_answer
from vidreason.tasks.prompt_templates import dotted
from vidreason.world.encode import SIZE, picture_at, timing
from vidreason.world.layouts import Job, encode_all
from vidreason.world.splits import WorldItem

FOLDER = "World"
"""Folder of the files; the published ones are named after the data sets that they come from."""
SUFFIXES = (".png", ".jpg")
"""Kinds of picture files, in turn."""
QUALITY = 92
"""Of .jpg files."""


def write_video_r1(folder: Path, items: Sequence[WorldItem], size: int = SIZE, threads: int = 2) -> None:
    """Video-R1's `Video-R1-260k.json`: a list of records, each with the path of its picture or video.

    Args:
        folder: Root of the data set.
        items: Pictures and clips with one question each; `item.category` is the published type.
        size: Height and width in pixels.
        threads: Videos encoded at the same time.
    """
    records, jobs = [], []
    for item in items:
        path = _path(item)
        file = folder / path
        if item.picture:
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture_at(item.scene, 0, size)).save(file, quality=QUALITY)
        else:
            jobs.append(Job(item.scene, file, timing(item.duration, "mp4"), "mp4", size=size))
        records.append(_record(item, path))
    encode_all(jobs, threads)
    write_json(folder / RL[0], records)


def _path(item: WorldItem) -> str:
    """Path of an item's file below the root."""
    if item.picture:
        return f"{FOLDER}/pictures/{item.video_id:05d}{SUFFIXES[item.video_id // 2 % len(SUFFIXES)]}"
    return f"{FOLDER}/videos/{item.video_id:05d}.mp4"


def _record(item: WorldItem, path: str) -> dict[str, Any]:
    """One record."""
    (question,) = item.questions
    return {
        "problem_id": item.video_id + 1,
        "problem": question.text,
        "data_type": "image" if item.picture else "video",
        "problem_type": item.category,
        "options": dotted(question.options).split("\n") if question.options else [],
        "solution": as_answer(question.gold),
        "path": f"./{path}",
        "data_source": FOLDER,
    }
