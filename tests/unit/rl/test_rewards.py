"""Rewards: both protocols and every switch."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.records import ClipRef, Question
from vidreason.rl.rewards import (
    accuracy_reward,
    combined_reward,
    format_reward,
    question_reward,
    reward,
    rules_for,
    think_text,
)
from vidreason.tasks import multiple_choice as parse

UPSTREAM = rules_for("upstream")
PAPER = rules_for("paper")
GOOD = "<think>It falls.</think>\n<answer>B</answer>"


def test_formula_of_the_paper():
    think = "x" * 300
    for rules in (UPSTREAM, PAPER):
        right = reward(f"<think>{think}</think><answer>B</answer>", "B", rules)
        assert right.format == pytest.approx(0.5 + 0.5 * 300 / 1200)
        assert right.total == pytest.approx(1 + right.format)
        assert right.think_characters == 300
        wrong = reward(f"<think>{think}</think><answer>C</answer>", "B", rules)
        assert wrong.total == pytest.approx(-right.format)
        assert reward("no idea", "B", rules).total == -2


@pytest.mark.parametrize(
    ("completion", "solution", "upstream", "paper"),
    [
        (GOOD, "<answer>B</answer>", 1, 1),
        ("B", "<answer>B</answer>", 1, 0),  # tags are not needed
        ("Boys fall", "<answer>B</answer>", 1, 0),  # the first character decides
        ("<think>a</think><answer>Because C</answer>", "<answer>B</answer>", 1, 0),
        ("<think>a</think><answer>\nB\n</answer>", "<answer>B</answer>", 0, 1),  # no line breaks
        ("<think>a</think><answer>(B)</answer>", "<answer>B</answer>", 0, 1),
        ("<think>a</think><answer>b</answer>", "<answer>B</answer>", 0, 1),
        ("<think>a</think><answer>A</answer><answer>B</answer>", "<answer>B</answer>", 0, 1),  # first or last block
        ("<think>a</think><answer>B. he</answer>", "<answer>B</answer>", 1, 1),
        ("<think>a</think><answer>$\\frac{1}{2}$</answer>", "<answer>$0.5$</answer>", 1, 1),
        ("<think>a</think><answer>stood up</answer>", "<answer>stood up</answer>", 1, 1),
        ("<think>a</think><answer>B, C and E</answer>", "<answer>B</answer>", 1, 0),  # a list is no answer
        ("<think>a</think><answer>B.A., a degree</answer>", "<answer>B</answer>", 1, 0),  # nor is an abbreviation
        ("<think>a</think><answer>B\nas it falls</answer>", "<answer>B</answer>", 0, 1),
        ("<think>a</think><answer></answer>", "<answer>B</answer>", 0, 0),
        ("", "", 0, 0),
    ],
)
def test_accuracy_of_both_protocols(completion, solution, upstream, paper):
    assert accuracy_reward(completion, solution, UPSTREAM) == upstream
    assert accuracy_reward(completion, solution, PAPER) == paper


@pytest.mark.parametrize("answer", ["D", "D. E", "D. E. coli", "D, E and B", "D, E", "E", "D, B", "(D)"])
def test_training_and_evaluation_read_the_same_letter(answer):
    """What another option is depends on the question: among A to D, `D. E` is no list."""
    question = Question("1", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), ("a", "b", "c", "d"), "D")
    completion = f"<think>So.</think><answer>{answer}</answer>"
    right = parse.strict(completion, question.letters) == "D"
    assert question_reward(completion, question, PAPER).accuracy == right


def test_correct_without_format():
    assert reward("B", "B", UPSTREAM).total == 1.0
    assert combined_reward(1, 0, PAPER) == -2.0
    assert reward("<answer>B</answer>", "B", PAPER).total == -2.0


@pytest.mark.parametrize(
    "completion",
    [
        "B",
        "<think>a</think> so <answer>B</answer>",
        "<think>a<think>b</think><answer>B</answer>",
        "<think>a</think><answer>B</answer><answer>B</answer>",
        "<answer>B</answer><think>a</think>",
        "well <think>a</think><answer>B</answer>",
        "<think>a</think><answer>B</answer> done",
        "<think>a</think><answer>B",
    ],
)
def test_broken_format(completion):
    assert think_text(completion) is None
    assert format_reward(completion, UPSTREAM) == 0


def test_padding_does_not_count_but_empty_think_is_well_formed():
    assert format_reward("<think>" + " " * 2000 + "</think><answer>B</answer>", UPSTREAM) == 0.5


@given(st.integers(0, 4000), st.integers(1, 2000))
def test_length_reward_is_bounded_and_grows(length, limit):
    rules = rules_for("upstream", max_think=limit)
    now, more = (format_reward(f"<think>{'x' * n}</think><answer>B</answer>", rules) for n in (length, length + 1))
    assert 0.5 <= now <= more <= 1.0


def test_ablations():
    plain = rules_for("upstream", length_weight=0.0)
    assert format_reward(GOOD, plain) == format_reward(f"<think>{'x' * 900}</think><answer>B</answer>", plain) == 0.5
    mild = rules_for("upstream", penalise_wrong=False)
    assert combined_reward(0, 0.75, mild) == 0.75
    assert combined_reward(0, 0.0, mild) == -2.0


def test_a_thread_can_verify_too():
    found = []
    worker = threading.Thread(target=lambda: found.append(accuracy_reward("$\\frac{1}{4}$", "$0.25$", UPSTREAM)))
    worker.start()
    worker.join()
    assert found == [1.0]


@pytest.mark.parametrize("bad", [{"max_think": 0}, {"accuracy": "somewhere"}])
def test_settings_without_a_meaning_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        rules_for("upstream", **bad)


def test_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="upstream, paper"):
        rules_for("papre")


def test_imports_neither_torch_nor_sympy():
    code = "import sys, vidreason.rl.rewards, vidreason.tasks.multiple_choice; print({'torch', 'sympy', 'math_verify'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
