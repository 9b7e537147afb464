"""The report: one file, everything in it, nothing from a model or a data set becomes markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.gallery_run import gallery_inputs, use_store
from tests.support.scored_run import SETTINGS, predictions_of, score_one, write_clips, write_run, write_selection
from vidreason.artifacts.csv_files import read_csv, write_csv
from vidreason.artifacts.files import read_json, read_jsonl, write_json, write_jsonl
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.evaluation.leaks import COUNTS, LEAKS
from vidreason.records import ClipStatus, Completion, Question
from vidreason.results.figures import make_figures
from vidreason.results.markdown import Bullets, Grid, Heading, Paragraph
from vidreason.results.page import plain_caption, render
from vidreason.results.registry import TABLES
from vidreason.results.report import make_report
from vidreason.results.tables import make_tables


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


@pytest.fixture
def page(tmp_path: Path) -> dict[str, Any]:
    """A whole run with tables, figures and sidecars."""
    selection, clips = write_selection(tmp_path), write_clips(tmp_path)
    run = replace(write_run(tmp_path), histograms=[selection["histogram"]], dropped=[selection["dropped"]], clips=clips)
    tables = {table.name: tmp_path / "tables" / table.file for table in TABLES}
    make_tables(run, tables)
    figures = {"accuracy": tmp_path / "accuracy.png"}
    make_figures(run, figures)
    caption = tmp_path / "accuracy.rst"
    caption.write_text("R1 beats *everything*,\n``truly`` & always.\n")
    sidecar = tmp_path / "main.csv.provenance.json"
    write_json(
        sidecar,
        {
            "artifact": "tables/main.csv",
            "sha256": "ab" * 32,
            "commit": "c0ffee",
            "python": "3.11.7",
            "versions": {"torch": "2.13.0"},
        },
    )
    questions = sorted((tmp_path / "questions").glob("*.jsonl"))
    shown = {"tables": list(tables.values()), "figures": list(figures.values()), "captions": [caption]}
    return {
        "inputs": replace(run, questions=questions, **shown),
        "run": "demo & <co>",
        "seed": 1,
        "sidecars": [sidecar],
        "out": tmp_path / "report" / "index.html",
    }


def written(page: dict[str, Any], **changes: Any) -> str:
    """Make the report, with some of its inputs changed, and check its markup."""
    make_report(**page | {"inputs": replace(page["inputs"], **changes)})
    text = Path(page["out"]).read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert not parser.tags & {"script", "link", "iframe", "b"}
    assert all(source.startswith(("data:image/", "#")) for source in parser.sources), "nothing is loaded from elsewhere"
    return text


def test_page_holds_everything(page: dict[str, Any]) -> None:
    text = written(page)
    assert "demo &amp; &lt;co&gt;: results" in text
    assert "R1 &lt;ours&gt; &amp; co" in text
    assert "R1 beats everything, truly &amp; always." in text
    assert "75.0 ± " in text
    assert "c0ffee" in text
    assert "<td>tables/main.csv</td>" in text
    assert "default-src 'none'" in text
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
def test_the_letter_that_decided_is_shown(page: dict[str, Any], completion, settings, cell) -> None:
    """Whatever the run's parser and its rule for unparsable answers are, the cell explains the verdict beside it."""
    root = Path(page["out"]).parents[1]
    done = []
    for arm in ("base", "r1"):
        for benchmark in page["inputs"].benchmarks:
            answers = [
                replace(one, completion=Completion(completion, 1, True)) for one in predictions_of(arm, benchmark)
            ]
            done.append(score_one(root, arm, benchmark, answers, settings=SETTINGS | settings))
    text = written(page, scores=[one for one, _ in done], scored=[two for _, two in done])
    read = re.findall(r"<td>([^<]*)</td><td><span class=\"(right|wrong)\">", text)
    assert len(read) == 8
    assert all(re.fullmatch(cell, letter) for letter, _ in read), read
    rights = re.findall(r"Right is (\w)", text)
    assert [verdict for _, verdict in read] == [
        "right" if letter[0] == right else "wrong"
        for (letter, _), right in zip(read, (right for right in rights for _ in range(2)), strict=True)
    ]


