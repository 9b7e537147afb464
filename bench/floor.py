"""FLOPs, bytes and memory of a GRPO step, from sizes alone: what a schedule costs, and what the hardware would allow.

`python -m bench.floor` prints the tables of FLOOR.md; with `--write` it puts them there.

FLOPs are counted as torch's flop counter does: two for a multiplication and addition, matrix products and attention alone, and
attention over whole squares although half of a causal one is masked. Bytes are those that no kernel can avoid: weights once
a pass, keys and values, logits once out and once in, the optimiser's tensors. What layers hand to each other is left out, so
a phase cannot be faster than its floor.

Letters: B questions on this device, G rollouts of a question, L prompt positions, T tokens of a completion, S = L + G T, D width,
V vocabulary, F frames, P patches of a frame.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.sizes import Size, paper
from vidreason.engine.decoder import room_for
from vidreason.models.tinyllava import TinyLlavaConfig
from vidreason.rl.losses import LOGITS_AT_ONCE
from vidreason.training import optimizer as update

PAGE = Path(__file__).with_name("FLOOR.md")
BEGIN, END = "<!-- floor: {} -->", "<!-- /floor -->"
BF16, FP32 = 2, 4
GIB = 2**30
HELD = (
    "weights",
    "bf16 copies",
    "gradients",
    "optimiser",
    "reference",
    "cache",
    "logits",
    "activations",
    "update",
    "peak",
)
OVERHEAD = 2 * GIB
"""Of CUDA, NCCL, libraries and recorded graphs."""
USABLE = 0.92
"""Share of the rest of a card that fragments leave."""
BUCKET = 500_000_000
"""Gradients that DeepSpeed collects before it reduces them, by its default; all of it is laid out for a backward pass."""
SCHEDULES = ("naive", "ours")
PHASES = ("encode", "prefill", "decode", "policy", "reference", "backward", "optimiser")
"""Of a step. Our side connects what was encoded where it is needed, in `prefill`, `policy` and `reference`."""
MEASURED = {
    "encode": ("encode",),
    "sample": ("prefill", "decode"),
    "score": ("policy", "reference"),
    "backward": ("backward",),
    "update": (),
}
"""Phase as it is measured -> phases of the floor."""


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
        """Read them out of a configuration."""
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
        self.seen = self.patches - (config.vision_feature_select_strategy == "patch")
        self.patch_values = 3 * int(vision.patch_size) ** 2
        self.groups, self.queries = config.group, config.queries
        self.resampler_layers = config.num_resampler_layers
        self.resampler_inner = config.resampler_heads * config.resampler_head_width

    def tower_weights(self) -> int:
        """Of the vision tower, the pooling head that nothing uses included."""
        wide, inner = self.vision_width, self.vision_inner
        block = 4 * (wide * wide + wide) + (2 * wide * inner + inner + wide) + 4 * wide
        head = wide + 4 * (wide * wide + wide) + 2 * wide + (2 * wide * inner + inner + wide)
        return self.patch_values * wide + wide + self.patches * wide + self.vision_layers * block + 2 * wide + head

    def connector_weights(self) -> int:
        """Of the resampler."""
        wide, inner = self.width, self.resampler_inner
        block = 4 * wide + 4 * wide * inner + 2 * wide + 8 * wide * wide
        read_in = self.vision_width * wide + wide
        return read_in + self.queries // self.groups * wide + self.resampler_layers * block + 2 * wide

    def layer_weights(self) -> int:
        """Of the language model's matrices that every token passes, output embedding apart."""
        return self.layers * (2 * self.width * self.attention + 2 * self.width * self.kv + 3 * self.width * self.inner)

    def language_weights(self) -> int:
        """Of the language model, its tied embedding once."""
        vectors = self.layers * (self.attention + 2 * self.kv + 2 * self.width) + self.width
        return self.layer_weights() + vectors + self.vocabulary * self.width

    def trained_weights(self) -> int:
        """Connector and language model; the tower is frozen."""
        return self.connector_weights() + self.language_weights()

    def weights(self) -> int:
        """All of them."""
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
        wide, inner, tokens = self.width, self.resampler_inner, frames * self.seen
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
    questions, group, prompt, told = size.questions, size.rollouts, size.prompt, size.completion
    rows = questions * group
    tower, connector = model.tower(size.frames), model.connector(size.frames)
    # How often a clip is encoded and connected, a prompt is prefilled, and a decoding step reads the weights.
    prefills = rows if naive else questions
    encode = (tower + connector) * (3 * rows) if naive else tower * questions
    connected = Cost() if naive else connector * questions  # once for each of sampling, policy and reference
    prefill = model.language(prompt, prompt**2, 1) * prefills + connected
    prefill += Cost(0, model.cache(prefills * prompt))
    steps = told - 1  # the first token comes from the prefill
    looked_at = rows * (steps * prompt + steps * (steps + 1) / 2)  # positions, over all steps
    one = model.language(0, 0, 0) * (steps * (rows if naive else 1))
    decode = one + Cost(
        model.language(rows * steps, looked_at, rows * steps).flops, model.cache(looked_at + rows * steps)
    )
    if naive:
        length = prompt + told
        scored = model.language(group * length, group * length**2, group * length) * questions
    else:
        own = told - 1  # nothing follows the last token
        pairs = prompt**2 + group * own * (prompt + own)
        scored = model.language(prompt + group * own, pairs, group * told) * questions
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
        "optimiser": Cost(14 * model.trained_weights(), 7 * FP32 * model.trained_weights()),
    }


