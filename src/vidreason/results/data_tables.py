"""Tables about the data: what was selected, and what was dropped or could not be read, with reasons."""

from collections import Counter
from pathlib import Path

import pandas as pd

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.inputs import ResultInputs
from vidreason.results.runs import arm_and_seed
from vidreason.artifacts.counts import count_of, read_histogram
from vidreason.artifacts.files import read_jsonl
from vidreason.records import OK, PROMPT_TOO_LONG, ClipStatus
from vidreason.training.selection import variance

SELECTION_COLUMNS = ["arm", "seed", "correct", "rollouts", "variance", "questions", "kept"]
DATA_COLUMNS = ["stage", "data", "arm", "seed", "unit", "reason", "count"]
NOT_BROKEN = frozenset({"too_long", "duplicate", "no_gold", "over_the_limit"})
"""Reasons of the filter that do not mean a broken video."""
BROKEN_COLUMNS = ["data", "clip", "status", "detail"]


def selection_table(inputs: ResultInputs) -> pd.DataFrame:
    """How many questions had 0..N right answers, and how many of them were kept, for every selection of the run."""
    rows = []
    for path in sorted(inputs.histograms, key=arm_and_seed):
        arm, seed = arm_and_seed(path)
        counts = read_histogram(path)
        size = len(counts) - 1
        for row in counts:
            spread = f"{variance(row['correct'], size):.4f}"
            rows.append([arm, seed, row["correct"], size, spread, row["questions"], row["kept"]])
    return pd.DataFrame(rows, columns=SELECTION_COLUMNS)


def data_table(inputs: ResultInputs) -> pd.DataFrame:
    """What every stage that can lose data lost: one row per stage, data set and reason; `ok` and `kept` included.

    Questions that an arm was not asked because their prompt is too long for it are counted too. Of the durations only
    those close to the limit are shown, since rounding decides about them.
    """
    rows: list[list[str | int]] = []
    if inputs.filtered:
        lost_rows = read_csv(inputs.filtered, ("video", "reason"))
        videos = {(row["video"], row["reason"]) for row in lost_rows}
        for unit, names in (
            ("question", [row["reason"] for row in lost_rows]),
            ("video", [reason for _, reason in videos]),
        ):
            rows += [["filter", "nextqa", "", "", unit, name, count] for name, count in sorted(Counter(names).items())]
    if inputs.durations:
        counted = read_csv(inputs.durations, ("longer_than", "up_to", "videos"))
        for row in counted[1:-1]:
            name = f"lasts {row['longer_than']} to {row['up_to']} s"
            rows.append(["filter", "nextqa", "", "", "video", name, count_of(row["videos"], f"{inputs.durations}: videos")])
    statuses: dict[str, Counter[str]] = {}
    for path in inputs.clips:
        statuses.setdefault(Path(path).parent.name, Counter()).update(clip.status for clip in read_jsonl(path, ClipStatus))
    for data, counts in sorted(statuses.items()):
        rows += [["frames", data, "", "", "clip", status, counts[status]] for status in _ok_first(counts, OK)]
    kept = {arm_and_seed(path): sum(row["kept"] for row in read_histogram(path)) for path in inputs.histograms}
    lost = {arm_and_seed(path): Counter(row["reason"] for row in read_csv(path, ("reason",))) for path in inputs.dropped}
    for arm, seed in sorted(set(kept) | set(lost)):
        counts = lost.get((arm, seed), Counter())
        counts["kept"] = kept.get((arm, seed), 0)
        rows += [
            ["selection", "nextqa", arm, seed, "question", reason, counts[reason]]
            for reason in _ok_first(counts, "kept")
        ]
    for run in inputs.runs.by_key.values():
        if count := run.score["missing"].get(PROMPT_TOO_LONG):
            rows.append(["answers", run.benchmark, run.arm.name, run.seed, "question", PROMPT_TOO_LONG, count])
    return pd.DataFrame(rows, columns=DATA_COLUMNS)


def _ok_first(counts: Counter[str], first: str) -> list[str]:
    """Names in alphabetical order, `first` before all others."""
    return sorted(counts, key=lambda name: (name != first, name))


def broken_clips(inputs: ResultInputs) -> pd.DataFrame:
    """Every clip that could not be read, by name, with the reason and the decoder's own words.

    A training video that cannot be read is dropped by the filter, before its frames are extracted, so both are read.
    """
    broken = {
        (Path(path).parent.name, clip.key, clip.status, clip.detail)
        for path in inputs.clips
        for clip in read_jsonl(path, ClipStatus)
        if clip.status != OK
    }
    if inputs.filtered:
        dropped = read_csv(inputs.filtered, ("video", "reason", "detail"))
        broken |= {
            ("nextqa", row["video"], row["reason"], row["detail"]) for row in dropped if row["reason"] not in NOT_BROKEN
        }
    return pd.DataFrame(sorted(broken), columns=BROKEN_COLUMNS)
