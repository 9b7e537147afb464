"""Intervals in answers, how they are measured, and the grades of grounding and grounded choice."""

import re
import time
from pathlib import Path

import pytest

from vidreason.records import UNREAD, WELL_FORMED, ClipRef, Question
from vidreason.tasks.base import grade, task_of
from vidreason.tasks.intervals import FAULTS, iop, read_interval, tiou
from vidreason.tasks.markup import as_answer, completion_of

TEN = 10.0
RULES = ("tagged", "temporal_r1", "temporal_r1_eval")
PAGE = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| `(.+)` \| ([a-z0-9_. ]+) \|", PAGE.partition("## Grounding\n")[2].partition("\n## ")[0], re.MULTILINE
)


def query(*segments, duration=TEN):
    return Question("q", "charades_sta", "grounding", "a ball", ClipRef("v.mp4"), segments=segments, duration=duration)


def grounded(*segments):
    options = ("a dog", "a cat, 3 to 4 years old", "a cow")
    return Question(
        "q", "nextgqa", "grounded_choice", "Who?", ClipRef("v.mp4"), options, "B", segments=segments, duration=TEN
    )


def test_the_page_has_its_table():
    assert len(ROWS) > 12


@pytest.mark.parametrize(("block", "wanted"), ROWS)
def test_the_table_of_intervals(block, wanted):
    read = read_interval(block, TEN)
    assert wanted == (read.fault or "{:g} to {:g}".format(*read.interval))


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("2.5 to 7.0", (2.5, 7.0)),
        ("from 2.5 to 7.0 seconds.", (2.5, 7.0)),
        ("2.5s - 7s", (2.5, 7.0)),
        ("2.5–7", (2.5, 7.0)),
        ("2.5 to 7.0.", (2.5, 7.0)),
        ("2.5 to 7s.", (2.5, 7.0)),
        ("0:02.5 to 0:07", (2.5, 7.0)),
        ('{"start_time": "2.5", "end_time": "7.0"}', (2.5, 7.0)),
        ('{"end_time": 7, "start_time": 2.5}', (2.5, 7.0)),
        ("0 to 10.05", (0.0, 10.05)),
    ],
)
def test_an_interval_is_read(text, interval):
    assert read_interval(text, TEN).interval == interval


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "no_block"),
        ("  ", "empty"),
        ("x" * 1001, "too_long"),
        ("1" * 10_000 + " to 3", "too_long"),
        ("1" * 400 + " to 3", "too_long"),
        ("somewhere", "no_interval"),
        ("[2.5, 7.0]", "list"),
        ('[{"start_time": "1", "end_time": "2"}]', "list"),
        ("1 to 2, 3 to 4", "several"),
        ('{"start_time": "1", "end_time": "2"} {"start_time": "1", "end_time": "2"}', "several"),
        ('{"start_time": "1"}', "wrong_keys"),
        ('{"start_time": "1", "end_time": "2", "end_time": "3"}', "wrong_keys"),
        ("one to two", "not_a_number"),
        ("2.5 to 7.0..", "not_a_number"),
        ("1e0 to 3", "not_a_number"),
        ("nan to 3", "not_finite"),
        ('{"start_time": "0", "end_time": "Infinity"}', "not_finite"),
        ("-1 to 3", "negative"),
        ("7 to 2.5", "reversed"),
        ("3 to 3", "no_length"),
        ("2 to 10.2", "beyond"),
    ],
)
def test_what_is_no_interval_scores_nothing_and_is_counted_by_kind(text, fault):
    assert fault in FAULTS
    assert read_interval(text, TEN).fault == fault
    given = grade("" if text is None else completion_of("x", text), query((0.0, 10.0)), "tagged")
    assert (given.value, given.correct, given.parsed) == (0.0, False, None)
    assert given.parts[f"{UNREAD}{fault}"] == 1.0
    assert given.parts["tiou"] == given.parts["iop"] == 0.0


