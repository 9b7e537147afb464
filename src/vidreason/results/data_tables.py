"""Accounts of the data: what was selected, and what was dropped or could not be read, with reasons."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from vidreason.artifacts.csv_files import read_csv
from vidreason.results.runs import Run, arm_and_seed
from vidreason.artifacts.counts import count_of, read_histogram
from vidreason.artifacts.files import read_jsonl
from vidreason.records import OK, PROMPT_TOO_LONG, Clip
from vidreason.training.selection import variance

SELECTION_COLUMNS = ["arm", "seed", "correct", "rollouts", "variance", "questions", "kept"]
DATA_COLUMNS = ["stage", "data", "arm", "seed", "unit", "reason", "count"]
NOT_BROKEN = frozenset({"too_long", "duplicate", "no_gold", "over_the_limit"})
"""Reasons of the filter that say nothing against the video itself."""
BROKEN_COLUMNS = ["data", "clip", "status", "detail"]


def selection_table(histograms: Sequence[str | Path]) -> pd.DataFrame:
    """How many questions had 0..N right answers, and how many of them were kept, for every selection of the run.

    Args:
        histograms: `histogram.csv` files in folders `.../{arm}/seed{seed}/`; arm is the model that answered.
    """
    rows = []
    for path in sorted(histograms, key=arm_and_seed):
        arm, seed = arm_and_seed(path)
        counts = read_histogram(path)
        size = len(counts) - 1
        for row in counts:
            spread = f"{variance(row['correct'], size):.4f}"
            rows.append([arm, seed, row["correct"], size, spread, row["questions"], row["kept"]])
    return pd.DataFrame(rows, columns=SELECTION_COLUMNS)


def data_table(
    filtered: str | Path | None,
    clips: Sequence[str | Path],
    histograms: Sequence[str | Path],
    dropped: Sequence[str | Path],
    runs: Iterable[Run] = (),
    durations: str | Path | None = None,
) -> pd.DataFrame:
    """What every stage that can lose data did lose: one row per stage, data set and reason; `ok` and `kept` included.

    Args:
        filtered: Questions that the filter of the training data dropped (video, reason), or None.
        clips: JSON lines of `Clip` in folders `.../{data set}/`, one line per clip asked for.
        histograms: Histograms of the selections.
        dropped: Tables of the questions that the selections dropped, in folders `.../{arm}/seed{seed}/`.
        runs: Scored answers; questions that an arm was not asked because they are too long for it are counted.
        durations: How many training videos last how long, as the filter counted them, or None: those close to the limit
            are shown, since rounding decides about them.
    """
    rows: list[list[str | int]] = []
    if filtered is not None:
        lost_rows = read_csv(filtered, ("video", "reason"))
        videos = {(row["video"], row["reason"]) for row in lost_rows}
        for unit, names in (
            ("question", [row["reason"] for row in lost_rows]),
            ("video", [reason for _, reason in videos]),
        ):
            rows += [["filter", "nextqa", "", "", unit, name, count] for name, count in sorted(Counter(names).items())]
    if durations is not None:
        counted = read_csv(durations, ("longer_than", "up_to", "videos"))
        for row in counted[1:-1]:
            name = f"lasts {row['longer_than']} to {row['up_to']} s"
            rows.append(["filter", "nextqa", "", "", "video", name, count_of(row["videos"], f"{durations}: videos")])
    statuses: dict[str, Counter[str]] = {}
    for path in clips:
        statuses.setdefault(Path(path).parent.name, Counter()).update(clip.status for clip in read_jsonl(path, Clip))
    for data, counts in sorted(statuses.items()):
        rows += [["frames", data, "", "", "clip", status, counts[status]] for status in _ok_first(counts, OK)]
    kept = {arm_and_seed(path): sum(row["kept"] for row in read_histogram(path)) for path in histograms}
    lost = {arm_and_seed(path): Counter(row["reason"] for row in read_csv(path, ("reason",))) for path in dropped}
    for arm, seed in sorted(set(kept) | set(lost)):
        counts = lost.get((arm, seed), Counter())
        counts["kept"] = kept.get((arm, seed), 0)
        rows += [
            ["selection", "nextqa", arm, seed, "question", reason, counts[reason]]
            for reason in _ok_first(counts, "kept")
        ]
    for run in runs:
        if count := run.score["missing"].get(PROMPT_TOO_LONG):
            rows.append(["answers", run.benchmark, run.arm.name, run.seed, "question", PROMPT_TOO_LONG, count])
    return pd.DataFrame(rows, columns=DATA_COLUMNS)


def _ok_first(counts: Counter[str], first: str) -> list[str]:
    """Names in alphabetical order, `first` before all others."""
    return sorted(counts, key=lambda name: (name != first, name))


def broken_clips(clips: Sequence[str | Path], filtered: str | Path | None) -> pd.DataFrame:
    """Every clip that could not be read, by name, with the reason and the decoder's own words.

    Args:
        clips: JSON lines of `Clip` in folders `.../{data set}/`.
        filtered: Questions that the filter of the training data dropped (video, reason, detail), or None: a training
            video that cannot be read is dropped there, before anyone asks for its frames.
    """
    found = {
        (Path(path).parent.name, clip.clip, clip.status, clip.detail)
        for path in clips
        for clip in read_jsonl(path, Clip)
        if clip.status != OK
    }
    if filtered is not None:
        dropped = read_csv(filtered, ("video", "reason", "detail"))
        found |= {
            ("nextqa", row["video"], row["reason"], row["detail"]) for row in dropped if row["reason"] not in NOT_BROKEN
        }
    return pd.DataFrame(sorted(found), columns=BROKEN_COLUMNS)