def total(costs: dict[str, Cost]) -> Cost:
    """All phases together."""
    return sum(costs.values(), Cost())


@dataclasses.dataclass(frozen=True)
class Setting:
    """How weights and optimiser are kept.

    Attributes:
        name: In words.
        zero: DeepSpeed's stage; 0 for plain AdamW with bf16 autocast over float32 weights.
        ranks: Devices that share a step.
        recompute: Gradient checkpointing.
        chunked: Logits a chunk at a time.
        offload: Optimiser and float32 weights in the host's memory (with `zero`).
        offload_reference: The reference in the host's memory between its passes.
    """

    name: str
    zero: int = 0
    ranks: int = 1
    recompute: bool = True
    chunked: bool = True
    offload: bool = False
    offload_reference: bool = False


SETTINGS = (
    Setting("plain AdamW, autocast", recompute=False, chunked=False),
    Setting("plain AdamW, autocast", chunked=False),
    Setting("plain AdamW, autocast"),
    Setting("plain AdamW, autocast", offload_reference=True),
    Setting("ZeRO-2, alone", zero=2),
    Setting("ZeRO-2, alone", zero=2, offload=True),
    Setting("ZeRO-2, alone", zero=2, offload=True, offload_reference=True),
    Setting("ZeRO-1 over 8", zero=1, ranks=8),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, recompute=False, chunked=False),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, recompute=False),
    Setting("ZeRO-2 over 8", zero=2, ranks=8),
    Setting("ZeRO-2 over 8", zero=2, ranks=8, offload=True, offload_reference=True),
    Setting("ZeRO-3 over 8", zero=3, ranks=8),
    Setting("ZeRO-3 over 8", zero=3, ranks=8, offload=True, offload_reference=True),
)


def memory(size: Size, setting: Setting) -> dict[str, float]:
    """Bytes on one device, by what they hold, with our schedule and one group learnt from at a time.

    Args:
        size: Model and shape.
        setting: How weights and optimiser are kept.

    Returns:
        Name -> bytes, in the order of `HELD`; `update` is what the optimiser's step needs beside weights, gradients and its
        own state. The peak is what stays, and the greatest of sampling, the reference's pass, learning and the update.
        Keys and values stay where decoding is recorded, which ZeRO-3 prevents.
    """
    model, zero = Model(size.model), setting.zero
    trained, everything = model.trained_weights(), model.weights()
    share = setting.ranks
    if zero:
        weights = BF16 * (model.tower_weights() + trained / (share if zero == 3 else 1))
        gradients = BF16 * trained / (share if zero >= 2 else 1)
        optimiser = 0.0 if setting.offload else 12 * trained / share  # float32 weight and two moments
        if setting.offload and zero == 2 and share == 1:
            gradients = 0.0  # they go to the host as they come
        reference = BF16 * trained
        sampler = copies = 0.0
        # A group's gradients in one piece in bf16, and their float32 copy; then the gradient in float32 and the root of the
        # second moment, when those in bf16 are gone. In the host's memory where the optimiser is.
        group = min(trained, update.WEIGHTS_A_GROUP)
        updating = 0.0 if setting.offload else (BF16 + FP32) * group / share
    else:
        updating = 0.0  # AdamW in one kernel
        weights, gradients, optimiser = FP32 * everything, FP32 * trained, 2 * FP32 * trained
        sampler = BF16 * trained  # matrices; what is no matrix is the policy's own
        reference = BF16 * trained + FP32 * model.vocabulary * model.width  # its embedding stays in float32
        copies = BF16 * trained  # autocast's, kept from the policy's pass to the end of the step
    # Whole while sampling, as `whole_weights` lends them; a layer at a time while learning.
    lent = BF16 * trained * (1 - 1 / share) if zero == 3 else 0.0
    # Under ZeRO-3 all logits are computed at once (`vidreason.rl.losses.chunked_log_probs`).
    held = step_memory(size, "ours", setting.recompute, chunked_logits(setting))
    cache, logits, activations = held["cache"], held["logits"], held["activations"]
    resident = weights + sampler + optimiser + (0.0 if setting.offload_reference else reference)
    resident += cache if zero < 3 else 0.0
    # The reference's own pass comes before the policy's, when there are no activations yet.
    sampling, scoring = lent + (cache if zero == 3 else 0.0), reference if setting.offload_reference else 0.0
    learning = copies + gradients + activations + logits + (BF16 * BUCKET if zero else 0)
    return {
        "weights": weights,
        "bf16 copies": sampler + copies,
        "gradients": gradients,
        "optimiser": optimiser,
        "reference": reference,
        "cache": cache,
        "logits": logits,
        "activations": activations,
        "update": updating,
        "peak": resident + max(sampling, scoring, learning, gradients + updating),
    }


