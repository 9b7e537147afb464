"""Tables about the data: what was selected, and what was dropped or could not be read, with reasons."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vidreason.artifacts.count_tables import count_of, read_histogram
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.records import OK, PROMPT_TOO_LONG, TOO_LONG, ClipStatus, Question
from vidreason.results.number_format import Row
from vidreason.results.registry import TABLES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import arm_and_seed


def selection_table(inputs: ResultInputs) -> list[Row]:
    """How many questions had 0..N right answers or how large a spread, and how many were kept, for every selection of the run."""
    rows: list[Row] = []
    for path in sorted(inputs.histograms, key=arm_and_seed):
        arm, seed = arm_and_seed(path)
        bins = [dataclasses.asdict(one) for one in read_histogram(path)]
        rows += [
            {"arm": arm, "seed": seed, **one, "low": f"{one['low']:g}", "high": f"{one['high']:g}"} for one in bins
        ]
    return rows


def data_table(inputs: ResultInputs) -> list[Row]:
    """What every stage that can lose data lost: one row per stage, data set and reason; `ok` and `kept` included."""
    return [*_filtered(inputs), *_decoded(inputs), *_selected(inputs), *_answered(inputs)]


def leaks_table(inputs: ResultInputs) -> list[Row]:
    """Clips of the benchmarks that are among the training clips, or look like one."""
    return [] if inputs.leaks is None else [dict(row) for row in read_csv(inputs.leaks, _columns_of("leaks"))]


def leak_counts_table(inputs: ResultInputs) -> list[Row]:
    """How many clips of every benchmark were found in every training set."""
    if inputs.leak_counts is None:
        return []
    return [dict(row) for row in read_csv(inputs.leak_counts, _columns_of("leak_counts"))]


def _columns_of(name: str) -> tuple[str, ...]:
    """Columns of a registered table."""
    return next(table.columns for table in TABLES if table.name == name)


def _row(stage: str, data: str, unit: str, reason: str, count: int, arm: str = "", seed: int | str = "") -> Row:
    """One row of the table of data."""
    return {"stage": stage, "data": data, "arm": arm, "seed": seed, "unit": unit, "reason": reason, "count": count}


def _filtered(inputs: ResultInputs) -> Iterator[Row]:
    """What readers and filters left out; of the durations those that depend on rounding, next to the limit."""
    for path in inputs.filtered:
        data, dropped = Path(path).parent.name, read_csv(path, ("video", "reason"))
        stage = "read" if Path(path).parent.parent.name == "read_questions" else "filter"
        for unit, reasons in (
            ("question", [row["reason"] for row in dropped]),
            ("video", [reason for _, reason in {(row["video"], row["reason"]) for row in dropped}]),
        ):
            for reason, count in sorted(Counter(reasons).items()):
                yield _row(stage, data, unit, reason, count)
    for path in inputs.durations:
        data = Path(path).parent.name
        for row in read_csv(path, ("longer_than", "up_to", "videos"))[1:-1]:
            count = count_of(row["videos"], f"{path}: videos")
            yield _row("filter", data, "video", f"lasts {row['longer_than']} to {row['up_to']} s", count)


def _decoded(inputs: ResultInputs) -> Iterator[Row]:
    """What decoding the clips of every data set gave."""
    statuses: dict[str, Counter[str]] = {}
    for path in inputs.clips:
        counts = statuses.setdefault(Path(path).parent.name, Counter())
        counts.update(clip.status for clip in read_jsonl(path, ClipStatus))
    for data, counts in sorted(statuses.items()):
        for status in _sorted(counts, first=OK):
            yield _row("frames", data, "clip", status, counts[status])


def _selected(inputs: ResultInputs) -> Iterator[Row]:
    """Training questions that every selection kept and dropped."""
    lost = {
        arm_and_seed(path): Counter(row["reason"] for row in read_csv(path, ("reason",))) for path in inputs.dropped
    }
    for path in sorted(inputs.selected, key=arm_and_seed):
        (arm, seed), questions = arm_and_seed(path), read_jsonl(path, Question)
        counts = lost.get((arm, seed), Counter()) + Counter(kept=len(questions))
        for reason in _sorted(counts, first="kept"):
            yield _row("selection", questions[0].dataset, "question", reason, counts[reason], arm, seed)


def _answered(inputs: ResultInputs) -> Iterator[Row]:
    """Questions that an arm did not answer because their prompt is too long for it."""
    for run in inputs.runs.by_key.values():
        if count := run.score.missing.get(PROMPT_TOO_LONG):
            yield _row("answers", run.benchmark, "question", PROMPT_TOO_LONG, count, run.arm.name, run.seed)


def _sorted(counts: Counter[str], first: str) -> list[str]:
    """Names in alphabetical order, `first` before all others."""
    return sorted(counts, key=lambda name: (name != first, name))


def broken_clips(inputs: ResultInputs) -> list[tuple[str, str, str, str]]:
    """Data set, clip, reason and the decoder's own words for every clip that could not be read.

    A training clip that cannot be read is dropped by the filter, before its frames are extracted, so both are read.
    """
    return sorted(
        {
            (Path(path).parent.name, clip.key, clip.status, clip.detail)
            for path in (*inputs.checked, *inputs.clips)
            for clip in read_jsonl(path, ClipStatus)
            if clip.status not in (OK, TOO_LONG)
        }
    )
