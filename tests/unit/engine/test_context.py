"""Which prompts fit into a model's context."""

import dataclasses

import pytest
import torch

from tests.support import micro
from vidreason.engine.prompts import fits, max_prompt_length, prompt_length, prompts_of

TRAINED_LENGTH = 40
IDS = prompts_of(micro.model(), [micro.question(0)], "option", training=False)[0]


def model_with(positions):
    """The micro model, trained on at most 40 positions, with another context of its language model."""
    model = micro.model()
    text = {**model.config.text_config, "max_position_embeddings": positions}
    model.config = dataclasses.replace(model.config, text_config=text, tokenizer_model_max_length=TRAINED_LENGTH)
    return model


def test_a_prompt_has_the_length_of_what_the_model_is_given():
    model = micro.model()
    merged = model.build_inputs([IDS], micro.videos(1)).embeds
    assert prompt_length(IDS, model) == merged.shape[1] == len(IDS) - 1 + 6
    without = IDS[IDS >= 0]
    assert prompt_length(without, model) == len(without)


def test_the_trained_length_bounds_the_prompt_alone():
    model = model_with(2048)
    assert max_prompt_length(model, 100) == TRAINED_LENGTH
    video = torch.tensor([1] * 34 + [-200])
    assert fits(video, model, 100)  # 34 + 6
    assert not fits(torch.cat([video, torch.tensor([1])]), model, 100)


def test_the_language_models_positions_hold_the_answer_too():
    model = model_with(50)
    assert max_prompt_length(model, 0) == max_prompt_length(model, 10) == TRAINED_LENGTH
    assert max_prompt_length(model, 11) == 39
    assert fits(torch.ones(39), model, 11)
    assert not fits(torch.ones(40), model, 11)


def test_an_answer_without_room_for_a_prompt_is_refused():
    assert max_prompt_length(model_with(50), 49) == 1
    with pytest.raises(ValueError, match=r"max_new_tokens is 50: with max_position_embeddings 50 .* less than 50"):
        max_prompt_length(model_with(50), 50)
