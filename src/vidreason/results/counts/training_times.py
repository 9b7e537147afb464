"""What the steps of every training cost: seconds by phase, tokens a second, memory."""

import math
from collections.abc import Sequence

from vidreason.artifacts.files import read_jsonl
from vidreason.records import StepTiming
from vidreason.results.number_format import Row, share
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import arm_and_seed

STEP, OTHER = "step", "other"
"""The whole step, and what of it is in no phase."""


def timing_table(inputs: ResultInputs) -> list[Row]:
    """A row for every phase of every training: mean seconds of a step, and their share of it."""
    rows, known = list[Row](), list(inputs.arms)
    by_training = {arm_and_seed(path): path for path in inputs.timing}
    for arm, seed in sorted(by_training, key=lambda key: (known.index(key[0]) if key[0] in known else len(known), key)):
        steps = read_jsonl(by_training[arm, seed], StepTiming)
        if not steps:
            continue
        head = {"arm": arm, "label": inputs.label(arm), "seed": seed, "steps": len(steps)}
        rows += [head | cells for cells in _phases(steps)]
    return rows


def _phases(steps: Sequence[StepTiming]) -> list[Row]:
    """The whole step first, then its phases in the order in which they were first seen, then the rest."""
    total = math.fsum(step.seconds for step in steps)
    names = list(dict.fromkeys(name for step in steps for name in step.phases))
    seconds = {name: math.fsum(step.phases.get(name, 0.0) for step in steps) for name in names}
    seconds = {STEP: total, **seconds, OTHER: max(0.0, total - math.fsum(seconds.values()))}
    return [
        {
            "phase": name,
            "seconds": f"{own / len(steps):.4f}",
            "share": share(own / total if total else None),
            **_rates(steps, name, own),
        }
        for name, own in seconds.items()
    ]


def _rates(steps: Sequence[StepTiming], phase: str, seconds: float) -> Row:
    """Tokens a second, where the phase makes tokens; memory and share of the peak of the whole step."""
    tokens = {
        "sample": sum(step.generated_tokens for step in steps),
        STEP: sum(step.trained_tokens for step in steps),
    }.get(phase)
    peak = max((step.peak_memory for step in steps if step.peak_memory is not None), default=None)
    shares = [step.peak_share for step in steps if step.peak_share is not None]
    whole = phase == STEP
    return {
        "tokens_per_second": f"{tokens / seconds:.1f}" if tokens and seconds else "",
        "peak_memory": peak if whole and peak is not None else "",
        "peak_share": share(math.fsum(shares) / len(shares) if whole and len(shares) == len(steps) else None),
    }
