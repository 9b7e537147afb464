"""The grammar of paths: one place, and every file that a run's jobs read is one that another job writes."""

import re
from pathlib import Path

import pytest

from tests.support.configs import ROOT, demo, paper
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.config.yaml_layers import ConfigError

PATTERNS = {name: value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)}
RULES = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))


@pytest.fixture
def two_seeds() -> Run:
    """A run with two seeds, and an arm beside R1 with the same parent."""
    return paper(seeds=[0, 3], arms={"r2": {"like": "r1", "label": "R2", "selection": "random"}})


def fits(path: str, pattern: str) -> bool:
    """Whether a path is one of a pattern's."""
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)), path) is not None


def test_no_rule_writes_a_path_by_hand() -> None:
    assert not re.findall(r'"[^"\n]*(?:results|data)/\{[^"\n]*"', RULES)
    (report,) = re.findall(r"rule report:.*", RULES, re.DOTALL)
    assert "paths.REPORT" in report


@pytest.mark.parametrize("rule", re.findall(r"^rule (\w+):", RULES, re.MULTILINE))
def test_log_and_costs_of_a_rule_have_its_name(rule: str) -> None:
    (body,) = re.findall(rf"^rule {rule}:\n(.*?)(?=^rule |\Z)", RULES, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r'paths\.(?:log|cost|state)\("(\w+)"\)', body))
    assert named <= {rule}
    assert named or rule in ("fetch_sources", "plan")


def test_every_file_that_a_job_reads_is_one_that_a_job_writes(two_seeds: Run) -> None:
    run = two_seeds
    read = [
        *job_inputs.frames(run, "nextqa"), *job_inputs.clips(run, "mmvu"), *job_inputs.decoded_questions(run, "nextqa"),
        job_inputs.weights(run, "r1", 0), job_inputs.weights(run, "base", 0), job_inputs.parent_weights(run, "r2", 3),
        job_inputs.training_questions(run, "sft"), *job_inputs.training_frames(run, "coldstart"), *job_inputs.rollouts(run, "r2", 3),
        *job_inputs.predictions(run, "r1", 0, "mvbench"), *job_inputs.scored(run, paths.SCORE),
        *job_inputs.of_arms(run, paths.SELECTED, "grpo"), *job_inputs.benchmark_questions(run), *job_inputs.all_clips(run),
        job_inputs.validation_questions(run, "r1"), *job_inputs.training_clips(run, "r1"), *job_inputs.set_aside(run),
        *job_inputs.filtered(run, "durations.csv"), *job_inputs.all_training_frames(run), *job_inputs.benchmark_frames(run),
    ]  # fmt: skip
    for path in read:
        assert any(fits(path, pattern) for pattern in PATTERNS.values()), path
        assert "{" not in path


def test_leaks_are_looked_for_in_the_sets_that_arms_are_trained_on(two_seeds: Run) -> None:
    """Every set once, however many arms use it, and none of the benchmarks."""
    assert two_seeds.training_sets() == ["nextqa", "coldstart"]
    assert two_seeds.used_datasets() == ["nextqa", "coldstart", *two_seeds.evaluation.benchmarks]
    tables = [*job_inputs.frames(two_seeds, "nextqa"), *job_inputs.frames(two_seeds, "coldstart")]
    assert job_inputs.all_training_frames(two_seeds) == tables


def test_arms_of_one_parent_share_its_rollouts_and_have_selections_of_their_own(two_seeds: Run) -> None:
    assert job_inputs.rollouts(two_seeds, "r2", 3) == job_inputs.rollouts(two_seeds, "r1", 3)
    assert (
        job_inputs.rollouts(two_seeds, "r1", 3)[0]
        == "results/paper/sample_rollouts/coldstart/nextqa/seed3/shard0.jsonl"
    )
    assert job_inputs.of_arms(two_seeds, paths.SELECTED, "grpo") == [
        f"results/paper/select_by_variance/{arm}/seed{seed}/selected.jsonl" for arm in ("r1", "r2") for seed in (0, 3)
    ]
    assert job_inputs.selection_rule(two_seeds, "r2")["strategy"] == "random"
    with pytest.raises(ValueError, match="results/paper: sft is no arm of method grpo"):
        job_inputs.selection_rule(two_seeds, "sft")


