"""The table of ablations: differences, p-values and costs, against numbers worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import scored_run
from tests.support.scored_run import ARMS, BENCHMARKS, RIGHT, predictions_of, score_one
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.config import paths
from vidreason.evaluation.paired_tests import sign_flip_p
from vidreason.evaluation.scored_answers import read_scored
from vidreason.evaluation.statistics import paired_difference
from vidreason.records import ClipRef, Question
from vidreason.results.ablations import ablations_table
from vidreason.results.comparisons import gains_table
from vidreason.results.registry import TABLES
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables

SEEDS = (0, 1)
RIVALS = {
    "better": {"label": "Better", "style": "reason", "method": "grpo", "parent": "coldstart", "sampler": "coldstart/nextqa", "repeats": "4"},
    "imitates": {"label": "Imitates", "style": "reason", "method": "sft", "parent": "base"},
}  # fmt: skip
ANSWERED = {
    # Right answers by seed; r1 has 0..5 of Video-MME and 0, 1, 2, 3, 5, 7 of MLVU, with both seeds.
    ("better", "video_mme"): ({0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 2, 3, 4, 5}),
    ("better", "mlvu"): ({0, 1, 2, 3, 5, 7}, {0, 1, 2, 3, 5, 7}),
    ("imitates", "video_mme"): ({0}, {0}),
    ("imitates", "mlvu"): ({1}, {1}),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultInputs:
    """Base, cold start, R1 and its control, and two rivals of R1, with two seeds on two benchmarks."""
    arms = ARMS | RIVALS
    for name, settings in RIVALS.items():
        monkeypatch.setitem(scored_run.ARMS, name, settings)
    done = []
    for arm in arms:
        for seed in SEEDS:
            for benchmark in BENCHMARKS:
                if arm in RIVALS:
                    monkeypatch.setitem(RIGHT, (arm, benchmark), ANSWERED[arm, benchmark][seed])
                done.append(score_one(tmp_path, arm, benchmark, predictions_of(arm, benchmark), seed))
    return ResultInputs(read_arms(arms), BENCHMARKS, scores=[one for one, _ in done], scored=[two for _, two in done])


def cells_of(run: ResultInputs) -> dict[tuple[str, str], dict[str, object]]:
    return {(str(row["arm"]), str(row["benchmark"])): row for row in ablations_table(run)}


def test_rows_and_values(run: ResultInputs) -> None:
    """All arms but the control in the configured order, a row a benchmark and the mean; values are means over seeds."""
    cells = cells_of(run)
    arms = ["base", "coldstart", "r1", "better", "imitates"]
    assert list(cells) == [(arm, place) for arm in arms for place in (*BENCHMARKS, "mean")]
    assert {row["compared_to"] for (arm, _), row in cells.items() if arm != "r1"} == {"r1"}
    assert cells["r1", "mean"] | {"value": "70.83", "difference": "", "p": "", "p_holm": ""} == cells["r1", "mean"]
    assert cells["better", "video_mme"]["value"] == "87.50"
    assert (cells["better", "mean"]["n"], cells["better", "mean"]["seeds"]) == (16, 2)
    assert {row["metric"] for row in cells.values()} == {"accuracy"}


def test_differences_are_paired_over_seeds_and_clustered_by_video(run: ResultInputs) -> None:
    """Questions 6 and 7 are gained with one seed of two, both about one video: half a point each, one cluster."""
    row = cells_of(run)["better", "video_mme"]
    by_hand = paired_difference([0.5] * 2 + [0.0] * 6, [0.0] * 8, [3, 3, 0, 0, 1, 1, 2, 2])
    assert row["difference"] == "12.50"
    assert (row["ci_low"], row["ci_high"]) == (f"{100 * by_hand.low:.2f}", f"{100 * by_hand.high:.2f}")
    assert (row["difference_lowest_seed"], row["difference_highest_seed"]) == ("0.00", "25.00")
    assert float(str(row["p"])) == 1.0, "one video that differs: both of two patterns are as far from 0"
    mean = cells_of(run)["better", "mean"]
    assert (mean["difference"], mean["difference_highest_seed"]) == ("6.25", "12.50")


def test_p_values_and_their_correction(run: ResultInputs) -> None:
    """SFT loses on every video but one, whose question 0 it answers too; Holm counts the two rivals, not the ancestors."""
    cells = cells_of(run)
    # Video-MME: videos 0 (1 of 2 lost), 1 and 2 (2 of 2 lost); 3: both wrong in both arms.
    assert float(str(cells["imitates", "video_mme"]["p"])) == sign_flip_p([-1 / 8, -2 / 8, -2 / 8], "any") == 0.25
    assert float(str(cells["imitates", "video_mme"]["p_holm"])) == 0.5
    assert float(str(cells["better", "video_mme"]["p_holm"])) == 1.0
    assert [cells[arm, "mean"]["p_holm"] for arm in ("base", "coldstart", "r1")] == ["", "", ""]
    assert cells["coldstart", "mean"]["p"]


def write_cost(path: Path, seconds: str) -> None:
    """Snakemake's table of what a job cost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t0:00:10\n")


