"""Measure this project's schedule against the naive one, and write the results: `python -m bench.run`, or `make bench`.

For each size two processes take turns, one for each side (on CUDA one after the other, so that the card's memory is whole for
each). First they are compared: same completions, same loss, same gradient. A ratio is of medians.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.costs import MEASURED_PHASES, step_costs, total
from bench.floor import table
from bench.machine import THREADS, describe
from bench.sizes import SIZES, Size
from bench.work import SHARED, SIDES
from vidreason.artifacts.files import write_text
from vidreason.artifacts.provenance import commit
from vidreason.models.costs import BF16
from vidreason.models.tinyllava.costs import ModelCosts as Model

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).with_name("RESULTS.md")
PARTS = ("step", "evaluation", "frames", "checkpoint")
MEASURED = {"evaluation": ("evaluation", "evaluation_shared", "selection"), "step": ("step",)}
"""Part -> requests to a worker."""
ORDER = ("step", "evaluation")
"""The step comes first, whose memory is shown: a process gives back not all that it took."""

SUMMARY = {
    "step": "GRPO step",
    "selection": "selection",
    "evaluation": "evaluation, a question a clip",
    "evaluation_shared": f"evaluation, {SHARED} questions a clip",
}
"""Part -> its name in the first table."""
CACHED = 32e6
"""Bytes of weights that a processor may keep close to itself: below, memory's bandwidth says nothing."""

Row = dict[str, Any]


class WorkerError(RuntimeError):
    """A measuring process ended before it answered."""


