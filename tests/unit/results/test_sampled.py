"""Tables, figure and section of sampled answers, against numbers that are worked out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.sampled_run import samples_of, score_some, write_sampled_run
from tests.support.scored_run import BENCHMARKS, predictions_of, questions_of, score_one, write_run
from vidreason.artifacts.csv_files import read_csv
from vidreason.evaluation.sampled_statistics import guessed_pass
from vidreason.results.figures import make_figures
from vidreason.results.main_markdown import main_markdown
from vidreason.results.registry import TABLES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.sampled.section import _against_majority, sampled_section
from vidreason.results.sampled.tables import sampled_table, sharpening_table
from vidreason.results.tables import make_tables

Key = tuple[str, str, str, int]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ResultInputs:
    return write_sampled_run(tmp_path_factory.mktemp("run"))


def cells(run: ResultInputs) -> dict[Key, dict[str, object]]:
    return {
        (str(row["arm"]), str(row["benchmark"]), str(row["measure"]), int(str(row["k"]))): row
        for row in sampled_table(run)
    }


def against(run: ResultInputs, arm: str, other: str) -> dict[tuple[str, str, int], dict[str, object]]:
    return {
        (str(row["benchmark"]), str(row["measure"]), int(str(row["k"]))): row
        for row in sharpening_table(run)
        if (row["arm"], row["compared_to"]) == (arm, other)
    }


def test_the_cold_start_by_hand(run: ResultInputs) -> None:
    """Right ones of four: 2, 2, 2, 2, 0, 0, 1, 1. MLVU is the mean over six questions of one category and two of another."""
    found = {key[1:]: row["value"] for key, row in cells(run).items() if key[0] == "coldstart"}
    assert found["video_mme", "mean", 1] == found["video_mme", "pass", 1] == "31.25"
    assert found["video_mme", "pass", 2] == f"{100 * (4 * 5 / 6 + 2 * 1 / 2) / 8:.2f}"
    assert found["video_mme", "pass", 4] == "75.00"
    assert found["video_mme", "majority", 4] == "25.00"  # two of two and two are a tie, one of three loses
    assert found["video_mme", "majority", 2] == "31.25"
    assert found["mlvu", "mean", 1] == f"{100 * (2 / 6 + 1 / 4) / 2:.2f}"
    assert found["mlvu", "pass", 4] == f"{100 * (4 / 6 + 1) / 2:.2f}"
    assert found["mean", "pass", 4] == f"{(75 + 100 * (4 / 6 + 1) / 2) / 2:.2f}"
    assert found["video_mme", "greedy", 1] == "12.50"
    assert ("mean", "majority", 1) not in found


def test_the_greedy_answers_are_those_of_the_main_table(run: ResultInputs, tmp_path: Path) -> None:
    make_tables(run, {"main": tmp_path / "main.csv"})
    main = {(row["arm"], row["benchmark"]): row for row in read_csv(tmp_path / "main.csv")}
    for (arm, benchmark, measure, _), row in cells(run).items():
        if measure == "greedy":
            assert [row[name] for name in ("value", "ci_low", "ci_high")] == [
                main[arm, benchmark][name] for name in ("value", "ci_low", "ci_high")
            ]


def test_what_guessing_gives(run: ResultInputs) -> None:
    """Four options each; a vote of guesses is a guess."""
    for (_, _, measure, k), row in cells(run).items():
        assert row["chance"] == f"{100 * guessed_pass(0.25, k if measure == 'pass' else 1):.2f}"


def test_rows_and_columns(run: ResultInputs, tmp_path: Path) -> None:
    out = {name: tmp_path / f"{name}.csv" for name in ("sampled", "sharpening")}
    make_tables(run, out)
    rows = {
        name: read_csv(path, next(table.columns for table in TABLES if table.name == name))
        for name, path in out.items()
    }
    assert len(rows["sampled"]) == 3 * 3 * (2 + 2 + 3)
    assert {row["arm"] for row in rows["sampled"]} == {"base", "coldstart", "r1"}
    pairs = [("coldstart", "base"), ("r1", "coldstart"), ("r1", "base")]
    assert list(dict.fromkeys((row["arm"], row["compared_to"]) for row in rows["sharpening"])) == pairs
    assert len(rows["sharpening"]) == 3 * 3 * (3 + 1 + 1 + 2)


def test_gained_and_lost_questions_by_hand(run: ResultInputs) -> None:
    """Greedily R1 is right on 0 to 5 of Video-MME and 0, 1, 2, 3, 5, 7 of MLVU; the cold start never is on 4 and 5, R1 on 6 and 7."""
    rows = against(run, "r1", "coldstart")
    assert [rows[name, "gained", 4]["count"] for name in (*BENCHMARKS, "mean")] == [2, 1, 3]
    assert [rows[name, "lost", 4]["count"] for name in (*BENCHMARKS, "mean")] == [2, 2, 4]
    assert rows["video_mme", "gained", 4]["value"] == "25.00"
    assert rows["mlvu", "gained", 4]["value"] == f"{100 * (1 / 6 + 0) / 2:.2f}"
    assert rows["mean", "lost", 4]["n"] == 16
    rows = against(run, "r1", "base")
    assert [rows["mean", name, 4]["count"] for name in ("gained", "lost")] == [0, 4]


def test_differences_are_paired_and_of_the_two_values(run: ResultInputs) -> None:
    rows = against(run, "r1", "coldstart")
    row = rows["video_mme", "pass", 1]
    assert (row["value"], row["compared_value"], row["difference"]) == ("75.00", "31.25", "43.75")
    row = rows["video_mme", "greedy_pass", 4]
    assert (row["value"], row["compared_value"], row["difference"]) == ("75.00", "75.00", "0.00")
    assert float(str(row["ci_low"])) < 0 < float(str(row["ci_high"]))
    row = rows["video_mme", "greedy_majority", 4]
    assert (row["value"], row["compared_value"], row["difference"]) == ("75.00", "25.00", "50.00")
    mean = rows["mean", "pass", 1]
    parts = [float(str(rows[name, "pass", 1]["difference"])) for name in BENCHMARKS]
    assert float(str(mean["difference"])) == pytest.approx(sum(parts) / 2, abs=0.01)


def test_the_section_says_what_the_numbers_say(run: ResultInputs) -> None:
    text = main_markdown(run)
    assert "## 4 sampled answers to each question: mean over the benchmarks in percent" in text
    parent, base = (line for line in text.splitlines() if "with its greedy answer" in line)
    assert (
        "at least once in 4 draws for 79.2% of the questions (guessing: 68.4%, which it is not shown to exceed"
        in parent
    )
    assert (
        "Of 16 questions R1 \\<ours> & co answers 3 right that Cold start never does in 4 draws; 4 that Cold" in parent
    )
    assert "above that majority" in parent
    assert (
        "Base is right in 25.0% of single draws, by the majority of 4 in 0.0%, and at least once in 4 draws for 100.0%"
        in base
    )
    assert "(guessing: 68.4%, which" in base  # eight videos are too few to tell
    assert "answers 0 right that Base never does in 4 draws" in base


def test_more_than_guessing_is_said_to_be_that(run: ResultInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidreason.results.sampled.answers.guessed_pass", lambda chance, k: 0.01)
    assert main_markdown(run).count("of the questions (guessing: 1.0%).") == 2


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ("2.00", "9.00", "5.0 points above that majority (+2.0 to +9.0): more than"),
        ("-2.00", "12.00", "5.0 points above that majority (-2.0 to +12.0): no clear difference"),
    ],
)
def test_a_vote_is_compared_by_its_interval(low: str, high: str, words: str) -> None:
    row = {"difference": "5.00", "ci_low": low, "ci_high": high}
    assert words in _against_majority(row, "R1", "Base")
    mirrored = {
        "difference": "-5.00",
        "ci_low": f"-{high}",
        "ci_high": low.replace("2", "-2") if "-" not in low else "2.00",
    }
    assert "5.0 points below that majority" in _against_majority(mirrored, "R1", "Base")


def test_nothing_is_said_where_nothing_was_sampled(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert sampled_table(run) == sharpening_table(run) == sampled_section(run) == []
    assert "sampled" not in main_markdown(run)
    make_tables(run, {"sampled": tmp_path / "sampled.csv"})
    make_figures(replace(run, tables=[tmp_path / "sampled.csv"]), {"sampled": tmp_path / "empty.svg"})
    assert "no answers were sampled" in (tmp_path / "empty.svg").read_text()


@pytest.mark.parametrize("seeds", [(0,), (0, 3)])
def test_the_figure_has_a_curve_for_every_arm_and_for_guessing(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    run = write_sampled_run(tmp_path, seeds)
    make_tables(run, {"sampled": tmp_path / "sampled.csv"})
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in pictures:
        make_figures(replace(run, tables=[tmp_path / "sampled.csv"]), {"sampled": path})
    text = pictures[0].read_text()
    for words in ("Base", "Cold start", "R1 &lt;ours&gt; &amp; co", "guessing", "Mean", "k, sampled answers"):
        assert f">{words}<" in text
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_every_seed_has_its_rows(tmp_path: Path) -> None:
    run = write_sampled_run(tmp_path, (0, 3))
    assert {row["seed"] for row in sampled_table(run)} == {row["seed"] for row in sharpening_table(run)} == {0, 3}
    assert sampled_section(run)


def test_holes_and_strangers_are_refused(run: ResultInputs, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arm r1, seed 0: no sampled answers to \['mlvu'\]; sample them too"):
        sampled_table(replace(run, samples=run.samples[:-1]))
    strange = tmp_path / "score_samples/r2/seed0/mlvu.jsonl"
    with pytest.raises(
        ValueError, match=r"r2/seed0/mlvu.jsonl: sampled answers of arm 'r2', seed 0, benchmark 'mlvu', of wh"
    ):
        sampled_table(replace(run, samples=[*run.samples, strange]))


def test_another_number_of_answers_is_refused(tmp_path: Path) -> None:
    run = write_sampled_run(tmp_path)
    fewer = [replace(row, completions=row.completions[:2]) for row in samples_of("r1", "mlvu")]
    score_some(tmp_path, "r1", "mlvu", fewer)
    with pytest.raises(
        ValueError, match=r"answers to a question: 2 \(r1, mlvu\), 4 \(r1, video_mme\); allowed: the same num"
    ):
        sampled_table(run)


def test_a_question_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    run = write_sampled_run(tmp_path)
    path = Path(run.samples[0])
    path.write_text(path.read_text().replace(questions_of("video_mme")[2].sha256, "a" * 64))
    with pytest.raises(ValueError, match=r"question 'video_mme-2' has changed since, .*; sample and score again"):
        sampled_table(run)


def test_a_benchmark_that_no_model_was_shown_counts_as_wrong(tmp_path: Path) -> None:
    run = write_sampled_run(tmp_path)
    gone = [replace(row, status="missing", completions=()) for row in samples_of("base", "mlvu")]
    score_some(tmp_path, "base", "mlvu", gone)
    score_one(tmp_path, "base", "mlvu", predictions_of("base", "mlvu"))
    row = cells(run)["base", "mlvu", "pass", 4]
    assert (row["value"], row["n"]) == ("0.00", 8)
