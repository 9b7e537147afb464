"""Template, ids and label masks with the small golden tokenizer."""

from pathlib import Path

import pytest
import torch

from vidreason.models.base import IGNORE_INDEX
from vidreason.models.tinyllava import template as prompts
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.tasks.prompt_templates import evaluation_query, instruction

CHECKPOINT = Path(__file__).parents[2] / "golden" / "checkpoint"
QUESTION = "What falls?\nOptions:\nA. cup\nB. ball"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(CHECKPOINT)


def talk(*values):
    return [{"from": "human" if place % 2 == 0 else "gpt", "value": value} for place, value in enumerate(values)]


def test_prompt_has_one_mark_and_ends_where_the_answer_begins(tokenizer):
    ids = prompts.prompt_ids(tokenizer, evaluation_query(QUESTION, instruction("reason")))
    assert int((ids == IMAGE_TOKEN_INDEX).sum()) == 1
    assert tokenizer.decode(ids[ids >= 0]).endswith("tags. ASSISTANT:")
    assert prompts.prompt_text("<image>q").startswith("A chat between")


def test_only_answers_and_their_ends_are_labelled(tokenizer):
    example = prompts.labelled_ids(tokenizer, talk("<image>\nWhat?", "A dog.", "How many?", "2"))
    ids, labels = example
    told = labels != IGNORE_INDEX
    assert torch.equal(labels[told], ids[told])
    assert tokenizer.decode(labels[told]).split() == ["A", "dog.<|endoftext|>", "2<|endoftext|>"]
    assert labels[-1] == tokenizer.eos_token_id
    assert not example.unmaskable


def test_text_alone(tokenizer):
    example = prompts.labelled_ids(tokenizer, talk("Hi", "Hello!"))
    assert IMAGE_TOKEN_INDEX not in example.input_ids
    assert "Hello!" in tokenizer.decode(example.labels[example.labels >= 0])


@pytest.mark.parametrize("answer", ["one<|endoftext|>two", "he said ASSISTANT: hi"])
def test_text_with_the_templates_own_marks_teaches_nothing(tokenizer, answer):
    example = prompts.labelled_ids(tokenizer, talk("<image>\nq", answer))
    assert example.unmaskable


def test_question_without_an_answer_is_refused():
    with pytest.raises(ValueError, match="And\\?"):
        prompts.conversation_text(talk("What?", "That.", "And?"))
    with pytest.raises(ValueError, match="expected a text"):
        prompts.conversation_text(talk(None, "That."))
