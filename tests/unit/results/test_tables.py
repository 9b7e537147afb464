"""Tables of the hand-written run, cell by cell where it matters."""

import csv
import functools
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.scored_run import (
    ARMS,
    BENCHMARKS,
    change,
    predictions_of,
    score_one,
    write_clips,
    write_run,
    write_selection,
)
from vidreason.artifacts.csv_files import read_csv
from vidreason.records import PROMPT_TOO_LONG, Completion
from vidreason.results.main_markdown import summary
from vidreason.results.number_format import percent
from vidreason.results.page import render
from vidreason.results.registry import TABLES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables


def make(root: Path, run: ResultInputs, **changes: Any) -> dict[str, Path]:
    """Make every table."""
    out = {table.name: root / "tables" / table.file for table in TABLES}
    make_tables(replace(run, **changes), out)
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV file as mappings."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """All tables of the run with everything given."""
    selection = write_selection(tmp_path)
    (tmp_path / "nextqa").mkdir()
    filtered = tmp_path / "nextqa" / "dropped.csv"
    filtered.write_text("question,video,reason\n1,a.mp4,too_long\n2,a.mp4,too_long\n3,c.mp4,missing\n")
    durations = tmp_path / "nextqa" / "durations.csv"
    durations.write_text("longer_than,up_to,videos\n0,30,5\n30,30.5,3\n30.5,31,0\n31,,2\n")
    published = tmp_path / "published.tsv"
    published.write_text(
        "# the paper\narm\tbenchmark\tvalue\tprotocol\tsource\nsft\tmlvu\t49.2\toption\tTable 1\n"
        "r1\tmlvu\t52.4\treason\tTable 1\nr1\tother\t1\treason\tTable 1\n"
    )
    return make(
        tmp_path,
        write_run(tmp_path),
        histograms=[selection["histogram"]],
        dropped=[selection["dropped"]],
        selected=[selection["selected"]],
        filtered=[filtered],
        durations=[durations],
        clips=write_clips(tmp_path),
        published=published,
    )


def test_main_has_exactly_the_promised_columns_and_rows(tables: dict[str, Path]) -> None:
    header = tables["main"].read_text().splitlines()[0]
    assert header == "arm,label,style,benchmark,metric,n,coverage,value,ci_low,ci_high,unparsed,seed"
    rows = rows_of(tables["main"])
    expected = [(arm, benchmark) for arm in ("base", "coldstart", "r1") for benchmark in (*BENCHMARKS, "mean")]
    assert [(row["arm"], row["benchmark"]) for row in rows] == expected, "no controls, configured order, mean last"


def test_main_numbers(tables: dict[str, Path]) -> None:
    cells = {(row["arm"], row["benchmark"]): row for row in rows_of(tables["main"])}
    assert cells["base", "video_mme"]["value"] == "37.50"
    assert cells["coldstart", "video_mme"]["value"] == "12.50"
    assert cells["r1", "video_mme"]["value"] == "75.00"
    assert cells["r1", "mlvu"]["value"] == "66.67", "MLVU is the mean over its categories: (5/6 + 1/2) / 2"
    assert cells["r1", "mean"]["value"] == "70.83"
    assert (cells["r1", "mean"]["n"], cells["r1", "mean"]["coverage"]) == ("16", "1.0000")
    for row in cells.values():
        assert 0 <= float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]) <= 100


@pytest.mark.parametrize(
    # Wilson's lower end without an error: four videos; or three and one, equally weighted, 4 / (1/3 + 1/1) = 3.
    ("benchmark", "low", "cell"),
    [("video_mme", "51.01", "100.0 ± 49.0"), ("mlvu", "43.85", "100.0 ± 56.1")],
)
def test_the_mean_of_one_benchmark_has_its_interval(tmp_path: Path, benchmark: str, low: str, cell: str) -> None:
    right = [change(predictions_of("base", benchmark), number, text="ABCD"[number % 4])[number] for number in range(8)]
    some = predictions_of("r1", benchmark)
    done = [score_one(tmp_path, arm, benchmark, answers) for arm, answers in (("base", right), ("r1", some))]
    run = ResultInputs(read_arms(ARMS), [benchmark], [one for one, _ in done], [two for _, two in done])
    tables = make(tmp_path, run)
    first, mean = ([row for row in rows_of(tables["main"]) if row["benchmark"] == name] for name in (benchmark, "mean"))
    assert first == [row | {"benchmark": benchmark} for row in mean]
    assert first[0]["ci_low"] == low
    (line,) = (line for line in tables["markdown"].read_text().splitlines() if line.startswith("| Base"))
    assert line.count(cell) == 2


def test_labels_are_text_wherever_they_stand(tmp_path: Path) -> None:
    """A label is neither a formula of a spreadsheet nor markup, and reads the same on the page."""
    labels = {"base": "=1+1", "coldstart": "a|b\\", "r1": "*R1* $x$ [y](z) `w` <i>&amp;", "r1_shuffled": "@SUM(A1)"}
    run = write_run(tmp_path)
    run = replace(run, arms=read_arms({name: arm | {"label": labels[name]} for name, arm in ARMS.items()}))
    tables = make(tmp_path, run)
    cells = [row["label"] for name in ("main", "controls", "by_task") for row in rows_of(tables[name])]
    assert set(cells) == {"'=1+1", labels["coldstart"], labels["r1"], "'@SUM(A1)"}
    assert {row["label"] for row in read_csv(tables["controls"])} == set(labels.values())
    text = tables["markdown"].read_text()
    widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {9, 7}
    assert r"| a\|b\\ " in text
    assert r"| \*R1\* \$x\$ \[y](z) \`w\` \<i>\&amp; " in text
    assert r"Base (seed" not in text
    raw = render("document.html.j2", blocks=summary(run))
    assert "<i>" not in raw
    page = html.unescape(raw)
    assert all(f"<td>{label}</td>" in page for name, label in labels.items() if name != "r1_shuffled")
    assert f"; {labels['r1']} (seed 0) 75.0" in page
    assert f"{labels['r1']} minus {labels['coldstart']}</td>" in page


def test_markdown_is_wide_and_honest(tables: dict[str, Path]) -> None:
    text = tables["markdown"].read_text()
    header = next(line for line in text.splitlines() if line.startswith("| arm"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "arm",
        "style",
        "seed",
        "Video-MME",
        "MLVU",
        "Mean",
        "format followed",
        "unparsed",
    ]
    r1 = next(line for line in text.splitlines() if line.startswith("| R1"))
    assert "75.0 ± " in r1
    assert "100.0%" in r1
    chance = next(line for line in text.splitlines() if line.startswith("| chance"))
    assert chance.count("25.0") == 3
    assert (
        r"over all its questions: Base (seed 0) 25.0; Cold start (seed 0) 25.0; R1 \<ours> & co (seed 0) 75.0" in text
    )
    published = [line.split("|")[1:-1] for line in text.split("## Published")[1].splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line] for line in published] == [
        ["arm", "style", "Video-MME", "MLVU", "source"],
        ["sft", "option", "-", "49.2", "Table 1"],
        [r"R1 \<ours> & co", "reason", "-", "52.4", "Table 1"],
        [r"R1 \<ours> & co", "reason", "75.0 ± 75.0", "66.7 ± 25.0", "this run, seed 0"],
    ]
    assert r"R1 \<ours> & co minus Cold start" in text


def test_prompts_that_are_too_long_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for arm in ("base", "r1"):
        predictions = predictions_of(arm, "mlvu")
        for number, status in ((2, PROMPT_TOO_LONG), (5, "truncated")):
            predictions = change(predictions, number, status=status, completion=Completion())
        score_one(tmp_path, arm, "mlvu", predictions, known_missing={"order": 1})
    tables = make(tmp_path, run)
    notes = tables["markdown"].read_text()
    assert (
        r"- Questions whose prompt is too long for the model are not answered and count as wrong: Base (seed 0) MLVU 1, R1 \<ours> & co (seed 0) MLVU 1."
        in notes
    )
    assert "- Frames: missing for some questions: MLVU 7/8 have them." in notes
    rows = [row for row in rows_of(tables["data"]) if row["stage"] == "answers"]
    assert [list(row.values()) for row in rows] == [
        ["answers", "mlvu", arm, "0", "question", PROMPT_TOO_LONG, "1"] for arm in ("base", "r1")
    ]
    coverage = {(row["arm"], row["benchmark"]): row["coverage"] for row in rows_of(tables["main"])}
    assert (coverage["base", "mlvu"], coverage["coldstart", "mlvu"]) == ("0.7500", "1.0000")


def test_gains_are_paired(tables: dict[str, Path]) -> None:
    cells = {(row["arm"], row["benchmark"]): row for row in rows_of(tables["gains"])}
    # r1 minus coldstart on Video-MME: questions 0, 2, 3, 4, 5 won, none lost.
    assert cells["r1", "video_mme"]["difference"] == "62.50"
    assert cells["r1", "video_mme"]["compared_to"] == "coldstart"
    assert cells["r1", "video_mme"]["well_formed_difference"] == "62.50"
    assert cells["coldstart", "video_mme"]["difference"] == "-25.00"
    assert cells["coldstart", "video_mme"]["well_formed_difference"] == "", "the base arm does not reason"
    # MLVU macro: r1 2/3; coldstart order 2/6, count 0, so 1/6. Difference 1/2.
    assert cells["r1", "mlvu"]["difference"] == "50.00"
    assert cells["r1", "mean"]["difference"] == "56.25"


def test_controls_split_by_need_of_order(tables: dict[str, Path]) -> None:
    cells = {(row["arm"], row["questions"]): row for row in rows_of(tables["controls"])}
    # Temporal (even): r1 has 0 2 4 and 0 2 of 8; shuffled none. Other (odd): r1 1 3 5 and 1 3 5 7; shuffled the same.
    assert cells["r1", "temporal"]["value"] == "62.50"
    assert cells["r1", "other"]["value"] == "87.50"
    assert cells["r1_shuffled", "temporal"]["value"] == "0.00"
    assert cells["r1_shuffled", "other"]["value"] == "87.50"
    assert cells["r1_shuffled", "temporal"]["difference"] == "-62.50"
    assert cells["r1_shuffled", "temporal"]["compared_to"] == "r1"
    assert cells["r1", "temporal"]["difference"] == ""
    assert (
        float(cells["r1_shuffled", "other"]["difference_low"])
        < 0
        < float(cells["r1_shuffled", "other"]["difference_high"])
    )
    assert {row["n"] for row in cells.values() if row["questions"] == "all"} == {"16"}
    assert {row["chance"] for row in cells.values()} == {"25.00"}


def test_thinking(tables: dict[str, Path]) -> None:
    rows = {(row["arm"], row["benchmark"]): row for row in rows_of(tables["thinking"])}
    assert {arm for arm, _ in rows} == {"coldstart", "r1", "r1_shuffled"}, "option arms do not think"
    r1 = rows["r1", "all"]
    assert (r1["n"], r1["format_followed"], r1["think_true"]) == ("16", "1.0000", "0.5000")
    assert (r1["value"], r1["value_within_well_formed"]) == ("75.00", "75.00")
    # True thinks are the even questions: 5 of 8 right; the others 7 of 8.
    assert (r1["value_think_true"], r1["value_think_false"]) == ("62.50", "87.50")
    assert rows["coldstart", "all"]["value_think_true"] == ""


def test_by_task(tables: dict[str, Path]) -> None:
    rows = [row for row in rows_of(tables["by_task"]) if (row["arm"], row["benchmark"]) == ("r1", "mlvu")]
    assert [(row["category"], row["temporal"], row["n"], row["value"]) for row in rows] == [
        ("count", "false", "1", "100.00"),
        ("count", "true", "1", "0.00"),
        ("order", "false", "3", "100.00"),
        ("order", "true", "3", "66.67"),
    ]
    pooled = [row for row in rows_of(tables["by_task"]) if (row["arm"], row["benchmark"]) == ("r1_shuffled", "all")]
    assert [(row["category"], row["temporal"], row["n"], row["value"]) for row in pooled] == [
        ("colour", "false", "8", "87.50"),
        ("first", "true", "8", "0.00"),
    ], "the world's kinds, over both benchmarks"


def test_selection_and_data(tables: dict[str, Path]) -> None:
    selection = rows_of(tables["selection"])
    columns = ("arm", "task", "measure", "low", "high", "rollouts", "questions", "kept")
    found = tuple(selection[1][column] for column in columns)
    assert found == ("coldstart", "multiple_choice", "correct", "1", "1", "4", "7", "7")
    data = {(row["stage"], row["data"], row["unit"], row["reason"]): row["count"] for row in rows_of(tables["data"])}
    assert data == {
        ("filter", "nextqa", "question", "missing"): "1",
        ("filter", "nextqa", "question", "too_long"): "2",
        ("filter", "nextqa", "video", "missing"): "1",
        ("filter", "nextqa", "video", "lasts 30 to 30.5 s"): "3",
        ("filter", "nextqa", "video", "lasts 30.5 to 31 s"): "0",
        ("filter", "nextqa", "video", "too_long"): "1",
        ("frames", "mlvu", "clip", "ok"): "1",
        ("frames", "nextqa", "clip", "ok"): "1",
        ("frames", "nextqa", "clip", "empty_file"): "1",
        ("frames", "nextqa", "clip", "truncated"): "1",
        ("frames", "nextqa", "clip", "unreadable"): "1",
        ("selection", "nextqa", "question", "kept"): "13",
        ("selection", "nextqa", "question", "always_right"): "1",
        ("selection", "nextqa", "question", "always_wrong"): "5",
        ("selection", "nextqa", "question", "truncated"): "1",
    }


def test_same_bytes_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=(0, 3))
    first = {name: path.read_bytes() for name, path in make(tmp_path, run).items()}
    turned = replace(run, scores=run.scores[::-1], scored=run.scored[::-1])
    assert {name: path.read_bytes() for name, path in make(tmp_path, turned).items()} == first


def test_several_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path, seeds=(0, 3))
    tables = make(tmp_path, run)
    assert [row["seed"] for row in rows_of(tables["main"])] == (["0"] * 3 + ["3"] * 3) * 3
    assert "## Over 2 seeds" in tables["markdown"].read_text()
    assert "75.0 (75.0 to 75.0)" in tables["markdown"].read_text()


def test_real_data_without_truth(tmp_path: Path) -> None:
    done = [
        score_one(tmp_path, "r1", benchmark, predictions_of("r1", benchmark), truth=None) for benchmark in BENCHMARKS
    ]
    run = ResultInputs(read_arms(ARMS), BENCHMARKS, [one for one, _ in done], [two for _, two in done])
    tables = make(tmp_path, run)
    assert [row["questions"] for row in rows_of(tables["controls"])] == ["all"]
    assert {row["temporal"] for row in rows_of(tables["by_task"])} == {""}
    assert rows_of(tables["thinking"])[0]["think_true"] == ""
    assert tables["gains"].read_text().count("\n") == 1, "the parent has no scores, so there is nothing to compare"


def test_coverage_is_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    missing = change(predictions_of("r1", "mlvu"), 6, status="missing", completion=Completion())
    settings = {"parser": "strict", "unparsed": "wrong", "max_missing_fraction": 0.2}
    score_one(tmp_path, "r1", "mlvu", missing, settings=settings)
    cells = {(row["arm"], row["benchmark"]): row for row in rows_of(make(tmp_path, run)["main"])}
    assert cells["r1", "mlvu"]["coverage"] == "0.8750"
    assert cells["r1", "mean"]["coverage"] == "0.9375"
    assert cells["r1", "mlvu"]["n"] == "8"


def test_holes_in_the_grid_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    with pytest.raises(ValueError, match="base/seed0/video_mme"):
        make(tmp_path, run, scores=run.scores[1:], scored=run.scored[1:])
    with pytest.raises(ValueError, match="8 score files but 7"):
        make(tmp_path, run, scored=run.scored[1:])
    with pytest.raises(ValueError, match=r"arm 'r1_shuffled'.*allowed are arms \['base'\]"):
        make(tmp_path, run, arms={"base": run.arms["base"]}, scores=run.scores[-1:], scored=run.scored[-1:])


def test_score_and_answers_of_different_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    run.scored[0].write_text("".join(run.scored[0].read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="7 scored answers, the score beside it counts 8"):
        make(tmp_path, run)


def test_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown names \['mian'\]"):
        make_tables(write_run(tmp_path), {"mian": tmp_path / "x.csv"})


def test_published_table_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.tsv"
    path.write_text("arm\tbenchmark\nr1\tmlvu\n")
    with pytest.raises(ValueError, match=r"columns \['value'\] are missing"):
        make(tmp_path, write_run(tmp_path), published=path)


def test_percent_never_shows_minus_zero() -> None:
    assert [percent(value) for value in (-1e-9, 0.0, 0.5, -0.5, None)] == ["0.00", "0.00", "50.00", "-50.00", ""]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("metrics.accuracy.mean", 87.5, "metrics.accuracy.mean is 87.5; needed is a share between 0 and 1"),
        ("metrics.accuracy.mean", None, "metrics.accuracy.mean is null; Score needs a number"),
        ("metrics.accuracy.mean", "0.5", "metrics.accuracy.mean is '0.5'; Score needs a number"),
        ("metrics.accuracy.low", float("nan"), "metrics.accuracy.low is nan"),
        ("seed", True, "seed is True; Score needs a whole number"),
        ("n", 8.0, "n is 8.0; Score needs a whole number"),
        ("rules", [], r"rules is \[\]; Score needs an object"),
        ("with_frames", 9, "9 of 8 questions have frames"),
        ("chance", ..., "chance missing; Score needs it"),
        ("headline", "value", "headline is 'value'; allowed: accuracy, accuracy_macro"),
        ("headline", "accuracy_macr", "headline is 'accuracy_macr'; allowed"),
        ("metrics.accuracy", ..., "headline is 'accuracy'; allowed: accuracy_macro"),
        ("n", 0, "n is 0; needed is one question or more"),
        ("rules.parser", "loose", "rules.parser is 'loose'; allowed: strict, upstream"),
        ("rules.unparsed", "right", "rules.unparsed is 'right'; allowed: wrong, random"),
        ("style", "essay", "style is 'essay'; allowed: option, reason"),
        ("metrics.accuracy.low", 0.99, "metrics.accuracy is .*; needed is low <= mean <= high"),
        ("metrics.accuracy.high", 7.0, "metrics.accuracy.high is 7.0; needed is a share between 0 and 1"),
        ("metrics.accuracy.clusters", 0, "metrics.accuracy.clusters is 0; needed is 1 to n, 8"),
        ("metrics.accuracy.n", 0, "metrics.accuracy.clusters is 4; needed is 1 to n, 0"),
        ("metrics.accuracy.trials", 0.0, "metrics.accuracy.trials is 0.0; needed is more than 0"),
        ("metrics.accuracy.se", -0.1, "metrics.accuracy.se is -0.1; needed is 0 or more"),
        ("majority.accuracy", 9.0, "majority.accuracy is 9.0; needed is a share"),
        ("format_followed", 5.0, "format_followed is 5.0; needed is a share"),
        ("readings.tagged.accuracy", 1.5, "readings.tagged.accuracy is 1.5; needed is a share"),
        ("answered", 500, "answered is 500; needed is at most n, 8"),
        ("format", "score/1", "the format is 'score/1', and this version of vidreason reads 'score/3'"),
    ],
)
def test_a_score_that_no_scoring_writes_is_named(tmp_path: Path, key: str, value: object, words: str) -> None:
    run = write_run(tmp_path)
    path = Path(run.scores[0])
    score = json.loads(path.read_text())
    *outer, last = key.split(".")
    place = functools.reduce(dict.__getitem__, outer, score)
    place[last] = value
    if value is ...:
        del place[last]
    path.write_text(json.dumps(score))
    with pytest.raises(ValueError, match=rf"{path.name}: {words}"):
        _ = run.runs


def test_a_score_with_the_mean_over_categories_alone_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = Path(run.scores[0])
    score = json.loads(path.read_text())
    del score["metrics"]["accuracy"]
    path.write_text(json.dumps(score | {"headline": "accuracy_macro"}))
    with pytest.raises(
        ValueError, match=rf"{path.name}: metrics.accuracy is missing; the headline accuracy_macro needs"
    ):
        _ = run.runs


def test_a_question_scored_twice_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = Path(run.scored[0])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[0]]) + "\n")
    with pytest.raises(ValueError, match=rf"{path.name}: a question is scored twice; score again"):
        [one.rows for one in run.runs.by_key.values()]
