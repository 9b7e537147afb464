"""Judging: merging shards, both parsers, the denominator, missing videos, truth, intervals."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.scored_run import (
    CAPTION,
    SETTINGS,
    change,
    completion_of,
    predictions_of,
    questions_of,
    score_one,
    write_truth,
)
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import Scoring
from vidreason.data import registry
from vidreason.data.registry import dataset_of
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.evaluation.score_record import Majority, Reading, Score, read_score
from vidreason.evaluation.scored_answers import Scored, chance_level, majority_letter, read_scored
from vidreason.records import PROMPT_TOO_LONG, ClipRef, Completion, Grade, Prediction, Question
from vidreason.tasks import base
from vidreason.tasks.grounding import Grounding
from vidreason.tasks.metrics import MEAN_VALUE, Metric


def scored(root: Path, arm: str, benchmark: str, **changes: Any) -> tuple[Score, list[Scored]]:
    """Score and read both files back."""
    predictions = changes.pop("with_predictions", predictions_of(arm, benchmark))
    out, judged = score_one(root, arm, benchmark, predictions, **changes)
    return read_score(out), read_scored(judged)


def test_plain_counts(tmp_path: Path) -> None:
    score, rows = scored(tmp_path, "r1", "video_mme")
    assert [row.question.id for row in rows] == [f"video_mme-{number}" for number in range(8)], "sorted, both shards"
    assert (score.n, score.with_frames, score.answered, score.unparsed) == (8, 8, 8, 0)
    assert score.estimate.mean == 6 / 8
    assert score.coverage == 1.0
    assert score.chance == 0.25
    assert score.majority == Majority("A", 0.25)
    assert score.estimate.clusters == 4
    # Videos 0, 1, 2 right twice, video 3 wrong twice: residual sums 0.5, 0.5, 0.5, -1.5; se = sqrt(4/3 * 3) / 8.
    assert score.estimate.se == pytest.approx(0.25)
    assert score.headline == "accuracy"
    assert (score.arm, score.seed, score.benchmark) == ("r1", 0, "video_mme")


def test_groups_and_tasks(tmp_path: Path) -> None:
    score, _ = scored(tmp_path, "r1", "video_mme")
    assert {part.name: (part.n, part.estimate.mean) for part in score.categories} == {
        "count": (2, 0.0),
        "order": (6, 1.0),
    }
    assert {part.name: (part.n, part.estimate.mean) for part in score.groups} == {
        "long": (4, 0.5),
        "short": (4, 1.0),
    }


def test_mlvu_reports_macro_and_micro(tmp_path: Path) -> None:
    score, _ = scored(tmp_path, "r1", "mlvu")
    # Right: 0 1 2 3 5 of the six order questions, 7 of the two count questions.
    assert score.metrics["accuracy"].mean == 6 / 8
    assert score.metrics["accuracy_macro"].mean == pytest.approx((5 / 6 + 1 / 2) / 2, abs=1e-8)
    assert score.headline == "accuracy_macro"
    assert score.estimate.mean == score.metrics["accuracy_macro"].mean


def test_option_arms_answer_without_tags(tmp_path: Path) -> None:
    score, rows = scored(tmp_path, "base", "video_mme")
    assert score.estimate.mean == 3 / 8
    assert score.unparsed == 0
    assert {row.grades["tagged"].parsed for row in rows} <= set("ABCD")
    assert score.format_followed == 0.0


def test_reason_arms_need_the_tags(tmp_path: Path) -> None:
    predictions = change(predictions_of("r1", "video_mme"), 0, text="A")
    score, rows = scored(tmp_path, "r1", "video_mme", with_predictions=predictions)
    assert rows[0].grades["tagged"].parsed is None
    assert not rows[0].correct
    assert (score.n, score.unparsed, score.estimate.mean) == (8, 1, 5 / 8)


@pytest.mark.parametrize(
    "text", ["", "I cannot say.", "<answer></answer>", "<think>A</think>", "<answer>Z</answer>", "🎈" * 500]
)
def test_denominator_does_not_depend_on_the_answer(tmp_path: Path, text: str) -> None:
    predictions = predictions_of("r1", "mlvu")
    for number in range(8):
        predictions = change(predictions, number, text=text)
    score, rows = scored(tmp_path, "r1", "mlvu", with_predictions=predictions)
    assert (score.n, len(rows), score.unparsed, score.estimate.mean) == (8, 8, 8, 0.0)
    assert score.within_well_formed is None or score.format_followed == 1.0


def test_parsers_stand_side_by_side(tmp_path: Path) -> None:
    # Gold of question 1 is B. Upstream reads the first character of the first block, strict the letter of the last.
    text = "<think>x</think> <answer>Boxes are seen</answer>"
    predictions = change(predictions_of("coldstart", "video_mme"), 1, text=text)
    score, rows = scored(tmp_path, "coldstart", "video_mme", with_predictions=predictions)
    assert (rows[1].grades["tagged"].parsed, rows[1].grades["first_block"].parsed) == (None, "B")
    assert (rows[1].correct, rows[1].grades["first_block"].correct) == (False, True)
    assert score.readings == {"tagged": Reading(0.0, 1), "first_block": Reading(1 / 8, 0)}
    assert score.disagree == 1
    switched, rows = scored(
        tmp_path, "coldstart", "video_mme", with_predictions=predictions, settings=SETTINGS | {"parser": "upstream"}
    )
    assert rows[1].correct
    assert switched.estimate.mean == 1 / 8
    assert switched.unparsed == 0


def test_the_reading_of_another_articles_evaluation_is_recorded_where_it_decides(tmp_path: Path) -> None:
    # Gold of question 1 is B. Video-R1 compares the whole first block, and the whole text where there is none.
    predictions = change(predictions_of("coldstart", "video_mme"), 1, text="<answer>B.</answer>")
    predictions = change(predictions, 2, text="C")
    plain, _ = scored(tmp_path, "coldstart", "video_mme", with_predictions=predictions)
    assert set(plain.readings) == {"tagged", "first_block"}
    switched, rows = scored(
        tmp_path, "coldstart", "video_mme", with_predictions=predictions, settings=SETTINGS | {"parser": "video_r1"}
    )
    assert [row.correct for row in rows[1:3]] == [False, True]
    assert [row.grades["tagged"].correct for row in rows[1:3]] == [True, False]
    assert set(switched.readings) == {"tagged", "first_block", "video_r1_eval"}
    assert {row.rule for row in rows} == {"video_r1_eval"}


def test_random_letters_only_under_the_switch_and_seeded(tmp_path: Path) -> None:
    predictions = predictions_of("r1", "video_mme")
    for number in range(8):
        predictions = change(predictions, number, text="no idea")
    _, wrong = scored(tmp_path, "r1", "video_mme", with_predictions=predictions)
    assert {row.guess for row in wrong} == {None}
    settings = SETTINGS | {"unparsed": "random", "parser": "upstream"}
    letters = {}
    for seed in (0, 0, 1):
        score, rows = scored(tmp_path, "r1", "video_mme", with_predictions=predictions, settings=settings, seed=seed)
        guesses = "".join(row.guess or "?" for row in rows)
        assert letters.setdefault(seed, guesses) == guesses
        assert score.estimate.mean == sum(row.guess == row.question.gold for row in rows) / 8
        assert score.unparsed == 8, "a guess is not an answer"
    assert letters[0] != letters[1]
    assert set(letters[0]) <= set("ABCD")


def test_an_answered_question_is_never_guessed(tmp_path: Path) -> None:
    plain, _ = scored(tmp_path, "r1", "video_mme")
    random, rows = scored(tmp_path, "r1", "video_mme", settings=SETTINGS | {"unparsed": "random"})
    assert {row.guess for row in rows} == {None}
    assert random.estimate.mean == plain.estimate.mean


def test_missing_videos_fail_with_a_table_and_the_way_out(tmp_path: Path) -> None:
    predictions = change(predictions_of("r1", "video_mme"), 7, status="truncated", completion=Completion())
    with pytest.raises(ValueError, match="1 of 8 questions") as caught:
        scored(tmp_path, "r1", "video_mme", with_predictions=predictions)
    text = str(caught.value)
    assert "count | 2 | 1 | 0 | truncated 1" in text
    assert "order | 6 | 0 | 0 | -" in text
    assert "extract_frames/video_mme/" in text
    assert "evaluation.scoring.max_missing_fraction" in text
    assert "0.1250" in text
    most = float(re.search(r"to ([0-9.]+) or more", text)[1])
    scored(
        tmp_path, "r1", "video_mme", with_predictions=predictions, settings=SETTINGS | {"max_missing_fraction": most}
    )


def test_videos_known_to_be_missing_stop_nothing(tmp_path: Path) -> None:
    lost = {"status": "missing", "completion": Completion()}
    predictions = change(predictions_of("r1", "video_mme"), 7, **lost)
    score, _ = scored(tmp_path, "r1", "video_mme", with_predictions=predictions, known_missing={"count": 1})
    assert (score.n, score.with_frames, score.coverage) == (8, 7, 0.875)
    more = change(predictions, 6, **lost)
    with pytest.raises(ValueError, match=r"1 of 8 questions \(0.1250\)"):
        scored(tmp_path, "r1", "video_mme", with_predictions=more, known_missing={"count": 1})


def test_missing_videos_count_as_wrong_when_allowed(tmp_path: Path) -> None:
    # Question 0 was right; without frames even a completion that is there by mistake is not read.
    predictions = change(predictions_of("r1", "video_mme"), 0, status="unreadable")
    score, rows = scored(
        tmp_path,
        "r1",
        "video_mme",
        with_predictions=predictions,
        settings=SETTINGS | {"max_missing_fraction": 0.125, "unparsed": "random"},
    )
    assert (score.n, score.with_frames, score.coverage, score.estimate.mean) == (8, 7, 0.875, 5 / 8)
    assert score.missing == {"unreadable": 1}
    assert score.unparsed == 0
    assert (rows[0].correct, rows[0].guess, rows[0].grades["tagged"].parsed) == (False, None, None)


def test_a_prompt_that_is_too_long_counts_as_wrong_and_needs_no_permission(tmp_path: Path) -> None:
    """The data is whole; it is this model that cannot be asked."""
    predictions = change(predictions_of("r1", "video_mme"), 0, status=PROMPT_TOO_LONG, completion=Completion())
    score, rows = scored(tmp_path, "r1", "video_mme", with_predictions=predictions)
    assert (score.n, score.with_frames, score.coverage, score.estimate.mean) == (8, 7, 0.875, 5 / 8)
    assert score.missing == {PROMPT_TOO_LONG: 1}
    assert (rows[0].prediction.status, rows[0].correct, score.unparsed) == (PROMPT_TOO_LONG, False, 0)
    lost = change(predictions, 7, status="truncated", completion=Completion())
    with pytest.raises(ValueError, match="1 of 8 questions"):
        scored(tmp_path, "r1", "video_mme", with_predictions=lost)


def test_a_question_without_prediction_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 of 8 questions have no prediction: 'mlvu-3'") as caught:
        scored(
            tmp_path,
            "r1",
            "mlvu",
            with_predictions=[row for row in predictions_of("r1", "mlvu") if row.question_id != "mlvu-3"],
        )
    assert "shard1.jsonl" in str(caught.value)
    assert not (tmp_path / "score" / "r1").exists(), "nothing is written"


def test_a_second_prediction_is_refused(tmp_path: Path) -> None:
    predictions = predictions_of("r1", "mlvu")
    with pytest.raises(ValueError, match="second prediction for 'mlvu-1'"):
        scored(tmp_path, "r1", "mlvu", with_predictions=[*predictions, predictions[1]])


def test_predictions_of_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'mlvu-9', which is no question"):
        scored(tmp_path, "r1", "mlvu", with_predictions=change(predictions_of("r1", "mlvu"), 0, question_id="mlvu-9"))
    with pytest.raises(ValueError, match="predict again"):
        scored(
            tmp_path, "r1", "mlvu", with_predictions=change(predictions_of("r1", "mlvu"), 0, question_sha256="0" * 64)
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parser": "lenient"}, r"parser\n.*'strict', 'upstream', 'video_r1' or 'temporal_r1'.*'lenient'"),
        ({"unparsed": "skip"}, r"unparsed\n.*'wrong' or 'random'.*'skip'"),
        ({"max_missing_fraction": 1.5}, r"max_missing_fraction\n.*less than or equal to 1.*1\.5"),
        ({"max_missing_fraction": True}, r"max_missing_fraction\n.*valid number.*True"),
        ({"parsr": "strict"}, r"parsr\n.*not permitted"),
    ],
)
def test_settings_are_closed(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scored(tmp_path, "r1", "mlvu", settings=SETTINGS | changes)


def test_unknown_answer_style_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="answer style 'essay'"):
        scored(tmp_path, "r1", "mlvu", style="essay")


def test_think_texts_are_held_against_the_world(tmp_path: Path) -> None:
    score, rows = scored(tmp_path, "r1", "video_mme")
    assert rows[0].think == f"{CAPTION}. so the answer is <b>it</b>"
    assert [row.think_true for row in rows] == [True, False] * 4
    assert [row.temporal for row in rows] == [True, False] * 4
    assert score.think_true == 0.5
    without, rows = scored(tmp_path, "r1", "video_mme", truth=None)
    assert without.think_true is None
    assert {(row.think_true, row.temporal) for row in rows} == {(None, None)}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("temporal", 7, "is 7; needed is true or false"), ("caption", None, "is None; needed is a text")],
)
def test_truth_of_another_type_is_refused(tmp_path: Path, key: str, value: object, words: str) -> None:
    path = write_truth(tmp_path / "truth.jsonl")
    first, *rest = map(json.loads, path.read_text().splitlines())
    path.write_text("".join(json.dumps(row) + "\n" for row in (first | {key: value}, *rest)))
    with pytest.raises(ValueError, match=rf"truth\.jsonl: {key} of question '{first['question']}' {words}"):
        scored(tmp_path, "r1", first["dataset"], truth=path)


def test_truth_of_another_world_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "truth.jsonl"
    row = {"dataset": "mlvu", "question": "mlvu-0", "temporal": True, "caption": "x", "task": "first"}
    other.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="no truth for 7 of 8 questions of mlvu"):
        scored(tmp_path, "r1", "mlvu", truth=other)
    row.pop("caption")
    other.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"'caption', 'question', 'task', 'temporal'\] are needed"):
        scored(tmp_path, "r1", "mlvu", truth=other)


def test_accuracy_within_well_formed(tmp_path: Path) -> None:
    # Two right answers lose their form: 4 of the 6 that keep it are right.
    predictions = predictions_of("r1", "video_mme")
    for number in (0, 1):
        broken = completion_of("r1", questions_of("video_mme")[number], True).replace("</think>", "")
        predictions = change(predictions, number, text=broken)
    score, _ = scored(tmp_path, "r1", "video_mme", with_predictions=predictions)
    assert score.format_followed == 0.75
    assert score.estimate.mean == 0.75, "the answer block still stands"
    assert score.within_well_formed.mean == pytest.approx(4 / 6, abs=1e-8)


def test_bytes_do_not_depend_on_the_order_of_the_shards(tmp_path: Path) -> None:
    out, judged = score_one(tmp_path, "r1", "mlvu", predictions_of("r1", "mlvu"))
    before = out.read_bytes(), judged.read_bytes()
    score_one(tmp_path, "r1", "mlvu", predictions_of("r1", "mlvu")[::-1])
    assert (out.read_bytes(), judged.read_bytes()) == before


def test_answers_outside_the_options_lower_chance_and_majority(tmp_path: Path) -> None:
    _, rows = scored(tmp_path, "r1", "video_mme")
    lost = [replace(rows[0], question=replace(rows[0].question, gold="@")), *rows[1:]]
    assert chance_level(lost) == pytest.approx(7 / 32)
    assert majority_letter(lost) == ("B", 0.25)
    assert Counter(row.question.gold for row in lost)["@"] == 1


class Overlap:
    """An answer type whose answers are neither right nor wrong: half of each is right."""

    name, metrics, rules = "overlap", (MEAN_VALUE,), ("tagged",)

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        return Grade(0.5, False, completion)

    def chance(self, question: Question) -> None:
        return None


def test_a_score_need_not_be_an_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base._tasks, "overlap", Overlap())
    described = replace(dataset_of("mmvu"), name="overlaps", tasks=("overlap",))
    monkeypatch.setitem(registry._datasets, "overlaps", described)
    questions = [Question(f"q{n}", "overlaps", "overlap", "When?", ClipRef(f"{n}.mp4"), gold="3 s") for n in range(3)]
    answers = [Prediction(one.id, "ok", "0" * 64, Completion("3 s", 2, True), one.sha256) for one in questions]
    write_jsonl(tmp_path / "q.jsonl", questions)
    write_jsonl(tmp_path / "p.jsonl", answers)
    files = ScoreFiles(tmp_path / "q.jsonl", [tmp_path / "p.jsonl"], tmp_path / "scored.jsonl", tmp_path / "score.json")
    score(Subject("overlaps", "r1", "reason", 0), files, Scoring(**SETTINGS))
    found = read_score(files.score)
    assert (found.headline, found.estimate.mean, found.metrics["value_macro"].mean) == ("value", 0.5, 0.5)
    assert (found.chance, found.majority, found.without_gold) == (None, None, 0)
    assert [row.grade.parsed for row in read_scored(files.scored)] == ["3 s"] * 3


TIMES = {
    "0.0 to 4.0": 1.0,
    "2.0 to 6.0": 1 / 3,
    "6.0 to 9.0": 0.0,
    "7.0 to 3.0": 0.0,
    "at the end": 0.0,
    "0.0 to 2.0": 0.5,
}
"""Answer to a question whose gold segment is 0 to 4 of 10 seconds -> its temporal IoU."""


def grounding_score(folder: Path, dataset: str = "moments") -> tuple[Score, list[Scored]]:
    """Score six grounding answers, two of them unreadable, and a question without frames."""
    questions = [
        Question(
            f"q{n}", dataset, "grounding", "a man runs", ClipRef(f"{n}.mp4"), segments=((0.0, 4.0),), duration=10.0
        )
        for n in range(7)
    ]
    texts = [f"<think>t</think> <answer>{answer}</answer>" for answer in TIMES]
    answers = [
        Prediction(question.id, "ok" if text else "missing", "0" * 64, Completion(text, 2, True), question.sha256)
        for question, text in zip(questions, [*texts, ""], strict=True)
    ]
    write_jsonl(folder / "q.jsonl", questions)
    write_jsonl(folder / "p.jsonl", answers)
    files = ScoreFiles(folder / "q.jsonl", [folder / "p.jsonl"], folder / "scored.jsonl", folder / "score.json")
    score(Subject(dataset, "r1", "reason", 0), files, Scoring(**SETTINGS | {"max_missing_fraction": 1.0}))
    return read_score(files.score), read_scored(files.scored)


@pytest.fixture
def grounding_set(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a benchmark of temporal grounding."""
    described = replace(dataset_of("mmvu"), name="moments", title="Moments", tasks=("grounding",), headline="micro")
    monkeypatch.setitem(registry._datasets, "moments", described)
    return "moments"


