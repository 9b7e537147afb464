"""One process that measures one side of one size, so that memory is its own: `python -m bench.worker SIZE SIDE`.

It makes its workload and then does one thing for every line on its standard input, answering with one line of JSON each.
`bench.run` starts one for each side and lets them take turns.
"""

import argparse
import dataclasses
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench import videos
from bench.machine import THREADS, bandwidth, peak_flops
from bench.sizes import SIZES, Size
from bench.work import PARTS, SIDES, Measurement, clips_needed, compare, make_optimizer, step
from bench.workload import Workload, build
from vidreason.training.distributed import Ranks
from vidreason.training.state import Saver, TrainingState

BRIEF = 12
"""Tokens of a completion where the two sides are compared, and where they warm up."""
SAVES = 5
PEAK, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Worker:
    """One side of one size.

    Attributes:
        size: The size.
        side: `ours` or `naive`.
        folder: For whatever has to be written.
        device: Where the models are.
    """

    def __init__(self, size: Size, side: str, folder: Path, device: torch.device) -> None:
        """Nothing is made before it is needed."""
        self.size, self.side, self.folder, self.device = size, side, folder, device
        self.work: Workload | None = None
        self.ready: dict[str, Callable[[], Measurement]] = {}

    def answer(self, part: str) -> dict[str, Any]:
        """Do one thing: `peak`, `compare`, `checkpoint`, or one repeat of a part."""
        if part == "peak":
            flops = peak_flops(self.device, getattr(torch, self.size.dtype))
            return {"flops": flops, "bandwidth": bandwidth(self.device)}
        if part == "compare":
            return self.compared()
        if part == "checkpoint":
            return self.saved()
        if part not in self.ready:
            self.warm_up(part)
        forget_peak(self.device)
        return dataclasses.asdict(self.ready[part]()) | {"memory": peak_memory(self.device)}

    def made(self) -> Workload:
        """The workload, made when it is first needed."""
        if self.work is None:
            clips = max(clips_needed(part, self.size, self.side) for part in PARTS)
            self.work = build(self.size, self.folder, clips, self.device, shared=self.side == "ours")
        return self.work

    def warm_up(self, part: str) -> None:
        """Do a little of a part, the same on both sides, so that first calls are not measured."""
        work = self.made()
        size = dataclasses.replace(self.size, questions=1, selection=1, evaluation=1, completion=BRIEF)
        brief = dataclasses.replace(work.with_settings(tokens=BRIEF), size=size, questions=work.questions[:1])
        PARTS[part](brief, self.side)()
        self.ready[part] = PARTS[part](work, self.side)

    def compared(self) -> dict[str, Any]:
        """Compare both sides in float32, on short completions and at most two questions."""
        self.work, self.ready = None, {}  # their memory
        size = dataclasses.replace(self.size, questions=min(2, self.size.questions), completion=BRIEF, dtype="float32")
        return compare(build(size, self.folder / "compare", size.questions, self.device))

    def saved(self) -> dict[str, Any]:
        """Time the saving of a training state, after one step has filled the optimizer: the copy, and the writing."""
        work, states = self.made(), self.folder / "states"
        optimizer = make_optimizer(work)
        step(work, "ours", optimizer)()
        copied, written = [], []
        with Saver(states, work.policy, optimizer, Ranks()) as saver:
            for number in range(SAVES):
                began = time.perf_counter()
                saver.save(TrainingState(number, "", {"spec": "bench"}))
                copied.append(time.perf_counter() - began)
                saver.finish()
                written.append(time.perf_counter() - began - copied[-1])
        held = sum(file.stat().st_size for file in max(states.iterdir()).iterdir())
        shutil.rmtree(states)
        return {"copied": copied, "written": written, "bytes": held}


def forget_peak(device: torch.device) -> None:
    """Let the peak of memory start anew from what is in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int:
    """Most bytes in use since `forget_peak`: of the device, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    if PEAK.exists():
        lines = dict(line.split(":", 1) for line in PEAK.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Answer until there are no more questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=(*SIZES, "videos"))
    parser.add_argument("side", choices=SIDES, nargs="?", default="ours")
    parser.add_argument("--cuda", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory(prefix="vidreason-bench-") as name:
        if arguments.size == "videos":
            for row in videos.measure(Path(name)):
                say(row)
            return
        device = torch.device("cuda" if arguments.cuda else "cpu")
        worker = Worker(SIZES[arguments.size](), arguments.side, Path(name), device)
        for line in sys.stdin:
            say(worker.answer(line.strip()))


def say(row: dict[str, Any]) -> None:
    """Answer with one line of JSON."""
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
