"""CSV files: whatever a cell holds, a table has the rows and cells it was given, and no spreadsheet runs one."""

import codecs
import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidreason.artifacts.control_characters import escaped
from vidreason.artifacts.csv_files import LONGEST_CELL, csv_text, read_csv, write_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.data.registry import Dropped, write_dropped
from vidreason.evaluation.coverage import count_missing, read_coverage
from vidreason.records import ClipRef, ClipStatus, Question

ROOT = Path(__file__).parents[3]
CELLS = st.text(st.sampled_from("=+-@'\t\r\n \x0b\x85\u2028\u202e\u200d\udc80\0\",|;a1.＝é")) | st.text(max_size=20)


def cells_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+49 30", "'+49 30"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), (" =1", "' =1"), ("＝1", "'＝1"),
        ("'=1", "''=1"), ("-", "'-"), ("-1-1", "'-1-1"), ("-inf", "'-inf"), ("=-1", "'=-1"), ("-1e5x", "'-1e5x"),
        ("-1.25", "-1.25"), ("+7", "+7"), ("-1e-6", "-1e-6"), (-1.25, "-1.25"), (7, "7"), (None, ""), ("", ""), (True, "True"),
        ("a=b", "a=b"), ("'tis", "'tis"), ("1-2", "1-2"), ("a\tb", "a\\tb"), ("\t=1", "\\t=1"), ("\r=1", "\\r=1"),
        ("a\r\nb", "a\\r\\nb"), ("a\0b", "a\\x00b"), ("a\u2028b", "a\\u2028b"), ("a\x85b", "a\\x85b"), ("\udc80", "\\udc80"),
        ("a\u202eb", "a\\u202eb"), ("\ufeff=1", "\\ufeff=1"), ("\u2066=1", "\\u2066=1"), ("👨\u200d👩", "👨\u200d👩"),
        ('say "a", b', 'say "a", b'), ("Zürich 走", "Zürich 走"),
    ],
)  # fmt: skip
def test_a_cell(value, cell):
    text = csv_text(["name", "n"], [[value, 1]])
    assert cells_of(text) == [["name", "n"], [cell, "1"]]
    assert len(text.splitlines()) == 2


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
@example([("'", "'-"), ("''=", "=")])
def test_whatever_is_written_is_read_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_csv(path, ["one", "two"], rows)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + len(rows), "a row is a line, whoever counts"
    for row in cells_of(text):
        for cell in row:
            assert not re.match(r"[=+\-@\t\r]", cell) or re.fullmatch(r"[+-]\d+(\.\d+)?(e[+-]?\d+)?", cell, re.I | re.A)
    assert [list(row.values()) for row in read_csv(path)] == [[escaped(cell) for cell in row] for row in rows]


def test_a_cell_can_be_read_again_however_long_it_is(tmp_path):
    write_csv(tmp_path / "a.csv", ["detail"], [["x" * 1_000_000]])
    assert read_csv(tmp_path / "a.csv") == [{"detail": "x" * LONGEST_CELL + " ..."}]


def test_a_table_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(ValueError, match=r"a\.csv: row 2 has 1 cells, the header has 2: \['a', 'b'\]"):
        read_csv(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"a\.csv: columns \['c'\] are missing; the file has \['a', 'b'\]"):
        read_csv(tmp_path / "a.csv", ("a", "c"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="are missing; the file has"):
        read_csv(tmp_path / "empty.csv", ("a",))


def test_coverage_is_counted_by_any_name_of_a_task(tmp_path):
    tasks = ("=now()", "-x", "+1", "'=a", "")
    questions = [
        Question(f"q{n}", "mlvu", "multiple_choice", "?", ClipRef(f"{n}.mp4"), ("a",), "A", category=task)
        for n, task in enumerate(tasks)
    ]
    write_jsonl(tmp_path / "questions.jsonl", questions)
    write_jsonl(tmp_path / "clips.jsonl", [ClipStatus(f"{n}.mp4", "missing") for n in range(len(tasks))])
    count_missing(tmp_path / "questions.jsonl", [tmp_path / "clips.jsonl"], tmp_path / "out.csv")
    assert [(one.category, one.missing) for one in read_coverage(tmp_path / "out.csv")] == [
        (t, 1) for t in sorted(tasks)
    ]
    assert "\n=" not in (tmp_path / "out.csv").read_text()


def test_the_words_of_a_decoder_are_one_cell(tmp_path):
    row = Dropped("-1", "=a.mp4", "unreadable", "line one\r\n=line two,\n\tthree")
    write_dropped(tmp_path / "dropped.csv", [row])
    assert (tmp_path / "dropped.csv").read_text() == (
        'question,video,reason,duration,detail\n-1,\'=a.mp4,unreadable,,"line one\\r\\n=line two,\\n\\tthree"\n'
    )
    (row,) = read_csv(tmp_path / "dropped.csv")
    assert row["video"] == "=a.mp4"


def test_nothing_else_writes_or_reads_csv():
    own = ROOT / "src" / "vidreason" / "artifacts" / "csv_files.py"
    files = [path for folder in ("src", "workflow", "docs", "bench") for path in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "workflow").rglob("*.smk")
    found = [str(path) for path in files if re.search(r"\bimport csv\b|\bcsv\.|\.to_csv\(", path.read_text("utf-8"))]
    assert found == [str(own)]


def test_a_table_of_ones_own_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "published.tsv").write_bytes(codecs.BOM_UTF8 + b"# source\r\narm\tvalue\r\nr1\t46.6\r\n")
    assert read_csv(tmp_path / "published.tsv", ("arm", "value")) == [{"arm": "r1", "value": "46.6"}]


@pytest.mark.parametrize("content", [b"arm,value\nr\xe9,1\n", b"arm,value\n" + b"x" * 200_000 + b",1\n"])
def test_what_is_no_table_is_named(tmp_path, content):
    (tmp_path / "own.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.csv: not a CSV file in UTF-8 \("):
        read_csv(tmp_path / "own.csv")
