"""Show snakemake's output as one line of progress: `snakemake ... 2>&1 | python workflow/progress.py LOG`.

The full output goes to LOG. The screen shows how many jobs are done, which jobs run, and an estimate of the time left. Errors,
logs of failed jobs and other messages of snakemake are printed in full above that line.
"""

import os
import queue
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

SECONDS = {
    "make_world": 17, "pretrain_base": 240, "filter_questions": 4, "import_weights": 3, "extract_frames": 4,
    "train_sft": 10, "predict": 4, "sample_rollouts": 13, "train_grpo": 130, "sample_answers": 6, "make_tables": 3, "make_figures": 4,
    "report": 4,
}  # fmt: skip
"""Seconds of a job of a rule in the demo on two idle cores; only the proportions matter. Jobs of other rules take half a second."""
CHATTER = re.compile(
    r"^(Using (workflow|shell|profile)|Config file|Assuming|Building DAG|Provided|Rules claiming|Conda|Job stats|job  |---|"
    r"Select jobs|Execute |\[\w{3} \w{3} |(local)?rule \w+:|    \w[\w ]*: |Finished jobid|\d+ of \d+ steps|total  |Complete log|Elapsed time|\w+ +\d+$|$)"
)
"""Lines that repeat what the line of progress shows."""
COUNT = re.compile(r"^(\w+) +(\d+)$")
STARTED = re.compile(r"^(?:local)?rule (\w+):$")
FIELD = re.compile(r"^    (jobid|wildcards): (.*)$")
FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)$")
FAILED = re.compile(r"^Error in rule (\w+):$")
ERROR = re.compile(r"^(Error in|\w*(Error|Exception)\b|Traceback|Exiting because)")
GOES_ON = re.compile(r"^(Select jobs|Execute |\[\w{3} \w{3} |Finished jobid|(local)?rule \w+:)")
"""Lines that end the report of an error: other jobs continue."""
RULER = re.compile(r"^={10,}$")
"""Line before and after the log of a failed job."""
STOPPED = "Terminating processes on user request"


class Progress:
    """State of a run: jobs that are planned, running, finished and failed."""

    def __init__(self) -> None:
        """Start before the first line of output."""
        self.began = time.monotonic()
        self.planned: dict[str, int] = {}
        self.complete = False  # whether the whole plan has been read
        self.finished: dict[str, int] = {}
        self.running: dict[str, tuple[str, float]] = {}  # job -> its name and when it began
        self.failed: list[str] = []
        self.stopped = False
        self._rule, self._job = "", ""
        self._error = self._log = False

    def take(self, line: str) -> bool:
        """Update the state from one line of output; returns whether the line should be shown."""
        if RULER.match(line):
            self._log = not self._log
        if self._log:
            return not self.stopped
        if GOES_ON.match(line):
            self._error = False
        if line.startswith(STOPPED):
            self.stopped = True
        elif match := STARTED.match(line):
            self._rule, self._job = match[1], ""
        elif match := FAILED.match(line):
            self._rule = ""  # the job whose number follows has failed
        elif match := FIELD.match(line):
            self._field(match[1], match[2])
        elif match := FINISHED.match(line):
            self.running.pop(match[1], None)
            self.finished[match[2]] = self.finished.get(match[2], 0) + 1
        elif (match := COUNT.match(line)) and not self.complete and match[1] != "job":
            self.complete = match[1] == "total"
            if not self.complete:
                self.planned[match[1]] = int(match[2])
        self._error = self._error or bool(ERROR.match(line))
        return not self.stopped and (self._error or not CHATTER.match(line))

    def _field(self, key: str, value: str) -> None:
        """Update the state from a field of a job: its number, or its wildcards, which come later."""
        if key == "jobid" and not self._rule:
            self.failed.append(self.running.pop(value, (f"job {value}", 0.0))[0])
        elif key == "jobid":
            self._job = value
            self.running[value] = (self._rule, time.monotonic())
        elif self._job in self.running:
            shown = ("source=", "arm=", "dataset=", "benchmark=")
            names = [part.split("=", 1)[1] for part in value.split(", ") if part.startswith(shown)]
            self.running[self._job] = (" ".join([self._rule, *names]), self.running[self._job][1])

    def text(self, width: int) -> str:
        """The line of progress, cut to `width` characters; empty until the whole plan was read."""
        jobs, done = sum(self.planned.values()), sum(self.finished.values())
        if not self.complete or not jobs:
            return ""
        elapsed, share = time.monotonic() - self.began, self.share()
        left = f", about {_duration(elapsed / share - elapsed)} left" if share > 0.1 and done < jobs else ""
        now = f": {', '.join(name for name, _ in self.running.values())}" if self.running else ""
        filled = round(20 * share)
        return f"[{'#' * filled}{'.' * (20 - filled)}] {done} of {jobs} jobs{left}{now}"[:width]

    def share(self) -> float:
        """Share of the work that is done, weighted by `SECONDS`."""
        total = sum(count * _seconds(rule) for rule, count in self.planned.items())
        done = sum(count * _seconds(rule) for rule, count in self.finished.items())
        now = time.monotonic()
        parts = sum(min(0.95 * _seconds(name.split()[0]), now - began) for name, began in self.running.values())
        return min(1.0, (done + parts) / total) if total else 0.0

    def ending(self, log: Path) -> str:
        """The last message; empty after a run without errors."""
        if self.stopped:
            return f"Stopped. Finished results stay; run the same command to resume. (Full output: {log})"
        if self.failed:
            return (
                f"Failed: {', '.join(dict.fromkeys(self.failed))}; the reason is above and in {log}. Finished results "
                "stay; run the same command to resume."
            )
        return ""


def _seconds(rule: str) -> float:
    return SECONDS.get(rule, 0.5)


def _duration(seconds: float) -> str:
    """Example: `_duration(200)` is `3 min`."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def follow(stream: TextIO, log: TextIO, screen: TextIO, name: Path) -> None:
    """Show a stream of lines until it ends.

    Args:
        stream: What snakemake prints.
        log: Gets every line.
        screen: Gets the line of progress and what stands above it.
        name: Path of the log, to be named at the end.
    """
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    progress, shown, terminal = Progress(), "", screen.isatty()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            line = ""
        if line is None:
            break
        if line:
            log.write(line)
            log.flush()
            if progress.take(line.rstrip("\n")):
                print(f"\r\033[K{line}" if terminal and shown else line, end="", file=screen)
                shown = "" if terminal else shown
        width = os.get_terminal_size(screen.fileno()).columns - 1 if terminal else 200
        text = progress.text(width)
        # Where nothing can be written over, a line for every tenth of the work.
        if terminal and text != shown:
            print(f"\r\033[K{text}", end="", file=screen, flush=True)
            shown = text
        elif not terminal and text and text[:22].count("#") // 2 > shown.count("#") // 2:
            print(text, file=screen, flush=True)
            shown = text[:22]
    if terminal and shown:
        print(file=screen)
    if ending := progress.ending(name):
        print(ending, file=screen)


if __name__ == "__main__":
    # Ctrl-C is for snakemake, which says what it then does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        follow(sys.stdin, stream, sys.stdout, path)
