"""What controls say: how much of the gain survives, and what thinking is worth. Numbers follow from `RIGHT`, by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.controlled_run import RIGHT, write_controlled_run
from vidreason.artifacts.csv_files import read_csv
from vidreason.evaluation.statistics import Estimate, clustered_mean, mean_of_estimates
from vidreason.results.comparisons import controls_table
from vidreason.results.controls.survival import NO_LEAKS, sentences, survival_markdown, survival_table, survived
from vidreason.results.controls.thinking import with_and_without_thinking_table
from vidreason.results.gallery.answers import collect
from vidreason.results.gallery.texts import chunks
from vidreason.results.main_markdown import main_markdown
from vidreason.results.pairs import pairs_table
from vidreason.results.registry import TABLES
from vidreason.results.report import make_report
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_in_words
from vidreason.results.tables import make_tables

CONDITIONS = ["published", "options=permuted", "options=without_gold", "view=gray", "style=option", NO_LEAKS]
LEAKING = (("video_mme", "clips/0.mp4"),)
"""The video of questions 0 and 1."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ResultInputs:
    return write_controlled_run(tmp_path_factory.mktemp("run"), leaks=LEAKING)


@pytest.fixture(scope="module")
def survival(run: ResultInputs) -> dict[tuple[str, str], dict[str, Any]]:
    return {(str(row["condition"]), str(row["benchmark"])): row for row in survival_table(run)}


def test_a_row_for_every_condition_that_both_were_asked_under(survival: dict[tuple[str, str], Any]) -> None:
    assert list(survival) == [(name, place) for name in CONDITIONS for place in ("video_mme", "mlvu", "mean")]
    assert {(row["arm"], row["compared_to"]) for row in survival.values()} == {("r1", "coldstart")}


@pytest.mark.parametrize(
    ("condition", "numbers", "survives", "questions", "unchanged"),
    [
        # Of 8 questions R1 has 6 and the cold start 1 right: 62.5 points.
        ("published", ("12.50", "75.00", "62.50"), "100.00", 8, ""),
        ("options=permuted", ("12.50", "75.00", "62.50"), "100.00", 8, 0),
        ("options=without_gold", ("25.00", "25.00", "0.00"), "0.00", 8, 0),
        ("view=gray", ("12.50", "25.00", "12.50"), "20.00", 8, ""),
        ("style=option", ("25.00", "50.00", "25.00"), "40.00", 8, ""),
        # Without questions 0 and 1: R1 has 4 of 6, the cold start none. 66.67 / 62.5.
        (NO_LEAKS, ("0.00", "66.67", "66.67"), "106.67", 6, ""),
    ],
)
def test_numbers_by_hand(
    survival: dict[tuple[str, str], Any],
    condition: str,
    numbers: tuple[str, ...],
    survives: str,
    questions: int,
    unchanged: str | int,
) -> None:
    row = survival[condition, "video_mme"]
    assert (row["compared_value"], row["value"], row["difference"]) == numbers
    assert (row["survives"], row["n"], row["unchanged"], row["chance"]) == (survives, questions, unchanged, "25.00")


def test_a_benchmark_that_is_reported_by_category_is_compared_so(survival: dict[tuple[str, str], Any]) -> None:
    """Questions 0 to 5 are of one category, 6 and 7 of the other: R1 has 5 of 6 and 1 of 2, the cold start 1 of 6 and none."""
    row = survival["published", "mlvu"]
    assert (row["value"], row["compared_value"]) == ("66.67", "8.33")
    assert survival["published", "mean"]["difference"] == f"{(62.5 + (66.667 - 8.333)) / 2:.2f}"


def differences(arm: str, other: str, numbers: range = range(8)) -> list[float]:
    return [float(number in RIGHT[arm]) - float(number in RIGHT[other]) for number in numbers]