def test_broken_videos_are_named_with_their_reason(page: dict[str, Any]) -> None:
    text = written(page)
    for words in ("zero.mp4", "empty_file", "cut.webm", "truncated", "noise.mp4", "moov atom not found"):
        assert words in text
    assert "Videos that could not be used (3)" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 40 of 90 frames" in text
    assert "<script" not in text


def test_videos_that_the_filter_dropped_are_named_too(page: dict[str, Any], tmp_path: Path) -> None:
    checked = tmp_path / "nextqa" / "clips.jsonl"
    statuses = [
        ClipStatus("NextQA/one.mp4", "not_a_video", detail="begins with <html>"),
        ClipStatus("NextQA/long.mp4", "too_long", 44.0, detail="allowed 30 s"),
        ClipStatus("NextQA/fine.mp4", "ok", 6.0),
        ClipStatus("zero.mp4", "empty_file", detail="0 bytes"),
    ]
    write_jsonl(checked, statuses)
    text = written(page, checked=[checked])
    assert "Videos that could not be used (4)" in text, "one video once, and only those that are broken"
    assert text.count("NextQA/one.mp4") == 1
    assert "begins with &lt;html&gt;" in text
    assert "NextQA/long.mp4" not in text
    assert "NextQA/fine.mp4" not in text


def test_leaks_are_counted_on_the_page_and_listed_beside_it(page: dict[str, Any], tmp_path: Path) -> None:
    """A row for every benchmark and training set; pairs, the names of which nobody checked, only in the table of pairs."""
    run = page["inputs"]
    assert read_csv(run.table("leaks"), LEAKS) == read_csv(run.table("leak_counts"), COUNTS) == []
    leaks, counts = tmp_path / "found.csv", tmp_path / "counts.csv"
    write_csv(leaks, LEAKS, [("mlvu", "=a<b>.mp4", "nextqa", "x/a<b>.mp4", "name+hash", "1.25")])
    write_csv(counts, COUNTS, [("mlvu", "nextqa", 105, 519, 1, 0, 1, 1, "1.25")])
    made = {table: tmp_path / f"{table}.csv" for table in ("leaks", "leak_counts")}
    make_tables(replace(run, leaks=leaks, leak_counts=counts), made)
    assert read_csv(made["leaks"]) == read_csv(leaks)
    assert made["leaks"].read_text().splitlines()[1].startswith("mlvu,'=a<b>.mp4,")
    text = written(page, tables=[*made.values()])
    assert "Benchmark videos among the training videos" in text
    assert re.search(r"<td[^>]*>105</td>\s*<td[^>]*>519</td>\s*<td[^>]*>1</td>", text)
    assert "a&lt;b&gt;" not in text
    write_csv(counts, COUNTS[:-1], [])
    with pytest.raises(ValueError, match=r"counts\.csv: columns \['nearest'\] are missing"):
        make_tables(replace(run, leak_counts=counts), {"leak_counts": made["leak_counts"]})


def test_a_run_without_broken_videos_says_so(page: dict[str, Any]) -> None:
    assert "Every clip could be read." in written(page, clips=[])


