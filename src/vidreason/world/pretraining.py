"""Pre-training of the demo's base model, the stand-in for the published checkpoint that the paper starts from."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from vidreason.models.families import save_checkpoint
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.models.tinyllava.template import sft_example
from vidreason.rl.losses import IGNORE_INDEX, sft_loss
from vidreason.training.trainer import Backward, Metrics, Optimisation, run_steps
from vidreason.world.corpus import WORDS, Exercise, clip_pool, draw_exercise
from vidreason.world.encode import SIZE as DRAWN_SIZE
from vidreason.world.splits import scene_seed
from vidreason.world.tokenizer import build_tokenizer

BASE_STEP, BASE_WEIGHTS = 0xBA5E, 0xBA5F
"""Names of the random draws, next to the run's seed."""
ROWS_AT_A_TIME = 8
LOOK_BACK, LOOK_FAR = 4.0, 3.0
"""Size of the biases that make a head look a few tokens back, or away from its own token. At 4 a head of 24 numbers gives
the place it looks for 2 more than its neighbours and 5 more than the places beside them."""
CONTENT = 0.1
"""Factor on what a head that looks back makes of the tokens themselves."""
NEAR_PAIRS, FAR_PAIRS = (0, 1), (2, 3)
"""Pairs of rotary dimensions. The first turn within a few tokens, so that the same token scores less the farther it is;
the next within some tens, so that a bias of theirs tells near from far."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the pre-training.

    Attributes:
        steps: Optimiser steps.
        batch_size: Conversations a step.
        mix: Kind of exercise -> its share; kinds are those of `vidreason.world.corpus.KINDS`.
    """

    steps: int
    batch_size: int
    mix: Mapping[str, float]


def pretrain(
    out: Path,
    settings: Mapping[str, Any],
    image_size: int,
    seed: int,
    metrics: Path,
    state: Path,
    origin: Mapping[str, Any],
) -> None:
    """Train the base model from scratch, on clips and text straight from the generator.

    Args:
        out: Checkpoint folder to write.
        settings: The config's `base`: `model`, `first_weights`, `clips`, `questions_per_clip`, `pixel_noise`, `stages`
            and the keys of `Optimisation`.
        image_size: Picture size in pixels.
        seed: Seed of the run. Its scenes are those of the split `base`, which no file of the world shows.
        metrics: JSON lines to write.
        state: Folder of the saved training states.
        origin: What defines the run (`vidreason.artifacts.provenance.fingerprint`).
    """
    stages = [Stage(**stage) for stage in settings["stages"]]
    tokenizer = build_tokenizer(WORDS, settings["model"]["context"])
    config = model_config(settings["model"], image_size, len(tokenizer), tokenizer.eos_token_id)
    weights_seed = int(np.random.SeedSequence([seed, BASE_WEIGHTS]).generate_state(1)[0])
    model = initialize(config, seed=weights_seed)
    shape_weights(model, settings["first_weights"], weights_seed)
    seeds = [scene_seed(seed, "base", number) for number in range(settings["clips"])]
    scenes, frames = clip_pool(seeds, DRAWN_SIZE, image_size)

    def step_function(step: int, backward: Backward) -> tuple[float, Metrics]:
        rng = np.random.default_rng([seed, BASE_STEP, step])
        stage = _stage_of(stages, step)
        kinds, shares = zip(*stage.mix.items(), strict=True)
        drawn = rng.choice(kinds, size=stage.batch_size, p=np.array(shares) / sum(shares))
        batch = [draw_exercise(str(kind), scenes, settings["questions_per_clip"], rng) for kind in drawn]
        loss, row = exercise_loss(model, tokenizer, frames, batch, settings["pixel_noise"], rng)
        backward(loss, True)
        return float(loss.detach()), row

    steps = sum(stage.steps for stage in stages)
    run_steps(model, Optimisation.from_settings(settings), steps, step_function, metrics, state, origin, "base")
    save_checkpoint(model, tokenizer, out)


