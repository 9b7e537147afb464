"""Decoding at one size: milliseconds a token with CUDA graphs and without, and which attention kernels run.

`python -m bench.gpu_decode paper --rows 64 --tokens 300` also compares the tokens of both ways. Without a GPU nothing is recorded,
so both ways are the same.
"""

import argparse
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import torch

from bench.machine import THREADS
from bench.sizes import SIZES
from bench.workload import Workload, build
from vidreason.engine import decoder, generation
from vidreason.engine.batch_inference import complete
from vidreason.engine.features import clips_of, read_clips
from vidreason.engine.generation import Decoding
from vidreason.engine.prompts import prompts_of
from vidreason.models.base import VideoLM

GOAL, GOAL_ROWS = 5_700, 64
"""Tokens per second at the paper's size on one H100, and the number of rows that are decoded together for it."""
KERNELS = ("flash", "fmha", "sdpa", "efficient", "cudnn")
"""Parts of the names of attention kernels."""
NAMED = 20
"""Maximum number of kernels that are listed."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one way of decoding gave, and how long it took.

    Attributes:
        ids: int64 [rows, tokens].
        seconds: Of the second time, in which nothing is recorded any more.
        first: Seconds of the first time.
        repeats: Whether the second time gave the same tokens.
    """

    ids: torch.Tensor
    seconds: float
    first: float
    repeats: bool


def plain_decoders() -> AbstractContextManager[object]:
    """Decode without CUDA graphs inside."""

    def plain(model: VideoLM, rows: int, positions: int) -> decoder.Decoder:
        return decoder.Decoder(model, rows, positions, cuda_graph=False)

    return mock.patch.object(generation, "decoder_for", plain)


def answers(work: Workload, tokens: int) -> torch.Tensor:
    """Greedy answers to all questions of the workload, encoding included: int64 [rows, tokens]."""
    prompts = prompts_of(work.policy, work.questions, "reason", training=True)
    pixels = read_clips(work.store, clips_of(work.questions))
    return complete(work.policy, work.questions, prompts, pixels, Decoding(tokens, 0.0)).ids.cpu()


def answer_twice(work: Workload, tokens: int) -> Measured:
    """Answer twice and time each."""
    ids, seconds = [], []
    for _ in range(2):
        _wait()
        began = time.perf_counter()
        ids.append(answers(work, tokens))
        _wait()
        seconds.append(time.perf_counter() - began)
    return Measured(ids[1], seconds[1], seconds[0], torch.equal(*ids))


def token_seconds(work: Workload, tokens: int, whole: float) -> float:
    """Seconds of a decoded token of all rows, encoding and prefill left out: from answers of two lengths."""
    if tokens < 2:
        return whole
    return max(whole - answer_twice(work, 1).seconds, 1e-9) / (tokens - 1)


def kernels(work: Workload) -> list[str]:
    """Names of the attention kernels; empty on the CPU."""
    if not torch.cuda.is_available():
        return []
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        answers(work, 8)
    names = {event.key for event in profiler.key_averages()}
    return sorted(name for name in names if any(part in name.lower() for part in KERNELS))[:NAMED]


def measure(work: Workload, tokens: int) -> Iterator[str]:
    """Measure both ways.

    Yields:
        Lines of results, as they come.
    """
    rows, results = len(work.questions), {}
    ways: dict[str, AbstractContextManager[object]] = {"recorded": contextlib.nullcontext(), "plain": plain_decoders()}
    for way, block in ways.items():
        with block:
            results[way] = result = answer_twice(work, tokens)
            each = token_seconds(work, tokens, result.seconds)
        yield (
            f"{way}: {1e3 * each:.2f} ms a token of {rows} rows, {rows / each:,.0f} tokens/s decoded; {result.seconds:.2f} s with "
            f"encoding and prefill, {result.first:.2f} s the first time; same tokens twice: {result.repeats}"
        )
        if way == "recorded":
            fits = work.size.name == "paper" and rows == GOAL_ROWS
            yield (
                f"goal: at least {GOAL:,} tokens/s at {GOAL_ROWS} rows of the paper's size on one H100"
                + ("" if fits else f"; this is size {work.size.name} at {rows} rows")
            )
    alike = results["recorded"].ids == results["plain"].ids
    yield f"recorded and plain: {alike.float().mean():.2%} of tokens agree, {int(alike.all(dim=1).sum())} of {rows} rows wholly"
    yield f"attention kernels: {', '.join(kernels(work)) or 'those of the CPU'}"


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--rows", type=int, default=GOAL_ROWS)
    parser.add_argument("--tokens", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = dataclasses.replace(SIZES[arguments.size](), dtype="bfloat16")
    with tempfile.TemporaryDirectory(prefix="vidreason-gpu-") as folder:
        work = build(size, Path(folder), arguments.rows, device)
        for line in measure(work, arguments.tokens):
            print(line, flush=True)


if __name__ == "__main__":
    main()
