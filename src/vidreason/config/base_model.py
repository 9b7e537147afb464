"""The settings of the base model that a run pre-trains itself: the demo from scratch, and tests of the whole graph."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from vidreason.config.types import MOST, Section, Share

Exercise = Literal[
    "picture",
    "act",
    "montage",
    "caption",
    "explain",
    "short_answers",
    "recall",
    "colours",
    "notes_last",
    "markup",
    "letter",
    "lookup",
]
"""Kinds of exercises (`vidreason.world.corpus.KINDS`)."""
ExerciseShare = Annotated[float, Field(ge=0, le=1_000_000, description="Share of this kind, relative to the others.")]
Distance = Annotated[int, Field(ge=1, le=2**20, description="Distance, in tokens.")]


class BaseSizes(Section):
    """Sizes of the base model."""

    width: int = Field(ge=1, le=65_536, description="Width of the language model and of the connector.")
    layers: int = Field(ge=2, le=1024, description="Layers of the language model.")
    heads: int = Field(ge=1, le=1024, description="Attention heads of the language model and of the vision tower.")
    kv_heads: int = Field(ge=1, le=1024, description="Key and value heads of the language model.")
    feed_forward: int = Field(ge=1, le=2**20, description="Inner width of the language model's feed-forward layers.")
    context: int = Field(ge=1, le=2**20, description="Longest sequence, in tokens.")
    rope_theta: float = Field(gt=0, le=10**12, description="Base of the rotary position encoding.")
    initializer_range: float = Field(
        gt=0, le=10, description="Standard deviation of the language model's initial weights."
    )
    vision_width: int = Field(ge=1, le=65_536, description="Width of the vision tower.")
    groups: int = Field(ge=1, le=4096, description="Groups of the resampler.")
    queries: int = Field(ge=1, le=65_536, description="Tokens that a clip becomes, over all groups.")
    resampler_layers: int = Field(ge=1, le=1024, description="Layers of the resampler.")
    resampler_heads: int = Field(
        ge=1, le=1024, description="Attention heads of the resampler; 8 in the published model."
    )
    resampler_head_width: int = Field(
        ge=1, le=65_536, description="Width of one head of the resampler; 64 in the published model."
    )


class FirstWeights(Section):
    """What the initial weights are like, beside their random draw."""

    positions: float = Field(gt=0, le=1000, description="Standard deviation of the vision tower's position embeddings.")
    residual: float = Field(
        gt=0, le=1000, description="Factor on the matrices through which layers add to the residual stream."
    )
    look_back: tuple[Distance, ...] = Field(
        strict=False, description="Of the first heads of the first layer, how far back each reads."
    )
    same_token: int = Field(
        ge=0, le=1024, description="Heads of the second layer that read earlier places of the same token."
    )


class Stage(Section):
    """One part of the pre-training."""

    steps: int = Field(ge=1, le=MOST, description="Optimizer steps.")
    batch_size: int = Field(ge=1, le=65_536, description="Conversations of a step.")
    mix: Mapping[Exercise, ExerciseShare] = Field(min_length=1, description="Share of each kind of exercise.")


class Base(Section):
    """Pre-training of the small model that stands for published weights."""

    model: BaseSizes = Field(description="Sizes of the model.")
    first_weights: FirstWeights = Field(description="What the initial weights are like, beside their random draw.")
    clips: int = Field(ge=1, le=10_000_000, description="Scenes that the exercises are about.")
    questions_per_clip: int = Field(ge=1, le=1000, description="Most questions of one conversation.")
    pixel_noise: float = Field(
        ge=0, le=255, description="Standard deviation of the noise on the pixels, which run from 0 to 255."
    )
    stages: tuple[Stage, ...] = Field(
        strict=False, min_length=1, description="Parts of the pre-training, in their order."
    )
    learning_rate: float = Field(gt=0, le=10, description="Peak learning rate.")
    schedule: Literal["constant", "cosine"] = Field(description="Course of the learning rate after the warm-up.")
    warmup: Share = Field(description="Share of the steps over which the learning rate rises linearly.")
    weight_decay: float = Field(ge=0, le=10, description="AdamW's decoupled weight decay.")
    beta2: float = Field(gt=0, lt=1, description="AdamW's decay rate of the second moment.")
    muon: float | None = Field(
        gt=0,
        le=1000,
        description="Learning rate of the matrices under Muon, as a multiple of learning_rate; null for AdamW alone.",
    )
    max_grad_norm: float = Field(gt=0, le=10**12, description="Gradients are scaled down to this norm.")
    save_every: int = Field(ge=0, le=MOST, description="Steps between saved training states; 0 disables.")
