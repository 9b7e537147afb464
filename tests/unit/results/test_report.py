"""The report: one file, everything in it, nothing from a model or a data set becomes markup."""

import re
import sys
import types
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.scored_run import SETTINGS, predictions_of, score_one, write_clips, write_run, write_selection
from vidreason.results.figures import make_figures
from vidreason.results.page import from_markdown, plain_caption
from vidreason.results.report import make_report
from vidreason.results.tables import make_tables
from vidreason.artifacts.files import write_json


class Balanced(HTMLParser):
    """Checks that every element is closed, and collects tags and addresses."""

    EMPTY = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


class Store:
    """Frames of any clip: 16 grey pictures, one clip broken."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def status(self, clip: str) -> str:
        return "truncated" if clip == "clips/1.mp4" else "ok"

    def pixels(self, clip: str) -> np.ndarray:
        return np.stack([np.full((200, 200, 3), 10 * number, dtype=np.uint8) for number in range(16)])


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """A whole run with tables, figures and sidecars."""
    run = write_run(tmp_path)
    selection, clips = write_selection(tmp_path), write_clips(tmp_path)
    tables = {name: tmp_path / "tables" / f"{name}.csv" for name in ("main", "controls", "thinking", "data", "by_task")}
    tables["markdown"] = tmp_path / "tables" / "main.md"
    make_tables(**run, histograms=[selection["histogram"]], dropped=[selection["dropped"]], clips=clips, out=tables)
    figures = {"accuracy": tmp_path / "accuracy.png"}
    make_figures(out=figures, arms=run["arms"], benchmarks=run["benchmarks"], scores=run["scores"])
    caption = tmp_path / "accuracy.rst"
    caption.write_text("R1 beats *everything*,\n``truly`` & always.\n")
    sidecar = tmp_path / "main.csv.provenance.json"
    write_json(
        sidecar,
        {
            "artefact": "tables/main.csv",
            "sha256": "ab" * 32,
            "commit": "c0ffee",
            "python": "3.11.7",
            "versions": {"torch": "2.13.0"},
        },
    )
    return run | {
        "run": "demo & <co>",
        "tables": tables,
        "figures": figures,
        "captions": {"accuracy": caption},
        "questions": sorted((tmp_path / "questions").glob("*.jsonl")),
        "clips": clips,
        "seed": 1,
        "provenance": [sidecar],
        "out": tmp_path / "report" / "index.html",
    }


def written(inputs: dict[str, Any]) -> str:
    """Make the report and check its markup."""
    make_report(**inputs)
    text = Path(inputs["out"]).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert not parser.tags & {"script", "link", "iframe", "b"}
    assert all(source.startswith(("data:image/", "#")) for source in parser.sources), "nothing is loaded from elsewhere"
    return text


def test_page_holds_everything(inputs: dict[str, Any]) -> None:
    text = written(inputs)
    assert "demo &amp; &lt;co&gt;: results" in text
    assert "R1 &lt;ours&gt; &amp; co" in text
    assert "R1 beats everything, truly &amp; always." in text
    assert "75.0 ± " in text
    assert "c0ffee" in text
    assert "2.13.0" in text
    assert text.count('class="card"') == 4, "two questions of each of two benchmarks"
    assert "kite &amp; string" in text
    assert "so the answer is &lt;b&gt;it&lt;/b&gt;" in text


@pytest.mark.parametrize(
    ("completion", "settings", "cell"),
    [
        ("<answer>The first is (B)</answer>", {}, "none"),
        ("<answer>C++, then (B)</answer>", {"parser": "upstream"}, "C"),
        ("<answer>C++, then (B)</answer>", {"parser": "strict"}, "none"),
        ("<answer>(D) he runs</answer>", {"unparsed": "random"}, "D"),
        ("no letter at all", {"parser": "upstream", "unparsed": "random"}, "[ABCD] \\(drawn at random\\)"),
    ],
)
def test_the_letter_that_decided_is_shown(inputs: dict[str, Any], completion, settings, cell) -> None:
    """Whatever the run's parser and its rule for unparsable answers are, the cell explains the verdict beside it."""
    root = Path(inputs["out"]).parents[1]
    inputs["scores"], inputs["judged"] = [], []
    for arm in ("base", "r1"):
        for benchmark in inputs["benchmarks"]:
            answers = [replace(one, completion=completion) for one in predictions_of(arm, benchmark)]
            one, two = score_one(root, arm, benchmark, answers, settings=SETTINGS | settings)
            inputs["scores"].append(one)
            inputs["judged"].append(two)
    text = written(inputs)
    read = re.findall(r"<td>([^<]*)</td><td><span class=\"(right|wrong)\">", text)
    assert len(read) == 8
    assert all(re.fullmatch(cell, letter) for letter, _ in read), read
    rights = re.findall(r"Right is (\w)", text)
    assert [verdict for _, verdict in read] == [
        "right" if letter[0] == right else "wrong"
        for (letter, _), right in zip(read, (right for right in rights for _ in range(2)), strict=True)
    ]


