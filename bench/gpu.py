"""Measure on one GPU what no CPU can show, and add it to `bench/GPU.md`: `make gpu`, or `bench/gpu.sh PIECE ...`.

A piece is one or several commands that end within ten minutes. One that lacks memory or a package is skipped and says so; one
that fails or takes too long is recorded as such, and the next one begins.
"""

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidreason.artifacts.provenance import commit

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).with_name("GPU.md")
HEAD = """# What was measured on GPUs

Written by `make gpu` (`bench/gpu.sh`); each piece adds a section. Goals, at the paper's sizes on one H100: at most 0.10
GPU-seconds a rollout, at least 5,700 tokens/s decoded at 64 rows, learning at 30% or more of the card's peak.
"""
LIMIT = 600
"""Seconds that no piece may take."""
ENDING = 10
"""Seconds between asking a piece to end and killing it."""
KEPT = 12_000
"""Characters kept of what a piece printed, from its end."""
VERSIONS = ("torch", "transformers", "deepspeed", "accelerate", "flash-attn")
FULL_MEMORY = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
ATTENTION = {"TORCH_CUDNN_SDPA_DEPRIORITIZED": "1"}
"""Lets torch choose flash or efficient attention before cuDNN's."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One process of a piece.

    Attributes:
        words: What follows `python -m`.
        environment: Variables it is given.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Something that is measured by itself.

    Attributes:
        proves: What its result says.
        commands: In this order; the next one begins even if one failed.
        seconds: Most that they take together.
        memory: GiB that the card must have.
        packages: Modules that must be there.
    """

    proves: str
    commands: tuple[Command, ...]
    seconds: int
    memory: int = 0
    packages: tuple[str, ...] = ()


def _module(*words: str, **environment: str) -> Command:
    return Command(words, environment)


UNIT = tuple(
    f"tests/unit/{name}.py"
    for name in ("engine/test_decoder", "models/test_packing", "engine/test_generation", "training/test_grpo")
)
BENCH_PACKAGES = ("av", "jsonschema", "yaml")
PIECES = {
    "tests": Piece(
        "Decoding with CUDA graphs gives the tokens of plain decoding; weights, half precision, packed attention and "
        "DeepSpeed beside graphs work on this card.",
        (_module("pytest", "-q", "tests/gpu"), _module("pytest", "-q", *UNIT)),
        480,
        packages=("pytest",),
    ),
    "deepspeed": Piece(
        "DeepSpeed beside CUDA graphs: six steps pass, and new shapes are recorded after the second, where rows begin to end.",
        (_module("bench.gpu_step", "medium", "--questions", "2", "--steps", "6"),),
        240,
        memory=8,
        packages=("deepspeed", *BENCH_PACKAGES),
    ),
    "decode": Piece(
        "Seconds a token with CUDA graphs and without, at the paper's size; whether both give the same tokens; which attention "
        "kernels run.",
        (_module("bench.gpu_decode", "paper", "--rows", "64", "--tokens", "300"),),
        420,
        memory=24,
        packages=BENCH_PACKAGES,
    ),
    "step": Piece(
        "The shipped GRPO step at the paper's size: seconds by phase, GPU-seconds a rollout, share of the card's peak, and "
        "the memory that each phase and the update take.",
        (
            _module("bench.gpu_step", "paper", "--questions", "8", "--steps", "3", **FULL_MEMORY),
            _module("bench.gpu_step", "paper", "--questions", "8", "--steps", "1", "--tokens", "512", **FULL_MEMORY),
        ),
        575,
        memory=70,
        packages=("deepspeed", *BENCH_PACKAGES),
    ),
    "attention": Piece(
        "Whether the attention kernels that torch chooses by itself are the better ones: score and backward with its choice, "
        "then with cuDNN's attention last.",
        (
            _module("bench.gpu_step", "paper", "--questions", "1", "--steps", "4"),
            _module("bench.gpu_step", "paper", "--questions", "1", "--steps", "4", **ATTENTION),
        ),
        575,
        memory=70,
        packages=("deepspeed", *BENCH_PACKAGES),
    ),
    "compare": Piece(
        "This schedule against the naive one at the sizes of RESULTS.md, on the GPU.",
        (
            _module(
                "bench.run", "--cuda", "--sizes", "demo", "medium", "--parts", "step", "evaluation", "--repeats", "1"
            ),
        ),
        575,
        memory=16,
        packages=BENCH_PACKAGES,
    ),
    "compare_paper": Piece(
        "This schedule against the naive one at the paper's size.",
        (_module("bench.run", "--cuda", "--sizes", "paper", "--parts", "step", "--repeats", "1"),),
        575,
        memory=70,
        packages=BENCH_PACKAGES,
    ),
}


