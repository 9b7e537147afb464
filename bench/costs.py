"""FLOPs and bytes of a GRPO step, from sizes alone: what a schedule costs, and what the hardware would allow.

FLOPs are counted as torch's flop counter counts them: two for a multiplication and addition, matrix products and attention
only, and attention over whole squares although half of a causal one is masked. Bytes are those that no kernel can avoid:
weights once a pass, keys and values, logits once out and once in, the optimizer's tensors. What layers pass to each other is
left out, so a phase cannot be faster than its floor.

Letters: B questions on this device, G rollouts of a question, L prompt positions, T tokens of a completion, S = L + G T, D width,
V vocabulary, F frames, P patches of a frame.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bench.sizes import Size
from vidreason.models.tinyllava.configuration import TinyLlavaConfig

BF16, FP32 = 2, 4
SCHEDULES = ("naive", "ours")
PHASES = ("encode", "prefill", "decode", "policy", "reference", "backward", "optimizer")
"""Of a step. Our side connects what was encoded where it is needed, in `prefill`, `policy` and `reference`."""
MEASURED_PHASES = {
    "encode": ("encode",),
    "sample": ("prefill", "decode"),
    "score": ("policy", "reference"),
    "backward": ("backward",),
    "update": (),
}
"""Phase as it is measured -> phases of the floor."""
PARTS = {"reference": "score"}
"""Phase of our training -> the phase that it is counted to, since the naive side does not tell them apart."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU's public figures.

    Attributes:
        name: Its name.
        flops: Dense bf16 FLOP/s.
        bandwidth: Bytes/s of its memory.
    """

    name: str
    flops: float
    bandwidth: float


CARDS = (
    Card("A100 40 GB", 312e12, 1.555e12),
    Card("A100 80 GB", 312e12, 2.039e12),
    Card("H100 80 GB", 989e12, 3.35e12),
)
"""Source: NVIDIA's data sheets of the SXM boards."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What has to be done.

    Attributes:
        flops: Floating point operations.
        bytes: To and from the device's memory.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Cost":
        return Cost(times * self.flops, times * self.bytes)

    def seconds(self, card: Card) -> float:
        """Least time on a card: of computing or of moving bytes, whichever is longer."""
        return max(self.flops / card.flops, self.bytes / card.bandwidth)


class Model:
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


def step_costs(size: Size, schedule: str, recompute: bool | None = None) -> dict[str, Cost]:
    """Cost of every phase of a GRPO step on one device.

    Args:
        size: Model and shape.
        schedule: `naive` or `ours`.
        recompute: Whether the backward pass computes the forward pass again; None for the size's own choice.

    Returns:
        Phase -> cost, in the order of `PHASES`.

    Raises:
        ValueError: An unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r}; allowed: {', '.join(SCHEDULES)}")
    model, naive = Model(size.model), schedule == "naive"
    questions, group, prompt, completion = size.questions, size.rollouts, size.prompt, size.completion
    rows = questions * group
    tower, connector = model.tower(size.frames), model.connector(size.frames)
    # How often a clip is encoded and connected, a prompt is prefilled, and a decoding step reads the weights.
    prefills = rows if naive else questions
    encode = (tower + connector) * (3 * rows) if naive else tower * questions
    connected = Cost() if naive else connector * questions  # once for each of sampling, policy and reference
    prefill = model.language(prompt, prompt**2, 1) * prefills + connected
    prefill += Cost(0, model.cache(prefills * prompt))
    steps = completion - 1  # the first token comes from the prefill
    looked_at = rows * (steps * prompt + steps * (steps + 1) / 2)  # positions, over all steps
    one = model.language(0, 0, 0) * (steps * (rows if naive else 1))
    decode = one + Cost(
        model.language(rows * steps, looked_at, rows * steps).flops, model.cache(looked_at + rows * steps)
    )
    if naive:
        length = prompt + completion
        scored = model.language(group * length, group * length**2, group * length) * questions
    else:
        own = completion - 1  # nothing follows the last token
        pairs = prompt**2 + group * own * (prompt + own)
        scored = model.language(prompt + group * own, pairs, group * completion) * questions
    again = size.recompute if recompute is None else recompute
    backward = scored * (3 if again else 2) + connector * (2 * (rows if naive else questions))
    gradients = BF16 * model.trained_weights() * questions
    return {
        "encode": encode,
        "prefill": prefill,
        "decode": decode,
        "policy": scored + connected,
        "reference": scored + connected,
        "backward": backward + Cost(0, gradients),
        # AdamW in float32: weight, gradient and two moments in, weight and two moments out.
        "optimizer": Cost(14 * model.trained_weights(), 7 * FP32 * model.trained_weights()),
    }


def measured(phases: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the phases of `MEASURED_PHASES`, from all those of a step.

    Example:
        >>> measured({"score": 1.0, "reference": 0.5, "reward": 0.1})
        {'score': 1.5}
    """
    seconds: dict[str, float] = {}
    for name, own in phases.items():
        phase = PARTS.get(name, name)
        if phase in MEASURED_PHASES:
            seconds[phase] = seconds.get(phase, 0.0) + own
    return seconds


def total(costs: dict[str, Cost]) -> Cost:
    """Sum over all phases."""
    return sum(costs.values(), Cost())
