"""Several sampled answers to every question in the tiny run: asked for, they add their own jobs and nothing else."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.workflow.conftest import Workplace, provenance
from tests.workflow.test_reruns import SHOWN, _rebuild

pytestmark = pytest.mark.workflow
SAMPLING = {
    "answers": 3,
    "sampling": {"temperature": 1.0, "top_k": 50, "top_p": None, "max_new_tokens": 8},
    "batch_size": 2,
    "questions": None,
    "arms": ["coldstart", "r1"],
}
TABLES = ("sampled", "sharpening")


def overlay(place: Workplace, shards: int = 1, **changes: object) -> tuple[str, ...]:
    evaluation = {"sampling": {**SAMPLING, **changes}}
    values = {"evaluation": evaluation, "datasets": {"mlvu": {"shards": {"predict": shards}}}}
    return place.overlay(f"sampled{shards}", json.dumps(values))


def lines(folder: Path) -> list[str]:
    return sorted(line for path in folder.glob("shard*.jsonl") for line in path.read_text().splitlines())


def test_they_add_their_own_jobs_and_change_no_other_result(finished: Workplace, spare: Workplace) -> None:
    assert all((finished.results / f"tables/{name}.csv").read_text().count("\n") == 1 for name in TABLES)
    configs = overlay(spare)
    # Two arms, four benchmarks.
    shown = dict.fromkeys(SHOWN, 1)
    assert spare.jobs(configs=configs) == {"sample_answers": 8, "score_samples": 8} | shown
    spare.run(configs=configs)
    assert "Nothing to be done" in spare.run(configs=configs)
    rows = list(csv.DictReader((spare.results / "tables/sampled.csv").read_text().splitlines()))
    assert {row["arm"] for row in rows} == {"coldstart", "r1"}
    assert {(row["measure"], row["k"]) for row in rows if row["arm"] == "r1"} == {
        ("greedy", "1"), ("mean", "1"), ("pass", "1"), ("pass", "2"), ("pass", "3"), ("majority", "2"), ("majority", "3"),
    }  # fmt: skip
    rows = list(csv.DictReader((spare.results / "tables/sharpening.csv").read_text().splitlines()))
    assert {(row["arm"], row["compared_to"]) for row in rows} == {("r1", "coldstart")}
    assert (spare.results / "tables/main.csv").read_bytes() == (finished.results / "tables/main.csv").read_bytes()
    assert "3 sampled answers to each question" in (spare.results / "report/index.html").read_text()
    sidecar = provenance(spare, "results/tiny/sample_answers/r1/seed0/mlvu/shard0.jsonl")
    assert "results/tiny/train_grpo/r1/seed0/checkpoint" in json.dumps(sidecar["inputs"])

    # The same tables again from the answers alone.
    before = {path.name: path.read_bytes() for path in (spare.results / "tables").glob("*.csv")}
    graded = spare.results / "score_samples/r1/seed0/mlvu.jsonl"
    grades = graded.read_bytes()
    graded.unlink()
    _rebuild(spare, "tables", "--run", "tiny", "--configfile", *configs)
    assert graded.read_bytes() == grades
    assert {path.name: path.read_bytes() for path in (spare.results / "tables").glob("*.csv")} == before
    assert spare.jobs(configs=configs) == {}

    # More shards give the same lines, and other arms or another parser sample nothing again.
    more, target = overlay(spare, shards=3), "results/tiny/score_samples/r1/seed0/mlvu.jsonl"
    answers = lines(spare.results / "sample_answers/r1/seed0/mlvu")
    spare.run(target, configs=more)
    assert len(list((spare.results / "sample_answers/r1/seed0/mlvu").glob("shard*.jsonl"))) == 3
    assert lines(spare.results / "sample_answers/r1/seed0/mlvu") == answers
    assert graded.read_bytes() == grades
    parser = spare.overlay("parser", "evaluation: {scoring: {parser: upstream}}")[-1]
    jobs = spare.jobs(configs=(*overlay(spare, arms=["r1"]), parser))
    assert jobs["score_samples"] == 4
    assert "predict" not in jobs


def test_where_none_are_sampled_a_file_of_them_is_refused(finished: Workplace) -> None:
    printed = finished.run("-n", "results/tiny/sample_answers/r1/seed0/mlvu/shard0.jsonl", ok=False)
    assert re.search(r"results/tiny: no answers are sampled, because evaluation.sampling is null", printed)
