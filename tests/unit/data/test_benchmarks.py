"""The four readers: upstream's golden strings, and records as they are published."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidreason.config.yaml_layers import read_layer
from vidreason.data import mlvu, mmvu, mvbench, tempcompass, video_mme
from vidreason.data.fields import check_question
from vidreason.data.registry import dataset_of, names, question_prompt, read_questions
from vidreason.records import NO_OPTION, ClipRef, Question
from vidreason.tasks.base import task_of

ROOT = Path(__file__).parents[3]
GOLDEN = json.loads((ROOT / "tests/golden/eval.json").read_text())
SUFFIX = "Output the thinking process in <think> </think> and final answer (option) in <answer> </answer> tags."


def parsed(benchmark, record):
    if benchmark == "videomme":
        return video_mme.parse_record(record)
    if benchmark == "mvbench":
        return mvbench.parse_record(record, "moving_count")
    if benchmark == "mlvu":
        return mlvu.parse_record(record, "count")
    return mmvu.parse_record(record)


@pytest.mark.parametrize("benchmark", ["videomme", "mvbench", "mlvu", "mmvu"])
def test_question_strings_are_upstreams(benchmark):
    golden = GOLDEN["questions"][benchmark]
    questions = [question for record in golden["records"] if (question := parsed(benchmark, record)) is not None]
    assert len(questions) == len(golden["built"])
    for question, built in zip(questions, golden["built"], strict=True):
        assert f"<image>\n{question_prompt(question)}\n{SUFFIX}" == built["question"]


@pytest.mark.parametrize("benchmark", ["mvbench", "mlvu"])
def test_answers_and_choices_are_upstreams(benchmark):
    for case in GOLDEN["qa_template"][benchmark]:
        question = parsed(benchmark, case["record"])
        assert question_prompt(question) == case["question"]
        assert question.gold == case["answer"]
        assert list(question.letters) == case["all_choices"]
        assert dict(zip(question.letters, question.options, strict=True)) == case["index2ans"]


def test_video_mme_keeps_what_upstream_cuts():
    """Upstream drops the last character of an option, or all after the next '. '; the prompt shows it whole."""
    case = GOLDEN["qa_template"]["videomme_select_from_options"][1]
    record = {"videoID": "v", "question": "?", "options": np.array(case["options"]), "answer": "B", "duration": "long"}
    question = video_mme.parse_record(record)
    assert question.options == ("1.5 m.", "e.g. this.", "x.", "y.")
    assert list(question.letters) == case["all_choices"]


def test_every_module_says_what_it_is():
    for name in names():
        entry = dataset_of(name)
        assert entry.title
        assert entry.description
        assert "arXiv" in entry.citation
        assert [task_of(task).name for task in entry.tasks] == list(entry.tasks)
    assert len(mvbench.CATEGORIES) == 20
    assert len(mlvu.CATEGORIES) == 7


def test_the_entries_expect_what_was_published():
    """Counts of arXiv 2405.21075, 2311.17005, 2406.04264 and 2501.12380, of the grounding sets' files (doc-doc/NExT-GQA@63772e0,
    26hzhang/VSLNet@3793c62, ReXTime/ReXTime@cb9f484, llyx97/TempCompass@e1b4631), and that the parts are the readers' own."""
    wanted = {
        name: entry["questions"]
        for name, entry in read_layer(ROOT / "config/config.yaml")[1]["datasets"].items()
        if "known_missing" in entry
    }
    assert {name: sum(n.values()) if isinstance(n, dict) else n for name, n in wanted.items()} == {
        "video_mme": 2700,
        "mvbench": 4000,
        "mlvu": 2175,
        "mmvu": 625,
        "activitynet_tvg": 17_031,
        "charades_sta": 3_720,
        "nextgqa": 5_553,
        "rextime": 921,
        "tempcompass": 1_580 + 2_453 + 1_503,
    }
    assert tuple(wanted["video_mme"]) == video_mme.DURATIONS
    assert set(wanted["mvbench"]) == set(mvbench.CATEGORIES)
    assert set(wanted["mlvu"]) == set(mlvu.CATEGORIES)
    assert set(wanted["tempcompass"]) == set(tempcompass.KINDS)


def test_a_duplicate_candidate_counts_as_its_last():
    record = {"video": "v.mp4", "question": "?", "candidates": ["x", "y", "x"], "answer": "x"}
    assert parsed("mlvu", record).gold == parsed("mvbench", record).gold == "C"
    assert parsed("mlvu", {**record, "answer": "z"}).gold == NO_OPTION


BOUNDED = {"video": "v.mp4", "question": "?", "candidates": ["x", "y"], "answer": "x", "start": 1.5, "end": 6}