def chunked_logits(setting: Setting) -> bool:
    """Whether logits are computed a chunk at a time."""
    return setting.chunked and setting.zero < 3


def step_memory(size: Size, schedule: str, recompute: bool, chunked: bool = True) -> dict[str, float]:
    """Bytes that a schedule itself needs, beside weights and optimiser; one group is learnt from at a time.

    Args:
        size: Model and shape.
        schedule: `naive` or `ours`.
        recompute: Gradient checkpointing.
        chunked: Logits a chunk at a time; the naive schedule does not.

    Returns:
        `cache` while sampling (ours as a recorded decoder lays it out), and `logits` and `activations` in the backward pass,
        attention without flash-attn.
    """
    model, group, length = Model(size.model), size.rollouts, size.prompt + size.completion
    told = group * size.completion * model.vocabulary
    if schedule == "naive":
        # bf16 at every position, float32 at the completion's; and the gradients of both.
        logits = 2 * BF16 * group * length * model.vocabulary + 2 * FP32 * told
        rows, positions, tokens, repeated = 1, length, group * length, 0.0
    else:
        logits = 2 * (BF16 + FP32) * (min(told, LOGITS_AT_ONCE) if chunked else told)
        rows, positions = room_for(size.questions * group, length)
        tokens = size.prompt + group * (size.completion - 1)
        repeated = 2.0 * BF16 * group * (length - 1) * model.attention
    return {
        "cache": model.cache(rows * positions),
        "logits": float(logits),
        "activations": learning_activations(model, tokens, recompute, repeated),
    }


def learning_activations(model: Model, tokens: int, recompute: bool, repeated: float = 0.0) -> float:
    """Bytes that the language model's layers keep for the backward pass, in bf16 with float32 norms.

    Args:
        model: The model.
        tokens: Tokens that pass together.
        recompute: Keep every layer's input alone, and one layer at a time in full.
        repeated: What a layer keeps besides, whatever its tokens: the keys and values of the prompt with each completion,
            once for every head of queries.
    """
    layer = tokens * layer_activations(model) + repeated
    return float(model.layers * tokens * BF16 * model.width + layer if recompute else model.layers * layer)


def layer_activations(model: Model) -> float:
    """Bytes that one layer keeps for one token.

    Two norms: float32 input and normalised bf16, twice. Attention: queries and keys before and after rotation, values, the
    result. Feed-forward: gate, its SiLU, up and product. Residual sums keep nothing.
    """
    norms = 2 * (FP32 + 2 * BF16) * model.width
    attention = BF16 * (3 * model.attention + 3 * model.kv)
    return norms + attention + BF16 * 4 * model.inner


