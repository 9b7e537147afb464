"""The four benchmarks' annotation files in their full size, with the defects that the published ones have."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.filtering import selection_rule
from vidreason.artifacts.files import read_json, read_jsonl, write_json, write_jsonl
from vidreason.config.settings import Scoring
from vidreason.config.yaml_layers import read_layer
from vidreason.data import mlvu, mvbench, video_mme
from vidreason.data.registry import Source, oddities, question_prompt, read_questions, write_questions
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.evaluation.score_record import Score, read_score
from vidreason.evaluation.scored_answers import read_scored
from vidreason.records import NO_OPTION, OK, ClipRef, Completion, Grade, Prediction, Question, Rollout
from vidreason.tasks import multiple_choice as parse
from vidreason.training.select_by_variance import SelectionFiles, select_by_variance

ROOT = Path(__file__).parents[3]
EXPECTED = {
    name: entry["questions"]
    for name, entry in read_layer(ROOT / "config/config.yaml")[1]["datasets"].items()
    if "known_missing" in entry
}
TOTALS = {"video_mme": 2700, "mvbench": 4000, "mlvu": 2175, "mmvu": 625}
ONE_CANDIDATE = (81, 98, 111, 137, 162)
"""Records of MVBench's counterfactual_inference, from 0."""
EMPTY = 26
"""Record of MLVU's topic_reasoning without question, candidates and answer, from 0."""
WORDS = ("a ball", "a cube", "a cone", "a ring", "a star")


def record(number: int, options: int, **more: object) -> dict[str, object]:
    """A sound record of MVBench or MLVU."""
    candidates = list(WORDS[:options])
    video = f"clip_{number % 97}.mp4"
    return {
        "video": video,
        "question": f"What comes {number}th?",
        "candidates": candidates,
        "answer": WORDS[number % options],
        **more,
    }


def write_mvbench(root: Path) -> None:
    for task, kind in mvbench.CATEGORIES.items():
        bounds = {"start": 1.5, "end": 9} if kind.bounded else {}
        records = [record(number, 3, **bounds) for number in range(200)]
        if task == "counterfactual_inference":
            for place in ONE_CANDIDATE:
                words = "The cube collides with the gray cylinder"
                records[place] |= {"candidates": [words], "answer": words}
        write_json(root / "json" / f"{task}.json", records)


def write_mlvu(root: Path) -> None:
    for task, count in EXPECTED["mlvu"].items():
        records = [record(number, 4, duration=400.5, question_type=task) for number in range(count)]
        if task == "needle":
            for place in range(count):
                records[place]["question_type"] = "findNeedle"
            for place in (40, 200):
                records[place]["answer"] = "something else"
        if task == "count":
            for place in range(16):
                records[place]["candidates"] = ["1", "2", "2", "3"]
                records[place]["answer"] = "2"
        if task == "plotQA":
            records[23]["candidates"] = ["a ball", "a cube", "a cone", ""]
            records[23]["answer"] = "a cube"
        if task == "ego":
            for place in (119, 313):
                records[place] |= {"candidates": ["a ball", "", "a cone", "a ring"], "answer": ""}
        if task == "topic_reasoning":
            records[EMPTY] |= {"question": "", "candidates": ["", "", "", ""], "answer": ""}
        write_json(root / "MLVU" / "json" / f"{mlvu.CATEGORIES[task]}.json", records)
    write_json(root / "MLVU" / "json" / "9_summary.json", [{"video": "s.mp4", "question": "?", "answer": "long"}])


def write_video_mme(root: Path) -> None:
    rows = [
        {
            "video_id": f"{number // 3 + 1:03d}",
            "duration": ("short", "medium", "long")[number // 900],
            "videoID": f"yt_{number // 3}",
            "question_id": f"{number // 3 + 1:03d}-{number % 3 + 1}",
            "task_type": "Counting Problem",
            "question": "How many cups are there?",
            "options": ["A. One.", "B. Two.", "C. 3.5 or so", "D. None of the above."],
            "answer": "ABCD"[number % 4],
        }
        for number in range(2700)
    ]
    (root / "videomme").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / video_mme.TABLE)


