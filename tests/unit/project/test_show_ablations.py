"""The tables that docs/show_ablations.py writes, from the tables of a run made up here."""

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.unit.project.test_packaging import ROOT
from vidreason.artifacts.provenance import write_sidecar
from vidreason.results.registry import TABLES

sys.path.insert(0, str(ROOT / "docs"))
import show_ablations

LABELS = {"sft": "SFT", "r1": "GRPO", "dynamic": "Dynamic | sampling"}
COMPARED = {
    # Benchmark: value, difference, ends of its interval, p, Holm's p, differences of single seeds.
    ("sft", "mvbench"): ("40.00", "-41.00", "-50.00", "-32.00", "0.00010", "0.00020", "-45.00", "-37.00"),
    ("sft", "mean"): ("40.00", "-41.00", "-50.00", "-32.00", "0.00010", "0.00020", "-45.00", "-37.00"),
    ("r1", "mvbench"): ("81.00", "", "", "", "", "", "", ""),
    ("r1", "mean"): ("81.00", "", "", "", "", "", "", ""),
    ("dynamic", "mvbench"): ("82.25", "1.25", "-0.04", "2.54", "0.06000", "0.06000", "-0.50", "3.00"),
    ("dynamic", "mean"): ("82.25", "1.25", "-0.04", "2.54", "0.06000", "0.06000", "-0.50", "3.00"),
}
COSTS = {"sft": ("0", "0", "7.4", "0.0"), "r1": ("6400", "0", "61.2", "0.9"), "dynamic": ("3200", "3200", "30.6", "")}


def write_table(run: Path, name: str, rows: list[dict[str, str]]) -> None:
    """Write a table with the columns that the run's own has."""
    columns = next(table.columns for table in TABLES if table.name == name)
    path = run / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    names = (
        "value",
        "difference",
        "ci_low",
        "ci_high",
        "p",
        "p_holm",
        "difference_lowest_seed",
        "difference_highest_seed",
    )
    costs = ("rollouts_training", "rollouts_selection", "seconds_training", "seconds_selection")
    run = tmp_path / "ablations"
    write_table(
        run,
        "ablations",
        [
            {"arm": arm, "label": LABELS[arm], "benchmark": place, "compared_to": "" if arm == "r1" else "r1"}
            | dict(zip(names, values, strict=True))
            | (dict(zip(costs, COSTS[arm], strict=True)) if place == "mean" else {})
            for (arm, place), values in COMPARED.items()
        ],
    )
    write_table(
        run,
        "controls",
        [
            {"arm": arm, "label": label, "questions": kind, "metric": "accuracy", "value": value, "seed": seed}
            | {"chance": {"temporal": "43.30", "other": "23.50", "all": "34.40"}[kind]}
            for arm, label in {"r1": "GRPO", "r1_gray": "GRPO, gray"}.items()
            for seed, value in (("0", "80.00"), ("1", "90.50"))
            for kind in ("temporal", "other", "all")
        ],
    )
    write_table(
        run,
        "main",
        [
            {"arm": arm, "label": LABELS[arm], "benchmark": "mean", "metric": "accuracy", "seed": seed, "value": value}
            for arm, values in {
                "sft": ("40.00", "40.00"),
                "r1": ("79.00", "83.00"),
                "dynamic": ("81.00", "83.00"),
            }.items()
            for seed, value in zip(("0", "1"), values, strict=True)
        ],
    )
    write_table(run, "metrics", [metric("r1", "0", "mvbench", "accuracy", "yes", "81.00")])
    made = {"commit": "0123456789abcdef+changes", "python": "3.11.9", "created": "2026-11-29T12:00:00+00:00"}
    write_sidecar(run / "tables/ablations.csv", [], {}, ["vidreason.records"], made | {"versions": {"torch": "2.9.0"}})
    for seed in (0, 1):
        path = run / "train_grpo" / "r1" / f"seed{seed}" / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        steps = [
            {"kind": "train", "step": step, "zero_variance": 0.5 + seed / 4, "kl": float(step)} for step in range(20)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in [*steps, {"kind": "validation", "step": 20}]))
    return run


def metric(arm: str, seed: str, benchmark: str, name: str, headline: str, value: str) -> dict[str, str]:
    """A row of metrics.csv."""
    row = {"arm": arm, "label": arm, "benchmark": benchmark, "metric": name, "headline": headline}
    return row | {"value": value, "seed": seed}


def lines_of(table: str) -> list[list[str]]:
    """Cells of a Markdown table, its rule left out."""
    header, _, *body = table.splitlines()
    return [[cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]] for line in (header, *body)]


