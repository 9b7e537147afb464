"""The shipped overlays load, read what they say, and describe what differs from the shipped run in a few lines."""

import re

import pytest

from tests.support.configs import ROOT, demos_layers, known, papers_layers
from vidreason.config.load_runs import load_run
from vidreason.config.run import Run
from vidreason.config.settings import Arm, GrpoMethod
from vidreason.config.yaml_layers import read_layer
from vidreason.plan import describe

OVERLAYS = ("video_r1", "temporal_rlt")


def overlay(name: str) -> Run:
    return load_run(papers_layers(read_layer(ROOT / f"config/{name}.yaml")), known())


def grpo_of(arm: Arm) -> GrpoMethod:
    assert isinstance(arm.training, GrpoMethod)
    return arm.training


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_planned_from_sources_alone(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    run = overlay(name)
    assert run.run == name
    for dataset in run.used_datasets():
        assert run.makes(run.root(dataset)), dataset
        assert run.source_of(run.root(dataset)) in run.used_sources()
    assert "nextqa" not in run.used_datasets()
    text = describe(run)
    assert f"Plan of the run {name}" in text
    assert "train_grpo" in text


def test_t_grpo_is_an_arm_of_six_lines() -> None:
    text = (ROOT / "config/video_r1.yaml").read_text("utf-8")
    (entry,) = re.findall(r"^  t_grpo:\n((?:    .*\n)+)", text, re.MULTILINE)
    assert len(entry.splitlines()) <= 6
    for line in entry.splitlines():
        assert re.sub(r" +#.*", "", line) in (ROOT / "docs/other_papers.md").read_text("utf-8")
    arms = overlay("video_r1").arms
    plain, bonus = grpo_of(arms["r1"]), grpo_of(arms["t_grpo"])
    assert (bonus.views.ordered, bonus.views.shuffled) == (8, 4)
    assert set(bonus.rewards.terms) - set(plain.rewards.terms) == {"temporal", "length_band"}
    assert bonus.rewards.terms["temporal"]["weight"] == 0.3
    # As many steps: rollouts of both views count, and images, 56% of the questions, have no shuffled ones.
    assert bonus.rollout_limit
    assert plain.rollout_limit
    assert plain.rollout_limit / 8 == 1200 * plain.batch_size
    assert bonus.rollout_limit / (8 + 4 * 116_248 / 263_071) == pytest.approx(1200 * plain.batch_size, rel=0.001)
    # tulerfeng/Video-R1@59d65c3, src/scripts/run_grpo_video.sh and src/r1-v/src/open_r1/trainer/grpo_trainer.py.
    assert plain.batch_size == 4
    assert (plain.sampling.temperature, plain.sampling.top_k, plain.sampling.top_p) == (1.0, 50, 0.95)
    assert (plain.optimizer.learning_rate, plain.optimizer.schedule, plain.optimizer.warmup) == (1e-6, "cosine", 0.0)
    assert bonus.sampling == plain.sampling
    assert bonus.objective == plain.objective
    assert bonus.optimizer == plain.optimizer


def test_temporal_rlt_rewards_the_overlap_and_selects_by_its_spread() -> None:
    run = overlay("temporal_rlt")
    assert dict(grpo_of(run.arms["r1"]).rewards.terms) == {
        "tiou": {"weight": 0.5, "segments": "union"},
        "format": {"weight": 0.5},
    }
    assert "accuracy" in grpo_of(run.arms["r1_dual"]).rewards.terms
    strategies = [getattr(run.arms[arm].selection, "strategy", None) for arm in ("r1", "r1_selected")]
    assert strategies == ["all", "informative"]


def test_every_registered_data_set_has_an_entry_and_every_source_is_used_by_one() -> None:
    run = overlay("video_r1")
    assert set(run.datasets) == set(known().datasets)
    roots = [entry.root for entry in run.datasets.values()]
    roots += [name for entry in run.datasets.values() if (name := getattr(entry, "annotations", None))]
    roots += [path for arm in run.arms.values() for path in (arm.weights, arm.tokenizer, arm.processor) if path]
    used = {run.source_of(path) for path in roots}
    assert set(run.sources) - used <= {"TinyLLaVA-Video-Coldstart_NextQA_16", "TinyLLaVA-Video-R1"}


@pytest.fixture(scope="module")
def ablations() -> Run:
    return load_run(demos_layers(read_layer(ROOT / "config/ablations.yaml")), known())


def steps_of(arm: Arm) -> float:
    """Steps in which an arm reaches its limit of rollouts, if none is replaced."""
    training = grpo_of(arm)
    assert training.rollout_limit
    return training.rollout_limit / (training.batch_size * (training.views.ordered + training.views.shuffled))


def test_the_ablations_are_planned_from_the_demo_alone(
    ablations: Run, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (ablations.run, ablations.seed, ablations.seeds) == ("ablations", 0, (0, 1, 2))
    assert ablations.arms["base"].weights == "config/demo_base/checkpoint"
    assert not ablations.used_sources()
    assert "train_grpo" in describe(ablations)


def test_an_ablation_is_an_arm_of_at_most_six_lines() -> None:
    text = (ROOT / "config/ablations.yaml").read_text("utf-8").partition("\narms:\n")[2].partition("\ncontrols:")[0]
    entries = re.findall(r"^  (\w+):\n((?:    .*\n)+)", text, re.MULTILINE)
    assert len(entries) == 15
    assert {name: lines for name, lines in entries if len(lines.splitlines()) > 5} == {}


def test_all_ablations_sample_as_many_rollouts_as_the_reference_those_of_the_selection_included(ablations: Run) -> None:
    """The shuffled rollouts of T-GRPO come on top, so that it takes as many steps."""
    reference = next(iter(ablations.arms_by("grpo")))
    assert (reference, ablations.arms[reference].selection.strategy) == ("r1", "all")
    limit = grpo_of(ablations.arms[reference]).rollout_limit
    questions = ablations.datasets["nextqa"].filter.questions_limit
    assert (limit, questions) == (6400, 400)
    for name in ablations.arms_by("grpo"):
        arm = ablations.arms[name]
        sampled = 0 if arm.selection.strategy == "all" else questions * ablations.selection.generation.rollouts
        if "t_grpo" in name:
            assert steps_of(arm) == steps_of(ablations.arms[reference]) == 100
        else:
            assert grpo_of(arm).rollout_limit + sampled == limit, name
        # The limit ends every training, whichever share of the questions its selection keeps.
        assert grpo_of(arm).epochs * (questions / 4) >= steps_of(arm) * grpo_of(arm).batch_size


def test_pairs_of_ablations_differ_in_one_thing(ablations: Run) -> None:
    def changed(one: str, other: str) -> dict[str, tuple[object, object]]:
        first, second = (grpo_of(ablations.arms[name]).model_dump() for name in (one, other))
        return {key: (first[key], second[key]) for key in first if first[key] != second[key]}

    assert {key for name in ("selected", "random") for key in changed("r1", name)} == {"rollout_limit"}
    assert set(changed("selected", "random")) == set()
    assert set(changed("r1", "dynamic")) == {"resample"}
    assert (
        set(changed("r1", "t_grpo")) == set(changed("no_std", "t_grpo_no_std")) == {"views", "rewards", "rollout_limit"}
    )
    assert set(changed("t_grpo", "t_grpo_no_std")) == set(changed("r1", "no_std")) == {"advantage"}
    assert {key for name in ("no_length", "length_r1", "length_video_r1") for key in changed("r1", name)} == {"rewards"}
    assert set(changed("no_std", "dr_grpo")) == set(changed("r1", "no_kl")) == {"objective"}
    assert set(changed("r1", "two_updates")) == {"updates"}
    assert set(changed("two_updates", "gspo")) == {"objective"}
    terms = {name: set(grpo_of(ablations.arms[name]).rewards.terms) for name in ablations.arms_by("grpo")}
    assert terms["r1"] - terms["no_length"] == {"think_length"}
    assert terms["length_video_r1"] - terms["no_length"] == {"length_band"}
    assert terms["t_grpo"] - terms["r1"] == {"temporal"}
