"""Which questions have frames to look at: counted by task, and refused when too many have none.

A question whose video is missing or cannot be read stays in the benchmark: it counts as wrong, and in the coverage. Some
videos are not distributed at all (MVBench's nturgbd); such *known* ones stop nothing. Of the others at most a share may be
missing, `evaluation.scoring.max_missing_fraction`.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidreason.artifacts.counts import count_of
from vidreason.artifacts.csv_files import read_csv, write_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.records import OK, ClipStatus, Question

COLUMNS = ("task", "questions", "with_frames", "without_frames", "reasons")


class MissingVideosError(ValueError):
    """More questions than tolerated have no frames."""


@dataclasses.dataclass(frozen=True)
class TaskCoverage:
    """The questions of one task.

    Attributes:
        task: The benchmark's name of it; `""` where it has none.
        questions: How many there are.
        reasons: Status -> questions without frames for that reason.
    """

    task: str
    questions: int
    reasons: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Questions without frames."""
        return sum(self.reasons.values())


def coverage_of(questions: Sequence[Question], statuses: Mapping[str, str]) -> list[TaskCoverage]:
    """Count the questions of every task, and those without frames by reason.

    Args:
        questions: All questions of a benchmark.
        statuses: Question id -> status of its clip.

    Returns:
        One entry a task, in order of their names.
    """
    tasks: dict[str, Counter[str]] = {}
    for question in questions:
        tasks.setdefault(question.category, Counter())[statuses[question.id]] += 1
    return [
        TaskCoverage(task, found.total(), {status: found[status] for status in sorted(found) if status != OK})
        for task, found in sorted(tasks.items())
    ]


def refuse_missing(
    benchmark: str, tasks: Sequence[TaskCoverage], allowed: float, known: Mapping[str, int] | None = None
) -> None:
    """Refuse a benchmark of which too many questions have no frames.

    Args:
        benchmark: Its name.
        tasks: What `coverage_of` counted.
        allowed: Share of all questions that may be without frames, beside the known ones.
        known: Task -> questions whose video is known not to be distributed.

    Raises:
        MissingVideosError: There are more, with a table by task and the way to allow it.
    """
    known = known or {}
    total = sum(task.questions for task in tasks)
    excess = {task.task: max(0, task.missing - known.get(task.task, 0)) for task in tasks}
    unexpected = sum(excess.values())
    if unexpected <= allowed * total:
        return
    lines = ["task | questions | without frames | of these known | reasons"]
    for task in tasks:
        words = ", ".join(f"{reason} {count}" for reason, count in task.reasons.items()) or "-"
        lines.append(
            f"{task.task or '(none)'} | {task.questions} | {task.missing} | {task.missing - excess[task.task]} | {words}"
        )
    share = unexpected / total
    raise MissingVideosError(
        f"{benchmark}: {unexpected} of {total} questions ({share:.4f}) have no frames, allowed is {allowed:g}.\n"
        + "\n".join(lines)
        + f"\nThe clips, with their reasons, are in the run's extract_frames/{benchmark}/*.clips.jsonl. Fetch the videos, or accept it: "
        f"set evaluation.scoring.max_missing_fraction in the config to {math.ceil(share * 10_000) / 10_000:.4f} or more, or "
        f"datasets.{benchmark}.known_missing to what is not distributed (they then count as wrong answers)."
    )


def count_missing(questions: str | Path, clips: Sequence[str | Path], out: str | Path) -> None:
    """Write how many questions of each task have frames.

    Args:
        questions: JSON lines of `Question`.
        clips: JSON lines of `ClipStatus`, all shards.
        out: CSV with `COLUMNS`; reasons as `missing 3; truncated 1`.

    Raises:
        ValueError: A question's clip is in none of the lists.
    """
    status = {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}
    asked = read_jsonl(questions, Question)
    absent = [question.clip.key for question in asked if question.clip.key not in status]
    if absent:
        raise ValueError(
            f"{questions}: {len(absent)} clips are in no list of clips: {absent[:5]}; extract their frames first"
        )
    tasks = coverage_of(asked, {question.id: status[question.clip.key] for question in asked})
    rows = []
    for task in tasks:
        reasons = "; ".join(f"{reason} {count}" for reason, count in task.reasons.items())
        rows.append([task.task, task.questions, task.questions - task.missing, task.missing, reasons])
    write_csv(out, COLUMNS, rows)


def read_coverage(path: str | Path) -> list[TaskCoverage]:
    """Read what `count_missing` wrote.

    Raises:
        ChangedError: The file is not what its sidecar tells of.
        ValueError: A cell is not what belongs there, or numbers of a row do not add up.
    """
    tasks = []
    for number, row in enumerate(read_csv(path, COLUMNS), start=1):
        where = f"{path}: row {number}"
        parts = [part.rpartition(" ") for part in row["reasons"].split("; ") if part]
        reasons = {reason: count_of(count, f"{where}: the count of reason {reason!r}") for reason, _, count in parts}
        questions, with_frames, missing = (count_of(row[name], f"{where}: {name}") for name in COLUMNS[1:4])
        if questions != with_frames + missing or missing != sum(reasons.values()):
            raise ValueError(
                f"{where}: of {questions} questions {with_frames} have frames and {missing} have none ({row['reasons']})"
            )
        tasks.append(TaskCoverage(row["task"], questions, reasons))
    return tasks
