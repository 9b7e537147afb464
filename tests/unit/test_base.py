"""Pre-training of the demo's base model: the shape of its first weights."""

import pytest
import torch

from vidreason.model import TinyLlavaVideo, initialise
from vidreason.training.base import model_config, shape_weights

SIZES = {
    "width": 96, "layers": 3, "heads": 4, "kv_heads": 4, "feed_forward": 64, "context": 64, "rope_theta": 1e6,
    "initializer_range": 0.1, "vision_width": 16, "groups": 4, "queries": 4, "resampler_layers": 1,
    "resampler_heads": 2, "resampler_head_width": 8,
}  # fmt: skip
SHAPE = {"positions": 1.5, "residual": 0.1, "look_back": [1, 2, 3], "same_token": 2}


def shaped(**changes) -> TinyLlavaVideo:
    model = initialise(model_config({**SIZES, **changes}, 32, 300, 0), seed=3, attention="eager")
    shape_weights(model, SHAPE, 3)
    return model


def attention_of(model, ids):
    with torch.no_grad():
        return model.language_model(torch.tensor([ids]), output_attentions=True).attentions


def test_heads_of_the_first_layer_look_back_whatever_the_tokens():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(300, (40,), generator=generator).tolist()
    weights = attention_of(shaped(), ids)[0][0]  # [heads, queries, keys]
    far = range(10, 40)
    for head, places in enumerate(SHAPE["look_back"]):
        by_distance = [torch.stack([weights[head, at, at - back] for at in far]).mean() for back in range(9)]
        assert max(range(9), key=by_distance.__getitem__) == places


def test_heads_of_the_second_layer_see_the_same_token():
    ids = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:30].tolist()
    ids.append(ids[8])
    weights = attention_of(shaped(), ids)[1][0]
    others = [place for place in range(30) if place != 8]
    for head in range(SHAPE["same_token"]):
        assert weights[head, 30, 8] > 3 * weights[head, 30, others].max()


def test_heads_that_share_keys_are_refused():
    with pytest.raises(ValueError, match="4 heads share 2 kv_heads"):
        shaped(kv_heads=2)
