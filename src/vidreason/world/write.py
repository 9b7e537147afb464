"""Writing the whole world: every data set in its published layout, and what is true of every question."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import write_aside, write_json, write_jsonl
from vidreason.config.world import World
from vidreason.data import mlvu, mvbench
from vidreason.data.registry import read_questions
from vidreason.records import Question
from vidreason.world.encode import KINDS
from vidreason.world.layouts import (
    write_coldstart,
    write_mlvu,
    write_mmvu,
    write_mvbench,
    write_nextqa,
    write_video_mme,
)
from vidreason.world.mixed_layout import write_video_r1
from vidreason.world.moment_layouts import segment_of, write_charades_sta, write_nextgqa
from vidreason.world.questions import WorldQuestion
from vidreason.world.splits import DATASETS, WorldItem, draw_items

OPTIONAL_WRITERS: Mapping[str, Callable[[Path, Sequence[WorldItem], int, int], None]] = {
    "charades_sta_train": lambda *args: write_charades_sta(args[0], args[1], "charades_sta_train.txt", *args[2:]),
    "charades_sta": lambda *args: write_charades_sta(args[0], args[1], "charades_sta_test.txt", *args[2:]),
    "nextgqa_val": lambda *args: write_nextgqa(args[0], args[1], "val.csv", *args[2:]),
    "nextgqa": lambda *args: write_nextgqa(args[0], args[1], "test.csv", *args[2:]),
    "video_r1_260k": write_video_r1,
}
"""Data sets that a run may leave out -> function of folder, items, size in pixels and threads that writes them."""


def write_world(root: str | Path, settings: World, seed: int, threads: int = 2) -> dict[str, Any]:
    """Write all data sets of the world, what is true of every question, and a summary.

    Args:
        root: Folder to write; replaced if it exists.
        settings: The configuration's `world`.
        seed: Seed of all random draws.
        threads: Videos encoded at the same time; the result does not depend on it.

    Returns:
        The summary that `world.json` holds: settings, seed, and videos and questions of each data set.
    """
    size = settings.size
    items = {name: draw_items(name, settings, seed) for name in DATASETS}
    with write_aside(root) as aside:
        aside.mkdir()
        broken, variable = settings.broken, settings.variable_fraction
        write_nextqa(aside / "nextqa", items["nextqa"], seed, broken, variable, size, threads)
        write_coldstart(aside / "coldstart", items["coldstart"], size, threads)
        write_video_mme(aside / "video_mme", items["video_mme"], size, threads)
        write_mvbench(aside / "mvbench", items["mvbench"], seed, size, threads)
        write_mlvu(aside / "mlvu", items["mlvu"], size, threads)
        write_mmvu(aside / "mmvu", items["mmvu"], size, threads)
        for name, write in OPTIONAL_WRITERS.items():
            # A folder even for no videos: the rule's outputs do not depend on the run.
            (aside / name).mkdir()
            if items[name]:
                write(aside / name, items[name], size, threads)
        truths = [row for name in DATASETS if items[name] for row in truth_rows(name, aside / name, items[name])]
        write_jsonl(aside / "truth.jsonl", truths)
        counts = {
            name: {"videos": len(items[name]), "questions": sum(row["dataset"] == name for row in truths)}
            for name in DATASETS
        }
        summary = {"seed": seed, "settings": settings.model_dump(mode="json"), "kinds": list(KINDS), "counts": counts}
        write_json(aside / "world.json", summary)
    return summary


def truth_rows(dataset: str, root: Path, items: Sequence[WorldItem]) -> list[dict[str, Any]]:
    """What is true of every question of a data set that was just written.

    The questions are read back with the data set's own reader, which checks the layout and gives their ids.

    Args:
        dataset: Name of the data set.
        root: Its folder.
        items: The items that were written.

    Returns:
        One row per question: `dataset`, `question` (id), `video`, `task` (the world's category), `temporal`, `caption`, `facts`.

    Raises:
        ValueError: The reader gives other questions than were written.
    """
    published = read_questions(dataset, root)
    # Readers give one category after another, as a stable sort of the items does.
    order = {
        name: place
        for place, name in enumerate({"mvbench": mvbench.CATEGORIES, "mlvu": mlvu.CATEGORIES}.get(dataset, {}))
    }
    ordered = sorted(items, key=lambda item: order[item.category]) if order else items
    written = [(item, question) for item in ordered for question in item.questions]
    if len(published) != len(written):
        raise ValueError(f"{root}: {len(written)} questions were written, {len(published)} were read")
    return [
        _truth_row(dataset, question, item, known) for question, (item, known) in zip(published, written, strict=True)
    ]


def _truth_row(dataset: str, published: Question, item: WorldItem, written: WorldQuestion) -> dict[str, Any]:
    """What is true of one question."""
    segments = (segment_of(item, written),) if written.steps else ()
    if (published.text, published.options, published.gold, published.segments) != (
        written.text,
        written.options,
        written.gold,
        segments,
    ):
        raise ValueError(f"{dataset}: question {published.id!r} was read as {published}, but written as {written}")
    return {
        "dataset": dataset,
        "question": published.id,
        "video": published.clip.path,
        "task": written.category,
        "temporal": written.temporal,
        "caption": item.scene.caption,
        "facts": [dataclasses.asdict(act) for act in item.scene.acts],
    }