class Side:
    """A measuring process."""

    def __init__(self, *arguments: str) -> None:
        """Start `python -m bench.worker` with arguments."""
        environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "TOKENIZERS_PARALLELISM": "false"}
        self.arguments = arguments
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> Row:
        """Have one thing done."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        for row in self.answers():
            return row
        raise WorkerError(f"bench.worker {' '.join(self.arguments)} ended at {what!r} (its own words are above)")

    def answers(self) -> Iterator[Row]:
        """What it says, a row at a time; other output is passed on."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
            else:
                print(line, end="", file=sys.stderr)

    def end(self) -> None:
        """Wait until it has ended."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if self.process.wait():
            raise WorkerError(f"bench.worker {' '.join(self.arguments)} failed (its own words are above)")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=None, help="default: demo medium; with --cuda all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cuda", action="store_true", help="models on the GPU")
    parser.add_argument("--repeats", type=int, default=None, help="of each side; default: the size's own")
    parser.add_argument("--out", type=Path, default=OUT, help=f"Markdown to write; default {OUT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    names = arguments.sizes or (list(SIZES) if arguments.cuda else ["demo", "medium"])
    if arguments.cuda and not torch.cuda.is_available():
        parser.error("--cuda: torch sees no CUDA device")
    if "paper" in names and not arguments.cuda:
        parser.error("--sizes paper needs --cuda: the models alone take 60 GB in float32")
    if arguments.repeats is not None and arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats}: at least 1")
    if not arguments.out.absolute().parent.is_dir():
        parser.error(f"--out {arguments.out}: there is no such folder")
    began = time.monotonic()
    head = [*describe(arguments.cuda), f"Commit {commit() or 'unknown'}"]
    sections: list[str] = []
    summary: list[tuple[str, ...]] = []

    def write(end: str) -> str:
        page = ["# Results of the benchmarks", "", *(f"{line}." for line in head), "", INTRODUCTION, ""]
        page += [table(("size", *SUMMARY.values()), summary), "", *sections, end]
        text = "\n".join(page) + "\n"
        write_text(arguments.out, text)
        return text

    for name in names:
        size = SIZES[name]()
        rows = measure(size, arguments.parts, arguments.cuda, arguments.repeats or size.repeats)
        sections.append(section(size, rows))
        summary.append((name, *(shown_ratio(rows, part) for part in SUMMARY)))
        write("Not finished: what is missing was not measured.")  # should a size be too large for the machine
    if "frames" in arguments.parts:
        sections += [frames_section(), ""]
    print(write(f"Measured in {time.monotonic() - began:.0f} s by `make bench`."))


INTRODUCTION = f"""Ours against a naive schedule that works as the published training code does (`bench/naive.py`): how many
times faster. {THREADS} CPU threads on both sides, or one GPU. Frames are decoded beforehand on both sides; what decoding
costs is measured by itself below. No end token is sampled, so every completion has its full length and both sides do equal
work; with unequal lengths a batch takes as many steps as its longest completion has tokens, one after the other as many
as all have together. Selection and evaluation are timed without what is around the sampler (forming batches, the journal).
Selection samples 8 answers to a question, evaluation has one greedy answer: there a clip is encoded once a
question on both sides, unless questions of a batch are about the same clip, as Video-MME asks three about each."""


def measure(size: Size, parts: Sequence[str], cuda: bool, repeats: int) -> Row:
    """Everything of one size: `compare`, `peak`, `checkpoint`, and part -> side -> repeats."""
    results: Row = {}
    requests = [name for part in ORDER if part in parts for name in MEASURED[part]]
    extra = ("--cuda",) if cuda else ()
    turns = [[side] for side in SIDES] if cuda else [list(SIDES)]
    for sides in turns:
        workers = {side: Side(size.name, side, *extra) for side in sides}
        if "ours" in workers:
            results["compare"] = _reported(size, "compare", workers["ours"].ask("compare"))
            results["peak"] = _reported(size, "peak", workers["ours"].ask("peak"))
        for part in requests:
            for _ in range(repeats):
                for side, worker in workers.items():
                    results.setdefault(part, {}).setdefault(side, []).append(
                        _reported(size, f"{part} {side}", worker.ask(part))
                    )
        if "ours" in workers:  # the machine may have been busy the first time
            again = _reported(size, "peak", workers["ours"].ask("peak"))
            results["peak"] = {key: max(value, again[key]) for key, value in results["peak"].items()}
        # A state of the paper's size is 38 GB in float32, and the temporary folder of a GPU machine is seldom made for three.
        if "ours" in workers and "checkpoint" in parts and not (cuda and size.name == "paper"):
            results["checkpoint"] = _reported(size, "checkpoint", workers["ours"].ask("checkpoint"))
        for worker in workers.values():
            worker.end()
    return results


def _reported(size: Size, what: str, row: Row) -> Row:
    """Report a result as it comes."""
    shown = {
        key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items() if key != "phases"
    }
    print(f"{size.name} {what}: {shown}", file=sys.stderr, flush=True)
    return row


def section(size: Size, results: Row) -> str:
    """The tables of one size."""
    numbers = Model(size.model)
    lines = [
        f"## {size.name}",
        "",
        f"{numbers.weights() / 1e6:,.1f} M weights (tower {numbers.tower_weights() / 1e6:,.1f} M, connector "
        f"{numbers.connector_weights() / 1e6:,.1f} M, language model {numbers.language_weights() / 1e6:,.1f} M) in "
        f"{size.dtype}, vocabulary {numbers.vocabulary:,}; {size.frames} frames of {size.model.image_size} pixels, "
        f"{size.model.queries} queries; prompts of {size.prompt} positions, {size.rollouts} completions of {size.completion} "
        f"tokens, {size.questions} questions a step{', activations recomputed' if size.recompute else ''}.",
        "",
        same(results["compare"]),
        "",
    ]
    if "step" in results:
        lines += [step_table(size, results), "", step_notes(size, results), ""]
    if "selection" in results:
        lines += [throughput_table(results), ""]
    if "checkpoint" in results:
        lines += [checkpoint_note(size, results), ""]
    return "\n".join(lines)


def same(row: Row) -> str:
    """That both sides were compared, and how."""
    text = (
        f"Both sides compared in float32: {row['completions'] - row['different']} of {row['completions']} sampled completions "
        f"equal, loss {row['loss']:.1e} and gradient {row['gradient']:.1e} apart (relative)."
    )
    if reason := row.get("refused"):
        text += f" **On the CPU that would be refused:** {reason}."
    return text


def step_table(size: Size, results: Row) -> str:
    """Seconds by phase, and the share of the machine's peak that each side reaches."""
    peak, lines = results["peak"]["flops"], []
    costs = {side: step_costs(size, side) for side in SIDES}
    names = [name for name in MEASURED_PHASES if name in results["step"]["ours"][0]["phases"]]
    for name in names:
        flops = {side: sum(costs[side][part].flops for part in MEASURED_PHASES[name]) for side in SIDES}
        seconds = {side: median(results, "step", side, name) for side in SIDES}
        lines.append(_step_line(name, seconds, flops, peak))
    whole = {side: median(results, "step", side) for side in SIDES}
    rest = {side: whole[side] - sum(median(results, "step", side, name) for name in names) for side in SIDES}
    lines.append(("rewards and the rest", *(f"{rest[side]:.3f}" for side in SIDES), "", "", ""))
    every = {side: total(costs[side]).flops for side in SIDES}
    lines.append(_step_line("**step**", whole, every, peak))
    return table(("phase", "ours, s", "naive, s", "ratio", "ours, of peak", "naive, of peak"), lines)


def _step_line(name: str, seconds: Row, flops: Row, peak: float) -> tuple[str, ...]:
    shares = [f"{flops[side] / seconds[side] / peak:.0%}" if flops[side] and seconds[side] else "" for side in SIDES]
    ratio = seconds["naive"] / seconds["ours"] if seconds["ours"] else float("nan")
    return (name, *(f"{seconds[side]:.3f}" for side in SIDES), f"{ratio:.1f}", *shares)


