"""The published `config.json` of TinyLLaVA-Video: read, checked and written back with every key."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

from transformers import Qwen2Config, SiglipVisionConfig

from vidreason.artifacts.files import read_json, write_json
from vidreason.models.base import IGNORE_INDEX

IMAGE_TOKEN_INDEX = -200
"""Id that marks where the video's embeddings go; no token of the vocabulary has it."""

CONNECTORS = ("groupresampler",)
SELECT_STRATEGIES = ("patch", "cls_patch")

MODEL_KEYS: dict[str, Any] = {
    "group": None,
    "num_queries": None,
    "num_resampler_layers": None,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "patch",
    "tokenizer_model_max_length": 2048,
    "tokenizer_padding_side": "right",
    "resampler_heads": 8,
    "resampler_head_width": 64,
}
"""Keys that decide what the model computes, with upstream's default (None: required)."""

OWN_KEYS = ("resampler_heads", "resampler_head_width")
"""Keys that upstream's file does not have, because its code fixes the values; written only if they differ from those."""


@dataclasses.dataclass(frozen=True)
class TinyLlavaConfig:
    """Sizes and choices of one TinyLLaVA-Video model.

    Attributes:
        vision_config: SigLIP's configuration as in the file, without the fields that equal the library's default.
        text_config: Qwen2's configuration, likewise.
        group: Number of groups the visual tokens are cut into. Upstream does not declare this key; the model
            has it only because unknown keys of the file become attributes.
        num_queries: Latent queries over all groups; each group has `num_queries // group`.
        num_resampler_layers: Depth of the resampler.
        vision_feature_layer: Index into SigLIP's hidden states (0 is the embedding), -2 for the last but one.
        vision_feature_select_strategy: `patch` drops the first patch, `cls_patch` keeps all.
        tokenizer_model_max_length: Positions after which upstream cuts a sequence with its video.
        tokenizer_padding_side: Side on which upstream pads batches.
        resampler_heads: Attention heads of the resampler, fixed in upstream's code.
        resampler_head_width: Width of one of them, likewise.
        extra: All other keys of the file, unchanged.

    Source: tinyllava/model/configuration_tinyllava.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: the original language model's, vision tower's and tokenizer's folders are not needed;
        missing nested fields take transformers' defaults for Qwen2 and SigLIP.
    """

    vision_config: dict[str, Any]
    text_config: dict[str, Any]
    group: int
    num_queries: int
    num_resampler_layers: int
    vision_feature_layer: int = -2
    vision_feature_select_strategy: str = "patch"
    tokenizer_model_max_length: int = 2048
    tokenizer_padding_side: str = "right"
    resampler_heads: int = 8
    resampler_head_width: int = 64
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that no model can be built from."""
        for key in ("group", "num_queries", "num_resampler_layers", *OWN_KEYS):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"model config: {key} is {value!r}; it must be a whole number from 1")
        if self.num_queries < self.group:
            raise ValueError(
                f"model config: num_queries is {self.num_queries} for {self.group} groups; every group needs one query"
            )
        if self.vision_feature_select_strategy not in SELECT_STRATEGIES:
            raise ValueError(
                f"model config: vision_feature_select_strategy is {self.vision_feature_select_strategy!r}; "
                f"allowed: {', '.join(SELECT_STRATEGIES)}"
            )
        if self.tokenizer_padding_side not in ("left", "right"):
            raise ValueError(
                f"model config: tokenizer_padding_side is {self.tokenizer_padding_side!r}; allowed: left, right"
            )
        depth = self.vision().num_hidden_layers
        if not -depth - 1 <= self.vision_feature_layer <= depth:
            raise ValueError(
                f"model config: vision_feature_layer is {self.vision_feature_layer}; a tower of {depth} layers has "
                f"hidden states {-depth - 1} to {depth}"
            )
        if self.text().hidden_size % 2:
            raise ValueError(
                f"model config: text_config.hidden_size is {self.text().hidden_size}; the position encoding pairs "
                "sines with cosines and needs an even width"
            )
        for key, nested in (("hidden_size", self.text()), ("vision_hidden_size", self.vision())):
            if key in self.extra and self.extra[key] != nested.hidden_size:
                raise ValueError(
                    f"model config: {key} is {self.extra[key]}, its nested configuration says {nested.hidden_size}"
                )

    def vision(self, attention: str = "sdpa") -> SiglipVisionConfig:
        """SigLIP's configuration with the library's defaults filled in."""
        return SiglipVisionConfig(**_public(self.vision_config, attention))

    def text(self, attention: str = "sdpa") -> Qwen2Config:
        """Qwen2's configuration with the library's defaults filled in."""
        return Qwen2Config(**_public(self.text_config, attention))

    @property
    def queries(self) -> int:
        """Positions of a video in the language model's input: `num_queries`, rounded down to whole groups."""
        return self.num_queries // self.group * self.group

    @property
    def image_size(self) -> int:
        """Height and width of a frame in pixels."""
        size: Any = self.vision().image_size
        return int(size)

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.text().hidden_size)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str | Path = "model config") -> "TinyLlavaConfig":
        """Build from the content of a `config.json`.

        Args:
            values: The file's object.
            source: The file, for messages.

        Raises:
            ValueError: A key is missing or has a value that no model can be built from.
        """
        rest = copy.deepcopy(values)
        for key in ("vision_config", "text_config"):
            if not isinstance(rest.get(key), dict):
                raise ValueError(f"{source}: {key} is {rest.get(key)!r}; expected the nested configuration")
        connector = rest.get("connector_type", CONNECTORS[0])
        if connector not in CONNECTORS:
            raise ValueError(f"{source}: connector_type is {connector!r}; allowed: {', '.join(CONNECTORS)}")
        chosen: dict[str, Any] = {}
        for key, default in MODEL_KEYS.items():
            chosen[key] = rest.pop(key, default)
            if chosen[key] is None:
                raise ValueError(f"{source}: {key} is missing. Is it a checkpoint with a group resampler?")
        try:
            return cls(
                vision_config=rest.pop("vision_config"), text_config=rest.pop("text_config"), extra=rest, **chosen
            )
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> "TinyLlavaConfig":
        """Read a `config.json`."""
        return cls.from_dict(read_json(path), path)

    def to_dict(self) -> dict[str, Any]:
        """Content of a `config.json` for upstream's code and for `load`."""
        text, vision = self.text(), self.vision()
        published: dict[str, Any] = {
            "architectures": ["TinyLlavaForConditionalGeneration"],
            "connector_type": CONNECTORS[0],
            "hidden_size": text.hidden_size,
            "ignore_index": IGNORE_INDEX,
            "image_aspect_ratio": "square",
            "image_token_index": IMAGE_TOKEN_INDEX,
            "model_type": "tinyllava",
            "vision_hidden_size": vision.hidden_size,
            "vocab_size": text.vocab_size,
        }
        published.update(copy.deepcopy(self.extra))
        chosen = {key: getattr(self, key) for key in MODEL_KEYS}
        published.update({key: chosen[key] for key in chosen if key not in OWN_KEYS or chosen[key] != MODEL_KEYS[key]})
        published["text_config"] = {"model_type": "qwen2", **copy.deepcopy(self.text_config)}
        published["vision_config"] = {"model_type": "siglip_vision_model", **copy.deepcopy(self.vision_config)}
        return dict(sorted(published.items()))

    def save(self, path: str | Path) -> None:
        """Write a `config.json`."""
        write_json(path, self.to_dict())


def _public(values: dict[str, Any], attention: str) -> dict[str, Any]:
    """Drop the bookkeeping keys that transformers stores in a nested configuration.

    `_attn_implementation_autoset` would make a reloaded model slower than a fresh one, and a stored type would override the
    precision that the caller requests.
    """
    dropped = {"model_type", "torch_dtype", "dtype", "attn_implementation", "transformers_version"}
    public = {key: value for key, value in values.items() if not key.startswith("_") and key not in dropped}
    return public | {"attn_implementation": attention}
