"""One new file adds a data set: the example of docs/extending.md."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vidreason.data
from tests.unit.project.test_packaging import ROOT
from vidreason.artifacts.provenance import code_digest
from vidreason.data import registry
from vidreason.data.registry import (
    Dataset,
    Source,
    dataset_of,
    module_of,
    names,
    question_prompt,
    title_of,
    write_questions,
)
from vidreason.records import ClipRef, Question
from vidreason.training.registered import definitions, modules_with, registered

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
STREET, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def street(tmp_path, monkeypatch):
    """A folder with a module of a data set, found as if it were in the package."""
    (tmp_path / "street.py").write_text(STREET)
    monkeypatch.setattr(registry, "_datasets", dict(registry.discover()))
    monkeypatch.setattr(vidreason.data, "__path__", [*vidreason.data.__path__, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("vidreason.data.street", None)


def test_one_new_file_adds_a_data_set(street):
    """It is found by import: reader, prompt, title, the graph's names; and no digest of another data set changes."""
    before = code_digest(*modules_with("vidreason.evaluation.score", "mlvu"))
    assert "street" in names("benchmark")
    assert (title_of("street"), module_of("street")) == ("Street", "vidreason.data.street")
    record = {"video": "v.mp4", "question": "Is it red?", "options": ["yes", "no"], "answer": "A"}
    (street / "street.json").write_text(json.dumps([record, record]))
    assert write_questions("street", Source(street), street / "q.jsonl", 2) == 2
    (question, _) = dataset_of("street").read(Source(street))
    assert question_prompt(question) == "Is it red?\nA. yes\nB. no"
    assert registered().datasets["street"] == "benchmark"
    assert code_digest(*modules_with("vidreason.evaluation.score", "mlvu")) == before


def test_every_module_of_the_rules_is_one_of_the_package():
    for name in names():
        assert len(code_digest(*modules_with("vidreason.data.registry", name))) == 16
    one, other = (code_digest(*modules_with("vidreason.data.registry", name)) for name in ("mlvu", "mmvu"))
    assert one != other


def test_results_depend_on_what_defines_the_benchmarks():
    """Their titles, metrics and chance levels, which no static import reaches."""
    assert definitions("mlvu", "mmvu") == [
        "vidreason.data.mlvu",
        "vidreason.data.mmvu",
        "vidreason.tasks.multiple_choice",
    ]


def test_a_question_of_a_task_that_the_entry_does_not_name_is_refused(street):
    """The digest of its results would not cover the task."""
    question = Question("q", "street", "count", "How many?", ClipRef("v.mp4"), gold="3")
    entry = dataclasses.replace(dataset_of("street"), read=lambda source: [question])
    registry._datasets["street"] = entry
    with pytest.raises(ValueError, match=r"street: question 'q' has the task 'count'; allowed by .*: multiple_choice"):
        write_questions("street", Source(street), street / "q.jsonl")


def test_questions_set_aside_are_counted_logged_and_written(street, capsys):
    def read(source):
        source.set_aside(UNUSED, "duplicate", "repeats an earlier question", "street.json: record 2")
        source.set_aside("w.mp4", "no_gold", where="street.json: record 3")
        source.repairs["with an end beyond the video"] += 1
        return [SOUND]

    registry._datasets["street"] = dataclasses.replace(dataset_of("street"), read=read)
    assert write_questions("street", Source(street), street / "q.jsonl", 3, street / "dropped.csv") == 1
    assert (street / "dropped.csv").read_text() == (
        "question,video,reason,duration,detail\n"
        "r,v.mp4,duplicate,9.500,repeats an earlier question (street.json: record 2)\n"
        ",w.mp4,no_gold,,street.json: record 3\n"
    )
    log = capsys.readouterr().err
    assert "street: 1 questions; 1 with an end beyond the video\n" in log
    assert "street: 1 set aside: duplicate, the first: repeats an earlier question (street.json: record 2)\n" in log
    assert "street: 1 set aside: no_gold" in log
    with pytest.raises(ValueError, match="all: 3 found, 1 expected"):
        write_questions("street", Source(street), street / "q.jsonl", 1)
    with pytest.raises(ValueError, match="2 found, 1 expected"):  # by category, as far as the records give one
        write_questions("street", Source(street), street / "q.jsonl", {"why": 1, "": 1})


