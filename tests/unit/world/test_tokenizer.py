"""The demo's tokenizer: words of the world are one token, any other text survives."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidreason.models.tinyllava.template import SYSTEM, conversation_text, text_ids
from vidreason.models.tinyllava.tokenizer import load_tokenizer, save_tokenizer
from vidreason.records import LETTERS
from vidreason.tasks.markup import INSTRUCTION, TAGS
from vidreason.tasks.prompt_templates import OPTION_INSTRUCTION
from vidreason.world.corpus import WORDS
from vidreason.world.scenes import COLOURS, DIRECTIONS, THINGS
from vidreason.world.tokenizer import END, build_tokenizer


@functools.cache
def tokenizer():
    return build_tokenizer(WORDS, 512)


def ids(text):
    return tokenizer()(text).input_ids


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_one_token(word):
    assert len(ids(word)) == 1
    assert len(ids(f" {word}")) == 1
    assert ids(word) != ids(f" {word}")


def test_the_world_is_made_of_such_words():
    assert {*THINGS, *COLOURS, *DIRECTIONS, *LETTERS[:5]} <= set(WORDS)


def test_a_caption_costs_a_token_a_word():
    assert len(ids("red ball goes left, blue kite stays put.")) == 10


@pytest.mark.parametrize("text", [SYSTEM.strip(), END])
def test_fixed_texts_are_one_token_wherever_they_stand(text):
    (token,) = ids(text)
    for around in (f"red{text}ball", f"red {text} ball", f"\n{text}\n"):
        assert token in ids(around)
    # Only the end is invisible in decoded text.
    assert tokenizer().decode([token], skip_special_tokens=True) == ("" if text == END else text)


@pytest.mark.parametrize("text", [INSTRUCTION, OPTION_INSTRUCTION])
def test_instructions_are_words(text):
    """Ordinary tokens, which other texts hold too: the model has met them before it is instructed."""
    assert tokenizer().decode(ids(text)) == text
    assert 10 <= len(ids(text)) <= 30


@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_short_and_stay_visible(tag):
    """Rewards read them in decoded text; the model has to write them token by token, as with the real tokenizer."""
    assert 1 <= len(ids(tag)) <= 3
    for text in (f"{tag} red", f"red {tag}", f"red{tag}ball"):
        assert tokenizer().decode(ids(text), skip_special_tokens=True) == text


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_survives(text):
    assert tokenizer().decode(ids(text)) == text


@pytest.mark.parametrize(
    "text", ["naïve café", "日本語の質問", "🙂👍🏽", "a\u0301 b\u00a0c", " spaces  and\ttabs\n\n", "C++ & <b>"]
)
def test_such_texts_survive(text):
    assert tokenizer().decode(ids(text)) == text


def test_a_conversation_is_encoded_without_loss():
    text = conversation_text(
        [
            {"from": "human", "value": f"Which thing comes first?\nOptions:\nA. ball\nB. kite {INSTRUCTION}"},
            {"from": "gpt", "value": "<think> red ball goes left </think> <answer> A </answer>"},
        ]
    )
    assert tokenizer().decode(text_ids(tokenizer(), text)) == text


def test_end_of_sequence_and_padding():
    assert tokenizer().eos_token == tokenizer().pad_token == END
    assert tokenizer().bos_token is None
    assert ids("red")[-1] != tokenizer().eos_token_id


def test_it_is_the_same_every_time_and_after_saving(tmp_path):
    again = build_tokenizer(WORDS, 512)
    assert again.get_vocab() == tokenizer().get_vocab()
    save_tokenizer(again, tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "<think>red ball, 日本 </think> <answer>A</answer><|endoftext|>"
    assert loaded(text).input_ids == ids(text)
    assert loaded.get_vocab() == tokenizer().get_vocab()
    assert loaded.model_max_length == 512