def test_costs(run: ResultInputs, tmp_path: Path) -> None:
    """Rollouts of both kinds and seconds, in the mean over the seeds; what is not known is empty."""
    assert cells_of(run)["better", "mean"]["rollouts_training"] == ""
    curves, selected, dropped = [], [], []
    for seed in SEEDS:
        folder = tmp_path / "better" / f"seed{seed}"
        rows = [{"kind": "train", "step": step, "rollouts": 24 + seed} for step in range(3)]
        write_jsonl(folder / "metrics.jsonl", [*rows, {"kind": "validation", "step": 3, "accuracy": 0.5}])
        kept = [Question(f"{n}", "nextqa", "multiple_choice", "?", ClipRef("v"), ("a", "b"), "A") for n in range(5)]
        write_jsonl(folder / "selected.jsonl", kept)
        (folder / "dropped.csv").write_text("question,reason,rollouts\n7,always_right,4\n8,truncated,0\n")
        curves, selected = [*curves, folder / "metrics.jsonl"], [*selected, folder / "selected.jsonl"]
        dropped.append(folder / "dropped.csv")
        costs = {"train_grpo": "10", "select_by_variance": "1.5"}
        for rule, seconds in costs.items():
            write_cost(tmp_path / paths.cost(rule).format(run="x", arm="better", seed=seed), seconds)
        sampled = {"run": "x", "arm": "coldstart", "dataset": "nextqa", "seed": seed}
        for shard in (0, 1):
            write_cost(tmp_path / paths.cost("sample_rollouts").format(**sampled, shard=shard), f"{20 + seed}")
        # Of other jobs, which must not be counted.
        write_cost(tmp_path / paths.cost("sample_rollouts").format(**sampled | {"dataset": "other"}, shard=0), "1000")
        write_cost(tmp_path / paths.cost("sample_rollouts").format(**sampled | {"arm": "r1"}, shard=0), "1000")
    known = replace(run, grpo=curves, selected=selected, dropped=dropped, costs=tmp_path / "results/x/benchmarks")
    cells = cells_of(known)
    names = ("rollouts_training", "rollouts_selection", "seconds_training", "seconds_selection")
    assert [cells["better", "mean"][name] for name in names] == ["74", "24", "10.0", "42.5"]
    assert [cells["base", "mean"][name] for name in names] == ["0", "0", "0.0", "0.0"]
    assert [cells["imitates", "mean"][name] for name in names] == ["0", "0", "", "0.0"]
    assert [cells["r1", "mean"][name] for name in names] == ["", "0", "", ""]
    assert cells["better", "mlvu"]["seconds_training"] == ""
    write_cost(tmp_path / "results/x/benchmarks/train_grpo/better/seed0.tsv", "long")
    with pytest.raises(ValueError, match=r"seed0\.tsv: s is 'long'; needed are seconds"):
        ablations_table(known)


