"""The two readings of an answer."""

from random import Random

import pytest

from vidreason.evaluation import parse


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
        ("<answer>B\nbecause it rains</answer>", None),
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
