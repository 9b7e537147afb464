"""Initial weights with which a small model learns to look up and copy within hundreds of steps instead of many thousands."""

from typing import Any

import torch

from vidreason.config.base_model import FirstWeights
from vidreason.models.tinyllava.modeling import TinyLlavaVideo

LOOK_BACK, LOOK_FAR = 4.0, 3.0
"""Size of the biases that make a head attend a few tokens back, or away from its own position. At 4, a head of width 24 gives
its target a score 2 above the target's neighbors and 5 above the positions next to those."""
CONTENT = 0.1
"""Factor on the query and key weights of a head that attends by distance, so that the tokens matter little."""
NEAR_PAIRS, FAR_PAIRS = (0, 1), (2, 3)
"""Pairs of rotary dimensions. The near ones turn within a few tokens, so the score of equal tokens falls with their distance;
the far ones turn within some tens of tokens, so a bias on them separates near from far."""


def init_induction_heads(model: TinyLlavaVideo, shape: FirstWeights, seed: int) -> None:
    """Change a new model's weights in three ways.

    - The vision tower's position embeddings are drawn again, as large as the patch embeddings that they are added to. At
      SigLIP's own scale, 1 / sqrt(width), they have an eighth of that size.
    - What a layer adds to the residual stream starts small, so that later layers can still recognize a token.
    - Heads of the first layer start by reading the token a few positions back. Heads of the second layer find earlier
      positions of the same token and copy what the first layer read there. Together they are an induction head (Olsson et al.
      2022, In-context Learning and Induction Heads), which every published language model has. Here they find the letter and
      the color before a word. From random weights the letters were found after 150 steps with some seeds and not after 400
      with others; from these weights, after 50.

    Args:
        model: A newly initialized model.
        shape: Sizes and numbers of these changes.
        seed: Seed of the position embeddings.

    Raises:
        ValueError: Query heads share KV heads, so their weights cannot be made equal, or heads are too narrow.
    """
    text = model.config.text()
    rotary: Any = text.rope_parameters
    if shape.same_token and text.num_key_value_heads != text.num_attention_heads:
        raise ValueError(
            f"base.model: {text.num_attention_heads} heads share {text.num_key_value_heads} kv_heads; "
            "base.first_weights.same_token needs as many of both"
        )
    width = text.hidden_size // text.num_attention_heads
    if shape.same_token and width < 2 * (FAR_PAIRS[-1] + 1):
        raise ValueError(
            f"base.model: heads of {width} numbers; base.first_weights.same_token needs {2 * (FAR_PAIRS[-1] + 1)} or more"
        )
    positions = model.vision_tower._vision_tower.vision_model.embeddings.position_embedding.weight  # type: ignore[union-attr]
    layers = model.language_model.model.layers
    with torch.no_grad():
        positions.normal_(0.0, shape.positions, generator=torch.Generator().manual_seed(seed))  # type: ignore[operator]
        for layer in layers:
            layer.self_attn.o_proj.weight.mul_(shape.residual)
            layer.mlp.down_proj.weight.mul_(shape.residual)
        for head, distance in enumerate(shape.look_back):
            _look_back(layers[0].self_attn, head, distance, rotary["rope_theta"])
        for head in range(shape.same_token):
            _same_token(layers[1].self_attn, head)
            if head < len(shape.look_back):
                _copy(layers[0].self_attn, layers[1].self_attn, head, shape.residual)


def _rows(attention: Any, head: int) -> slice:
    return slice(head * attention.head_dim, (head + 1) * attention.head_dim)


def _look_back(attention: Any, head: int, distance: int, theta: float) -> None:
    """Make a head attend mostly to the token `distance` positions back, whatever the tokens are.

    With rotary positions a query bias and a key bias weigh keys by their distance alone. The key's bias is the query's,
    rotated by `distance` positions.
    """
    rows, half = _rows(attention, head), attention.head_dim // 2
    angle = distance * theta ** (-torch.arange(half) / half)
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] *= CONTENT
    query, key = attention.q_proj.bias[rows], attention.k_proj.bias[rows]
    query[:half], query[half:] = LOOK_BACK, 0.0
    key[:half], key[half:] = LOOK_BACK * torch.cos(angle), LOOK_BACK * torch.sin(angle)


def _same_token(attention: Any, head: int) -> None:
    """Make a head attend to earlier positions of the current token: its keys equal its queries, and biases exclude itself."""
    rows, half = _rows(attention, head), attention.head_dim // 2
    attention.k_proj.weight[rows] = attention.q_proj.weight[rows]
    for projection, bias in ((attention.q_proj, LOOK_FAR), (attention.k_proj, -LOOK_FAR)):
        for pair in NEAR_PAIRS:
            projection.weight[rows][[pair, pair + half]] = 0.0
        for pair in FAR_PAIRS:
            projection.bias[rows][pair] = bias


def _copy(first: Any, second: Any, head: int, residual: float) -> None:
    """Make a head of the second layer output the token embedding that the same head of the first layer has read."""
    rows = _rows(first, head)
    second.v_proj.weight[rows] = first.o_proj.weight[:, rows].T / residual
    second.o_proj.weight[:, rows] = residual * first.v_proj.weight[rows].T
