"""A run on a benchmark of multiple choice and one of temporal grounding: every number is called by its name."""

import html
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.scored_run import ARMS, SETTINGS, predictions_of, questions_of, score_one
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import Scoring
from vidreason.data import registry
from vidreason.data.registry import dataset_of
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.records import ClipRef, Completion, Prediction, Question
from vidreason.results.figures import draw_temporal
from vidreason.results.plots.accuracy import draw_accuracy
from vidreason.results.registry import TABLES
from vidreason.results.report import make_report
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

SPOKEN = {
    "base": ("0.0 to 2.0", "at the end"),
    "coldstart": ("7.0 to 3.0", "4.0 to 8.0"),
    "r1": ("0.0 to 4.0", "2.0 to 6.0"),
    "r1_shuffled": ("6.0 to 9.0", "5.0 to 7.0"),
}
"""Answers to two queries whose gold segment is 0 to 4 seconds of 10, the second with a further one from 8 to 9 seconds."""


def queries() -> list[Question]:
    segments = [((0.0, 4.0),), ((0.0, 4.0), (8.0, 9.0))]
    return [
        Question(f"m{n}", "moments", "grounding", "a man runs", ClipRef(f"{n}.mp4"), segments=own, duration=10.0)
        for n, own in enumerate(segments)
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultInputs:
    described = replace(dataset_of("mmvu"), name="moments", title="Moments", tasks=("grounding",), headline="micro")
    monkeypatch.setitem(registry._datasets, "moments", described)
    scores, scored = [], []
    write_jsonl(tmp_path / "moments.jsonl", queries())
    write_jsonl(tmp_path / "video_mme.jsonl", questions_of("video_mme"))
    truth = tmp_path / "truth.jsonl"
    write_jsonl(truth, [
        {"dataset": "moments", "question": one.id, "temporal": True, "caption": "x", "task": "when"} for one in queries()
    ])  # fmt: skip
    for arm in ARMS:
        own = score_one(tmp_path, arm, "video_mme", predictions_of(arm, "video_mme"))
        predictions = tmp_path / f"{arm}.jsonl"
        style = ARMS[arm]["style"]
        texts = [text if style == "option" else f"<think>t</think> <answer>{text}</answer>" for text in SPOKEN[arm]]
        write_jsonl(predictions, [
            Prediction(one.id, "ok", "0" * 64, Completion(text, 5, True), one.sha256)
            for one, text in zip(queries(), texts, strict=True)
        ])  # fmt: skip
        folder = tmp_path / "score" / arm / "seed0"
        files = ScoreFiles(
            tmp_path / "moments.jsonl",
            [predictions],
            folder / "moments.scored.jsonl",
            folder / "moments.score.json",
            truth,
        )
        score(Subject("moments", arm, style, 0), files, Scoring(**SETTINGS))
        scores += [own[0], files.score]
        scored += [own[1], files.scored]
    return ResultInputs(read_arms(ARMS), ("video_mme", "moments"), scores=scores, scored=scored)


@pytest.fixture
def tables(tmp_path: Path, run: ResultInputs) -> dict[str, Path]:
    out = {table.name: tmp_path / "tables" / table.file for table in TABLES}
    make_tables(run, out)
    return out


def test_rows_name_their_metric(tables: dict[str, Path]) -> None:
    main = {(row["arm"], row["benchmark"]): row for row in read_csv(tables["main"])}
    assert {key[1]: row["metric"] for key, row in main.items()} == {
        "video_mme": "accuracy",
        "moments": "miou",
        "mean": "accuracy+miou",
    }
    assert main["r1", "video_mme"]["value"] == "75.00"
    assert main["r1", "moments"]["value"] == "64.29", "4 of 4 seconds, and 2 of the 7 of two segments and the answer"
    metrics = {row["metric"] for row in read_csv(tables["metrics"]) if row["benchmark"] == "moments"}
    assert {"miou", "r1_03", "r1_05", "r1_07"} <= metrics
    ablation = next(row for row in read_csv(tables["ablations"]) if (row["arm"], row["benchmark"]) == ("r1", "mean"))
    assert ablation["metric"] == "accuracy+miou"
    assert float(ablation["value"]) == pytest.approx((75 + float(main["r1", "moments"]["value"])) / 2, abs=0.01)


def test_arms_are_compared_by_every_metric(tables: dict[str, Path]) -> None:
    """The cold start reads one query half right, the other backwards; r1 both in part (`SPOKEN`)."""
    table = read_csv(tables["ablations"])
    of_arm = {(row["benchmark"], row["metric"]): row for row in table if row["arm"] == "coldstart"}
    assert list(of_arm) == [
        ("video_mme", "accuracy"),
        *(("moments", metric) for metric in ("miou", "r1_03", "r1_05", "r1_07")),
        ("mean", "accuracy+miou"),
    ]
    metrics = {
        (row["arm"], row["metric"]): float(row["value"])
        for row in read_csv(tables["metrics"])
        if row["benchmark"] == "moments"
    }
    for metric in ("miou", "r1_03", "r1_05", "r1_07"):
        row = of_arm["moments", metric]
        assert float(row["value"]) == pytest.approx(metrics["coldstart", metric], abs=0.01)
        difference = metrics["coldstart", metric] - metrics["r1", metric]
        assert float(row["difference"]) == pytest.approx(difference, abs=0.011)
        assert row["difference_lowest_seed"] == row["difference_highest_seed"] == row["difference"]
    assert len({of_arm["moments", metric]["difference"] for metric in ("miou", "r1_07")}) == 2


def test_answers_of_different_metrics_are_not_pooled(tables: dict[str, Path]) -> None:
    """The control's rows and those over all benchmarks stand once for each metric, with a chance level only where it exists."""
    controls = [row for row in read_csv(tables["controls"]) if row["arm"] == "r1_shuffled"]
    assert [(row["metric"], row["questions"], row["n"]) for row in controls] == [
        ("accuracy", "temporal", "4"),
        ("accuracy", "other", "4"),
        ("accuracy", "all", "8"),
        ("miou", "temporal", "2"),
        ("miou", "all", "2"),
    ]
    assert [row["chance"] for row in controls] == ["25.00"] * 3 + [""] * 2
    assert (controls[3]["value"], float(controls[3]["difference"]) < -50) == ("0.00", True)
    thinking = [row for row in read_csv(tables["thinking"]) if (row["arm"], row["benchmark"]) == ("r1", "all")]
    assert [(row["metric"], row["n"]) for row in thinking] == [("accuracy", "8"), ("miou", "2")]


def test_the_summary_says_what_is_measured(tables: dict[str, Path]) -> None:
    text = tables["markdown"].read_text()
    assert text.startswith("# Accuracy or mIoU in percent, with 95% intervals")
    header = next(line for line in text.splitlines() if line.startswith("| arm"))
    assert "| Video-MME (accuracy) | Moments (mIoU) | Mean " in header
    chance = next(line for line in text.splitlines() if line.startswith("| chance"))
    assert [cell.strip() for cell in chance.split("|")[4:7]] == ["25.0", "-", "-"]
    assert "most frequent letter" not in text
    assert "Moments (R@1 IoU 0.5)" in text
    assert "Cold start (seed 0) Moments reversed 1" in text


def test_figures_name_the_metric(run: ResultInputs, tables: dict[str, Path]) -> None:
    axes = draw_accuracy(run).axes[0]
    assert axes.get_ylabel() == "accuracy or mIoU (%)"
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "Video-MME\n(accuracy)",
        "Moments\n(mIoU)",
        "Mean",
    ]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 1, "chance is known for one benchmark, so neither for the other nor for the mean"
    panels = draw_temporal(replace(run, tables=[tables["controls"]])).axes
    assert [one.get_ylabel() for one in panels] == ["accuracy (%)", "mIoU (%)"]


def test_the_page_shows_intervals(run: ResultInputs, tmp_path: Path) -> None:
    """Predicted and gold intervals are texts, unreadable ones are named, and a value between right and wrong is shown."""
    given = replace(run, questions=[tmp_path / "moments.jsonl", tmp_path / "video_mme.jsonl"])
    make_report(given, "mixed", 0, tmp_path / "index.html", examples=8)
    page = html.unescape((tmp_path / "index.html").read_text())
    assert "Mean accuracy or mIoU over Video-MME, Moments" in page
    assert "Chance is" not in page
    assert "Right is 0.0 to 4.0." in page
    assert "(gold: 0 to 4; 8 to 9)" in page
    assert "<td>0 to 4</td>" in page
    assert "<td>none (reversed)</td>" in page
    assert '<span class="right">right, 50.0%</span>' in page
