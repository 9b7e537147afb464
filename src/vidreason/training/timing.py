"""What every step of a training cost, in a file of its own: times differ from run to run, and metrics may not."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from vidreason.artifacts.disk import explain_full_disk
from vidreason.artifacts.files import copy_file, json_line, write_aside
from vidreason.engine.profiling import Counts, Seconds, now, profile
from vidreason.records import StepTiming
from vidreason.training.distributed import Ranks
from vidreason.training.flops import FLOPS, device_peak

LIVE = "timing.jsonl"
"""Name of the growing file in the folder of saved states. Rows after the state that a training resumes from are taken again."""
GENERATED, TRAINED = "generated tokens", "trained tokens"
"""What the methods count in a step (`vidreason.engine.profiling.count`)."""


class TimingLog:
    """Writes a `StepTiming` for every step."""

    def __init__(self, target: Path | None, state: Path, step: int, ranks: Ranks) -> None:
        """Begin with the rows of the steps that are done.

        Args:
            target: JSON lines, written by `finish`; None measures nothing.
            state: Folder of the saved states, where the log grows.
            step: Number of steps already done.
            ranks: The processes; the main one writes.
        """
        self.target, self.live, self.ranks = target, state / LIVE, ranks
        if target is not None and ranks.is_main:
            kept = _rows_before(self.live, step)
            self.live.parent.mkdir(parents=True, exist_ok=True)
            with explain_full_disk(self.live):
                self.live.write_text(kept, encoding="utf-8", newline="")

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Measure a step, which is the block; all processes call this together. A step that fails has no row."""
        if self.target is None:
            yield
            return
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        counts: Counts = {}
        with profile(counts) as phases:
            began = now()
            yield
            seconds = now() - began
        others = self.ranks.gather((counts, _peak_memory()))
        if self.ranks.is_main:
            total = {name: sum(own.get(name, 0) for own, _ in others) for name in (GENERATED, TRAINED, FLOPS)}
            memory = [most for _, most in others if most is not None]
            peak = device_peak() if total[FLOPS] else None
            devices = Devices(max(memory, default=None), None if peak is None else peak * self.ranks.count)
            row = timing_of(number, seconds, phases, total, devices)
            with explain_full_disk(self.live), self.live.open("a", encoding="utf-8", newline="") as stream:
                stream.write(json_line(row))

    def finish(self) -> None:
        """Write the target."""
        if self.target is not None and self.ranks.is_main:
            with write_aside(self.target) as aside:
                copy_file(self.live, aside)


class Devices(NamedTuple):
    """What the GPUs of a step were used for and can do; None where there is none, or where it is not known.

    Attributes:
        peak_memory: Most bytes of a device's memory of any process.
        peak_flops: FLOP/s of all of them together.
    """

    peak_memory: int | None = None
    peak_flops: float | None = None


def timing_of(step: int, seconds: float, phases: Seconds, counts: Counts, devices: Devices) -> StepTiming:
    """The row of a step.

    Args:
        step: Its number.
        seconds: Its wall time.
        phases: Phase -> seconds of it.
        counts: Tokens that all processes sampled and learned from, and the FLOPs that these needed.
        devices: What the step had.
    """
    generated, trained, sampling = counts[GENERATED], counts[TRAINED], phases.get("sample", 0.0)
    return StepTiming(
        step,
        round(seconds, 6),
        {name: round(own, 6) for name, own in phases.items()},
        generated,
        trained,
        round(generated / sampling, 3) if generated and sampling else None,
        round(trained / seconds, 3),
        devices.peak_memory,
        None if devices.peak_flops is None else round(counts[FLOPS] / seconds / devices.peak_flops, 4),
    )


def _peak_memory() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def _rows_before(live: Path, step: int) -> str:
    """The rows of steps before one. A row that a kill or a full disk has cut is left out: times are worth no refusal."""
    if not step or not live.is_file():
        return ""
    kept = []
    for line in live.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if line.endswith("\n") and json.loads(line)["step"] < step:
                kept.append(line)
    return "".join(kept)
