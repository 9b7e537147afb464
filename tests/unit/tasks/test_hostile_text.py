"""No text, however odd, holds a stage up: reading takes time in proportion to its length."""

import json
import re
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidreason.artifacts import strict_json
from vidreason.artifacts.strict_json import loads
from vidreason.data import mvbench
from vidreason.data.coldstart import checked_answer
from vidreason.data.fields import LONGEST_TEXT, as_text, questions_of
from vidreason.data.nextqa import parse_record
from vidreason.data.options import answer_letter, split_choices
from vidreason.data.registry import read_questions
from vidreason.models.tinyllava.template import conversation_text
from vidreason.records import ClipRef, Question
from vidreason.results.markdown import Bullets, Grid, Heading, Paragraph, to_markdown
from vidreason.results.page import render
from vidreason.tasks import multiple_choice as parse
from vidreason.tasks.base import grade
from vidreason.tasks.prompt_templates import evaluation_query, instruction

QUESTION = Question("q", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), tuple("abcdefghij"), "B")
FRAGMENTS = (
    " ", "\n", "\t", "\u3000", "A. ", "\nA. x", "\nB. y", "Options:", "B", "B,", "and ", "(", ")", "*", "\\boxed{", "|", "\\|", "\\",
    "<think>", "</think>", "<answer>", "</answer>", "<image>", "ASSISTANT: ", "# ", "- ",
    "Output the thinking process in <think> ", "</answer> tags.", "Please ", "$", "1",
)  # fmt: skip
TEXTS = st.lists(st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from((1, 2, 9000))), min_size=1, max_size=5).map(
    lambda parts: "".join(fragment * count for fragment, count in parts)
)


def _problem(text: str) -> Any:
    return parse_record({"problem": "Why?\nA. x\nB. y", "solution": text, "video_filename": "a/b.mp4"})


def _document(text: str) -> list[Any]:
    return [Heading(text), Grid([text], [[text]]), Bullets([text]), Paragraph(text)]


READERS = {
    "split_choices": split_choices,
    "answer_letter": lambda text: answer_letter(text, ["x", "y"]),
    "checked_answer": checked_answer,
    "solution": _problem,
    "strict": lambda text: parse.strict(text, "ABCD"),
    "upstream": lambda text: parse.upstream_guesses(text, "ABCD"),
    "grade, upstream": lambda text: grade(text, QUESTION, "anywhere"),
    "grade, paper": lambda text: grade(text, QUESTION, "tagged"),
    "page": lambda text: render("document.html.j2", blocks=_document(text)),
    "Markdown": lambda text: to_markdown(_document(text)),
    "prompt": lambda text: conversation_text(
        [{"from": "human", "value": evaluation_query(text, instruction("reason"))}, {"from": "gpt", "value": text}]
    ),
}


def error_is_short(error: Exception) -> None:
    """A message is for people, however long the text is."""
    assert len(str(error)) < 2000


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@settings(deadline=3000, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS)
def test_reading_takes_no_time(reader, text):
    try:
        reader(text)
    except ValueError as error:
        error_is_short(error)


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("split_choices", " " * 40_000),
        ("split_choices", "Why?" + " " * 40_000 + "x\nA. x\nB. y"),
        ("split_choices", "Why?\nA. x\nB. y\n" + "Output the thinking process in <think> " * 2_400),
        ("solution", "<answer>" + " " * 40_000),
        ("solution", "<answer>" + " " * 40_000 + "x"),
        ("upstream", "<answer>" + " " * 40_000 + "x"),
        ("grade, upstream", "<answer>" * 20_000),
        ("grade, paper", "<think>" + "</think><answer>" * 20_000 + "</answer>" * 20_000 + "x"),
        ("grade, paper", "<think>" + "</think> " * 20_000 + " " * 20_000),
    ],
    ids=lambda value: value[:30],
)
def test_what_took_minutes(reader, text):
    began = time.perf_counter()
    try:
        READERS[reader](text)
    except ValueError as error:
        error_is_short(error)
    assert time.perf_counter() - began < 2


