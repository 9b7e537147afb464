"""The whole graph on tiny data: it runs, says what it did, and repeats itself byte for byte."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import Workplace

pytestmark = pytest.mark.workflow
ARMS = ["base", "sft", "coldstart", "r1"]
CONTROLS = ["r1_shuffled", "r1_text", "coldstart_permuted", "r1_permuted"]
BENCHMARKS = ["video_mme", "mvbench", "mlvu", "mmvu"]
COLUMNS = "arm,label,style,benchmark,metric,n,coverage,value,ci_low,ci_high,unparsed,seed"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_main_table_has_every_arm_and_benchmark(finished: Workplace) -> None:
    main = finished.results / "tables/main.csv"
    assert main.read_text().splitlines()[0] == COLUMNS
    found = {(row["arm"], row["benchmark"]) for row in rows(main)}
    assert found >= {(arm, benchmark) for arm in ARMS for benchmark in BENCHMARKS}
    assert {arm for arm, _ in found} == set(ARMS)
    assert {row["arm"] for row in rows(finished.results / "tables/controls.csv")} >= set(CONTROLS)


def test_controls_are_asked_with_other_options_and_without_a_video(finished: Workplace) -> None:
    for benchmark in BENCHMARKS:
        published = {row["id"]: row for row in lines(finished.results / f"questions/{benchmark}.jsonl")}
        for arm in ("coldstart_permuted", "r1_permuted"):
            scored = lines(finished.results / f"score/{arm}/seed0/{benchmark}.scored.jsonl")
            asked = {row["question"]["id"]: row["question"] for row in scored}
            assert set(asked) == set(published)
            for name, question in asked.items():
                before = published[name]
                assert question["options"] != before["options"]
                assert sorted(question["options"]) == sorted(before["options"])
                gold = [one["options"]["ABCDE".index(one["gold"])] for one in (question, before)]
                assert gold[0] == gold[1]
    prompts = {
        arm: {
            row["question_id"]: row["prompt_sha256"]
            for row in lines(finished.results / f"predict/{arm}/seed0/mmvu/shard0.jsonl")
        }
        for arm in ("r1", "r1_shuffled", "r1_text", "r1_permuted")
    }
    assert prompts["r1"] == prompts["r1_shuffled"]
    for other in ("r1_text", "r1_permuted"):
        assert all(prompts[other][name] != prompt for name, prompt in prompts["r1"].items())
    counted = {row["arm"]: row["unchanged"] for row in rows(finished.results / "tables/controls.csv")}
    assert (counted["r1"], counted["r1_text"], counted["r1_permuted"]) == ("", "", "0")
    survival = rows(finished.results / "tables/survival.csv")
    conditions = {(row["condition"], row["arm"], row["compared_to"]) for row in survival}
    both = {"published", "options=permuted", "clips=without_leaks"}
    assert conditions == {(condition, "r1", "coldstart") for condition in both}, "other controls are of one of the two"
    assert "R1 minus Cold start" in (finished.results / "tables/survival.md").read_text()
    assert rows(finished.results / "tables/with_and_without_thinking.csv") == [], "no weights were asked in both ways"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_trained_arm_has_a_model_card(finished: Workplace) -> None:
    cards = {path.parts[-3] for path in finished.results.glob("write_card/*/seed0/README.md")}
    assert cards == {"sft", "coldstart", "r1"}
    card = (finished.results / "write_card/r1/seed0/README.md").read_text()
    assert "# r1 of the run tiny" in card
    assert (
        json.loads((finished.results / "train_grpo/r1/seed0/checkpoint.provenance.json").read_text())["sha256"] in card
    )
    for title in ("Video-MME", "MVBench", "MLVU", "MMVU"):
        assert f"| {title} " in card
    assert not (finished.results / "train_grpo/r1/seed0/checkpoint/README.md").exists()


def test_broken_training_videos_are_counted_and_shown(finished: Workplace) -> None:
    lost = {
        (row["stage"], row["reason"]): int(row["count"])
        for row in rows(finished.results / "tables/data.csv")
        if row["unit"] == "video"
    }
    assert lost["filter", "empty_file"] == lost["filter", "truncated"] == lost["filter", "unreadable"] == 1
    page = (finished.results / "report/index.html").read_text()
    for reason in ("empty_file", "truncated", "unreadable"):
        assert reason in page


def test_no_benchmark_video_is_among_the_training_videos(finished: Workplace) -> None:
    assert rows(finished.results / "tables/leaks.csv") == []
    counts = rows(finished.results / "tables/leak_counts.csv")
    compared = [(row["benchmark"], row["data"]) for row in counts]
    assert sorted(compared) == sorted((name, data) for name in BENCHMARKS for data in ("nextqa", "coldstart"))
    assert {row["found"] for row in counts} == {"0"}
    assert all(float(row["nearest"]) > 3 for row in counts)
    assert all(int(row["clips"]) > 0 and int(row["training_clips"]) > 0 for row in counts)


def test_nothing_is_done_twice(finished: Workplace) -> None:
    assert "Nothing to be done" in finished.run()
    assert finished.jobs("results/tiny/tables/main.csv") == {}


def test_every_artifact_has_its_provenance_log_and_benchmark(finished: Workplace) -> None:
    for artifact in (
        "questions/nextqa.jsonl",
        "extract_frames/mlvu/shard0.parquet",
        "train_grpo/r1/seed0/checkpoint",
        "predict/r1/seed0/mmvu/shard0.jsonl",
        "tables/main.csv",
        "report/index.html",
        "report/gallery",
    ):
        sidecar = json.loads((finished.results / f"{artifact}.provenance.json").read_text())
        assert sidecar["artifact"] == f"results/tiny/{artifact}"
        assert len(sidecar["sha256"]) == 64
        assert sidecar["code"]
        assert sidecar["versions"]["vidreason"]
    inputs = json.loads((finished.results / "train_grpo/r1/seed0/checkpoint.provenance.json").read_text())["inputs"]
    assert "results/tiny/select_by_variance/r1/seed0/selected.jsonl" in inputs
    for log in ("make_world.log", "train_grpo/r1/seed0.log", "predict/r1/seed0/mlvu/shard0.log"):
        assert (finished.root / "logs/tiny" / log).is_file()
    assert (finished.results / "benchmarks/train_grpo/r1/seed0.tsv").is_file()
    assert not list(finished.results.rglob("*.tmp"))


def test_the_number_of_shards_changes_no_byte(finished: Workplace, spare: Workplace) -> None:
    configs = spare.overlay("shards", "datasets: {mvbench: {shards: {predict: 3}}}\nselection: {shards: 3}\n")
    # The new shards of the rollouts give the selection that is there, so training need not be repeated for the proof.
    selected = "select_by_variance/r1/seed0/selected.jsonl"
    spare.run(f"results/tiny/{selected}", configs=configs)
    assert (spare.results / selected).read_bytes() == (finished.results / selected).read_bytes()
    sampled = "sample_rollouts/coldstart/nextqa/seed0"
    assert _lines(spare.results / sampled, "shard*.jsonl") == _lines(finished.results / sampled, "shard*.jsonl")
    arms = ("base", "r1_shuffled")
    scores = [f"score/{arm}/seed0/mvbench.score.json" for arm in arms]
    triggers = ("--rerun-triggers", "input", "params")
    spare.run(*(f"results/tiny/{score}" for score in scores), *triggers, configs=configs)
    for arm, score in zip(arms, scores, strict=True):
        folder = f"predict/{arm}/seed0/mvbench"
        assert len(list((spare.results / folder).glob("shard*.jsonl"))) == 3
        assert _lines(spare.results / folder, "shard*.jsonl") == _lines(finished.results / folder, "shard*.jsonl")
        assert (spare.results / score).read_bytes() == (finished.results / score).read_bytes()


def _lines(folder: Path, pattern: str) -> list[str]:
    """All records of a folder's shards; which of them a shard holds is all that may differ."""
    lines = sorted(line for path in folder.glob(pattern) for line in path.read_text().splitlines())
    assert lines, f"{folder}: no {pattern}"
    return lines
