"""The two readings of an answer."""

import dataclasses
import re
import sys
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vidreason.tasks
from vidreason.artifacts.provenance import code_digest
from vidreason.data.fields import check_question
from vidreason.records import NO_OPTION, WELL_FORMED, ClipRef, Grade, Question
from vidreason.tasks import base
from vidreason.tasks import multiple_choice as parse
from vidreason.tasks.base import module_of, task_of
from vidreason.tasks.markup import ANSWER, END_ANSWER, as_answer, first_line_block, last_block
from vidreason.tasks.prompt_templates import evaluation_query, training_query

PAGE = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")
(TABLE,) = re.findall(r"^## Multiple choice\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| `(.*?)` \| ([A-D]|none) \| ([A-D]|none) \|", TABLE, re.MULTILINE)
_, COUNT, *_ = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs/extending.md").read_text(encoding="utf-8"), re.DOTALL
)
TAGS = ("<answer>", "</answer>", "\n", " ", "B", "ab", "<", "answer>")


def test_every_row_of_the_table_is_read():
    assert len(ROWS) == len(re.findall(r"^\| `", TABLE, re.MULTILINE)) > 70


@pytest.mark.parametrize(("block", "strict", "upstream"), ROWS, ids=[row[0] for row in ROWS])
def test_the_table_in_the_documents(block, strict, upstream):
    text = block.replace("\\n", "\n").replace("\\u200b", "\u200b")
    completion = f"<think>A or C?</think>\n<answer>{text}</answer>"
    letter, source = parse.strict(completion, "ABCD"), parse.upstream(completion, "ABCD")
    assert (letter or "none", source or "none") == (strict, upstream)


@given(st.lists(st.sampled_from(TAGS), max_size=14).map("".join))
def test_blocks_are_those_of_the_patterns(text):
    """The patterns that upstream's code has, and the one that the strict reading began with."""
    for breaks_around, pattern in ((True, r"<answer>\s*(.*?)\s*</answer>"), (False, "<answer>(.*?)</answer>")):
        found = re.search(pattern, text)
        assert first_line_block(text, breaks_around) == (None if found is None else found.group(1).strip())
    blocks = re.findall(r"<answer>((?:(?!<answer>).)*?)</answer>", text, re.DOTALL)
    assert last_block(text) == (blocks[-1] if blocks else None)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>" + " " * 200_000,
        "<answer>" + " " * 200_000 + "B",
        "<answer>" * 50_000,
        "<answer>\n x" * 50_000 + "</answer>",
        "<answer>x\n</answer>" * 50_000,
        "<answer>" + "(" * 200_000 + "</answer>",
        "<answer>" + "\\a" * 200_000 + "</answer>",
        "<answer>\\" + "a" * 200_000 + "</answer>",
        "<answer>B" + "*" * 200_000 + "x</answer>",
        "<answer>B" + " " * 200_000 + "x</answer>",
        "<answer>B," + " and or" * 50_000 + "</answer>",
        "<answer>B." + "." * 200_000 + "x</answer>",
        "<think>" * 50_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_hostile_text_takes_no_time(text):
    began = time.perf_counter()
    parse.strict(text, "ABCD")
    parse.upstream(text, "ABCD")
    parse.upstream_guesses(text, "ABCD")
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b", "B"), (" B \n", "B"), ("\nB\n", "B"), ("B.", "B"), ("B. he runs", "B"), ("(B)", "B"), ("(b) he", "B"),
        ("[B]", "B"), ("**B**", "B"), ('"B"', "B"), ("B: he", "B"), ("B, he", "B"), ("B)", "B"),
        ("a dog", None), ("Because", None), ("A dog", None), ("E", None), ("", None), ("  ", None), ("he runs", None),
        ("Answer: B", None), ("1. B", None), ("BB", None),
    ],
)  # fmt: skip
def test_strict_reads_letters_and_no_words(answer, letter):
    assert parse.strict(f"<think>x</think>\n<answer>{answer}</answer>", "ABCD") == letter


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        ("B", None),
        ("", None),
        ("<answer>B", None),
        ("B</answer>", None),
        ("<ANSWER>B</ANSWER>", None),
        ("<answer>A</answer> no, <answer>B</answer>", "B"),
        ("<think>is it <answer>A</answer>?</think><answer>C</answer>", "C"),
        ("<answer>A <answer>B</answer>", "B"),
        ("<answer>B\nbecause it rains</answer>", "B"),
        ("<answer>B.\nIt rains</answer>", "B"),
    ],
)
def test_strict_takes_the_last_complete_block(completion, letter):
    assert parse.strict(completion, "ABCD") == letter


def test_letter_must_be_an_option():
    assert parse.strict("<answer>D</answer>", "ABC") is None
    assert parse.strict("<answer>D</answer>", ["A", "B", "C", "D"]) == "D"


@pytest.mark.parametrize(
    ("completion", "letter", "guesses"),
    [
        ("<answer>cat</answer>", "C", False),
        ("<answer>Answer: B</answer>", "A", False),
        ("<answer>(B) or (A)</answer>", "A", False),
        ("<answer></answer>", None, False),
        ("<answer>E</answer>", None, True),
        ("B", None, True),
        ("<answer>B\nbecause</answer>", None, True),
    ],
)
def test_upstream_quirks(completion, letter, guesses):
    assert parse.upstream(completion, "ABCD") == letter
    assert parse.upstream_guesses(completion, "ABCD") == guesses
    guess = parse.upstream(completion, "ABCD", Random(3))
    assert guess == letter or (guesses and guess in "ABCD")