def main() -> int:
    """Run pieces; the exit status is 0 when none failed and at least one was measured."""
    parser = argparse.ArgumentParser(prog="bench/gpu.sh", description=__doc__)
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=f"default: all of {', '.join(PIECES)}")
    parser.add_argument("--list", action="store_true", help="say what each piece proves, and end")
    parser.add_argument(
        "--cpu", action="store_true", help="the same at size demo on the CPU, which tests this program only"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"Markdown to add to; default {OUT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.pieces if name not in PIECES]:
        parser.error(f"{', '.join(unknown)}: no such piece; there are {', '.join(PIECES)}")
    if arguments.list:
        for name, piece in PIECES.items():
            print(f"{name}: {piece.proves} At most {piece.seconds} s, {piece.memory} GiB of GPU memory.")
        return 0
    memory = card_memory()
    if not arguments.cpu and memory is None:
        print(
            "make gpu: torch sees no CUDA device here, so nothing was measured; it takes an NVIDIA GPU and torch's CUDA build "
            "(pip install torch of the pinned version from PyTorch's CUDA index)",
            file=sys.stderr,
        )
        return 1
    outcomes = []
    for name in arguments.pieces or PIECES:
        lacks = skipped(PIECES[name], float("inf") if arguments.cpu else memory or 0.0)
        result = (lacks, "") if lacks else run(PIECES[name], arguments.cpu)
        outcomes.append(result[0])
        add(arguments.out, section(name, *result, cpu=arguments.cpu))
        print(f"{name}: {result[0]}", flush=True)
    print(f"Added to {arguments.out}.")
    measured = [result for result in outcomes if not result.startswith("skipped")]
    return 0 if measured and all(outcome.startswith("done") for outcome in measured) else 1


def card_memory() -> float | None:
    """GiB of the first GPU; None without one. Asked in a process of its own, as a context takes memory of the card."""
    code = "import torch; print(torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 and done.stdout.strip() else None


def skipped(piece: Piece, memory: float) -> str:
    """Why a piece cannot be measured here; empty when it can."""
    missing = [name for name in piece.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"skipped: {', '.join(missing)} cannot be imported; install it"
    if memory < piece.memory:
        return f"skipped: it needs {piece.memory} GiB of GPU memory, there are {memory:.0f}"
    return ""


def run(piece: Piece, cpu: bool = False) -> tuple[str, str]:
    """Run the commands of a piece within its time.

    Returns:
        `done`, `failed ...` or `ended ...`, and what was printed.
    """
    began, printed, failed = time.monotonic(), [], []
    for command in piece.commands:
        words = on_cpu(command.words) if cpu else command.words
        if words[0] == "bench.run":
            words = (*words, "--out", str(Path(tempfile.gettempdir()) / "vidreason-gpu-bench.md"))
        command_line = " ".join([*(f"{key}={value}" for key, value in command.environment.items()), *words])
        printed.append(f"$ {command_line}\n")
        left = piece.seconds - (time.monotonic() - began)
        output, status = _within(left, words, os.environ | dict(command.environment)) if left > 0 else ("", None)
        printed.append(output)
        if status is None:
            return f"ended after {piece.seconds} s, in: {command_line}", "".join(printed)
        if status:
            failed.append(f"failed (exit status {status}): {command_line}")
    return "; ".join(failed) or f"done in {time.monotonic() - began:.0f} s", "".join(printed)


def _within(seconds: float, words: Sequence[str], environment: Mapping[str, str]) -> tuple[str, int | None]:
    """Output and exit status of `python -m ...`, the output shown when it ends; no status if time ran out."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING)
            with contextlib.suppress(ProcessLookupError):  # what it started and left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        printed = output.read()
    print(printed, end="", flush=True)
    return printed, status


def on_cpu(words: Sequence[str]) -> tuple[str, ...]:
    """A command at size demo on the CPU, as short as can be."""
    small = {"--rows": "2", "--tokens": "8", "--questions": "2", "--steps": "3", "--repeats": "1"}
    shortened: list[str] = []
    for word in words:
        before = shortened[-1] if shortened else ""
        shortened.append(small.get(before, "demo" if word in ("medium", "paper") else word))
    shortened = [
        word
        for number, word in enumerate(shortened)
        if word != "--cuda" and (word != "demo" or "demo" not in shortened[:number])
    ]
    return (*shortened, "--plain", "--tokens", "8") if shortened[0] == "bench.gpu_step" else tuple(shortened)


def section(name: str, result: str, printed: str, cpu: bool = False) -> str:
    """A piece's section of the page."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = "on the CPU at size demo, which measures nothing" if cpu else _card()
    lines = [f"## {name}, {now}", "", f"{where}; {_versions()}; commit {commit() or 'unknown'}.", ""]
    lines += [f"Proves: {PIECES[name].proves}", "", f"Result: {result}.", ""]
    if printed:
        kept = printed if len(printed) <= KEPT else f"... {printed[-KEPT:]}"
        lines += ["```", kept.replace("```", "'''").rstrip(), "```", ""]
    return "\n".join(lines)


def _card() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return "a GPU whose driver does not say what it is"
    name, memory, driver = (part.strip() for part in done.stdout.splitlines()[0].split(","))
    return f"{name}, {memory}, driver {driver}"


def _versions() -> str:
    versions = [f"Python {sys.version.split()[0]}"]
    for name in VERSIONS:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return ", ".join(versions)


def add(path: Path, text: str) -> None:
    """Add a section to the page, which is begun where it is not there."""
    new = not path.exists()
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{HEAD}\n{text}" if new else f"\n{text}")


if __name__ == "__main__":
    sys.exit(main())
