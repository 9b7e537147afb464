"""Which prompts fit into a model's context."""

import dataclasses

import pytest
import torch

from tests.support import micro
from vidreason.engine.prompts import fits, most_positions, prompt_positions, prompts_of

CONFIG = dataclasses.replace(micro.model().config, tokenizer_model_max_length=40)
IDS = prompts_of(micro.tokenizer(), [micro.question(0)], "option", training=False)[0]


def with_positions(count):
    """The micro model's configuration with another context of its language model."""
    return dataclasses.replace(CONFIG, text_config={**CONFIG.text_config, "max_position_embeddings": count})


def test_a_prompt_has_the_length_of_what_the_model_is_given():
    model = micro.model()
    merged, _ = model.embed([IDS], micro.videos(1))
    assert prompt_positions(IDS, model.config) == merged.shape[1] == len(IDS) - 1 + 6
    without = IDS[IDS >= 0]
    assert prompt_positions(without, model.config) == len(without)


def test_the_trained_length_bounds_the_prompt_alone():
    assert most_positions(CONFIG, 100) == 40
    video = torch.tensor([1] * 34 + [-200])
    assert fits(video, CONFIG, 100)  # 34 + 6
    assert not fits(torch.cat([video, torch.tensor([1])]), CONFIG, 100)


def test_the_language_models_positions_hold_the_answer_too():
    config = with_positions(50)
    assert most_positions(config, 0) == most_positions(config, 10) == 40
    assert most_positions(config, 11) == 39
    assert fits(torch.ones(39), config, 11)
    assert not fits(torch.ones(40), config, 11)


def test_an_answer_without_room_for_a_prompt_is_refused():
    assert most_positions(with_positions(50), 49) == 1
    with pytest.raises(ValueError, match=r"max_new_tokens is 50: with max_position_embeddings 50 .* less than 50"):
        most_positions(with_positions(50), 50)