def test_frames_are_shown_and_their_absence_explained(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_store(monkeypatch)
    thumbnails = gallery_inputs(tmp_path / "frames").thumbnails
    text = written(page | {"examples": 8}, thumbnails=thumbnails)
    assert text.count('class="card"') == 16
    strips = re.findall(r'<div class="strip" style="([^"]*)">(.*?)</div>', text)
    assert len(strips) == 12, "a quarter of the clips is broken"
    for style, spans in strips:
        assert re.fullmatch(
            r"--strip: url\(data:image/webp;base64,[\w+/=]+\); --all: 1536px; --width: 96px; --height: 48px", style
        )
        places = re.findall(r'aria-label="frame (\d+) of 16" style="background-position: -(\d+)px 0"', spans)
        assert places == [(str(number + 1), str(96 * number)) for number in range(16)]
    assert text.count("No frames: the clip has none: truncated") == 4
    assert "No frames" not in written(page)


def test_the_page_says_no_time_of_results_that_are_made_again(page: dict[str, Any]) -> None:
    """The same answers give the same page, whenever its scores and tables were made."""
    inputs = page["inputs"]
    first = written(page)
    for path in (*inputs.scores, inputs.table("main")):
        write_sidecar(path, [], {}, [])
        record = read_json(sidecar_of(path))
        write_json(sidecar_of(path), record | {"created": "2001-01-01T00:00:00+00:00", "commit": "other"})
        assert re.search(rf"<td>{re.escape(str(path))}</td>\s*<td>{record['sha256'][:16]}</td>", first)
    assert written(page) == first


def test_a_long_text_is_cut_and_no_control_character_is_on_the_page(page: dict[str, Any]) -> None:
    """Neither a runaway completion nor a hostile question makes the page large or unreadable."""
    root = Path(page["out"]).parents[1]
    huge, odd = "a" * 1_000_000, "\x00\x1b[31m\u202egpj.\r\n\tx\u200d"
    for path in page["inputs"].questions:
        asked = read_jsonl(path, Question)
        write_jsonl(path, [replace(one, text=odd + huge, options=(huge, *one.options[1:])) for one in asked])
    done = []
    for arm in ("base", "r1"):
        for benchmark in page["inputs"].benchmarks:
            answers = predictions_of(arm, benchmark)
            done.append(
                score_one(
                    root / "long",
                    arm,
                    benchmark,
                    [replace(one, completion=Completion(odd + huge, 1, True)) for one in answers],
                )
            )
    text = written(page, scores=[one for one, _ in done], scored=[two for _, two in done])
    assert len(text) < 500_000
    shown = "\ufffd\ufffd[31m\ufffdgpj.\r\n\tx\u200d"
    assert f"<pre>{shown.replace(chr(13), '')}aaa" in text.replace("\r", "")
    assert f"<strong>{shown.replace(chr(13), '')}aaa" in text.replace("\r", "")
    assert f"aaa ... ({len(odd + huge) - 1200} more characters)</strong>" in text
    assert f"aaa ... ({len(odd + huge) - 8000} more characters)</pre>" in text
    assert "A. aaa" in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_examples_depend_on_the_seed_only(page: dict[str, Any]) -> None:
    first = written(page)
    assert written(page) == first
    assert written(page | {"seed": 2}) != first


def test_question_missing_from_the_files_is_an_error(page: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="in none of the question files"):
        written(page, questions=page["inputs"].questions[:1])


def test_page_without_optional_parts(page: dict[str, Any]) -> None:
    text = written(page | {"sidecars": []}, tables=[], figures=[], captions=[], clips=[])
    assert "Mean accuracy over" in text
    assert "<details>" not in text.split('id="examples"')[0]


def test_a_sign_is_code_and_not_a_pair_of_backticks(page: dict[str, Any]) -> None:
    text = written(page)
    assert "<p><code>*</code>: the two arms&#39; own intervals do not overlap.</p>" in text
    assert "`" not in text.split('id="figures"')[0]


def test_blocks_of_a_document() -> None:
    blocks = [
        Heading("T <1>", level=1),
        Grid(["a", "b|c"], [["1.5", "x"]]),
        Bullets(["one", "two & <three>"]),
        Paragraph("plain <b>words</b>"),
    ]
    html = render("document.html.j2", blocks=blocks)
    assert "<h2>T &lt;1&gt;</h2>" in html
    assert '<th scope="col">b|c</th>' in html
    assert '<td class="number">1.5</td><td>x</td>' in html
    assert "<ul><li>one</li><li>two &amp; &lt;three&gt;</li></ul>" in html
    assert "<p>plain &lt;b&gt;words&lt;/b&gt;</p>" in html
    assert "Nothing to show." in render("document.html.j2", blocks=[Grid(["a"], [])])


def test_captions_lose_their_markup(tmp_path: Path) -> None:
    path = tmp_path / "c.rst"
    path.write_text("Read ``n`` *first*.\n\nThen that.\n")
    assert plain_caption(path) == "Read n first. Then that."
