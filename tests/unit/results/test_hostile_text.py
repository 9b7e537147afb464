"""Labels, categories and answers that would be formulas, markup or control codes where tables, Markdown and cards are shown."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.support import micro, scored_run
from tests.support.scored_run import ARMS, BENCHMARKS, change, predictions_of, questions_of, score_one, write_run
from vidreason.artifacts.control_characters import is_control
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.provenance import write_sidecar
from vidreason.results.registry import TABLES
from vidreason.results.release.model_card import model_card
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

LABELS = (
    '=HYPERLINK("https://evil.example")',
    "@SUM(A1)|<b>x</b>",
    "+1 [a](b) ![c](d)",
    "-1 `e` *f* https://evil.example",
)
CATEGORIES = ("=1+1|<script>alert(1)</script>", "-2+3 **x** &lt;")
ANSWER = "\x1b[2J\x00\u202e<script>alert(1)</script>|=1+1\r\n# x\n" + "a" * 1_000_000
FORMULA = re.compile(r"\s*[=+\-@]")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Name -> every table of a run of such texts."""

    def hostile_questions(benchmark: str) -> list:
        return [replace(each, category=CATEGORIES[number > 5]) for number, each in enumerate(questions_of(benchmark))]

    monkeypatch.setattr(scored_run, "questions_of", hostile_questions)
    inputs = write_run(tmp_path)
    for benchmark in BENCHMARKS:
        score_one(tmp_path, "r1", benchmark, change(predictions_of("r1", benchmark), 7, text=ANSWER))
    arms = {name: {**arm, "label": label} for (name, arm), label in zip(ARMS.items(), LABELS, strict=True)}
    tables = {
        table.name: tmp_path / "tables" / table.file for table in TABLES if table.name not in ("leaks", "leak_counts")
    }
    make_tables(replace(inputs, arms=read_arms(arms)), tables)
    return tables


def test_no_cell_is_a_formula_and_no_number_is_changed(made: dict[str, Path]) -> None:
    seen = set()
    for path in (path for path in made.values() if path.suffix == ".csv"):
        text = path.read_text(encoding="utf-8")
        assert not any(is_control(sign) and sign != "\n" for sign in text), path
        lines = list(csv.reader(text.splitlines()))
        assert len({len(line) for line in lines}) == 1, path
        for cell in (cell for line in lines for cell in line):
            assert not FORMULA.match(cell) or NUMBER.fullmatch(cell), (path, cell)
        seen |= {cell for row in read_csv(path) for cell in row.values()}
    assert {*LABELS, *CATEGORIES} <= seen, "what is read again is what was given"
    gains = read_csv(made["pairs"])
    assert any(float(row["difference"]) < 0 for row in gains), "negative numbers stay numbers"


def test_markdown_has_its_own_markup_alone(made: dict[str, Path]) -> None:
    own(made["markdown"].read_text(encoding="utf-8"), LABELS[:3])  # the fourth is a control


def test_a_card_has_its_own_markup_alone(tmp_path: Path) -> None:
    folder = micro.checkpoint(tmp_path / "results/small/train_grpo/r1/seed0/checkpoint")
    spec, _ = micro.training("grpo", beta=0.04)
    params = {**spec.model_dump(), "arm": "r1", "parent": LABELS[1], "style": LABELS[2], "protocol": LABELS[0]}
    (tmp_path / f"given {LABELS[3].replace('/', '')}\u202e.jsonl").write_text("{}")
    given = list(tmp_path.glob("given*"))
    write_sidecar(folder, given, {**params, "settings": {"a|b": {"<b>": ANSWER[:200]}}}, ["vidreason.training.grpo"])
    card = model_card(folder, '"<script>\n---\n# x')
    _, front, text = card.split("---\n", 2)
    assert front.count("\n") == 4
    own(text, LABELS[:3], fences=1)


def own(text: str, shown: tuple[str, ...], fences: int = 0) -> None:
    """The document has headings, paragraphs, lists and tables, and shows some texts as they are."""
    assert "\u202e" not in text
    assert not any(is_control(sign) and sign != "\n" for sign in text)
    inline = {"text", "text_special", "code_inline", "softbreak"}
    words, codes = [], 0
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        assert token.type not in ("html_block", "code_block", "blockquote_open", "hr"), token
        codes += token.type == "fence"
        for child in token.children or ():
            assert child.type in inline, child
            words.append(child.content)
        words.append("\n")
    assert codes == fences
    for label in shown:
        assert label in "".join(words), label
