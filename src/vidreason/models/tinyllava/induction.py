"""First weights with which a small model learns to look up and copy within hundreds of steps."""

from collections.abc import Mapping
from typing import Any

import torch

from vidreason.models.tinyllava.modeling import TinyLlavaVideo

LOOK_BACK, LOOK_FAR = 4.0, 3.0
"""Size of the biases that make a head look a few tokens back, or away from its own token. At 4 a head of 24 numbers gives
the place it looks for 2 more than its neighbors and 5 more than the places beside them."""
CONTENT = 0.1
"""Factor on what a head that looks back makes of the tokens themselves."""
NEAR_PAIRS, FAR_PAIRS = (0, 1), (2, 3)
"""Pairs of rotary dimensions. The first turn within a few tokens, so that the same token scores less the farther it is;
the next within some tens, so that a bias of theirs tells near from far."""


def init_induction_heads(model: TinyLlavaVideo, shape: Mapping[str, Any], seed: int) -> None:
    """Give a new model's weights what makes it learn in hundreds of steps what else takes it many thousands.

    - The vision tower's position embeddings are drawn anew, as large as the patch embeddings beside them. At SigLIP's own
      initial scale (1 / sqrt(width)) a place weighs an eighth of what is seen there.
    - What a layer adds to the residual stream starts small, so that a token can still be recognised in the later layers.
    - Heads of the first layer start out reading the token a few places back. Heads of the second find earlier places of the
      same token, and copy what the first layer has read there: the two halves of an induction head (Olsson et al. 2022,
      In-context Learning and Induction Heads), which every published language model has. Here they find the letter and the
      colour before a word. From a random draw the letters were found after 150 steps from some seeds and not after 400 from
      others; so begun, after 50.

    Args:
        model: A newly initialized model.
        shape: The config's `base.first_weights`: `positions`, `residual`, `look_back`, `same_token`.
        seed: Names the draw.

    Raises:
        ValueError: Query heads share key heads, so that they cannot be made equal, or are too narrow.
    """
    text = model.config.text()
    rotary: Any = text.rope_parameters
    if shape["same_token"] and text.num_key_value_heads != text.num_attention_heads:
        raise ValueError(
            f"base.model: {text.num_attention_heads} heads share {text.num_key_value_heads} kv_heads; "
            "base.first_weights.same_token needs as many of both"
        )
    width = text.hidden_size // text.num_attention_heads
    if shape["same_token"] and width < 2 * (FAR_PAIRS[-1] + 1):
        raise ValueError(
            f"base.model: heads of {width} numbers; base.first_weights.same_token needs {2 * (FAR_PAIRS[-1] + 1)} or more"
        )
    positions = model.vision_tower._vision_tower.vision_model.embeddings.position_embedding.weight  # type: ignore[union-attr]
    layers = model.language_model.model.layers
    with torch.no_grad():
        positions.normal_(0.0, shape["positions"], generator=torch.Generator().manual_seed(seed))  # type: ignore[operator]
        for layer in layers:
            layer.self_attn.o_proj.weight.mul_(shape["residual"])
            layer.mlp.down_proj.weight.mul_(shape["residual"])
        for head, places in enumerate(shape["look_back"]):
            _look_back(layers[0].self_attn, head, places, rotary["rope_theta"])
        for head in range(shape["same_token"]):
            _same_token(layers[1].self_attn, head)
            if head < len(shape["look_back"]):
                _copy(layers[0].self_attn, layers[1].self_attn, head, shape["residual"])


def _rows(attention: Any, head: int) -> slice:
    return slice(head * attention.head_dim, (head + 1) * attention.head_dim)


def _look_back(attention: Any, head: int, places: int, theta: float) -> None:
    """Make a head read most from `places` back, whatever the tokens.

    A query bias and a key bias under rotary positions weigh keys by their distance alone; the key's is the query's,
    turned on by `places`.
    """
    rows, half = _rows(attention, head), attention.head_dim // 2
    angle = places * theta ** (-torch.arange(half) / half)
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] *= CONTENT
    query, key = attention.q_proj.bias[rows], attention.k_proj.bias[rows]
    query[:half], query[half:] = LOOK_BACK, 0.0
    key[:half], key[half:] = LOOK_BACK * torch.cos(angle), LOOK_BACK * torch.sin(angle)


def _same_token(attention: Any, head: int) -> None:
    """Make a head read from earlier places of the present token: its keys are its queries, and itself is too near."""
    rows, half = _rows(attention, head), attention.head_dim // 2
    attention.k_proj.weight[rows] = attention.q_proj.weight[rows]
    for projection, bias in ((attention.q_proj, LOOK_FAR), (attention.k_proj, -LOOK_FAR)):
        for pair in NEAR_PAIRS:
            projection.weight[rows][[pair, pair + half]] = 0.0
        for pair in FAR_PAIRS:
            projection.bias[rows][pair] = bias


def _copy(first: Any, second: Any, head: int, residual: float) -> None:
    """Make a head of the second layer pass on, as the token that it was, what a head of the first has read."""
    rows = _rows(first, head)
    second.v_proj.weight[rows] = first.o_proj.weight[:, rows].T / residual
    second.o_proj.weight[:, rows] = residual * first.v_proj.weight[rows].T
