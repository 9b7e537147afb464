"""GRPO steps of one size as training takes them: seconds and memory by phase, graphs recorded, goals beside what was measured.

`python -m bench.gpu_step paper --questions 8 --steps 3`, on the GPU where there is one. From the third step on rows end one
after the other, as real answers do, so that shapes come that were not recorded before.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench.costs import MEASURED_PHASES, measured, step_costs
from bench.machine import THREADS, peak_flops
from bench.sizes import SIZES, Size
from bench.work import make_optimizer
from bench.workload import Workload, build
from vidreason.config.optimization import DeepSpeed
from vidreason.config.optimization import Optimizer as OptimizerSettings
from vidreason.engine import decoder, generation
from vidreason.engine.profiling import profile, span
from vidreason.training.distributed import Ranks, ending_together, start_ranks
from vidreason.training.optimizer import DeepSpeedOptimizer, Optimizer

GIB = 2**30
ROLLOUT, LEARNING = 0.10, 0.30
"""Goals at the paper's size on one H100: GPU-seconds a rollout at most, learning's share of the card's peak at least."""
ENDS_FROM = 2
"""First step, from 0, in which rows end before the limit."""


class Endings:
    """Inserts end tokens: once active, one row ends every few tokens."""

    def __init__(self, end: int, rows: int, tokens: int) -> None:
        """Nothing ends before `active` is set.

        Args:
            end: Id of the end of sequence.
            rows: Rows of a step.
            tokens: Tokens of a completion.
        """
        self.end, self.every, self.active, self._tokens = end, max(1, tokens // (rows + 2)), False, 0

    def __call__(self, token: torch.Tensor) -> torch.Tensor:
        """The drawn tokens, with an end token in the first row when its turn has come."""
        self._tokens += 1
        if self.active and self._tokens % self.every == 0:
            token = token.clone()
            token[0] = self.end
        return token


def ends_inserted(endings: Endings) -> AbstractContextManager[object]:
    """Within the block, generation passes the tokens that it draws through `endings`."""
    choose_tokens = generation.choose_tokens

    def choose(*arguments: Any) -> torch.Tensor:
        return endings(choose_tokens(*arguments))

    return mock.patch.object(generation, "choose_tokens", choose)


def sized(name: str, questions: int, tokens: int | None) -> Size:
    """A size as the shipped configuration trains it: weights in bf16, activations recomputed."""
    size = SIZES[name]()
    return dataclasses.replace(
        size, questions=questions, completion=tokens or size.completion, dtype="bfloat16", recompute=True
    )


def steps_of(size: Size, count: int, ranks: Ranks, plain: bool, device: torch.device) -> Iterator[dict[str, Any]]:
    """Take steps.

    Args:
        size: Model and shape.
        count: Number of steps.
        ranks: This process.
        plain: AdamW by itself in place of DeepSpeed.
        device: Where the models are.

    Yields:
        A row a step: `seconds`, `phases`, `memory` (moment -> bytes allocated at most), `graphs`, and what training logs.
    """
    with tempfile.TemporaryDirectory(prefix="vidreason-gpu-") as folder:
        work = build(size, Path(folder), size.questions, device)
        optimizer: Optimizer = (
            make_optimizer(work) if plain else DeepSpeedOptimizer(work.policy, as_shipped(work), ranks)
        )
        endings = Endings(work.end, size.questions * size.rollouts, size.completion)
        with ends_inserted(endings):
            for step in range(count):
                endings.active = step >= ENDS_FROM
                yield _one_step(work.with_settings(micro_batch=1, ranks=ranks), optimizer, step)


def as_shipped(work: Workload) -> OptimizerSettings:
    """The optimizer of the shipped configuration: bf16 and DeepSpeed."""
    deepspeed = DeepSpeed(zero_stage=2, offload_optimizer=False)
    return work.settings.optimizer.model_copy(update={"precision": "bf16", "deepspeed": deepspeed})


def _one_step(work: Workload, optimizer: Optimizer, step: int) -> dict[str, Any]:
    memory: dict[str, int] = {}
    forget_memory()
    began = time.perf_counter()
    with profile() as phases:
        ((loss, row),) = work.trainer.step(step, work.batch, optimizer.backward)
        memory["sampled and learned"] = most_memory()
        with span("update"):
            norm = optimizer.step(1e-6)
    memory["updated"] = most_memory()
    seconds = time.perf_counter() - began
    kept = decoder._decoders.get(work.policy)
    graphs = sorted(kept._graphs) if kept else []
    return {
        "seconds": seconds,
        "phases": measured(phases),
        "memory": memory,
        "graphs": graphs,
        "loss": loss,
        "norm": norm,
        **row,
    }


def forget_memory() -> None:
    """Let the peak of memory start anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def most_memory() -> int:
    """Most bytes of the device allocated since `forget_memory`, after which the peak starts anew; 0 on the CPU."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    forget_memory()
    return peak


def described(size: Size, step: int, row: dict[str, Any]) -> str:
    """One line about a step."""
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in row["phases"].items())
    held = ", ".join(f"{name} {held / GIB:.1f}" for name, held in row["memory"].items())
    return (
        f"step {step}: {row['seconds']:.2f} s ({phases}); GiB at most: {held}; loss {row['loss']:.5f}, gradient norm "
        f"{row['norm']:.4f}, {row['tokens']:.0f} tokens an answer; graphs (rows, positions): {row['graphs'] or 'none'}"
    )


def goals(size: Size, row: dict[str, Any], peak: float) -> list[str]:
    """Results of a step in which all completions have their full length, beside the goals."""
    per_rollout = row["seconds"] / (size.questions * size.rollouts)
    costs = step_costs(size, "ours")
    flops = sum(costs[name].flops for part in ("score", "backward") for name in MEASURED_PHASES[part])
    share = flops / (row["phases"]["score"] + row["phases"]["backward"]) / peak
    comparable = "" if size.name == "paper" else f" (at the paper's size on one H100; this is size {size.name})"
    return [
        f"GPU-seconds a rollout: {per_rollout:.3f}; goal: at most {ROLLOUT:.2f}{comparable}",
        f"learning: {share:.0%} of the {peak / 1e12:,.1f} TFLOP/s of large products; goal: at least {LEARNING:.0%}{comparable}",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--questions", type=int, default=1, help="questions a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tokens", type=int, help="tokens of a completion; default: the size's own")
    parser.add_argument("--plain", action="store_true", help="AdamW by itself in place of DeepSpeed")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    ranks = start_ranks(deepspeed=not arguments.plain)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = sized(arguments.size, arguments.questions, arguments.tokens)
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{torch.cuda.get_device_name()}: {free / GIB:.1f} of {whole / GIB:.1f} GiB free", flush=True)
    peak, best = peak_flops(device, torch.bfloat16), None
    for step, row in enumerate(steps_of(size, arguments.steps, ranks, arguments.plain, device)):
        print(described(size, step, row), flush=True)
        if step < ENDS_FROM and (best is None or row["seconds"] < best["seconds"]):
            best = row
    if best:
        print("\n".join(goals(size, best, peak)), flush=True)


if __name__ == "__main__":
    with ending_together():
        main()
