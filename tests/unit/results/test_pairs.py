"""Any two arms compared: against the functions for one pair, against numbers worked out by hand, and by simulation."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.support import scored_run
from tests.support.scored_run import ARMS, BENCHMARKS, RIGHT, predictions_of, score_one, write_run
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.evaluation.paired_tests import cluster_sums, sign_flip_p
from vidreason.evaluation.scored_answers import read_scored
from vidreason.evaluation.statistics import paired_difference
from vidreason.results.ablations import ablations_table
from vidreason.results.pairs import pairs_table
from vidreason.results.registry import TABLES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

VIDEOS = [number // 2 for number in range(8)]
CATEGORIES = ["order"] * 6 + ["count"] * 2


def cells_of(run: ResultInputs) -> dict[tuple[str, str, str], dict[str, object]]:
    return {(str(row["arm"]), str(row["compared_to"]), str(row["benchmark"])): row for row in pairs_table(run)}


def right(arm: str, benchmark: str) -> list[float]:
    return [float(number in RIGHT[arm, benchmark]) for number in range(8)]


def test_every_pair_once_with_all_columns(tmp_path: Path) -> None:
    """Of four arms six pairs, each on both benchmarks and in the mean, the later arm minus the earlier."""
    run = write_run(tmp_path)
    make_tables(run, {"pairs": tmp_path / "pairs.csv"})
    rows = read_csv(tmp_path / "pairs.csv", next(table.columns for table in TABLES if table.name == "pairs"))
    places = [*BENCHMARKS, "mean"]
    wanted = [(two, one, place) for one, two in itertools.combinations(ARMS, 2) for place in places]
    assert [(row["arm"], row["compared_to"], row["benchmark"]) for row in rows] == wanted
    assert {(row["n"], row["videos"]) for row in rows if row["benchmark"] == "mean"} == {("16", "8")}
    assert {(row["n"], row["videos"]) for row in rows if row["benchmark"] != "mean"} == {("8", "4")}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(ARMS, 2)])
def test_differences_intervals_and_p_are_those_of_one_pair_alone(tmp_path: Path, one: str, other: str) -> None:
    """MLVU's number is a mean over categories. Four videos have 16 patterns, so every p-value is exact."""
    cells = cells_of(write_run(tmp_path))
    for benchmark, strata in (("video_mme", None), ("mlvu", CATEGORIES)):
        values = right(other, benchmark), right(one, benchmark)
        alone = paired_difference(*values, VIDEOS, strata)
        sums = cluster_sums(np.subtract(*values).tolist(), VIDEOS, strata)
        row = cells[other, one, benchmark]
        numbers = [f"{100 * value:.2f}" for value in (alone.mean, alone.low, alone.high)]
        assert [row["difference"], row["ci_low"], row["ci_high"]] == numbers
        assert row["p"] == f"{sign_flip_p(list(sums.values()), 'any'):.5f}"
        assert row["smallest_difference"] == f"{100 * (1.959964 + 0.841621) * alone.se:.2f}"
        won, lost = (int(np.sum(np.subtract(*order) > 0)) for order in (values, values[::-1]))
        assert (row["won"], row["lost"]) == (won, lost)
        p_mcnemar = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        assert row["p_mcnemar"] == f"{p_mcnemar:.5f}"


def test_the_same_numbers_as_in_ablations(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    cells = cells_of(run)
    for row in ablations_table(run):
        if row["arm"] in ("base", "coldstart"):
            mine = cells["r1", str(row["arm"]), str(row["benchmark"])]
            assert float(str(mine["difference"])) == -float(str(row["difference"]))
            assert float(str(mine["ci_low"])) == -float(str(row["ci_high"]))
            assert mine["p"] == row["p"]


def test_mcnemar_by_hand(tmp_path: Path) -> None:
    """R1 answers 3, 4 and 5 of Video-MME, which the base does not; its control answers 0, 2 and 4 no longer."""
    cells = cells_of(write_run(tmp_path))
    row = cells["r1", "base", "video_mme"]
    assert (row["won"], row["lost"], row["p_mcnemar"]) == (3, 0, "0.25000")  # 2 of 2^3
    row = cells["r1_shuffled", "r1", "video_mme"]
    assert (row["won"], row["lost"]) == (0, 3)
    assert cells["r1", "base", "mean"]["won"] == cells["r1", "base", "mean"]["p_mcnemar"] == ""


def test_holm_is_over_the_pairs_without_a_control(tmp_path: Path) -> None:
    cells = cells_of(write_run(tmp_path))
    for place in (*BENCHMARKS, "mean"):
        pairs = [("coldstart", "base"), ("r1", "base"), ("r1", "coldstart")]
        p_values = [float(str(cells[*pair, place]["p"])) for pair in pairs]
        least = min(range(3), key=lambda number: p_values[number])
        assert float(str(cells[*pairs[least], place]["p_holm"])) == pytest.approx(min(1.0, 3 * p_values[least]))
        assert {cells["r1_shuffled", arm, place]["p_holm"] for arm in ("base", "coldstart", "r1")} == {""}


def test_seeds_are_replicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that one seed of two wins counts half in the difference and once among those won."""
    done = []
    for seed, gained in ((0, {0, 1, 2, 6}), (1, {0, 1, 2})):
        for arm in ARMS:
            for benchmark in BENCHMARKS:
                monkeypatch.setitem(scored_run.RIGHT, ("coldstart", "video_mme"), gained)
                done.append(score_one(tmp_path, arm, benchmark, predictions_of(arm, benchmark), seed))
    run = ResultInputs(read_arms(ARMS), BENCHMARKS, scores=[one for one, _ in done], scored=[two for _, two in done])
    row = cells_of(run)["coldstart", "base", "video_mme"]
    alone = paired_difference([0.0] * 6 + [0.5, 0.0], [0.0] * 8, VIDEOS)
    assert (row["seeds"], row["difference"], row["won"], row["lost"]) == (2, "6.25", 1, 0)
    assert row["ci_high"] == f"{100 * alone.high:.2f}"


def test_arms_that_never_differ_could_still_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scored_run.RIGHT, ("coldstart", "video_mme"), RIGHT["base", "video_mme"])
    row = cells_of(write_run(tmp_path))["coldstart", "base", "video_mme"]
    alone = paired_difference([0.0] * 8, [0.0] * 8, VIDEOS)
    assert (row["difference"], row["p"], row["p_mcnemar"]) == ("0.00", "1.00000", "1.00000")
    assert (row["ci_low"], row["ci_high"]) == (f"{100 * alone.low:.2f}", f"{100 * alone.high:.2f}")
    assert float(str(row["smallest_difference"])) > 0


def test_one_arm_has_no_pair(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    kept = {name: [p for p in getattr(run, name) if Path(p).parts[-3] == "base"] for name in ("scores", "scored")}
    alone = replace(run, arms={"base": run.arms["base"]}, **kept)
    assert pairs_table(alone) == []
    make_tables(alone, {"pairs": tmp_path / "pairs.csv"})
    assert read_csv(tmp_path / "pairs.csv") == []


def test_arms_that_answered_different_questions_are_not_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    path = Path(run.scored[-1])
    first, *others = read_scored(path)
    write_jsonl(path, [replace(first, question=replace(first.question, gold="D")), *others])
    with pytest.raises(
        ValueError, match=r"mlvu: arms r1_shuffled \(seed 0\) and base \(seed 0\) were scored on different questions"
    ):
        pairs_table(run)
