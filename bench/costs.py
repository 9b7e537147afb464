"""FLOPs and bytes of a GRPO step, from sizes alone: what a schedule costs, and what the hardware would allow.

FLOPs are counted as torch's flop counter counts them: two for a multiplication and addition, matrix products and attention
only, and attention over whole squares although half of a causal one is masked. Bytes are those that no kernel can avoid:
weights once a pass, keys and values, logits once out and once in, the optimizer's tensors. What layers pass to each other is
left out, so a phase cannot be faster than its floor.

Letters: B questions on this device, G rollouts of a question, L prompt positions, T tokens of a completion, S = L + G T, D width,
V vocabulary, F frames, P patches of a frame.
"""

from collections.abc import Mapping

from bench.sizes import Size
from vidreason.models.costs import BF16, FP32, Cost
from vidreason.models.tinyllava.costs import ModelCosts as Model

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