def exercise_loss(
    model: TinyLlavaVideo,
    tokenizer: PreTrainedTokenizerBase,
    frames: np.ndarray,
    batch: Sequence[Exercise],
    pixel_noise: float,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, Metrics]:
    """Mean cross-entropy over the replies of a batch of conversations.

    Conversations of like length are passed together: a list of pictures is three times as long as a look-up, and padding
    all rows to the longest would double the cost of a step.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        frames: uint8 [N, F, S, S, 3], the pool.
        batch: The conversations.
        pixel_noise: Standard deviation of the noise on the pixels, in grey levels.
        rng: Draws the noise.

    Returns:
        The loss with gradient, and what to log.
    """
    examples = [sft_example(tokenizer, _messages(exercise.turns)) for exercise in batch]
    videos = _watch(model, frames, [exercise.pictures for exercise in batch], pixel_noise, rng)
    order = sorted(range(len(batch)), key=lambda row: len(examples[row].input_ids))
    taught = sum(int((example.labels[1:] != IGNORE_INDEX).sum()) for example in examples)
    loss = torch.zeros(())
    for start in range(0, len(order), ROWS_AT_A_TIME):
        rows = order[start : start + ROWS_AT_A_TIME]
        inputs = model.build_inputs(
            [examples[row].input_ids for row in rows],
            None if videos is None else videos[rows],
            padding_side="right",
            labels=[examples[row].labels for row in rows],
        )
        share = int((inputs.labels[:, 1:] != IGNORE_INDEX).sum()) / taught
        loss = loss + share * sft_loss(model(inputs.embeds, attention_mask=inputs.mask).logits, inputs.labels)
    return loss, {"tokens": sum(len(example.input_ids) for example in examples) / len(batch)}


def model_config(sizes: Mapping[str, Any], image_size: int, vocabulary: int, end: int) -> TinyLlavaConfig:
    """A small TinyLLaVA-Video with one resampler group a frame, in the published config's keys.

    Args:
        sizes: The config's `base.model`.
        image_size: Picture size in pixels.
        vocabulary: Number of tokens.
        end: Id of the end of sequence.
    """
    text = {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": sizes["width"],
        "intermediate_size": sizes["feed_forward"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"],
        "max_position_embeddings": sizes["context"],
        "rope_theta": float(sizes["rope_theta"]),
        "initializer_range": sizes["initializer_range"],
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes["vision_width"],
        "intermediate_size": 2 * sizes["vision_width"],
        "num_hidden_layers": 2,  # features are those of the last layer but one
        "num_attention_heads": sizes["heads"],
        "image_size": image_size,
        "patch_size": image_size // 4,  # a patch is a cell of the world's stage
    }
    return TinyLlavaConfig.from_dict(
        {
            "model_type": "tinyllava",
            "architectures": ["TinyLlavaForConditionalGeneration"],
            "connector_type": "groupresampler",
            "group": sizes["groups"],
            "num_queries": sizes["queries"],
            "num_resampler_layers": sizes["resampler_layers"],
            "resampler_heads": sizes["resampler_heads"],
            "resampler_head_width": sizes["resampler_head_width"],
            "hidden_size": sizes["width"],
            "vision_hidden_size": sizes["vision_width"],
            "image_token_index": -200,
            "ignore_index": -100,
            "tokenizer_model_max_length": sizes["context"],
            "tokenizer_padding_side": "right",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "patch",
            "vocab_size": vocabulary,
            "text_config": text,
            "vision_config": vision,
        }
    )


def shape_weights(model: TinyLlavaVideo, shape: Mapping[str, Any], seed: int) -> None:
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


def _stage_of(stages: list[Stage], step: int) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError(f"step lies {step} steps after the last stage")


def _messages(turns: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [
        message
        for asked, reply in turns
        for message in ({"from": "human", "value": asked}, {"from": "gpt", "value": reply})
    ]


def _watch(
    model: TinyLlavaVideo,
    frames: np.ndarray,
    pictures: list[np.ndarray | None],
    pixel_noise: float,
    rng: np.random.Generator,
) -> torch.Tensor | None:
    """Encode the pictures of a batch, with noise for what video coding does.

    Args:
        model: The model.
        frames: uint8 [N, F, S, S, 3], the pool.
        pictures: Of every row int64 [F, 2], clip and step of every picture; None for text alone.
        pixel_noise: Standard deviation of the noise, in grey levels.
        rng: Draws the noise.

    Returns:
        float [B, Q, D], zero where nothing is shown; None when no row shows anything.
    """
    shown = [row for row, place in enumerate(pictures) if place is not None]
    if not shown:
        return None
    place = np.stack([place for place in pictures if place is not None])  # [C, F, 2]
    pixels = frames[place[..., 0], place[..., 1]].astype(np.float32)  # [C, F, S, S, 3]
    pixels += pixel_noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    encoded = model.encode_videos(normalize_frames(torch.from_numpy(pixels.clip(0, 255).round().astype(np.uint8))))
    videos = encoded.new_zeros(len(pictures), *encoded.shape[1:])
    return videos.index_copy(0, torch.tensor(shown), encoded)
