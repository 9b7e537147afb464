"""Which questions have frames: counted by category; a benchmark with too many missing videos is refused.

A question whose video is missing or cannot be read stays in the benchmark and counts as wrong. Some videos are not distributed
at all (MVBench's nturgbd); these *known* ones are tolerated. Of the others at most the share
`evaluation.scoring.max_missing_fraction` may be missing.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidreason.artifacts.count_tables import count_of
from vidreason.artifacts.csv_files import read_csv, write_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.records import OK, ClipStatus, Question

COLUMNS = ("category", "questions", "with_frames", "without_frames", "reasons")


class MissingVideosError(ValueError):
    """More questions than tolerated have no frames."""


@dataclasses.dataclass(frozen=True)
class CategoryCoverage:
    """The questions of one category.

    Attributes:
        category: The benchmark's name of it; `""` where it has none.
        questions: How many there are.
        reasons: Status -> questions without frames for that reason.
    """

    category: str
    questions: int
    reasons: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Questions without frames."""
        return sum(self.reasons.values())


def coverage_of(questions: Sequence[Question], statuses: Mapping[str, str]) -> list[CategoryCoverage]:
    """Count the questions of every category, and those without frames by reason.

    Args:
        questions: All questions of a benchmark.
        statuses: Question id -> status of its clip.

    Returns:
        One entry for each category, sorted by name.
    """
    counts: dict[str, Counter[str]] = {}
    for question in questions:
        counts.setdefault(question.category, Counter())[statuses[question.id]] += 1
    return [
        CategoryCoverage(name, own.total(), {status: own[status] for status in sorted(own) if status != OK})
        for name, own in sorted(counts.items())
    ]


def refuse_missing(
    benchmark: str, categories: Sequence[CategoryCoverage], allowed: float, known: Mapping[str, int] | None = None
) -> None:
    """Refuse a benchmark of which too many questions have no frames.

    Args:
        benchmark: Its name.
        categories: The counts of `coverage_of`.
        allowed: Share of all questions that may lack frames, not counting the known ones.
        known: Category -> questions whose video is known not to be distributed.

    Raises:
        MissingVideosError: Too many have none; the message has a table by category and says how to allow it.
    """
    known = known or {}
    total = sum(one.questions for one in categories)
    excess = {one.category: max(0, one.missing - known.get(one.category, 0)) for one in categories}
    unexpected = sum(excess.values())
    if unexpected <= allowed * total:
        return
    lines = ["category | questions | without frames | of these known | reasons"]
    for one in categories:
        words = ", ".join(f"{reason} {count}" for reason, count in one.reasons.items()) or "-"
        lines.append(
            f"{one.category or '(none)'} | {one.questions} | {one.missing} | {one.missing - excess[one.category]} | {words}"
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
    """Write how many questions of each category have frames.

    Args:
        questions: JSON lines of `Question`.
        clips: JSON lines of `ClipStatus`, all shards.
        out: CSV with `COLUMNS`; reasons as `missing 3; truncated 1`.

    Raises:
        ValueError: A question's clip is in none of the lists.
    """
    status = {clip.key: clip.status for path in clips for clip in read_jsonl(path, ClipStatus)}
    questions_read = read_jsonl(questions, Question)
    absent = [question.clip.key for question in questions_read if question.clip.key not in status]
    if absent:
        raise ValueError(
            f"{questions}: {len(absent)} clips are in no list of clips: {absent[:5]}; extract their frames first"
        )
    categories = coverage_of(questions_read, {question.id: status[question.clip.key] for question in questions_read})
    rows = []
    for one in categories:
        reasons = "; ".join(f"{reason} {count}" for reason, count in one.reasons.items())
        rows.append([one.category, one.questions, one.questions - one.missing, one.missing, reasons])
    write_csv(out, COLUMNS, rows)


def read_coverage(path: str | Path) -> list[CategoryCoverage]:
    """Read what `count_missing` wrote.

    Raises:
        ChangedError: The file is not what its sidecar describes.
        ValueError: A cell has another type, or the numbers of a row do not add up.
    """
    categories = []
    for number, row in enumerate(read_csv(path, COLUMNS), start=1):
        where = f"{path}: row {number}"
        parts = [part.rpartition(" ") for part in row["reasons"].split("; ") if part]
        reasons = {reason: count_of(count, f"{where}: the count of reason {reason!r}") for reason, _, count in parts}
        questions, with_frames, missing = (count_of(row[name], f"{where}: {name}") for name in COLUMNS[1:4])
        if questions != with_frames + missing or missing != sum(reasons.values()):
            raise ValueError(
                f"{where}: of {questions} questions {with_frames} have frames and {missing} have none ({row['reasons']})"
            )
        categories.append(CategoryCoverage(row["category"], questions, reasons))
    return categories
