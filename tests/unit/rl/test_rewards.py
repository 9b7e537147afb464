"""Rewards: both protocols, every switch, and how terms combine."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.config.settings import Rewards
from vidreason.records import WELL_FORMED, ClipRef, Completion, Grade, Question
from vidreason.rl.protocols import PROTOCOL_RULES
from vidreason.rl.rewards import COMBINATIONS, RewardFunction, Weighing, tinyllava_r1
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks import multiple_choice as parse
from vidreason.tasks.base import grade
from vidreason.tasks.markup import think_text

GOOD = "<think>It falls.</think>\n<answer>B</answer>"
PAPERS = {"accuracy": {}, "format": {"weight": 0.5}, "think_length": {"weight": 0.5, "full_at": 1200}}


def question_of(gold="B", options=("a", "b", "c", "d", "e")):
    return Question("1", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), options, gold)


def reward_of(protocol, terms=PAPERS, penalize_wrong=True, combine="tinyllava_r1"):
    return RewardFunction(Rewards(combine=combine, penalize_wrong=penalize_wrong, terms=terms), protocol)


def table_of(reward, *texts, question=None):
    """Rewards of completions, read as training reads them."""
    question = question or question_of()
    completions = tuple(Completion(text, 1, True) for text in texts)
    grades = tuple(grade(text, question, reward.rule) for text in texts)
    return reward([RolloutGroup(question, completions, grades)])


@pytest.mark.parametrize("protocol", ["upstream", "paper"])
def test_formula_of_the_paper(protocol):
    think = "x" * 300
    texts = (f"<think>{think}</think><answer>B</answer>", f"<think>{think}</think><answer>C</answer>", "no idea")
    form = 0.5 + 0.5 * 300 / 1200
    assert table_of(reward_of(protocol), *texts).total.tolist() == [1 + form, -form, -2.0]


@pytest.mark.parametrize(
    ("completion", "gold", "upstream", "paper"),
    [
        (GOOD, "B", 1, 1),
        ("B", "B", 1, 0),  # tags are not needed
        ("Boys fall", "B", 1, 0),  # the first character decides
        ("<think>a</think><answer>Because C</answer>", "B", 1, 0),
        ("<think>a</think><answer>\nB\n</answer>", "B", 0, 1),  # no line breaks
        ("<think>a</think><answer>(B)</answer>", "B", 0, 1),
        ("<think>a</think><answer>b</answer>", "B", 0, 1),
        ("<think>a</think><answer>A</answer><answer>B</answer>", "B", 0, 1),  # first or last block
        ("<think>a</think><answer>B. he</answer>", "B", 1, 1),
        ("<think>a</think><answer>$\\frac{1}{2}$</answer>", "$0.5$", 1, 0),
        ("<think>a</think><answer>stood up</answer>", "stood up", 1, 0),  # no letter
        ("<think>a</think><answer>B, C and E</answer>", "B", 1, 0),  # a list is no answer
        ("<think>a</think><answer>B.A., a degree</answer>", "B", 1, 0),  # nor is an abbreviation
        ("<think>a</think><answer>B\nas it falls</answer>", "B", 0, 1),
        ("<think>a</think><answer></answer>", "B", 0, 0),
        ("", "B", 0, 0),
    ],
)
def test_accuracy_of_both_protocols(completion, gold, upstream, paper):
    question = question_of(gold, tuple("abcdefghij"))
    for protocol, wanted in (("upstream", upstream), ("paper", paper)):
        table = table_of(reward_of(protocol), completion, question=question)
        assert table.columns["accuracy"].tolist() == [wanted]


@pytest.mark.parametrize("answer", ["D", "D. E", "D. E. coli", "D, E and B", "D, E", "E", "D, B", "(D)"])
def test_training_and_evaluation_read_the_same_letter(answer):
    """What another option is depends on the question: among A to D, `D. E` is no list."""
    question = question_of("D", ("a", "b", "c", "d"))
    completion = f"<think>So.</think><answer>{answer}</answer>"
    right = parse.strict(completion, question.letters) == "D"
    assert table_of(reward_of("paper"), completion, question=question).columns["accuracy"].tolist() == [right]


def test_correct_without_format():
    assert table_of(reward_of("upstream"), "B").total.tolist() == [1.0]
    assert table_of(reward_of("paper"), "<answer>B</answer>").total.tolist() == [-2.0]
    assert {name: rules.correct_unformatted for name, rules in PROTOCOL_RULES.items()} == {"upstream": 1, "paper": -2}


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
    columns = table_of(reward_of("upstream"), completion).columns
    assert columns["format"].tolist() == columns["think_length"].tolist() == [0.0]


def test_padding_does_not_count_but_empty_think_is_well_formed():
    text = "<think>" + " " * 2000 + "</think><answer>B</answer>"
    assert table_of(reward_of("upstream"), text).total.tolist() == [1.5]


@given(st.integers(0, 4000), st.integers(1, 2000))
def test_length_reward_is_bounded_and_grows(length, limit):
    reward = reward_of("upstream", {**PAPERS, "think_length": {"weight": 0.5, "full_at": limit}})
    texts = [f"<think>{'x' * count}</think><answer>B</answer>" for count in (length, length + 1)]
    now, more = table_of(reward, *texts).total - 1
    assert 0.5 <= now <= more <= 1.0


def test_ablations():
    long = f"<think>{'x' * 900}</think><answer>B</answer>"
    plain = reward_of("upstream", {**PAPERS, "think_length": {"weight": 0.0}})
    assert table_of(plain, GOOD, long).total.tolist() == [1.5, 1.5]
    without = reward_of("upstream", {name: PAPERS[name] for name in ("accuracy", "format")})
    assert table_of(without, GOOD, long).total.tolist() == [1.5, 1.5]
    mild = reward_of("upstream", penalize_wrong=False)
    wrong = f"<think>{'x' * 600}</think><answer>C</answer>"
    assert table_of(mild, wrong, "no idea").total.tolist() == [0.75, -2.0]


def test_an_answer_may_be_right_in_part():
    """As upstream's code has it: accuracy + (2 accuracy - 1) FR."""
    columns = {"accuracy": np.array([0.75, 0.25]), "format": np.array([1.0, 1.0])}
    total = tinyllava_r1(columns, np.array([True, False]), Weighing({"accuracy": 1.0, "format": 0.5}))
    assert total.tolist() == [0.75 + 0.25, 0.25 - 0.25]