def test_without_an_arm_of_grpo_there_is_nothing_to_compare(run: ResultInputs, tmp_path: Path) -> None:
    keep = [name for name in run.arms if run.arms[name].method in ("given", "sft")]
    scores = [path for path in run.scores if Path(path).parent.parent.name in keep]
    scored = [path for path in run.scored if Path(path).parent.parent.name in keep]
    few = replace(run, arms={name: run.arms[name] for name in keep}, scores=scores, scored=scored)
    assert ablations_table(few) == []
    make_tables(few, {"ablations": tmp_path / "ablations.csv"})
    assert read_csv(tmp_path / "ablations.csv") == []


def test_metrics_table(run: ResultInputs, tmp_path: Path) -> None:
    """Every metric of every score, controls included; MLVU's headline is the mean over its categories."""
    make_tables(run, {"metrics": tmp_path / "metrics.csv"})
    rows = read_csv(tmp_path / "metrics.csv", next(table.columns for table in TABLES if table.name == "metrics"))
    assert len(rows) == len(run.arms) * len(SEEDS) * len(BENCHMARKS) * 2
    mlvu = {row["metric"]: row for row in rows if (row["arm"], row["benchmark"], row["seed"]) == ("r1", "mlvu", "0")}
    assert {name: (row["value"], row["headline"]) for name, row in mlvu.items()} == {
        "accuracy": ("75.00", "no"),
        "accuracy_macro": ("66.67", "yes"),
    }
    assert {row["view"] for row in rows if row["arm"] == "r1_shuffled"} == {"shuffled"}


def test_the_summary_compares_only_where_something_rivals_grpo(run: ResultInputs, tmp_path: Path) -> None:
    """A section of main.md with one row an arm, and without times; none where one arm of GRPO stands alone."""
    make_tables(run, {"markdown": tmp_path / "main.md"})
    text = (tmp_path / "main.md").read_text()
    title = "## Every trained arm minus R1 \\<ours> & co, over 2 seeds"
    lines = text[text.index(title) :].split("\n\n")[1].splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "arm", "mean", "difference", "p", "p (Holm)", "rollouts",
    ]  # fmt: skip
    better = next(line for line in lines if line.startswith("| Better"))
    row = cells_of(run)["better", "mean"]
    shown = ["77.1", f"+6.2 ({row['ci_low']} to {row['ci_high']})", row["p"], row["p_holm"], "- + -"]
    assert [cell.strip() for cell in better.split("|")[2:-1]] == shown
    alone = [name for name in run.arms if name != "better"]
    paths = {
        kind: [p for p in getattr(run, kind) if Path(p).parent.parent.name in alone] for kind in ("scores", "scored")
    }
    make_tables(replace(run, arms={name: run.arms[name] for name in alone}, **paths), {"markdown": tmp_path / "one.md"})
    assert "Every trained arm minus" not in (tmp_path / "one.md").read_text()


@pytest.mark.parametrize("change", [{"id": "mlvu-9"}, {"gold": "D"}, {"clip": ClipRef("clips/9.mp4")}])
def test_arms_that_answered_different_questions_are_not_compared(run: ResultInputs, change: dict[str, Any]) -> None:
    """A question of the last score has another id, or a gold answer or a video that was corrected since the other arms' scores."""
    path = Path(run.scored[-1])
    first, *others = read_scored(path)
    write_jsonl(path, [replace(first, question=replace(first.question, **change)), *others])
    with pytest.raises(ValueError, match=r"mlvu: arms imitates and r1 were scored on different questions; score both"):
        ablations_table(run)
    with pytest.raises(ValueError, match="two arms were scored on different questions; score both again"):
        gains_table(run)
