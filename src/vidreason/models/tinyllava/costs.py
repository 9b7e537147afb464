"""What the passes of a TinyLLaVA-Video model cost, from its sizes alone; see `vidreason.models.costs`.

Letters: D width, V vocabulary, F frames, P patches of a frame.
"""

from typing import Any

from vidreason.models.costs import BF16, Cost
from vidreason.models.tinyllava.configuration import TinyLlavaConfig


class ModelCosts:
    """The numbers of one model that decide what it costs."""

    def __init__(self, config: TinyLlavaConfig) -> None:
        """Take the sizes from a configuration."""
        text: Any = config.text()
        vision: Any = config.vision()
        self.width, self.layers = int(text.hidden_size), int(text.num_hidden_layers)
        self.inner, self.vocabulary = int(text.intermediate_size), int(text.vocab_size)
        heads, kv_heads = int(text.num_attention_heads), int(text.num_key_value_heads)
        self.attention = self.width // heads * heads  # width of all query heads
        self.kv = self.width // heads * kv_heads  # of all key heads
        self.heads = heads
        self.vision_width, self.vision_inner = int(vision.hidden_size), int(vision.intermediate_size)
        self.vision_layers = int(vision.num_hidden_layers)
        layer = config.vision_feature_layer
        self.vision_used = layer if layer >= 0 else self.vision_layers + 1 + layer
        self.patches = (int(vision.image_size) // int(vision.patch_size)) ** 2
        self.video_patches = self.patches - (config.vision_feature_select_strategy == "patch")
        self.patch_values = 3 * int(vision.patch_size) ** 2
        self.groups, self.queries = config.group, config.queries
        self.resampler_layers = config.num_resampler_layers
        self.resampler_inner = config.resampler_heads * config.resampler_head_width

    def tower_weights(self) -> int:
        """Weights of the vision tower, with the pooling head that nothing uses."""
        wide, inner = self.vision_width, self.vision_inner
        block = 4 * (wide * wide + wide) + (2 * wide * inner + inner + wide) + 4 * wide
        head = wide + 4 * (wide * wide + wide) + 2 * wide + (2 * wide * inner + inner + wide)
        return self.patch_values * wide + wide + self.patches * wide + self.vision_layers * block + 2 * wide + head

    def connector_weights(self) -> int:
        """Weights of the resampler."""
        wide, inner = self.width, self.resampler_inner
        block = 4 * wide + 4 * wide * inner + 2 * wide + 8 * wide * wide
        read_in = self.vision_width * wide + wide
        return read_in + self.queries // self.groups * wide + self.resampler_layers * block + 2 * wide

    def layer_weights(self) -> int:
        """Weights of the language model's matrices that every token passes, without the output embedding."""
        return self.layers * (2 * self.width * self.attention + 2 * self.width * self.kv + 3 * self.width * self.inner)

    def language_weights(self) -> int:
        """Weights of the language model, its tied embedding counted once."""
        vectors = self.layers * (self.attention + 2 * self.kv + 2 * self.width) + self.width
        return self.layer_weights() + vectors + self.vocabulary * self.width

    def trained_weights(self) -> int:
        """Weights of connector and language model; the tower is frozen."""
        return self.connector_weights() + self.language_weights()

    def weights(self) -> int:
        """Weights of the whole model."""
        return self.tower_weights() + self.trained_weights()

    def tower(self, frames: int) -> Cost:
        """The tower's pass over the frames of a clip, up to the layer that is used."""
        wide, inner = self.vision_width, self.vision_inner
        block = 2 * self.patches * (4 * wide * wide + 2 * wide * inner) + 4 * self.patches**2 * wide
        flops = frames * (2 * self.patches * self.patch_values * wide + self.vision_used * block)
        used = self.tower_weights() * self.vision_used / self.vision_layers
        return Cost(flops, BF16 * used)

    def connector(self, frames: int) -> Cost:
        """The connector's pass over a clip."""
        wide, inner, tokens = self.width, self.resampler_inner, frames * self.video_patches
        per_group = -(-tokens // self.groups) + self.queries // self.groups
        block = 2 * self.groups * per_group * wide * 2 * inner  # keys and values
        block += 2 * self.queries * 2 * wide * inner  # queries and output
        block += 4 * self.queries * per_group * inner  # attention
        block += 2 * self.queries * 8 * wide * wide  # feed-forward
        flops = 2 * tokens * self.vision_width * wide + self.resampler_layers * block
        return Cost(flops, BF16 * self.connector_weights())

    def language(self, tokens: float, pairs: float, logits: float) -> Cost:
        """A pass of the language model.

        Args:
            tokens: Tokens that pass.
            pairs: Pairs of a query and a key.
            logits: Tokens that get logits.
        """
        flops = 2 * tokens * self.layer_weights() + 4 * self.layers * self.attention * pairs
        flops += 2 * logits * self.vocabulary * self.width
        moved = BF16 * (self.layer_weights() + self.vocabulary * self.width) + 2 * BF16 * logits * self.vocabulary
        return Cost(flops, moved)

    def cache(self, positions: float) -> float:
        """Bytes of keys and values in bf16."""
        return BF16 * 2 * self.layers * self.kv * positions