def write_mmvu(root: Path) -> None:
    prefix = "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/"
    records = [
        {
            "id": f"validation_{number}",
            "video": f"{prefix}videos/Art/{number % 379}.mp4",
            "question_type": "multiple-choice" if number % 8 < 5 else "open-ended",
            "metadata": {"subject": "Art", "textbook": "", "rationale": "", "knowledge": []},
            "question": "Which style?",
            "choices": dict(zip("ABCDE", ("Gothic", "Baroque", "" if number % 9 else "Cubism", "", "x"), strict=True)),
            "answer": "B",
        }
        for number in range(1000)
    ]
    for one in records:
        if one["question_type"] == "open-ended":
            one["choices"], one["answer"] = dict.fromkeys("ABCDE", ""), "words"
    write_json(root / "validation.json", records)


WRITERS = {"video_mme": write_video_mme, "mvbench": write_mvbench, "mlvu": write_mlvu, "mmvu": write_mmvu}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder of each benchmark's annotations, and its questions as the pipeline writes them."""
    base = tmp_path_factory.mktemp("published")
    for name, write in WRITERS.items():
        write(base / name)
        write_questions(name, Source(base / name), base / f"{name}.jsonl", EXPECTED[name])
    return base


@pytest.mark.parametrize("name", WRITERS)
def test_the_published_files_are_read_whole(published, name):
    questions = read_jsonl(published / f"{name}.jsonl", Question)
    assert len(questions) == TOTALS[name]
    assert len({question.id for question in questions}) == TOTALS[name]
    assert read_questions(name, published / name) == questions


def test_a_single_candidate_is_a_question(published):
    questions = {question.id: question for question in read_questions("mvbench", published / "mvbench")}
    assert oddities(list(questions.values()))["with one option"] == 5
    for place in ONE_CANDIDATE:
        question = questions[f"counterfactual_inference-{place}"]
        assert (question.letters, question.gold) == ("A", "A")
        assert question_prompt(question).endswith("\nOptions:\nA. The cube collides with the gray cylinder")


def test_mlvus_empty_record_is_kept_as_it_is(published):
    """Its gold letter is D by the published rule, the last candidate that equals the answer."""
    questions = {question.id: question for question in read_questions("mlvu", published / "mlvu")}
    empty = questions[f"topic_reasoning-{EMPTY}"]
    assert (empty.text, empty.options, empty.gold) == ("", ("", "", "", ""), "D")
    assert question_prompt(empty) == "\n(A) \n(B) \n(C) \n(D)"
    assert questions["plotQA-23"].gold == "B"
    assert {questions[f"ego-{place}"].gold for place in (119, 313)} == {"B"}
    assert [name for name, question in questions.items() if question.gold == NO_OPTION] == ["needle-40", "needle-200"]
    assert questions["count-3"].gold == "C"
    assert oddities(list(questions.values())) == {
        "without a text": 1,
        "with one option": 0,
        "with an empty option": 4,
        "with an option twice": 17,
        "whose answer is none of the options": 2,
    }


def scored(published: Path, folder: Path, name: str, completion: str, unparsed: str = "wrong") -> Score:
    """The score of a model that always says the same."""
    questions = read_jsonl(published / f"{name}.jsonl", Question)
    predictions = [Prediction(one.id, OK, "0" * 64, Completion(completion, 3, True), one.sha256) for one in questions]
    write_jsonl(folder / "p.jsonl", predictions)
    files = ScoreFiles(
        published / f"{name}.jsonl", [folder / "p.jsonl"], folder / "scored.jsonl", folder / "score.json"
    )
    settings = Scoring(parser="strict", unparsed=unparsed, max_missing_fraction=0.0)
    score(Subject(name, "base", "option", 0), files, settings)
    return read_score(files.score)


@pytest.mark.parametrize("name", ["mvbench", "mlvu"])
@pytest.mark.parametrize("completion", ["A", "D", "", "no letter"])
def test_the_denominators_are_the_published_counts_whatever_is_answered(published, tmp_path, name, completion):
    found = scored(published, tmp_path, name, completion)
    assert found.n == TOTALS[name]
    assert {part.name: part.n for part in found.categories} == EXPECTED[name]