@pytest.mark.parametrize(
    ("condition", "suffix"), [("view=gray", "_gray"), ("style=option", "_direct"), ("options=without_gold", "_no_gold")]
)
def test_the_shares_interval_holds_what_the_questions_do_not_contradict(
    survival: dict[tuple[str, str], Any], condition: str, suffix: str
) -> None:
    """A share is in the interval where the clustered interval of (gain - share x whole gain), question by question, holds 0."""
    gains, wholes = differences(f"r1{suffix}", f"coldstart{suffix}"), differences("r1", "coldstart")
    videos = [number // 2 for number in range(8)]
    row = survival[condition, "video_mme"]

    def holds(share: float) -> bool:
        left = [gain - share * whole for gain, whole in zip(gains, wholes, strict=True)]
        one = clustered_mean(left, videos, bounds=(-99, 99))
        return one.low <= 0 <= one.high

    for end, inward in (("survives_low", 1), ("survives_high", -1)):
        share = float(row[end]) / 100
        assert holds(share + 2e-4 * inward)
        assert not holds(share - 2e-4 * inward)


def test_the_mean_weighs_benchmarks_equally_and_its_gain_is_that_of_pairs(run: ResultInputs, survival: Any) -> None:
    pairs = {(row["arm"], row["compared_to"], row["benchmark"]): row for row in pairs_table(run)}
    for condition, suffix in (("published", ""), ("view=gray", "_gray"), ("options=permuted", "_permuted")):
        for benchmark in ("video_mme", "mlvu", "mean"):
            own = survival[condition, benchmark]
            pair = pairs[f"r1{suffix}", f"coldstart{suffix}", benchmark]
            for column in ("difference", "ci_low", "ci_high", "n", "videos"):
                assert own[column] == pair[column], (condition, benchmark, column)


def test_a_gain_that_may_be_nothing_has_no_share(tmp_path: Path) -> None:
    right = {arm: RIGHT[arm] for arm in ("coldstart", "r1", "coldstart_gray", "r1_gray")} | {"r1": {0, 1}}
    rows = survival_table(write_controlled_run(tmp_path, right))
    assert {(row["survives"], row["survives_low"], row["survives_high"]) for row in rows} == {("", "", "")}
    text = survival_markdown(write_controlled_run(tmp_path, right))
    assert "A gain is not shown on these questions" in text
    assert "| as published " in text


def test_seeds_are_replicates_of_the_same_questions(run: ResultInputs, tmp_path: Path) -> None:
    twice = survival_table(write_controlled_run(tmp_path, seeds=(0, 1), leaks=LEAKING))
    assert {row["seeds"] for row in twice} == {2}
    assert [{**row, "seeds": 1} for row in twice] == survival_table(run)


def test_a_condition_that_only_one_was_asked_under_has_no_row(tmp_path: Path) -> None:
    right = {arm: RIGHT[arm] for arm in ("base", "coldstart", "r1", "r1_gray")}
    inputs = write_controlled_run(tmp_path, right)
    assert {row["condition"] for row in survival_table(inputs)} == {"published", NO_LEAKS}
    without = {arm: RIGHT[arm] for arm in ("base", "coldstart")}
    inputs = write_controlled_run(tmp_path / "none", without)
    assert survival_table(inputs) == []
    assert "No arm of this run is trained by GRPO" in survival_markdown(inputs)
    assert "survives" not in main_markdown(inputs)


def test_a_benchmark_without_a_question_left_has_no_row_and_there_is_no_mean(tmp_path: Path) -> None:
    leaks = tuple(("mlvu", f"clips/{number}.mp4") for number in range(4))
    rows = survival_table(write_controlled_run(tmp_path, leaks=leaks))
    assert [row["benchmark"] for row in rows if row["condition"] == NO_LEAKS] == ["video_mme"]
    page = survival_markdown(write_controlled_run(tmp_path / "page", leaks=leaks))
    assert "Clips that leak left out: no question of MLVU is left, so there is no mean over the benchmarks." in page


def test_a_loss_has_no_share_and_no_sentence_about_a_gain(tmp_path: Path) -> None:
    worse = {
        "coldstart": RIGHT["r1"],
        "r1": RIGHT["coldstart"],
        "coldstart_gray": RIGHT["r1"],
        "r1_gray": RIGHT["coldstart"],
    }
    inputs = write_controlled_run(tmp_path, worse)
    assert {row["survives"] for row in survival_table(inputs)} == {""}
    page = survival_markdown(inputs)
    assert "As published, R1 is 60.4 points worse than Cold start" in page
    assert "A gain is not shown on these questions" in page
    assert "of the gain (" not in page.split("## How to read it")[0]


def test_the_page_says_it_in_sentences(run: ResultInputs) -> None:
    page = survival_markdown(run)
    assert "As published, R1 is 60.4 points better than Cold start" in page
    assert "16 (16 changed)" in page
    line = {row.split(":")[0].removeprefix("- "): row for row in page.splitlines() if row.startswith("- ")}
    assert line["Gray frames"].endswith(
        "17% of the gain (-13 to 59%). Asked so, R1 is not above chance: its answers, and with them the gain, depend on what the "
        "frames show."
    )
    assert "The gain is not seen to depend on the letters and the places of the options" in line["Options permuted"]
    assert "| options permuted | 10.4 | 70.8 |" in " ".join(page.split())
    assert "16 (16 changed)" in page
    none = dataclasses.replace(run, leaks=write_nothing(run))
    assert "no clip of a benchmark was found among the training clips" in survival_markdown(none)
    assert "How much of the gain of R1 over Cold start survives" in main_markdown(run)


def interval(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, 0.1, low, high, 8, 4)


@pytest.mark.parametrize(
    ("gain", "share", "verdict"),
    [
        (
            interval(-0.1, 0.1),
            interval(-0.2, 0.2),
            "The gain depends on the video; that any of it is left is not shown.",
        ),
        (interval(-0.1, 0.6), interval(-0.2, 1.1), "These questions are too few to say how much of it is left."),
        (interval(0.1, 0.2), interval(0.2, 0.8), "Part of the gain depends on the video, part does not."),
        (interval(0.1, 0.9), interval(0.7, 1.2), "The gain is not seen to depend on the video."),
        (interval(0.5, 0.9), interval(1.1, 1.9), "Asked so, the gain is larger."),
        (
            interval(-0.9, -0.5),
            interval(-1.9, -0.9),
            "Asked so, R1 is worse than Cold start: the gain depends on the video.",
        ),
    ],
)
def test_a_sentence_claims_what_both_intervals_allow(
    run: ResultInputs, gain: Estimate, share: Estimate, verdict: str
) -> None:
    whole = survived(run)[2]
    one = dataclasses.replace(whole, condition="view=none", gain=gain, share=share, level=interval(0.4, 0.6))
    assert sentences([whole, one])[1].endswith(verdict)
    blind = dataclasses.replace(one, level=interval(0.2, 0.4))
    assert (
        "R1 is not above chance: its answers, and with them the gain, depend on the video"
        in sentences([whole, blind])[1]
    )
    assert sentences([whole, dataclasses.replace(blind, chance=None)])[1].endswith(verdict)


def write_nothing(run: ResultInputs) -> Path:
    path = Path(str(run.leaks)).with_name("no_leaks.csv")
    path.write_text("benchmark,clip,data\n")
    return path


def test_weights_with_and_without_thinking_side_by_side(run: ResultInputs) -> None:
    rows = {(row["weights"], row["benchmark"]): row for row in with_and_without_thinking_table(run)}
    assert list(rows) == [
        (name, place) for name in ("base", "coldstart", "r1") for place in ("video_mme", "mlvu", "mean")
    ]
    assert {name: (rows[name, "mlvu"]["arm"], rows[name, "mlvu"]["compared_to"]) for name, _ in rows} == {
        "base": ("base_thinks", "base"),
        "coldstart": ("coldstart", "coldstart_direct"),
        "r1": ("r1", "r1_direct"),
    }
    row = rows["r1", "video_mme"]
    # Thinking 6 of 8, at once 4 of 8; both are right on 0, 1, 2, 4.
    assert (row["value"], row["compared_value"], row["difference"]) == ("75.00", "50.00", "25.00")
    expected = clustered_mean(differences("r1", "r1_direct"), [number // 2 for number in range(8)], bounds=(-1, 1))
    assert (row["ci_low"], row["ci_high"]) == (f"{100 * expected.low:.2f}", f"{100 * expected.high:.2f}")
    assert (row["tokens"], row["compared_tokens"], row["format_followed"]) == ("10.0", "2.0", "1.0000")
    assert rows["base", "video_mme"]["difference"] == "-37.50"


def test_the_controls_table_says_what_was_changed(run: ResultInputs) -> None:
    rows = {str(row["arm"]): row for row in controls_table(run) if row["questions"] == "all"}
    assert {arm: (row["style"], row["view"], row["options"], row["unchanged"]) for arm, row in rows.items() if "r1" in arm} == {
        "r1": ("reason", "ordered", "published", ""),
        "r1_direct": ("option", "ordered", "published", ""),
        "r1_gray": ("reason", "gray", "published", ""),
        "r1_permuted": ("reason", "ordered", "permuted", 0),
        "r1_no_gold": ("reason", "ordered", "without_gold", 0),
    }  # fmt: skip
    assert (rows["r1_permuted"]["difference"], rows["r1_permuted"]["compared_to"]) == ("0.00", "r1")


def test_the_tables_are_written_with_their_columns_and_the_same_bytes_twice(run: ResultInputs, tmp_path: Path) -> None:
    names = ("survival", "survival_page", "with_and_without_thinking")
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        out = {table.name: folder / table.file for table in TABLES if table.name in names}
        make_tables(run, out)
        made.append({name: path.read_bytes() for name, path in out.items()})
    assert made[0] == made[1]
    table = next(table for table in TABLES if table.name == "survival")
    assert tuple(read_csv(tmp_path / "a" / "survival.csv")[0]) == table.columns


def test_what_nothing_varies_in_still_has_an_interval(tmp_path: Path) -> None:
    """R1 always right and the cold start never: Wilson's interval, and a share of 1 for the same again."""
    right = {"coldstart": set(), "r1": set(range(8)), "coldstart_gray": set(), "r1_gray": set(range(8))}
    rows = {(row["condition"], row["benchmark"]): row for row in survival_table(write_controlled_run(tmp_path, right))}
    row = rows["view=gray", "mean"]
    assert (row["difference"], row["ci_high"], row["survives"]) == ("100.00", "100.00", "100.00")
    assert float(str(row["ci_low"])) < 100
    assert mean_of_estimates([clustered_mean([1.0] * 8, [n // 2 for n in range(8)])] * 2).low < 1


def test_a_letter_of_changed_options_is_shown_with_the_option_that_it_stands_for(run: ResultInputs) -> None:
    """The gallery shows published options: B of another order would be taken for another answer."""
    published = {row.question.id: row.question for row in run.runs.by_key["r1", 0, "mlvu"].rows}
    for row in run.runs.by_key["r1_permuted", 0, "mlvu"].rows:
        letter = str(row.grade.parsed)
        words = row.question.options["ABCD".index(letter)]
        assert read_in_words(row, published[row.question.id]) == f"{letter} ({words})"
        assert (
            words == published[row.question.id].options[("ABCD").index(published[row.question.id].gold)]
        ) == row.correct
    plain = run.runs.by_key["r1", 0, "mlvu"].rows[0]
    assert read_in_words(plain, plain.question) == plain.grade.parsed
    unread = dataclasses.replace(row, grades={row.rule: dataclasses.replace(row.grade, parsed=None)})
    assert read_in_words(unread, plain.question) is None


def test_page_and_gallery_show_those_words(run: ResultInputs, tmp_path: Path) -> None:
    answers = collect(run.runs)
    texts = dict(chunks(answers, {}))
    arms = [arm.name for arm in run.runs.arms]
    shown = texts["answers_0_0000"][arms.index("r1_permuted")]
    assert all("(" in entry["read"] for entry in shown)
    first = run.runs.by_key["r1_permuted", 0, run.runs.benchmarks[0]].rows[0].question
    lines = [f"{letter}. {words}" for letter, words in zip("ABCD", first.options, strict=False)]
    assert all(line in shown[0]["asked"] for line in lines), "the prompt with the options in the order that was asked"
    assert all("asked" not in entry for entry in texts["answers_0_0000"][arms.index("r1_gray")])
    assert all("(" not in entry["read"] for entry in texts["answers_0_0000"][arms.index("r1_gray")])
    questions = [Path(path) for path in dict.fromkeys(Path(str(path)).parents[2] / "mlvu.jsonl" for path in run.scores)]
    questions.append(questions[0].with_name("video_mme.jsonl"))
    make_report(dataclasses.replace(run, questions=questions), "run", 0, tmp_path / "index.html")
    assert f"<td>{shown[0]['read'][0]} (" in (tmp_path / "index.html").read_text()