def test_the_mean_has_differences_and_costs(run: Path) -> None:
    assert lines_of(show_ablations.means(run))[1:] == [
        ["SFT", "40.0", "-41.0 (-50.0 to -32.0)", "0.00010", "0.00020", "-45.0 to -37.0", "0", "7"],
        ["GRPO", "81.0", "-", "-", "-", "-", "6,400", "61"],
        [
            "Dynamic / sampling",
            "82.2",
            "+1.2 (0.0 to +2.5)",
            "0.06000",
            "0.06000",
            "-0.5 to +3.0",
            "3,200 + 3,200",
            "-",
        ],
    ]


def test_the_spread_of_the_seeds_is_that_of_the_differences(run: Path) -> None:
    """Differences of 2 and 0 have a variance of 2, their mean of two seeds a standard error of 1; SFT is not of GRPO."""
    assert show_ablations.spread_of_seeds(run) == "", "one arm of GRPO has nothing to differ from"
    (run / "train_grpo" / "dynamic").mkdir()
    text = show_ablations.spread_of_seeds(run)
    assert "a standard error of 1.0 points from the seeds alone" in text
    assert "pooled over 1 arms" in text


def test_a_single_seed_has_no_spread(run: Path) -> None:
    write_table(run, "main", [{"arm": "r1", "label": "GRPO", "benchmark": "mean", "seed": "0", "value": "79.00"}])
    assert show_ablations.spread_of_seeds(run) == ""


def test_benchmarks_show_the_reference_s_value_and_the_others_differences(run: Path) -> None:
    header, *body = lines_of(show_ablations.benchmarks(run))
    assert header == ["arm", "MVBench"]
    assert [line[1] for line in body] == ["-41.0 (-50.0 to -32.0)", "81.0", "+1.2 (0.0 to +2.5)"]


def test_kinds_of_questions_are_means_over_seeds_with_chance(run: Path) -> None:
    assert lines_of(show_ablations.kinds(run)) == [
        ["arm", "accuracy: temporal", "accuracy: other"],
        ["GRPO", "85.2", "85.2"],
        ["GRPO, gray", "85.2", "85.2"],
        ["chance", "43.3", "23.5"],
    ]


def test_metrics_are_those_of_benchmarks_with_another_headline(run: Path) -> None:
    assert show_ablations.metrics(run) == ""
    rows = [metric("r1", "0", "mlvu", "accuracy", "no", "1"), metric("r1", "0", "mlvu", "accuracy_macro", "yes", "2")]
    for seed, values in (("0", ("30.00", "50.00")), ("1", ("31.00", "53.00"))):
        rows += [metric("r1", seed, "charades_sta", "miou", "yes", values[0])]
        rows += [metric("r1", seed, "charades_sta", "r1@0.3", "no", values[1])]
    write_table(run, "metrics", rows)
    header, line = lines_of(show_ablations.metrics(run))
    assert header[1:] == ["Charades-STA: miou", "Charades-STA: r1@0.3"]
    assert line == ["r1", "30.5", "51.5"]


def test_trainings_are_counted_over_all_steps_or_the_last_ones(run: Path) -> None:
    header, line = lines_of(show_ablations.trainings(run))
    cells = dict(zip(header, line, strict=True))
    assert (cells["arm"], cells["steps"], cells["groups without variance"]) == ("GRPO", "20", "0.62")
    assert (cells["KL"], cells["groups with the bonus"]) == ("14.50", "-"), "steps 10 to 19 of both seeds"
    for path in run.glob("train_grpo/r1/*/metrics.jsonl"):
        path.write_text(json.dumps({"kind": "train", "step": 0, "kl": 0.0, "zero_variance": 0.0}) + "\n")
    _, line = lines_of(show_ablations.trainings(run))
    assert (line[header.index("groups without variance")], line[header.index("KL")]) == ("0.00", "-"), (
        "no KL is measured"
    )


def test_a_page_is_written_between_its_marks(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "ablations.md"
    monkeypatch.setattr(show_ablations, "PAGE", page)
    page.write_text("before\n\nold\n\nafter\n")
    with pytest.raises(SystemExit, match="marks"):
        show_ablations.write([run])
    assert page.read_text() == "before\n\nold\n\nafter\n"
    page.write_text(f"before\n\n{show_ablations.BEGIN}\n\nold\n\n{show_ablations.END}\n\nafter\n")
    for _ in range(2):
        show_ablations.write([run, run])
    text = page.read_text()
    assert text.startswith("before\n\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert text.count("### ablations") == 2
    assert "was made on 2026-11-29 from commit 0123456 with changes (Python 3.11.9, torch 2.9.0)." in text


def test_without_a_page_the_text_is_printed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show_ablations, "PAGE", tmp_path / "nothing.md")
    show_ablations.write([run])
    assert capsys.readouterr().out.startswith(show_ablations.BEGIN)
    assert not show_ablations.PAGE.exists()
