"""What the measurements were made on."""

import datetime
import os
import platform
import time
from pathlib import Path

import torch
import transformers

THREADS = 2
"""Threads of both sides on a CPU."""


def describe(cuda: bool) -> list[str]:
    """Lines that say when and on what."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"{now}; {processor()}, {os.cpu_count()} cores, of which {THREADS} threads are used; load {os.getloadavg()[0]:.1f} "
        "at the start",
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}",
    ]
    if cuda:
        card = torch.cuda.get_device_properties(0)
        lines.append(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return lines


def processor() -> str:
    """The processor's own name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of several products of large square matrices, in a type, with the threads that torch has."""
    side = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        _wait(device)
        began = time.perf_counter()
        one @ other
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def bandwidth(device: torch.device) -> float:
    """Bytes/s of the best of several copies of a large tensor, read and written."""
    count = 2**30 if device.type == "cuda" else 2**27
    one, other = (torch.zeros(count, dtype=torch.uint8, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        _wait(device)
        began = time.perf_counter()
        other.copy_(one)
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * count / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
