"""Writes the gallery's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import copy_file, write_aside
from vidreason.results.gallery.answers import collect, index_of
from vidreason.results.gallery.groups import group_files, read_trainings
from vidreason.results.gallery.texts import CHUNK, PICTURES, SEARCHED, chunks
from vidreason.results.gallery.thumbnails import read_strips
from vidreason.results.page import render
from vidreason.results.registry import TEMPLATES
from vidreason.results.result_inputs import ResultInputs

ASSETS = ("gallery.js", "gallery.css")


def make_gallery(inputs: ResultInputs, run: str, out: str | Path) -> None:
    """Write the folder: `index.html`, its script and style, `data/` and `frames/`.

    Args:
        inputs: The run's results. Without thumbnails there are no pictures, without rollouts no groups.
        run: Name of the run, for the title.
        out: The folder to write.
    """
    runs, answers = inputs.runs, collect(inputs.runs)
    trainings = read_trainings(inputs.rollouts, inputs.selected, runs.arms)
    strips = read_strips(inputs.thumbnails) if inputs.thumbnails else {}
    with write_aside(out) as folder:
        (folder / "data").mkdir(parents=True)
        (folder / PICTURES).mkdir()
        for strip in strips.values():
            if inputs.thumbnails and strip.file:
                copy_file(Path(inputs.thumbnails, strip.file), folder / PICTURES / strip.file)
        for name, content in chunks(answers, strips):
            _write(folder, name, content)
        groups = []
        for name, content, about in group_files(trainings, strips):
            _write(folder, name, content)
            groups.append(about)
        index = {"run": run, "chunk": CHUNK, "searched": SEARCHED, "groups": groups, **index_of(runs, answers)}
        _write(folder, "index", index)
        page = render("gallery.html.j2", title=f"{run}: answers", run=run)
        (folder / "index.html").write_text(page, encoding="utf-8")
        for name in ASSETS:
            shutil.copyfile(TEMPLATES / name, folder / name)


def _write(folder: Path, name: str, content: Any) -> None:
    """A script that hands over one value. It is ASCII, so no encoding and no odd letter can break it."""
    (folder / "data" / f"{name}.js").write_text(script_of(name, content), encoding="ascii")


def script_of(name: str, content: Any) -> str:
    r"""The script. The value is a string of JSON and not a literal: browsers read that faster, and no key has a meaning.

    Example:
        >>> script_of("a", [1, "b"])
        'vidreason.add("a", "[1,\\"b\\"]");\n'
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"vidreason.add({json.dumps(name)}, {json.dumps(text)});\n"