def main() -> None:
    """Print the tables, or put them into FLOOR.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into FLOOR.md")
    found = tables(paper())
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
        return
    for name, table in found.items():
        print(f"{name}\n\n{table}\n")


def filled(page: str, found: dict[str, str]) -> str:
    """A page with the tables between their marks.

    Raises:
        ValueError: A mark is missing.
    """
    for name, table in found.items():
        begin = BEGIN.format(name)
        if begin not in page or END not in page.split(begin, 1)[1]:
            raise ValueError(f"{PAGE.name}: no {begin} with an {END} after it")
        before, rest = page.split(begin, 1)
        page = f"{before}{begin}\n\n{table}\n\n{END}{rest.split(END, 1)[1]}"
    return page


def tables(size: Size) -> dict[str, str]:
    """The tables of FLOOR.md, by name."""
    return {
        "model": _model_table(size),
        "costs": _cost_table(size),
        "seconds": _seconds_table(size),
        "alone": _alone_table(size),
        "held": _held_table(size),
        "memory": _memory_table(size),
    }


def _model_table(size: Size) -> str:
    model = Model(size.model)
    rows = [
        ("vision tower", model.tower_weights(), model.tower(size.frames).flops, "a clip"),
        ("connector", model.connector_weights(), model.connector(size.frames).flops, "a clip"),
        (
            "language model",
            model.language_weights(),
            model.language(1, size.prompt, 1).flops,
            "a token after the prompt",
        ),
    ]
    lines = [(name, f"{count / 1e6:,.1f} M", f"{flops / 1e9:,.1f} GFLOP {of}") for name, count, flops, of in rows]
    return table(("part", "weights", "one forward pass"), [*lines, ("all", f"{model.weights() / 1e6:,.1f} M", "")])


def _cost_table(size: Size) -> str:
    naive, ours = (step_costs(size, schedule) for schedule in SCHEDULES)
    lines = []
    for phase, one, other in [
        *((phase, naive[phase], ours[phase]) for phase in PHASES),
        ("**step**", total(naive), total(ours)),
    ]:
        ratio = f"{one.flops / other.flops:.1f}" if phase != "decode" else f"{one.bytes / other.bytes:.1f} (bytes)"
        lines.append((phase, _tera(one.flops), _tera(other.flops), ratio, _tera(one.bytes), _tera(other.bytes)))
    heading = ("phase", "TFLOP naive", "TFLOP ours", "ratio", "TB naive", "TB ours")
    return table(heading, lines)


def _seconds_table(size: Size) -> str:
    costs = {schedule: step_costs(size, schedule) for schedule in SCHEDULES}
    heading = ["phase", *(f"{card.name}, {schedule}" for card in CARDS for schedule in SCHEDULES)]
    lines = [
        (phase, *(f"{costs[schedule][phase].seconds(card):.2f}" for card in CARDS for schedule in SCHEDULES))
        for phase in PHASES
    ]
    sums = [sum(cost.seconds(card) for cost in costs[schedule].values()) for card in CARDS for schedule in SCHEDULES]
    return table(heading, [*lines, ("**step**", *(f"**{value:.2f}**" for value in sums))])


def _alone_table(size: Size) -> str:
    """A step of 8 questions on one card."""
    whole = dataclasses.replace(size, questions=8)
    costs = {schedule: step_costs(whole, schedule) for schedule in SCHEDULES}
    cards = CARDS[1:]
    heading = ["phase", *(f"{card.name}, {schedule}" for card in cards for schedule in SCHEDULES)]
    cells = {
        phase: [costs[schedule][phase].seconds(card) for card in cards for schedule in SCHEDULES] for phase in PHASES
    }
    lines = [(phase, *(f"{value:.2f}" for value in values)) for phase, values in cells.items()]
    sums = [f"**{sum(values):.2f}**" for values in zip(*cells.values(), strict=True)]
    return table(heading, [*lines, ("**step**", *sums)])


def _held_table(size: Size) -> str:
    """What the schedules need beside weights and optimiser."""
    cases = [
        ("naive", "no", step_memory(size, "naive", recompute=False)),
        ("naive", "yes", step_memory(size, "naive", recompute=True)),
        ("ours, whole logits", "no", step_memory(size, "ours", recompute=False, chunked=False)),
        ("ours", "no", step_memory(size, "ours", recompute=False)),
        ("ours", "yes", step_memory(size, "ours", recompute=True)),
    ]
    names = ("cache", "logits", "activations")
    lines = [(name, again, *(f"{held[key] / GIB:.2f}" for key in names)) for name, again, held in cases]
    return table(("schedule", "recompute", "keys and values", "logits", "activations"), lines)


def _memory_table(size: Size) -> str:
    lines = []
    for setting in SETTINGS:
        found = memory(size, setting)
        fits = [f"{room:.0f}" for room in (24, 40, 80) if found["peak"] < USABLE * (room * GIB - OVERHEAD)]
        lines.append(
            (
                setting.name,
                "yes" if setting.recompute else "no",
                "yes" if chunked_logits(setting) else "no",
                " and ".join(
                    name
                    for name, on in (("optimiser", setting.offload), ("reference", setting.offload_reference))
                    if on
                )
                or "nothing",
                *(f"{found[column] / GIB:.1f}" for column in HELD),
                ", ".join(fits) or "none",
            )
        )
    return table(("setting", "recompute", "chunked logits", "on the host", *HELD, "fits GiB"), lines)


def _tera(value: float) -> str:
    return f"{value / 1e12:,.2f}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
