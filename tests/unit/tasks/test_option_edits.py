"""Questions with changed options: what stays right, what is left as it is, and that everyone gets the same."""

import dataclasses
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidreason.records import LETTERS, NO_OPTION, ClipRef, Question
from vidreason.tasks.option_edits import (
    CHOICES,
    EDITS,
    NONE_OF_THE_ABOVE,
    UNCHANGED,
    OptionEdit,
    keeps_options,
    same_but_for_options,
)

QUESTION = Question("q1", "mlvu", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain", "sun", "wind", "hail"), "C")
WORDS = st.lists(st.text("abcxyz ", min_size=1, max_size=12), min_size=2, max_size=10)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    options = tuple(draw(WORDS))
    gold = draw(st.sampled_from(LETTERS[: len(options)]))
    return dataclasses.replace(QUESTION, id=draw(st.text(max_size=8)), options=options, gold=gold)


def text_of_gold(question: Question) -> str:
    return question.options[LETTERS.index(question.gold)]


@given(questions(), st.integers(0, 2**63 - 1))
def test_permuted_options_are_the_same_in_another_order_and_gold_follows(question: Question, seed: int) -> None:
    edited = OptionEdit("permuted", seed).of(question)
    assert Counter(edited.options) == Counter(question.options)
    assert text_of_gold(edited) == text_of_gold(question)
    assert (edited.id, edited.text, edited.clip) == (question.id, question.text, question.clip)
    assert OptionEdit("permuted", seed).of(question) == edited
    if len(set(question.options)) == len(question.options):
        assert edited.options != question.options
        assert edited.sha256 != question.sha256


@given(questions())
def test_without_gold_only_the_gold_options_words_change(question: Question) -> None:
    edited = OptionEdit("without_gold").of(question)
    kept = edited == question
    assert kept == keeps_options(question, "without_gold")
    if not kept:
        assert edited.gold == question.gold
        assert text_of_gold(edited) == NONE_OF_THE_ABOVE
        others = [(one, other) for one, other in zip(question.options, edited.options, strict=True) if one != other]
        assert others == [(text_of_gold(question), NONE_OF_THE_ABOVE)]
        assert text_of_gold(question) not in edited.options


def test_an_order_depends_on_data_set_question_and_seed_and_every_other_one_occurs() -> None:
    made = [OptionEdit("permuted", seed).of(QUESTION) for seed in range(600)]
    orders = Counter(question.options for question in made)
    assert set(orders) == set(itertools.permutations(QUESTION.options)) - {QUESTION.options}
    assert max(orders.values()) < 3 * 600 / 23
    by_id = {OptionEdit("permuted").of(dataclasses.replace(QUESTION, id=str(n))).options for n in range(50)}
    by_set = {OptionEdit("permuted").of(dataclasses.replace(QUESTION, dataset=name)).options for name in "abcdefgh"}
    assert len(by_id) > 10
    assert len(by_set) > 3


def test_the_order_of_a_seed_is_what_it_was() -> None:
    """Answers are kept: another order would be asked of the questions of a finished run."""
    assert OptionEdit("permuted", 0).of(QUESTION).options == ("wind", "sun", "hail", "rain")


@pytest.mark.parametrize(
    "odd",
    [
        "None of the above", "none of the above.", "All of the above", "None of these", "Both A and B", "A and B", "A, B and C.",
        "(A) and (C)", "Neither A nor B", "Only A or B", "Option B", "the other options", "one of the others",
        "Both", "neither.", "None of them", "All of them", "Neither of the two",
    ],
)  # fmt: skip
@pytest.mark.parametrize("edit", ["permuted", "without_gold"])
def test_options_about_other_options_are_left_as_they_are(odd: str, edit: str) -> None:
    question = dataclasses.replace(QUESTION, options=("rain", "sun", "wind", odd))
    assert OptionEdit(edit).of(question) is question


@pytest.mark.parametrize(
    "usual",
    [
        "a man and a woman", "A and Bob", "Answer a phone", "He is above", "Vitamin A and B", "none", "None", "the cup above him",
        "Option to leave", "a and b", "A or B blood", "the other cup",
    ],
)  # fmt: skip
@pytest.mark.parametrize("edit", ["permuted", "without_gold"])
def test_words_that_only_look_like_it_are_not(usual: str, edit: str) -> None:
    question = dataclasses.replace(QUESTION, options=("rain", "sun", "wind", usual))
    assert OptionEdit(edit).of(question) != question


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"gold": NO_OPTION}, {"permuted", "without_gold"}),
        ({"options": ("rain",), "gold": "A"}, {"permuted", "without_gold"}),
        ({"options": (), "gold": "2.5", "task": "numerical"}, {"permuted", "without_gold"}),
        ({"options": ("yes", "No."), "gold": "A"}, {"without_gold"}),
        ({"options": ("Rain.", "sun", " rain"), "gold": "A"}, {"without_gold"}),
        ({"options": ("rain", "sun", "sun"), "gold": "A"}, set()),
        ({"task": "grounded_choice", "segments": ((1.0, 2.0),)}, set()),
    ],
)
def test_what_cannot_be_changed_stays(changes: dict[str, Any], kept: set[str]) -> None:
    question = dataclasses.replace(QUESTION, **changes)
    edits = ("permuted", "without_gold")
    assert {edit for edit in edits if OptionEdit(edit).of(question) == question} == kept
    assert {edit for edit in edits if keeps_options(question, edit)} == kept


def test_published_options_are_the_question_itself_and_other_names_are_refused() -> None:
    assert UNCHANGED.of(QUESTION) is QUESTION
    with pytest.raises(ValueError, match="options: 'sorted'; allowed: published, permuted, without_gold"):
        OptionEdit("sorted")


def test_the_configuration_knows_the_same_edits_and_tasks() -> None:
    from typing import get_args

    from vidreason.config.types import Options
    from vidreason.tasks.base import discover

    assert get_args(Options) == tuple(EDITS)
    assert set(CHOICES) <= set(discover())


def test_two_edits_of_a_question_are_the_same_but_for_their_options() -> None:
    one, other = OptionEdit("permuted").of(QUESTION), OptionEdit("without_gold").of(QUESTION)
    assert same_but_for_options(one, other)
    assert not same_but_for_options(one, dataclasses.replace(other, text="Why not?"))
    assert not same_but_for_options(one, dataclasses.replace(other, options=other.options[:3]))