@pytest.mark.parametrize(
    ("task", "protocol", "rule", "bounds", "video"),
    [
        ("action_sequence", "paper", "segments", (1.5, 6.0), "video/star/Charades_v1_480/v.mp4"),
        ("action_sequence", "upstream", "uniform", (None, None), "video/star/Charades_v1_480/v.mp4"),
        ("action_localization", "paper", "segments", (1.5, 6.0), "video/sta/sta_video/v.mp4"),
        ("episodic_reasoning", "paper", "segments", (1.5, 6.0), "video/tvqa/frames_fps3_hq/v.mp4"),
        ("episodic_reasoning", "upstream", "segments", (1.5, 6.0), "video/tvqa/frames_fps3_hq/v.mp4"),
        ("action_antonym", "paper", "segments", (None, None), "video/ssv2_video/v.mp4"),
        ("fine_grained_pose", "upstream", "segments", (None, None), "video/nturgbd/v.mp4"),
        ("object_shuffle", "paper", "uniform", (None, None), "video/perception/videos/v.mp4"),
    ],
)
def test_mvbench_reads_every_task_in_its_own_way(task, protocol, rule, bounds, video):
    question = mvbench.parse_record(BOUNDED, task, 4, protocol)
    assert (question.clip.frame_rule, (question.clip.start, question.clip.end), question.clip.path) == (
        rule,
        bounds,
        video,
    )
    assert question.id == f"{task}-4"


def test_mvbench_takes_replaced_clips_where_the_first_are_gone(tmp_path):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "moving_count.json").write_text(json.dumps([BOUNDED, {**BOUNDED, "video": "w.mp4"}]))
    replaced = tmp_path / "video" / "data0613" / "clevrer" / "video_validation" / "w.mp4"
    replaced.parent.mkdir(parents=True)
    replaced.write_bytes(b"")
    videos = [question.clip.path for question in mvbench.read(tmp_path)]
    assert videos == ["video/clevrer/video_validation/v.mp4", "video/data0613/clevrer/video_validation/w.mp4"]


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("action_sequence", {"end": 1}, "ends at 1 s, before its start at 1.5 s"),
        ("action_sequence", {"start": "soon"}, "a bound must be a number of seconds, found 'soon'"),
        ("dancing", {}, "unknown category 'dancing'; allowed: action_sequence"),
    ],
)
def test_mvbench_refuses(task, changes, words):
    with pytest.raises(ValueError, match=words):
        mvbench.parse_record({**BOUNDED, **changes}, task)


MMVU_RECORD = {
    "id": "validation_0",
    "video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/Art/0.mp4",
    "question_type": "multiple-choice",
    "metadata": {"subject": "Art"},
    "question": "Which law applies?",
    "choices": {"A": "Ohm", "B": "Hooke", "C": "Boyle", "D": "Snell", "E": ""},
    "answer": "C",
}


def test_mmvu_reads_urls_subjects_and_empty_choices():
    question = mmvu.parse_record(MMVU_RECORD)
    assert (question.clip.path, question.group, question.letters) == ("videos/Art/0.mp4", "Art", "ABCDE")
    assert question_prompt(question).endswith("D. Snell\nE. ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answer": "F"}, "the answer 'F' is not one of the letters 'ABCDE'"),
        ({"choices": {"A": "x", "C": "y"}}, "keys A, B, ... in this order"),
        ({"question_type": "essay"}, "question_type 'essay'; allowed: multiple-choice, open-ended"),
        ({"video": "https://elsewhere.org/0.mp4"}, "neither a path nor a URL of yale-nlp/MMVU"),
    ],
)
def test_mmvu_refuses(changes, words):
    with pytest.raises(ValueError, match=words):
        mmvu.parse_record({**MMVU_RECORD, **changes})


def video_mme_row(number, **changes):
    row = {
        "video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "History", "url": "u",
        "videoID": "fFjv93ACGo8", "question_id": f"001-{number}", "task_type": "Counting", "question": "How many?",
        "options": ["A. Two.", "B. Three."], "answer": "A",
    }  # fmt: skip
    return {**row, **changes}


def video_mme_root(tmp_path, rows):
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(rows).to_parquet(table)
    return tmp_path