def test_an_object_with_many_keys():
    pairs = ",".join(f'"{number}": 0' for number in range(50_000))
    began = time.perf_counter()
    with pytest.raises(ValueError, match="the key '49999' comes twice"):
        strict_json.loads(f'{{{pairs}, "49999": 1}}'.encode())
    assert time.perf_counter() - began < 2


def test_blanks_around_and_within_are_no_reason_to_refuse():
    blanks = " " * 20_000
    asked = f"{blanks}<image>\n Why?{blanks}it\nA. x{blanks}\nB. y\nPlease answer.{blanks}"
    assert split_choices(asked) == (f"Why?{blanks}it", (f"x{blanks}", "y"))
    suffix = "Output the thinking process in <think> </think> and final answer (option) in <answer> </answer> tags."
    assert split_choices(f"Why?\nA. x\nB. y{blanks}{suffix}{blanks}") == ("Why?", ("x", "y"))
    assert split_choices(f"Why?\nA. x\nB. y {suffix}") == split_choices(f"Why?\nA. x\nB. y\n{suffix}\n")


def test_a_text_beyond_all_measure_is_named():
    assert as_text("x" * LONGEST_TEXT, "question")
    with pytest.raises(ValueError, match="question has 200000 characters; allowed are 100000"):
        as_text(" " * 200_000, "question")
    with pytest.raises(ValueError, match="question and options have 200000 characters; allowed are 100000"):
        split_choices(" " * 200_000)
    record = {"problem": "Why?\nA. x\nB. y", "solution": "B" * 100_001, "video_filename": "a/b.mp4"}
    with pytest.raises(ValueError, match=r"nextqa\.json: record 1: solution has 100001 characters"):
        questions_of("nextqa.json", [record], lambda record, _: parse_record(record))


@pytest.mark.parametrize(
    "record",
    [
        {"video": "a", "question": "?", "candidates": ["x"], "answer": "x", "start": ["x" * 10**6], "end": 1},
        {"x" * 10**6: 1},
        {f"key {number}": 1 for number in range(10**5)},
    ],
    ids=["a value", "a key", "many keys"],
)
def test_a_record_beyond_all_measure_makes_a_short_message(record):
    with pytest.raises(ValueError, match=r"a\.json: record 1: .*records are counted from 1") as caught:
        questions_of("a.json", [record], lambda record, index: mvbench.parse_record(record, "action_sequence", index))
    error_is_short(caught.value)


def test_the_place_of_a_repeated_key_makes_a_short_message():
    content = b'{"a":' * 500 + b'{"' + b"z" * 10**5 + b'":1,"' + b"z" * 10**5 + b'":2}' + b"}" * 500
    with pytest.raises(ValueError, match="comes twice") as caught:
        loads(content)
    error_is_short(caught.value)


@pytest.mark.parametrize(
    ("dataset", "file", "content"),
    [
        ("activitynet_tvg", "val_2.json", {"v_a": {"x" * 10**5: 1}}),
        ("tempcompass", "yes_no.json", {"1": {"action": [{"x" * 10**5: 1}]}}),
        ("tempcompass", "yes_no/test-00000-of-00001.parquet", None),
        ("charades_sta", "charades.json", {"x" * 10**5: "31"}),
    ],
)
def test_a_file_with_a_key_beyond_all_measure_makes_a_short_message(tmp_path, dataset, file, content):
    (tmp_path / "charades_sta_test.txt").write_text("AO9RW 0.0 1.0##y.\n")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    if content is None:
        pq.write_table(pa.table({"x" * 10**5: [1]}), tmp_path / file)
    else:
        (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / file))) as caught:
        read_questions(dataset, tmp_path)
    error_is_short(caught.value)