def test_a_broken_format_pays_no_more_than_a_good_one():
    """An answer that is right in part is wrong unless its grade says otherwise."""
    formed, broken = (Grade(0.4, False, parts={WELL_FORMED: form}) for form in (1.0, 0.0))
    group = RolloutGroup(question_of(), (Completion("a", 1, True),) * 2, (formed, broken))
    total = reward_of("upstream", {"accuracy": {}, "format": {"weight": 0.5}})([group]).total
    assert total.tolist() == [0.4 + (2 * 0.4 - 1) * 0.5, -2.0]


def test_groups_follow_each_other():
    reward, question = reward_of("paper"), question_of()
    groups = [
        RolloutGroup(question, (Completion(text, 1, True),), (grade(text, question, reward.rule),))
        for text in (GOOD, "no idea")
    ]
    table = reward(groups)
    assert table.columns["format"].tolist() == [1.0, 0.0]
    assert table.total.tolist()[1] == -2.0


def test_a_sum_weighs_its_terms():
    reward = reward_of("paper", {"accuracy": {"weight": 2}, "format": {"weight": 0.5}}, combine="sum")
    assert table_of(reward, GOOD, "<answer>B</answer>", "no idea").total.tolist() == [2.5, 2.0, 0.0]


def test_a_thread_can_verify_too():
    columns = []
    text, question = "$\\frac{1}{4}$", question_of("$0.25$")
    worker = threading.Thread(
        target=lambda: columns.append(table_of(reward_of("upstream"), text, question=question).columns["accuracy"])
    )
    worker.start()
    worker.join()
    assert columns[0].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"combine": "product"}, "combine is 'product'; allowed: tinyllava_r1, sum"),
        ({"terms": {"accuracy": {}}}, "combine: tinyllava_r1 needs the terms format too"),
        ({"combine": "sum", "terms": {}}, "rewards.terms names no term"),
        (
            {"terms": {**PAPERS, "accuracy": {"weight": 2}}},
            "rewards.terms.accuracy.weight is 2; allowed with combine tinyllava_r1: 1",
        ),
        ({"protocol": "papre"}, "protocol is 'papre'; allowed: upstream, paper"),
    ],
)
def test_mistakes_are_named(change, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words follow)
        reward_of(**{"protocol": "paper", **change})
    assert words in str(caught.value)


def test_combinations_say_what_they_need():
    assert {name: one.needs for name, one in COMBINATIONS.items()} == {
        "tinyllava_r1": ("accuracy", "format"),
        "sum": (),
    }


def test_imports_neither_torch_nor_sympy():
    code = "import sys, vidreason.rl.rewards, vidreason.tasks.multiple_choice; print({'torch', 'sympy', 'math_verify'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