def test_the_empty_record_is_right_by_the_published_letter_alone(published, tmp_path):
    for completion, right in (("D", True), ("A", False), ("", False)):
        scored(published, tmp_path, "mlvu", completion)
        rows = {row.question.id: row for row in read_scored(tmp_path / "scored.jsonl")}
        row = rows[f"topic_reasoning-{EMPTY}"]
        assert (row.correct, row.chance) == (right, 1 / 4)
        assert not rows["needle-40"].correct
        assert rows["needle-40"].chance == 0


def test_a_single_candidate_in_every_later_stage(published, tmp_path):
    """Right by its letter alone, chance 1, and an answer without a letter stays wrong unless letters are drawn."""
    of_task = {}
    for completion, unparsed in (("A", "wrong"), ("B", "wrong"), ("no letter", "wrong"), ("no letter", "random")):
        found = scored(published, tmp_path, "mvbench", completion, unparsed)
        rows = [row for row in read_scored(tmp_path / "scored.jsonl") if len(row.question.options) == 1]
        assert [row.chance for row in rows] == [1.0] * 5
        of_task[completion, unparsed] = {row.correct for row in rows}
        (part,) = [part for part in found.categories if part.name == "counterfactual_inference"]
        # 195 questions with three options and five with one.
        assert part.chance == pytest.approx((195 / 3 + 5) / 200)
        assert part.estimate.low <= part.estimate.mean <= part.estimate.high <= 1
    assert of_task == {
        ("A", "wrong"): {True},
        ("B", "wrong"): {False},
        ("no letter", "wrong"): {False},
        ("no letter", "random"): {True},
    }
    assert parse.upstream("<answer>a cube</answer>", "A") == "A"
    assert parse.upstream("<answer>the cube</answer>", "A", Random(0)) == "A"


@pytest.mark.parametrize("strategy", ["informative", "random", "all"])
@pytest.mark.parametrize("right", [0, 1, 2])
def test_selection_drops_a_question_with_one_option(tmp_path, right, strategy):
    asked = [
        Question("lone", "nextqa", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain",), "A"),
        Question("pair", "nextqa", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain", "sun"), "A"),
    ]
    counts = {"lone": right, "pair": 1}
    write_jsonl(tmp_path / "q.jsonl", asked)
    write_jsonl(
        tmp_path / "r.jsonl",
        [
            Rollout(
                one.id,
                index,
                Completion("", 1, True),
                Grade(float(index < counts[one.id]), index < counts[one.id], parts={"well_formed": 0.0}),
                one.sha256,
            )
            for one in asked
            for index in (0, 1)
        ],
    )
    read = ([tmp_path / "r.jsonl"], tmp_path / "q.jsonl", ())
    files = SelectionFiles(*read, *(tmp_path / name for name in ("s.jsonl", "d.csv", "h.csv")))
    select_by_variance(files, selection_rule(strategy=strategy, keep_min=0, keep_max=2), seed=0)
    assert [question.id for question in read_jsonl(tmp_path / "s.jsonl", Question)] == ["pair"]
    answers = "0,," if strategy == "all" else f"2,{right},"
    assert f"lone,multiple_choice,v.mp4,one_option,{answers}" in (tmp_path / "d.csv").read_text()


@pytest.mark.parametrize("place", [0, 26, 263])
def test_a_bad_record_is_named_by_its_own_file_and_number(published, tmp_path, place):
    write_mlvu(tmp_path)
    source = tmp_path / "MLVU/json/7_topic_reasoning.json"
    records = read_json(source)
    records[place]["candidates"] = []
    source.write_text(json.dumps(records))
    with pytest.raises(ValueError, match=rf"7_topic_reasoning\.json: record {place + 1}: 0 options; .*counted from 1"):
        read_questions("mlvu", tmp_path)


def test_a_file_that_is_missing_is_named_by_its_part(published, tmp_path):
    write_mlvu(tmp_path)
    (tmp_path / "MLVU/json/5_order.json").unlink()
    assert Counter(question.category for question in read_questions("mlvu", tmp_path))["order"] == 0
    with pytest.raises(
        ValueError, match=r"1916 questions, expected are 2175(.|\n)*order: 0 found, 259 expected(.|\n)*/5_order.json"
    ):
        write_questions("mlvu", Source(tmp_path), tmp_path / "out.jsonl", EXPECTED["mlvu"])
    assert not (tmp_path / "out.jsonl").exists()