@pytest.mark.parametrize(
    ("segments", "rule", "wanted"),
    [
        ([(2.0, 6.0)], "union", 2 / 6),  # 4..6 of 2..8
        ([(2.0, 6.0)], "hull", 2 / 6),
        ([(0.0, 5.0), (7.0, 9.0)], "union", 2 / 9),  # 4..5 and 7..8 of 0..9
        ([(0.0, 5.0), (7.0, 9.0)], "best", 1 / 5),  # 7..8 of 4..9; with the first segment it is 4..5 of 0..8
        ([(0.0, 2.0), (9.0, 10.0), (5.0, 6.0)], "union", 1 / 7),  # 4 s of answer and 2 + 1 s of segments outside it
        ([(0.0, 2.0), (9.0, 10.0), (5.0, 6.0)], "hull", 1 / 10),
        ([(4.0, 6.0), (5.0, 8.0)], "union", 1.0),  # segments that overlap count once
        ([(8.0, 9.0)], "union", 0.0),
    ],
)
def test_overlap_with_segments(segments, rule, wanted):
    assert tiou((4.0, 8.0), segments, rule) == pytest.approx(wanted, abs=1e-12)


def test_intersection_over_prediction():
    assert iop((4.0, 8.0), [(0.0, 5.0), (7.0, 9.0)]) == pytest.approx(2 / 4)
    assert iop((4.0, 8.0), [(0.0, 5.0), (7.0, 9.0)], "best") == pytest.approx(1 / 4)


def test_no_interval_is_better_than_the_truth():
    assert tiou((2.0, 6.0), [(2.0, 6.0)]) == 1.0
    assert max(tiou((0.0, end / 10), [(2.0, 6.0)]) for end in range(1, 101)) < 1.0


def as_released(start, end):
    """An interval in the form of Temporal-R1."""
    return f'{{"start_time": "{start}", "end_time": "{end}"}}'


def test_the_last_block_counts_strictly_and_the_first_as_published():
    text = completion_of("x", as_released(2, 6)) + as_answer(as_released(7, 9))
    values = {rule: grade(text, query((2.0, 6.0)), rule).value for rule in RULES}
    assert values == {"tagged": 0.0, "temporal_r1": 1.0, "temporal_r1_eval": 1.0}


def test_the_published_reward_pays_for_an_interval_that_leaves_the_video():
    text = completion_of("x", as_released(2, 20))
    assert grade(text, query((2.0, 6.0)), "temporal_r1").value == pytest.approx(4 / 18)
    strict = grade(text, query((2.0, 6.0)), "tagged")
    assert (strict.value, strict.unread) == (0.0, ("beyond",))


def test_the_form_is_that_of_the_rule():
    """Strictly any answer has the form; as published only one object with quoted times, in this order."""
    other_order = '{"end_time": "6", "start_time": "2"}'
    for answer, published in ((as_released(2, 6), 1.0), (other_order, 0.0), ("2.0 to 6.0", 0.0), ("soon", 0.0)):
        grades = [grade(completion_of("x", answer), query((2.0, 6.0)), rule) for rule in RULES]
        assert [one.parts[WELL_FORMED] for one in grades] == [1.0, published, published], answer


def test_an_answer_counts_as_right_from_a_half():
    right = grade(completion_of("x", "2.0 to 6.0"), query((2.0, 6.0)), "tagged")
    assert (right.value, right.correct, right.parsed, right.parts[WELL_FORMED]) == (1.0, True, "2 to 6", 1.0)
    half = grade(completion_of("x", "2.0 to 4.0"), query((2.0, 6.0)), "tagged")
    assert (half.value, half.correct) == (0.5, True)
    less = grade(completion_of("x", "2.0 to 3.9"), query((2.0, 6.0)), "tagged")
    assert not less.correct
    bare = grade(as_answer("2.0 to 6.0"), query((2.0, 6.0)), "tagged")
    assert (bare.value, bare.parts[WELL_FORMED]) == (1.0, 0.0)