def test_grounding_is_measured_by_overlap(tmp_path: Path, grounding_set: str) -> None:
    """Every metric over all questions, one without frames included; faults of reading by kind; no chance, no majority."""
    found, rows = grounding_score(tmp_path, grounding_set)
    assert found.headline == "miou"
    wanted = {"miou": sum(TIMES.values()) / 7, "r1_03": 3 / 7, "r1_05": 2 / 7, "r1_07": 1 / 7}
    assert {name: found.metrics[name].mean for name in wanted} == pytest.approx(wanted, abs=1e-8)
    assert sum(found.unread.values()) == 2
    assert found.unread["reversed"] == 1
    assert (found.unparsed, found.answered, found.with_frames, found.n) == (2, 4, 6, 7)
    assert (found.chance, found.majority, found.without_gold) == (None, None, 0)
    assert found.within_well_formed is not None
    assert chance_level(rows) is None


def test_answer_types_may_be_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first task says what is measured; rules of reading that only some of the tasks have are counted where they apply."""
    described = replace(dataset_of("mmvu"), name="mixed", tasks=("multiple_choice", "grounding"))
    monkeypatch.setitem(registry._datasets, "mixed", described)
    moment = Question("g", "mixed", "grounding", "he runs", ClipRef("a.mp4"), segments=((0.0, 4.0),), duration=9.0)
    choice = Question("c", "mixed", "multiple_choice", "Which?", ClipRef("b.mp4"), ("x", "y"), "B")
    texts = {"g": "<answer>0.0 to 3.0</answer>", "c": "<answer>A</answer>"}
    write_jsonl(tmp_path / "q.jsonl", [moment, choice])
    predictions = [
        Prediction(one.id, "ok", "0" * 64, Completion(texts[one.id], 2, True), one.sha256) for one in (moment, choice)
    ]
    write_jsonl(tmp_path / "p.jsonl", predictions)
    files = ScoreFiles(tmp_path / "q.jsonl", [tmp_path / "p.jsonl"], tmp_path / "scored.jsonl", tmp_path / "score.json")
    score(Subject("mixed", "r1", "reason", 0), files, Scoring(**SETTINGS))
    found = read_score(files.score)
    assert (found.headline, found.estimate.mean) == ("accuracy", 0.5), "an overlap of 0.75 counts as right"
    assert found.readings["tagged"].accuracy == 0.5
    assert found.readings["first_block"].accuracy == 0.0, "grounding is not read by this rule"
    assert (found.chance, found.majority) == (None, None)


def test_bounds_come_from_the_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grounding_set: str) -> None:
    """A metric may be negative where it says so; what lies outside its bounds was written by no scoring."""
    gain = Metric("miou", "gain", lambda grade: grade.parts.get("tiou", 0.0) - 1.0, (-1.0, 0.0))
    monkeypatch.setattr(Grounding, "metrics", (gain,))
    found, _ = grounding_score(tmp_path, grounding_set)
    assert found.estimate.mean == pytest.approx(sum(TIMES.values()) / 7 - 1, abs=1e-8)
    path = tmp_path / "score.json"
    path.write_text(path.read_text().replace(f'"high": {found.estimate.high}', '"high": 0.25'))
    with pytest.raises(ValueError, match=r"metrics\.miou\.high is 0\.25; needed is -1 to 0\. Score again"):
        read_score(path)


def test_a_score_from_before_a_metric_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grounding_set: str
) -> None:
    """The answer type has got a metric since, which tables would look for."""
    with monkeypatch.context() as patch:
        patch.setattr(Grounding, "metrics", Grounding.metrics[:-1])
        grounding_score(tmp_path, grounding_set)
    with pytest.raises(ValueError, match=r"metrics\.r1_07 is missing; moments is measured by it; .*Score again"):
        read_score(tmp_path / "score.json")
