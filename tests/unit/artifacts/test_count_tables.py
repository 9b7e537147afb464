"""Tables that another stage wrote, and one that it did not write so."""

from pathlib import Path

import pytest

from vidreason.artifacts.count_tables import Bin, read_counts, read_histogram
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.integrity import ChangedError
from vidreason.artifacts.provenance import write_sidecar
from vidreason.evaluation.coverage import COLUMNS, CategoryCoverage, read_coverage
from vidreason.results.page import csv_grid, picture_uri

HEADER = "task,measure,low,high,rollouts,questions,kept\n"
RIGHT = HEADER + "numerical,correct,0,0,2,5,0\nnumerical,correct,1,1,2,3,3\nnumerical,correct,2,2,2,2,0\n"
SPREAD = "ocr,std,0,0,2,4,0\nocr,std,0,0.25,2,1,1\nocr,std,0.25,0.5,2,6,6\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(RIGHT + SPREAD)
    return path


def test_a_sound_table(table: Path) -> None:
    assert read_csv(table, ("kept",))[1]["kept"] == "3"
    assert read_counts(table, ("questions",))[:3] == [{"questions": 5}, {"questions": 3}, {"questions": 2}]
    assert [one.kept for one in read_histogram(table)] == [0, 3, 0, 0, 1, 6]
    assert read_histogram(table)[4] == Bin("ocr", "std", 0.0, 0.25, 2, 1, 1)


def test_a_selection_that_sampled_nothing_has_no_bins(table: Path) -> None:
    table.write_text(HEADER)
    assert read_histogram(table) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("correct,1,1,2,3,3", "correct,1,1,2,3", r"row 2 has 6 cells, the header has 7: \['task', "),
        ("correct,1,1,2,3,3", "correct,1,1,2,3,3,3", "row 2 has 8 cells"),
        ("kept", "taken", r"columns \['kept'\] are missing; the file has \['task', "),
        ("1,1,2,3,3", "1,1,2,,3", r"row 2: questions is ''; needed is a whole number, 0 or more"),
        ("1,1,2,3,3", "1,1,2,3.0,3", r"row 2: questions is '3.0'"),
        ("1,1,2,3,3", "1,1,2,-3,3", r"row 2: questions is '-3'"),
        ("1,1,2,3,3", "1,1,2,nan,3", r"row 2: questions is 'nan'"),
        ("1,1,2,3,3", "nan,1,2,3,3", r"row 2: low is 'nan'; needed is a number, 0 or more"),
        (
            "1,1,2,3,3",
            "3,3,2,3,3",
            r"low is \[0.0, 3.0, 2.0\]; needed is a row for each of 0, 1 \.\.\. 2 right answers",
        ),
        ("numerical,correct,0,0,2,5,0\n", "", r"low is \[1.0, 2.0\]"),
        ("1,1,2,3,3", "1,1,4,3,3", "numerical has rows of several measures or numbers of rollouts"),
        ("ocr,std,0,0.25", "ocr,correct,0,0.25", "ocr has rows of several measures"),
        ("0.25,0.5,2,6", "0.2,0.5,2,6", r"low is \[0.0, 0.0, 0.2\]; needed are bins in rising order"),
        ("1,1,2,3,3", "1,1,2,3,4", r"of 3 questions 4 were kept"),
    ],
)
def test_what_no_selection_writes_is_named(table: Path, old: str, new: str, words: str) -> None:
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"table\.csv: {words}"):
        read_histogram(table)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("order,5,3,2,missing 1; bad file 1", None),
        ("order,5,3,x,missing 2", "without_frames is 'x'; needed is a whole number"),
        ("order,5,3,2,missing two", "the count of reason 'missing' is 'two'"),
        ("order,5,3,2,missing 1", r"of 5 questions 3 have frames and 2 have none \(missing 1\)"),
        ("order,5,4,2,missing 2", "of 5 questions 4 have frames and 2 have none"),
    ],
)
def test_counts_of_missing_videos_add_up(tmp_path: Path, row: str, words: str | None) -> None:
    path = tmp_path / "mlvu.csv"
    path.write_text(f"{','.join(COLUMNS)}\n{row}\n")
    if words is None:
        assert read_coverage(path) == [CategoryCoverage("order", 5, {"missing": 1, "bad file": 1})]
        return
    with pytest.raises(ValueError, match=rf"mlvu\.csv: row 1: {words}"):
        read_coverage(path)


def test_tables_and_pictures_that_were_changed_since_they_were_made_are_refused(table: Path) -> None:
    write_sidecar(table, [], {}, ["vidreason.artifacts.files"])
    readers = (lambda: read_csv(table, ()), lambda: csv_grid(table), lambda: picture_uri(table))
    for read in readers:
        read()
    table.write_text(table.read_text().replace("5", "6"))
    for read in readers:
        with pytest.raises(ChangedError, match=r"table\.csv: changed since it was made"):
            read()