def test_metrics_of_grounding():
    metrics = {metric.name: metric.value for metric in task_of("grounding").metrics}
    given = grade(completion_of("x", "2.0 to 4.0"), query((2.0, 6.0)), "tagged")
    assert {name: value(given) for name, value in metrics.items()} == {
        "miou": 0.5, "r1_03": 1.0, "r1_05": 1.0, "r1_07": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "letter", "interval"),
    [
        ("B, 2.0 to 6.0", True, (2.0, 6.0)),
        ('{"answer": "B", "start_time": "2", "end_time": "6"}', True, (2.0, 6.0)),
        ("B. a cat, 3 to 4 years old, 2.0 to 6.0", True, (2.0, 6.0)),  # the option's own words hold an interval
        ("B, 2.0 to 6.0.", True, (2.0, 6.0)),
        ("A, 2.0 to 6.0", False, (2.0, 6.0)),
        ("B", True, None),
        ("B, 6.0 to 2.0", True, None),
        ("2.0 to 6.0", False, (2.0, 6.0)),
        ("B, 1 to 2, 2.0 to 6.0", True, None),  # two intervals
        ("B or C, 2.0 to 6.0", False, (2.0, 6.0)),
    ],
)
def test_each_half_of_a_grounded_choice_counts_alone(text, letter, interval):
    given = grade(completion_of("x", text), grounded((2.0, 6.0)), "tagged")
    assert given.value == float(letter)
    assert given.parts["tiou"] == (1.0 if interval else 0.0)
    metrics = {metric.name: metric.value(given) for metric in task_of("grounded_choice").metrics}
    assert metrics["accuracy"] == float(letter)
    assert metrics["acc_gqa"] == float(letter and interval is not None)
    assert metrics["miou"] == metrics["miop"] == float(interval is not None)


def test_shares_of_grounded_answers_count_the_best_segment():
    """3.0 to 6.0 against 0 to 1 and 4 to 6: IoU 2/3 and IoP 2/3 with the second."""
    given = grade(completion_of("x", "A, 3.0 to 6.0"), grounded((0.0, 1.0), (4.0, 6.0)), "tagged")
    metrics = {metric.name: metric.value(given) for metric in task_of("grounded_choice").metrics}
    assert metrics.pop("miou") == metrics.pop("miop") == pytest.approx(2 / 3)
    assert metrics == {"acc_gqa": 0.0, "accuracy": 0.0, "r1_03": 1.0, "r1_05": 1.0, "iop_03": 1.0, "iop_05": 1.0}
    given = grade(completion_of("x", "A, 0.0 to 6.0"), grounded((0.0, 1.0), (4.0, 6.0)), "tagged")  # 1/3 of both
    metrics = {metric.name: metric.value(given) for metric in task_of("grounded_choice").metrics}
    assert [metrics[name] for name in ("r1_03", "r1_05", "iop_03", "iop_05")] == [1.0, 0.0, 1.0, 0.0]


def test_a_grounded_answer_needs_half_of_its_interval_in_one_segment():
    question = grounded((0.0, 1.0), (4.0, 6.0))
    exactly = grade(completion_of("x", "B, 4.0 to 8.0"), question, "tagged")
    less = grade(completion_of("x", "B, 4.0 to 8.1"), question, "tagged")
    acc = task_of("grounded_choice").metrics[0]
    assert (acc.name, acc.value(exactly), acc.value(less)) == ("acc_gqa", 1.0, 0.0)


@pytest.mark.parametrize("name", ["grounding", "grounded_choice"])
def test_the_gold_answer_is_read_as_right(name):
    question = query((2.0, 6.04)) if name == "grounding" else grounded((2.0, 6.04))
    given = grade(as_answer(task_of(name).answer(question)), question, "tagged")
    assert given.correct
    assert given.parts["tiou"] > 0.98  # times are written with one decimal


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (query(), "there is no segment"),
        (query((2.0, 1.0)), "a segment is from 2.0 to 1.0"),
        (query((2.0, 12.0)), "in a clip of 10.0 seconds"),
        (query((2.0, 3.0), duration=None), "the duration is None"),
        (query((2.0, 3.0), duration=float("nan")), "the duration is nan"),
        (query((2.0, float("nan"))), "a segment is from 2.0 to nan"),
    ],
)
def test_a_question_that_nothing_can_be_measured_with_is_refused(question, message):
    with pytest.raises(ValueError, match=message):
        task_of("grounding").check(question)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "text",
    ["1" * 200_000, "1-" * 100_000, "{" * 100_000, '{"start_time": ' * 20_000, "start " * 50_000, "\u0661 to \u0662"],
)
def test_hostile_texts_take_little_time_and_earn_nothing(text, rule):
    began = time.monotonic()
    given = grade(completion_of("x", text), query((1.0, 3.0)), rule)
    # Linear time takes milliseconds here; a quadratic pattern would take minutes.
    assert time.monotonic() - began < 20
    assert given.value == 0.0