def test_guesses_repeat_with_the_seed_and_cover_the_options():
    drawn = [parse.upstream("", "ABC", Random(seed)) for seed in range(50)]
    assert drawn == [parse.upstream("", "ABC", Random(seed)) for seed in range(50)]
    assert set(drawn) == set("ABC")


class TestTask:
    """The one grader of reward, selection, validation and score."""

    QUESTION = Question("1", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), ("a", "b", "c", "d"), "B")

    @pytest.mark.parametrize(
        ("completion", "tagged", "first_block", "anywhere"),
        [
            ("<think>So.</think><answer>B</answer>", "B", "B", True),
            ("<think>So.</think><answer>(B)</answer>", "B", "B", False),
            ("<answer>Boxes</answer>", None, "B", True),
            ("B", None, None, True),
            ("<answer>A</answer><answer>B</answer>", "B", "A", False),
            ("", None, None, False),
        ],
    )
    def test_rules_of_reading(self, completion, tagged, first_block, anywhere):
        task = task_of("multiple_choice")
        grades = {rule: base.grade(completion, self.QUESTION, rule) for rule in task.rules}
        assert (grades["tagged"].parsed, grades["first_block"].parsed) == (tagged, first_block)
        assert grades["anywhere"].correct is anywhere
        for grade in grades.values():
            assert grade.value == float(grade.correct)
            assert grade.parts == {"well_formed": float(completion.startswith("<think>"))}
        assert grades["tagged"].correct is (tagged == "B")

    @pytest.mark.parametrize("rule", ["tagged", "first_block", "anywhere"])
    def test_nothing_is_right_where_no_option_is(self, rule):
        lost = dataclasses.replace(self.QUESTION, gold=NO_OPTION)
        task = task_of("multiple_choice")
        assert not any(task.grade(f"<answer>{text}</answer>", lost, rule).correct for text in ("A", "@", ""))
        assert (task.chance(lost), task.chance(self.QUESTION)) == (0.0, 0.25)

    def test_what_is_learned_without_a_demonstration_is_the_letter(self):
        assert task_of("multiple_choice").answer(self.QUESTION) == "B"

    def test_an_unknown_rule_or_task_is_named_with_what_is_allowed(self):
        with pytest.raises(ValueError, match=r"rule of reading 'lenient'; allowed: tagged, first_block, anywhere"):
            task_of("multiple_choice").grade("B", self.QUESTION, "lenient")
        with pytest.raises(ValueError, match=r"unknown task 'essay'; allowed: .*multiple_choice"):
            task_of("essay")

    @pytest.mark.parametrize("style", ["reason", "option"])
    def test_the_instruction_follows_a_space_in_training_and_a_newline_in_evaluation(self, style):
        asks = task_of("multiple_choice").instruction(style)
        assert training_query("Who?", asks) == f"<image>Who? {asks}"
        assert evaluation_query("Who?", asks) == f"<image>\nWho?\n{asks}"

    def test_an_unknown_style_is_refused(self):
        with pytest.raises(ValueError, match="reason, option"):
            task_of("multiple_choice").instruction("chat")


def test_one_new_file_adds_a_task(tmp_path, monkeypatch):
    """It is found by import, and grades; nothing else changes, not even a digest of the code."""
    before = code_digest("vidreason.tasks.base", module_of("multiple_choice"))
    base.discover()  # what is there already must not go with this test's registry
    (tmp_path / "count.py").write_text(COUNT)
    monkeypatch.setattr(vidreason.tasks, "__path__", [*vidreason.tasks.__path__, str(tmp_path)])
    monkeypatch.setattr(base, "_tasks", dict(base._tasks))
    question = dataclasses.replace(TestTask.QUESTION, task="count", gold="8", options=())
    assert task_of("count").grade("<answer>6</answer>", question, "tagged").value == 0.75
    assert base.grade("<answer> 8 </answer>", question, "anywhere") == Grade(1.0, True, "8", {WELL_FORMED: 0.0})
    assert f"{ANSWER} {END_ANSWER}" in task_of("count").instruction("reason")
    assert ANSWER not in task_of("count").instruction("option")
    assert base.grade(as_answer("8"), question, "tagged").correct
    task_of("count").check(question)
    assert (task_of("count").answer(question), task_of("count").timed) == ("8", False)
    with pytest.raises(ValueError, match="the answer is 'many'; allowed: a whole number"):
        check_question(dataclasses.replace(question, gold="many"))
    assert module_of("count") == "vidreason.tasks.count"
    assert code_digest("vidreason.tasks.base", module_of("multiple_choice")) == before
    monkeypatch.delitem(sys.modules, "vidreason.tasks.count")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("multiple_choice", "task 'multiple_choice' is defined by .*; allowed: once"),
        ("all", "task 'all': the name is reserved"),
        ("a b", "task 'a b': the name is not allowed"),
    ],
)
def test_a_task_has_a_name_of_its_own(name, words):
    task = type(task_of("multiple_choice"))()
    task.name = name
    with pytest.raises(ValueError, match=words):
        base.register(task)