def test_broken_videos_are_named_with_their_reason(inputs: dict[str, Any]) -> None:
    text = written(inputs)
    for words in ("zero.mp4", "empty_file", "cut.webm", "truncated", "noise.mp4", "moov atom not found"):
        assert words in text
    assert "Videos that could not be used (3)" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 40 of 90 frames" in text
    assert "<script" not in text


def test_videos_that_the_filter_dropped_are_named_too(inputs: dict[str, Any], tmp_path: Path) -> None:
    filtered = tmp_path / "filtered.csv"
    filtered.write_text(
        "question,video,reason,duration,detail\n"
        "1-0,NextQA/one.mp4,not_a_video,,begins with <html>\n"
        "1-1,NextQA/one.mp4,not_a_video,,begins with <html>\n"
        "2-0,NextQA/long.mp4,too_long,44.000,allowed 30 s\n"
        "3-0,NextQA/fine.mp4,duplicate,6.000,repeats an earlier question\n"
    )
    text = written(inputs | {"filtered": filtered})
    assert "Videos that could not be used (4)" in text, "one video once, and only those that are broken"
    assert text.count("NextQA/one.mp4") == 1
    assert "begins with &lt;html&gt;" in text
    assert "NextQA/long.mp4" not in text
    assert "NextQA/fine.mp4" not in text


def test_no_broken_videos_is_said(inputs: dict[str, Any]) -> None:
    assert "Every clip could be read." in written(inputs | {"clips": []})


def test_frames_are_shown_and_their_absence_explained(
    inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = types.ModuleType("vidreason.media.frame_store")
    module.FrameStore = Store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vidreason.media.frame_store", module)
    frames = [tmp_path / "extract_frames" / benchmark / "shard0.parquet" for benchmark in inputs["benchmarks"]]
    text = written(inputs | {"frames": frames, "examples": 8})
    assert text.count('class="card"') == 16
    strips = re.findall(r'<div class="strip">(.*?)</div>', text)
    assert len(strips) == 12, "a quarter of the clips is broken"
    assert all(strip.count("<img") == 6 for strip in strips)
    assert 'alt="frame 1 of 16"' in strips[0]
    assert 'alt="frame 16 of 16"' in strips[0]
    assert text.count("No frames: truncated") == 4


def test_examples_depend_on_the_seed_only(inputs: dict[str, Any]) -> None:
    first = written(inputs)
    assert written(inputs) == first
    assert written(inputs | {"seed": 2}) != first


def test_question_missing_from_the_files_is_an_error(inputs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="in none of the question files"):
        make_report(**inputs | {"questions": inputs["questions"][:1]})


def test_page_without_optional_parts(inputs: dict[str, Any]) -> None:
    bare = {
        name: inputs[name] for name in ("run", "scores", "judged", "questions", "arms", "benchmarks", "seed", "out")
    }
    assert "Mean accuracy over" in written(bare | {"tables": {}, "figures": {}, "clips": []})


def test_markdown_subset() -> None:
    text = "# T <1>\n\n| a | b\\|c |\n|---|---|\n| 1.5 | x |\n\n- one\n- two\n\nplain\nwords\n"
    html = from_markdown(text)
    assert "<h2>T &lt;1&gt;</h2>" in html
    assert '<th scope="col">b|c</th>' in html
    assert '<td class="number">1.5</td><td>x</td>' in html
    assert "<ul><li>one</li><li>two</li></ul>" in html
    assert "<p>plain words</p>" in html


def test_captions_lose_their_markup(tmp_path: Path) -> None:
    path = tmp_path / "c.rst"
    path.write_text("Read ``n`` *first*.\n\nThen that.\n")
    assert plain_caption(path) == "Read n first. Then that."
