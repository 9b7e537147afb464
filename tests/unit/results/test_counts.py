"""Tables that count something beside the scores: tokens and seconds."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.scored_run import ARMS, BENCHMARKS, write_run
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.evaluation.scored_answers import Scored
from vidreason.records import StepTiming
from vidreason.results.counts.training_times import timing_table
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

EMPTY = ResultInputs(read_arms(ARMS), BENCHMARKS)


def write_timing(root: Path, arm: str, steps: list[StepTiming], method: str = "grpo", seed: int = 0) -> Path:
    path = root / f"train_{method}" / arm / f"seed{seed}" / "timing.jsonl"
    write_jsonl(path, steps)
    return path


def steps(peak: int | None = None, share: float | None = None) -> list[StepTiming]:
    first = StepTiming(0, 4.0, {"sample": 1.0, "backward": 2.0}, 100, 80, 100.0, 20.0, peak, share)
    second = StepTiming(1, 2.0, {"sample": 0.5, "backward": 1.0, "reference": 0.3}, 50, 40, 100.0, 20.0, 7, share)
    return [first, second]


def test_seconds_of_the_phases(tmp_path: Path) -> None:
    rows = timing_table(replace(EMPTY, timing=[write_timing(tmp_path, "r1", steps())]))
    cells = {row["phase"]: (row["seconds"], row["share"], row["tokens_per_second"]) for row in rows}
    assert cells == {
        "step": ("3.0000", "1.0000", "20.0"),
        "sample": ("0.7500", "0.2500", "100.0"),
        "backward": ("1.5000", "0.5000", ""),
        "reference": ("0.1500", "0.0500", ""),
        "other": ("0.6000", "0.2000", ""),
    }
    assert {(row["arm"], row["label"], row["seed"], row["steps"]) for row in rows} == {("r1", "R1 <ours> & co", 0, 2)}


def test_memory_and_share_of_the_peak_are_those_of_the_whole_step(tmp_path: Path) -> None:
    paths = [write_timing(tmp_path, "r1", steps(9, 0.25)), write_timing(tmp_path, "coldstart", steps(), "sft")]
    rows = timing_table(replace(EMPTY, timing=paths))
    found = {
        (row["arm"], row["phase"]): (row["peak_memory"], row["peak_share"]) for row in rows if row["phase"] != "other"
    }
    assert found["r1", "step"] == (9, "0.2500")
    assert found["r1", "sample"] == ("", "")
    assert found["coldstart", "step"] == (7, "")
    assert next(row["arm"] for row in rows) == "coldstart", "in the order of the configuration"


def test_a_training_without_steps_has_no_rows(tmp_path: Path) -> None:
    assert timing_table(replace(EMPTY, timing=[write_timing(tmp_path, "r1", [])])) == []


def test_tokens_have_intervals_clustered_by_video(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = next(Path(path) for path in run.scored if "/r1/" in str(path) and "mlvu" in str(path))
    rows = read_jsonl(path, Scored)
    tokens = [10, 10, 20, 20, 30, 30, 40, 40]  # four videos of two questions
    changed = [
        replace(row, prediction=replace(row.prediction, completion=replace(row.prediction.completion, tokens=count)))
        for row, count in zip(rows, tokens, strict=True)
    ]
    path.with_name(f"{path.name}.provenance.json").unlink(missing_ok=True)
    write_jsonl(path, changed)
    make_tables(run, {"lengths": tmp_path / "lengths.csv"})
    cells = {(row["arm"], row["benchmark"]): row for row in read_csv(tmp_path / "lengths.csv", ("arm",))}
    own = cells["r1", "mlvu"]
    # The means of four videos, 10 to 40, scatter by sqrt(500 / 3); of their mean by half of it; t of 3 degrees is 3.182.
    half = 3.1824 * (500 / 3) ** 0.5 / 2
    assert (own["tokens"], own["n"], own["unfinished_share"]) == ("25.00", "8", "0.0000")
    assert float(own["tokens_high"]) == pytest.approx(25 + half, abs=0.01)
    assert float(own["tokens_low"]) == pytest.approx(25 - half, abs=0.01)
    assert cells["r1", "mean"]["tokens"] == "22.50"
    assert cells["base", "mean"]["value"] == "27.08"
    same = cells["base", "mlvu"]
    assert (same["tokens_low"], same["tokens"], same["tokens_high"]) == ("1.00", "1.00", "1.00")
    assert {row["arm"] for row in cells.values()} == {"base", "coldstart", "r1"}, "without controls"


def test_without_answers_there_are_no_tokens(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for path in (Path(path) for path in run.scored if "/r1/" in str(path) and "mlvu" in str(path)):
        rows = [replace(row, prediction=replace(row.prediction, status="missing")) for row in read_jsonl(path, Scored)]
        path.with_name(f"{path.name}.provenance.json").unlink(missing_ok=True)
        write_jsonl(path, rows)
    make_tables(run, {"lengths": tmp_path / "lengths.csv"})
    cells = {(row["arm"], row["benchmark"]): row for row in read_csv(tmp_path / "lengths.csv", ("arm",))}
    assert [cells["r1", name]["tokens"] for name in ("video_mme", "mlvu", "mean")] == ["20.00", "", ""]
