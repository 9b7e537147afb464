"""The tables that docs/show_seeds.py writes, from numbers made up here."""

import json
import shutil
import sys

import pytest

from tests.support.scored_run import predictions_of, score_one
from tests.unit.project.test_packaging import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import show_seeds


def scored(kind: str, correct: bool, options: int) -> dict:
    """What the tables read of a scored answer."""
    grades = {"tagged": {"correct": correct}}
    return {"truth": {"kind": kind}, "rule": "tagged", "grades": grades, "question": {"options": ["x"] * options}}


@pytest.fixture
def run(tmp_path):
    tables, scores = tmp_path / "tables", tmp_path / "score" / "r1" / "seed4"
    tables.mkdir()
    scores.mkdir(parents=True)
    (tables / "main.csv").write_text(
        "arm,label,style,benchmark,value,ci_low,ci_high,seed\n"
        "r1,R1,reason,mmvu,99,98,100,4\nr1,R1,reason,mean,50.05,46,54.2,4\n"
    )
    (tables / "thinking.csv").write_text(
        "arm,benchmark,metric,format_followed,think_true\nr1,mmvu,accuracy,0,0\nr1,all,accuracy,0.987,0.25\nr1,all,miou,0,0\n"
    )
    (tables / "gains.csv").write_text("arm,benchmark,difference,well_formed_difference\nr1,mean,6.86,-1.2\n")
    (tables / "controls.csv").write_text(
        "arm,label,questions,metric,n,value,ci_low,ci_high,chance,seed\n"
        "r1,R1,temporal,accuracy,3,66.7,20,90,43.6,4\nr1,R1,temporal,miou,3,1,0,2,,4\nr1,R1,all,accuracy,3,66.7,20,90,43.6,4\n"
    )
    answers = [("first", True, 3), ("first", False, 3), ("first", True, 3), ("count", True, 4)]
    score, _ = score_one(tmp_path / "made", "r1", "mlvu", predictions_of("r1", "mlvu"))
    values = json.loads(score.read_text())
    values["metrics"][values["headline"]] |= {"mean": 0.50051, "low": 0.46, "high": 0.542}
    (scores / "mmvu.score.json").write_text(json.dumps(values))
    shutil.rmtree(tmp_path / "made")
    (scores / "mmvu.scored.jsonl").write_text("".join(json.dumps(scored(k, c, o)) + "\n" for k, c, o in answers))
    return tmp_path


def test_means_are_rounded_once_from_the_scores(run):
    """Of the table's 50.05, rounded again, 50.0 would be left."""
    assert f"{50.05:.1f}" == "50.0"
    assert show_seeds.means(run) == [["4", "R1", "reason", "50.1 ± 4.1", "99%", "25%", "+6.9", "-1.2"]]


def test_controls_are_given_by_kind_of_question(run):
    assert show_seeds.kinds(run) == [["4", "R1", "temporal", "3", "66.7 (20.0 to 90.0)", "43.6"]]


def test_types_are_counted_over_answers(run):
    empty = ["-"] * 6
    assert show_seeds.types(run) == [["4", "R1", "67", *empty, "100"], ["4", "chance", "33", *empty, "25"]]


def test_letters_between_any_tags_are_the_last_ones(run):
    folder = run / "score" / "base_thinks" / "seed4"
    folder.mkdir(parents=True)
    said = [
        "<box> so ball A </box> <red> B </red>",
        "<box> so ball A </box> <red> C </red>",
        "B",
        "<box> so ball B </box>",
    ]
    rows = [{"prediction": {"completion": {"text": text}}, "question": {"gold": "B"}} for text in said]
    (folder / "mmvu.scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert show_seeds.between_any_tags(run) == "50%"


def test_the_page_has_the_marks():
    text = show_seeds.PAGE.read_text(encoding="utf-8")
    assert text.count(show_seeds.BEGIN) == text.count(show_seeds.END) == 1