SOUND = Question("q", "street", "multiple_choice", "Which?", ClipRef("v.mp4"), ("x", "y"), "A")
UNUSED = dataclasses.replace(SOUND, id="r", category="why", duration=9.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gold": "C"}, "the answer 'C' is not one of the letters 'AB'"),
        ({"gold": ""}, "the answer '' is not one of the letters 'AB'"),
        ({"options": ()}, "0 options; allowed: 1 to 10"),
        ({"options": tuple("abcdefghijk")}, "11 options; allowed: 1 to 10"),
        ({"gold": "AB"}, "the answer 'AB' is not one of the letters 'AB'"),
        ({"dataset": "mlvu"}, "has the data set 'mlvu'; allowed: 'street'"),
        ({"clip": ClipRef("v.mp4", frame_rule="middle")}, "the frame rule is 'middle'; allowed: uniform, segments"),
        (
            {"clip": ClipRef("v.mp4", start=-1.0, end=1.0)},
            "the start of the clip is -1.0; allowed: a number of seconds",
        ),
        (
            {"clip": ClipRef("v.mp4", start=0.0, end=math.nan)},
            "the end of the clip is nan; allowed: a number of seconds",
        ),
        ({"clip": ClipRef("../v.mp4")}, "the video '../v.mp4' is no path inside the data set"),
        ({"category": "a\nb"}, "holds U+000A"),
        ({"text": "Why?"}, "is number 1 and number 2; allowed: an id of its own for each question"),
    ],
)
def test_a_question_is_checked_whatever_reader_made_it(street, changes, words):
    questions = [SOUND, dataclasses.replace(SOUND, **{"id": "r", **changes} if "text" not in changes else changes)]
    registry._datasets["street"] = dataclasses.replace(dataset_of("street"), read=lambda source: questions)
    with pytest.raises(ValueError, match=f"^street: question '[qr]'.* ?{re.escape(words)}"):
        write_questions("street", Source(street), street / "q.jsonl")
    assert not (street / "q.jsonl").exists()


@pytest.mark.parametrize("bounds", [{"start": 1.0}, {"end": 1.0}, {"start": 2.0, "end": 1.0}])
def test_the_bounds_of_a_clip_are_both_there_and_in_order(bounds):
    with pytest.raises(ValueError, match=r"the clip of 'v.mp4': start is .*; allowed: both or neither, start <= end"):
        ClipRef("v.mp4", **bounds)


def test_a_name_is_registered_by_one_module():
    mlvu = dataset_of("mlvu")
    registry.register(mlvu)
    with pytest.raises(ValueError, match=r"data set 'mlvu' is defined by vidreason\.data\.mlvu and by tests\."):
        registry.register(Dataset(**vars(mlvu) | {"read": lambda source: []}))
    assert dataset_of("mlvu") is mlvu


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "data set 'mlvu' is defined by vidreason.data.mlvu and by vidreason.data.mlvu; allowed: once"),
        ({"name": "../x"}, "data set '../x': the name is not allowed; allowed: a lower-case letter"),
        ({"name": "Street"}, "data set 'Street': the name is not allowed"),
        ({"name": "mean"}, "data set 'mean': the name is reserved; allowed: any but all, mean, validation"),
        ({"name": "new", "role": "test"}, "role is 'test'; allowed: training, demonstrations, benchmark"),
        ({"name": "new", "headline": "mean"}, "headline is 'mean'; allowed: micro, macro"),
        ({"name": "new", "parts": "task"}, "parts is 'task'; allowed: category, group"),
        ({"name": "new", "tasks": ()}, "data set 'new' of vidreason.data.mlvu: tasks is (); allowed: a tuple"),
    ],
)
def test_an_entry_that_cannot_work_is_refused(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        registry.register(dataclasses.replace(dataset_of("mlvu"), **changes))
    assert "new" not in names()


def test_the_answer_types_of_an_entry_are_registered(monkeypatch):
    monkeypatch.setattr(registry, "_datasets", dict(registry.discover()))
    registry.register(dataclasses.replace(dataset_of("mlvu"), name="new", tasks=("multiple_choice", "cuont")))
    with pytest.raises(
        ValueError, match=r"'new' of vidreason.data.mlvu: tasks names 'cuont'; allowed: .*multiple_choice"
    ):
        names()


def test_the_graph_is_built_without_heavy_libraries():
    code = (
        "import sys; from vidreason.training.registered import registered; registered(); "
        "print(*{'torch', 'transformers', 'decord', 'av', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == ""