def test_weights_are_those_of_the_arm_that_is_trained_or_given() -> None:
    assert job_inputs.weights(demo(), "r1_gray", 7) == "results/demo/train_grpo/r1/seed7/checkpoint"
    assert job_inputs.weights(demo(), "base_thinks", 7) == "results/demo/import_weights/base/checkpoint"
    assert job_inputs.parent_weights(demo(), "r1", 7) == "results/demo/train_sft/coldstart/seed7/checkpoint"
    with pytest.raises(ConfigError, match="results/demo: r9 is no arm of this run; allowed: base, "):
        job_inputs.weights(demo(), "r9", 0)


def test_a_run_with_a_world_is_not_compared_with_published_numbers() -> None:
    assert job_inputs.published(demo()) == []
    assert job_inputs.truth(demo()) == "results/demo/make_world/truth.jsonl"
    assert job_inputs.published(paper()) == "config/published.tsv"
    assert job_inputs.truth(paper()) == []


def test_benchmarks_are_scored_in_the_order_of_the_configuration() -> None:
    run = paper(evaluation={"benchmarks": ["mmvu", "mlvu"]})
    assert job_inputs.shown_benchmarks(run) == ["mmvu", "mlvu"]
    assert [Path(path).name for path in job_inputs.scored(run, paths.SCORE)[:3]] == [
        "mmvu.score.json", "mlvu.score.json", "mmvu.score.json",
    ]  # fmt: skip


def test_the_grammar_on_the_workflows_first_page_is_the_one_in_force() -> None:
    page = (ROOT / "Snakefile").read_text(encoding="utf-8")
    named = re.findall(r"^#   ((?:results|data|config)/\S+?)/?(?:,|\s)", page, re.MULTILINE)
    assert len(named) > 12
    for path in named:
        assert any(path in (pattern, str(Path(pattern).parent)) for pattern in PATTERNS.values()), path


def test_an_arm_may_learn_from_another_training_set() -> None:
    """Its selection, validation and frames are of that set; data that no arm and no benchmark names is not used."""
    run = paper(
        arms={"r1": {"data": "charades_sta_train"}, "sft": {"data": "charades_sta_train"}},
        evaluation={"benchmarks": ["charades_sta"]},
        controls={"permuted": None, "no_gold": None},
    )
    shards = [f"results/paper/sample_rollouts/coldstart/charades_sta_train/seed0/shard{n}.jsonl" for n in range(8)]
    assert job_inputs.rollouts(run, "r1", 0) == shards
    assert job_inputs.training_questions(run, "r1") == "results/paper/questions/charades_sta_train.jsonl"
    held_out = "results/paper/filter_questions/charades_sta_train/validation.jsonl"
    assert job_inputs.validation_questions(run, "r1") == held_out
    assert job_inputs.decoded_questions(run, "charades_sta_train")[1] == held_out
    assert job_inputs.decoded_questions(run, "charades_sta") == ["results/paper/questions/charades_sta.jsonl"]
    used = ["coldstart", "charades_sta_train", "charades_sta"]
    assert sorted(run.used_datasets()) == sorted(used)
    assert not [path for path in (*job_inputs.all_clips(run), *job_inputs.set_aside(run)) if "nextqa" in path]
    assert not {"LLaVA-Video-178K", "MVBench", "MLVU"} & set(run.used_sources())
    assert job_inputs.filtered(run, "durations.csv") == [held_out.replace("validation.jsonl", "durations.csv")]


def test_a_selection_of_all_questions_samples_nothing() -> None:
    run = paper(
        selection={"rule": {"strategy": "all"}},
        arms={"r2": {"like": "r1", "label": "R2", "selection": {"strategy": "top", "limit": 9}}},
    )
    assert job_inputs.rollouts(run, "r1", 0) == [], "the rule of all arms"
    assert len(job_inputs.rollouts(run, "r2", 0)) == 8
    assert job_inputs.selection_rule(run, "r2")["keep_max"] == 7, "the rest of the rule is inherited"


def test_a_data_set_that_is_not_configured_is_named() -> None:
    run = demo()
    missing = next(
        name for name in ("rextime", "activitynet_tvg", "charades_sta", "street") if name not in run.datasets
    )
    with pytest.raises(ConfigError, match=rf"results/demo: {missing} is no data set of this run; allowed: .*nextqa"):
        run.root(missing)