def test_video_mme_reads_the_table_and_finds_every_suffix(tmp_path):
    rows = [video_mme_row(1), video_mme_row(2, videoID="b", duration="long"), video_mme_row(3, videoID="c")]
    root = video_mme_root(tmp_path, rows)
    (root / "data").mkdir()
    (root / "data" / "b.MP4").write_bytes(b"")
    (root / "data" / "c.mkv").write_bytes(b"")
    found = video_mme.read(root)
    assert [question.clip.path for question in found] == ["data/fFjv93ACGo8.mp4", "data/b.MP4", "data/c.mkv"]
    assert [question.group for question in found] == ["short", "long", "short"]
    assert found[0] == Question(
        "001-1",
        "video_mme",
        "multiple_choice",
        "How many?",
        ClipRef("data/fFjv93ACGo8.mp4"),
        ("Two.", "Three."),
        "A",
        category="Counting",
        group="short",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": ["A. x", "C. y"]}, "record 2: expected an option that begins with 'B. ', found 'C. y'"),
        ({"answer": "C"}, "record 2: the answer 'C' is not one of the letters 'AB'"),
        ({"duration": "eternal"}, "record 2: duration 'eternal'; allowed: short, medium, long"),
        ({"question_id": "001-1"}, "record 2: the id '001-1' was already used by record 1"),
    ],
)
def test_video_mme_refuses(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        video_mme.read(video_mme_root(tmp_path, [video_mme_row(1), video_mme_row(2, **changes)]))


def test_a_page_instead_of_a_table_is_named(tmp_path):
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir()
    table.write_text("<html>")
    with pytest.raises(ValueError, match="not a parquet file"):
        video_mme.read(tmp_path)


def test_a_date_that_python_does_not_have_is_named(tmp_path):
    root = video_mme_root(tmp_path, [video_mme_row(1)])
    table = pq.read_table(root / video_mme.TABLE)
    pq.write_table(table.append_column("day", pa.array([2**31 - 1], pa.date32())), root / video_mme.TABLE)
    with pytest.raises(ValueError, match=r"parquet: not a parquet file .days=2147483647"):
        video_mme.read(root)


def test_mlvu_names_the_needle_and_its_folder(tmp_path):
    folder = tmp_path / "MLVU" / "json"
    folder.mkdir(parents=True)
    record = {
        "video": "n.mp4",
        "duration": 200,
        "question": "?",
        "candidates": ["x", "y"],
        "answer": "y",
        "question_type": "findNeedle",
    }
    (folder / "2_needle.json").write_text(json.dumps([record]))
    (folder / "9_summary.json").write_text(json.dumps([{"video": "s.mp4", "question": "?", "answer": "long text"}]))
    (question,) = read_questions("mlvu", tmp_path)
    assert (question.category, question.clip.path, question.id) == ("needle", "MLVU/video/2_needle/n.mp4", "needle-0")


@pytest.mark.parametrize("benchmark", names("benchmark"))
def test_a_folder_without_the_benchmark_is_named(tmp_path, benchmark):
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_questions(benchmark, tmp_path)


def test_unknown_data_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'mvbnch'; allowed: .*coldstart, mlvu, mmvu"):
        read_questions("mvbnch", tmp_path)
    question = dataclasses.replace(mmvu.parse_record(MMVU_RECORD), dataset="other")
    with pytest.raises(ValueError, match="unknown data set 'other'"):
        question_prompt(question)


PLAIN = {"video": "v.mp4", "question": "?", "candidates": ["x", "y"], "answer": "x", "start": 1, "end": 2}


@pytest.mark.parametrize(
    "parse", [lambda r: mvbench.parse_record(r, "action_sequence"), lambda r: mlvu.parse_record(r, "count")]
)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"candidates": "xy"}, "candidates is 'xy' .str.; expected a list of texts"),
        ({"candidates": None}, "candidates is 'None'"),
        ({"candidates": ["x", None]}, r"candidates\[1\] is 'None' .NoneType.; expected a text"),
        ({"question": None}, "question is 'None'"),
        ({"answer": ["x"]}, "answer is"),
        ({"video": None}, "video is 'None'"),
        ({"question": "\ud800"}, "expected a text"),
    ],
)
def test_other_types_are_not_made_into_text(parse, changes, words):
    with pytest.raises(ValueError, match=words):
        parse({**PLAIN, **changes})


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -1, True, None])
def test_bounds_are_finite_seconds(bound):
    with pytest.raises(ValueError, match="a bound must be a number of seconds"):
        mvbench.parse_record({**PLAIN, "end": bound}, "action_sequence")


@pytest.mark.parametrize("video", ["../../secret.mp4", "/etc/secret.mp4", "a/../../x.mp4", "", "x" * 5000])
def test_a_video_outside_the_data_set_is_refused(video):
    question = Question("1", "mmvu", "multiple_choice", "?", ClipRef(video), ("x", "y"), "A")
    with pytest.raises(ValueError, match="is no path inside the data set"):
        check_question(question)


def test_an_answer_is_one_letter_and_no_option_is_dropped():
    row = {"videoID": "v", "question": "?", "options": ["A. x", "B. y", "C. z"], "answer": "AB", "duration": "long"}
    with pytest.raises(ValueError, match="the answer 'AB' is not one of the letters"):
        video_mme.parse_record(row)
    with pytest.raises(ValueError, match="27 options; allowed: 1 to 10"):
        video_mme.parse_record({**row, "options": [f"{chr(65 + n % 26)}. x" for n in range(27)]})
    with pytest.raises(ValueError, match="is not one of the letters"):
        check_question(Question("1", "mmvu", "multiple_choice", "?", ClipRef("v.mp4"), ("x", "y", "z"), "AB"))