def step_notes(size: Size, results: Row) -> str:
    """Throughput, memory and the numbers that both sides came to."""
    peak, rows = results["peak"], results["step"]
    tokens = {side: rows[side][0]["tokens"] / median(results, "step", side) for side in SIDES}
    held = {side: max(row["memory"] for row in rows[side]) / 2**20 for side in SIDES}
    work = {side: total(step_costs(size, side)).flops / 1e9 for side in SIDES}
    last = {side: "{loss:.6f} and {norm:.4f}".format(**rows[side][-1]) for side in SIDES}
    notes = [
        f"Work: {work['ours']:,.0f} GFLOP in our schedule, {work['naive']:,.0f} in the naive one. Peak of the machine: "
        f"{peak['flops'] / 1e9:,.0f} GFLOP/s, measured on large products in {size.dtype} with the same threads.",
        f"Tokens sampled per second of a step: {tokens['ours']:,.0f} against {tokens['naive']:,.0f}.",
        f"Peak memory: {held['ours']:,.0f} MiB against {held['naive']:,.0f} MiB.",
        f"Loss and gradient norm: {last['ours']} against {last['naive']}.",
    ]
    if BF16 * Model(size.model).language_weights() > CACHED:
        moved = {side: sampled_bytes(size, side) for side in SIDES}
        share = {side: moved[side] / median(results, "step", side, "sample") / peak["bandwidth"] for side in SIDES}
        notes.append(
            f"Sampling has to move {moved['ours'] / 1e9:,.1f} GB (weights a step, keys and values) against "
            f"{moved['naive'] / 1e9:,.1f} GB: {share['ours']:.0%} and {share['naive']:.0%} of the "
            f"{peak['bandwidth'] / 1e9:,.0f} GB/s that a large copy reaches."
        )
    return "\n".join(f"- {note}" for note in notes)


def sampled_bytes(size: Size, side: str) -> float:
    """Bytes that sampling cannot avoid to move, in the type of the weights."""
    costs = step_costs(size, side)
    width = getattr(torch, size.dtype).itemsize / BF16
    return width * sum(costs[name].bytes for name in MEASURED_PHASES["sample"])


def throughput_table(results: Row) -> str:
    """Questions per second of selection and evaluation."""
    lines = []
    for part, name in list(SUMMARY.items())[1:]:
        rate = {side: results[part][side][0]["questions"] / median(results, part, side) for side in SIDES}
        tokens = {side: results[part][side][0]["tokens"] / median(results, part, side) for side in SIDES}
        together = results[part]["ours"][0]["questions"]
        lines.append(
            (
                f"{name}; {together} questions at a time",
                *(f"{rate[side]:.3f}" for side in SIDES),
                f"{rate['ours'] / rate['naive']:.1f}",
                *(f"{tokens[side]:,.0f}" for side in SIDES),
            )
        )
    return table(("", "ours, questions/s", "naive, questions/s", "ratio", "ours, tokens/s", "naive, tokens/s"), lines)


def checkpoint_note(size: Size, results: Row) -> str:
    """What saving a training state costs."""
    row = results["checkpoint"]
    copied, written = statistics.median(row["copied"]), statistics.median(row["written"])
    text = (
        f"Saving a training state of {row['bytes'] / 2**20:.1f} MiB: the training waits {copied * 1e3:.0f} ms for a copy, which "
        f"a thread writes beside it and flushes to the disk in {written * 1e3:.0f} ms"
    )
    if "step" not in results:
        return f"{text}."
    training = size.save_every * median(results, "step", "ours")
    return (
        f"{text}; every {size.save_every} steps, {copied / training:.2%} of the time of training, or "
        f"{(copied + written) / training:.2%} if it had to wait for both."
    )


def frames_section() -> str:
    """The table of the videos, measured in a process of its own."""
    worker = Side("videos")
    assert worker.process.stdin is not None
    rows = []
    for row in worker.answers():
        print(f"frames: {row}", file=sys.stderr, flush=True)
        rows.append(row)
    worker.end()
    *single, many = rows
    lines = [(row["video"], f"{row['ours']:.3f}", f"{row['naive']:.3f}", f"{row['ratio']:.1f}") for row in single]
    title = many["video"]
    for threads in (1, 2):
        one, other = many[f"threads {threads}"], many[f"naive threads {threads}"]
        lines.append(
            (f"{title}, {threads} thread{'s' * (threads > 1)}", f"{one:.3f}", f"{other:.3f}", f"{other / one:.1f}")
        )
    head = (
        "## Frames\n\nSeconds to have 16 uniform frames of a video, scanned, decoded and resized to 384 pixels: those frames "
        "sought, or every frame decoded. h264, 320 x 240, 25 frames per second; a key frame at every cut, that is every 4.5 s "
        "on average, and at the latest after 250 frames; one decoding thread a video. The pictures are equal. Our side also hashes and stores the frames of several videos.\n\n"
    )
    return head + table(("video", "ours, s", "naive, s", "ratio"), lines)


def median(results: Row, part: str, side: str, phase: str | None = None) -> float:
    """Median seconds of one side, of a phase or of all."""
    rows = results[part][side]
    return float(statistics.median(row["seconds"] if phase is None else row["phases"].get(phase, 0.0) for row in rows))


def shown_ratio(results: Row, part: str) -> str:
    """How many times faster our side is, for each question."""
    if part not in results:
        return ""
    each = {side: median(results, part, side) / results[part][side][0]["questions"] for side in SIDES}
    return f"{each['naive'] / each['ours']:.1f}"


if __name__ == "__main__":
    main()
