"""The plan: what a run will cost, from what is known."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import configs
from vidreason.config.run import Run
from vidreason.plan import COSTS, StepPlan, describe, plan_sources, plan_steps


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return configs.paper()


def lock(name: str, **sizes: int) -> None:
    Path("config/locks").mkdir(parents=True, exist_ok=True)
    files = [{"path": path, "size": size, "sha256": 64 * "0"} for path, size in sizes.items()]
    entry = configs.paper().sources[name]
    head = {"repo": entry.repo, "type": entry.type, "requested": entry.revision, "patterns": entry.files}
    head |= {"revision": 40 * "c", "origin": "hub"}
    Path(f"config/locks/{name}.json").write_text(json.dumps({**head, "files": files}))


def test_only_what_the_run_reads_is_planned(paper: Run) -> None:
    names = [source.name for source in plan_sources(paper)]
    assert len(names) == 9
    assert "TinyLLaVA-Video-R1" not in names, "no arm of the paper's run takes the authors' weights"
    demo = configs.demo()
    assert demo.used_sources() == []
    assert "Nothing is fetched" in describe(demo)


def test_sizes_come_from_the_lock_then_from_the_record_and_are_else_unknown(paper: Run) -> None:
    before = {source.name: source for source in plan_sources(paper)}
    assert before["LLaVA-Video-178K"].bytes == 2.78e9
    assert before["MVBench"].bytes is None
    lock("MVBench", **{"json/a.json": 1_000, "video/a.zip": 3_000_000_000})
    after = {source.name: source for source in plan_sources(paper)}["MVBench"]
    assert (after.state, after.bytes, after.packed) == ("locked", 3_000_001_000, 3_000_000_000)
    other = configs.paper(sources={"MVBench": {"revision": "video"}})
    state = {source.name: source for source in plan_sources(other)}["MVBench"].state
    assert state.startswith("locked as something else")
    text = describe(paper)
    assert "Video-MME.json" in text.split("Sizes are known once")[1]
    assert "config/locks/MVBench.json" not in text
    assert "< 0.01 GB" in text, "SigLIP's one file"
    assert "0.00 GB" not in text


def test_gated_sources_are_named_until_they_are_there(paper: Run) -> None:
    assert describe(paper).count("Gated: accept the conditions of") == 2
    Path("data/MLVU").mkdir(parents=True)
    Path("data/MLVU/fetched.json").write_text(json.dumps({"files": [{"path": "a", "size": 5}]}))
    text = describe(paper)
    assert "Gated: accept the conditions of MLVU/MVLU" not in text
    assert "Gated: accept the conditions of OpenGVLab/MVBench" in text


def test_the_papers_grpo_costs_what_the_paper_says(paper: Run) -> None:
    steps = {step.rule: step for step in plan_steps(paper)}
    # arXiv 2504.09641: 687 steps of 8 questions, about 30 hours on 8 GPUs.
    assert steps["train_grpo"].seconds == pytest.approx(30 * 3600 * 8, rel=0.01)
    assert steps["extract_frames"].jobs == sum(paper.datasets[name].shards.frames for name in paper.used_datasets())
    assert steps["predict"].jobs == 4 * (8 + 8 + 8 + 2)
    controls = steps["predict (controls)"]
    assert controls.jobs == 14 * (8 + 8 + 8 + 2)
    # Two of the four arms think, for 300 tokens, and two answer with 4; of the controls twelve think.
    assert controls.seconds == pytest.approx((steps["predict"].seconds or 0) * (12 * 300 + 2 * 4) / (2 * 300 + 2 * 4))
    assert "controls: null leaves them out" in describe(paper)
    without = configs.paper(controls=None)
    assert "controls" not in " ".join([*(step.rule for step in plan_steps(without)), describe(without)])
    assert all(step.done == 0 for step in steps.values())
    Path("results/paper/questions").mkdir(parents=True)
    Path("results/paper/questions/nextqa.jsonl").touch()
    assert {step.rule: step.done for step in plan_steps(paper)}["filter_questions"] == 1


def test_shuffled_rollouts_cost_more_and_a_limit_costs_less(paper: Run) -> None:
    def planned(**settings: Any) -> StepPlan:
        run = configs.paper(seeds=[0, 1], methods={"grpo": settings})
        return {step.rule: step for step in plan_steps(run)}["train_grpo"]

    terms = {"temporal": {"weight": 0.3}}
    plain, shuffled = planned(), planned(views={"shuffled": 4}, rewards={"terms": terms})
    assert plain.units == "87,936 rollouts"
    assert shuffled.seconds == pytest.approx(1.5 * (plain.seconds or 0))
    assert planned(epochs=50, rollout_limit=1000).units == "2,000 rollouts"
    assert planned(rollout_limit=10**9).units == plain.units


def test_replaced_groups_give_a_range_that_a_limit_closes() -> None:
    def planned(**settings: Any) -> tuple[StepPlan, str]:
        run = configs.paper(methods={"grpo": {"resample": 3, **settings}})
        return {step.rule: step for step in plan_steps(run)}["train_grpo"], describe(run)

    # 5,496 questions, 8 rollouts each; 3 rounds at most sample each of them again.
    step, text = planned()
    assert step.units == "43,968 to 175,872 rollouts"
    assert step.most_seconds == pytest.approx(4 * (step.seconds or 0))
    assert "239.7 to 958.7" in text
    assert "The range is that of resample" in text
    step, _ = planned(rollout_limit=100_000)
    assert step.units == "43,968 to 100,000 rollouts"
    step, text = planned(rollout_limit=30_000)
    assert step.units == "30,000 rollouts"
    assert step.seconds == step.most_seconds
    assert "The range" not in text


def test_nothing_replaced_no_range(paper: Run) -> None:
    text = describe(paper)
    assert "The range" not in text
    assert " to " not in next(line for line in text.splitlines() if line.startswith(("GPU-hours", "train_grpo")))
    assert all(step.seconds == step.most_seconds for step in plan_steps(paper))


def test_more_epochs_and_seeds_cost_more(paper: Run) -> None:
    twice = {step.rule: step for step in plan_steps(configs.paper(seeds=[0, 1], methods={"grpo": {"epochs": 2}}))}
    once = {step.rule: step for step in plan_steps(paper)}
    assert twice["train_grpo"].seconds == pytest.approx(4 * (once["train_grpo"].seconds or 0))
    assert twice["predict"].seconds == pytest.approx(2 * (once["predict"].seconds or 0))
    assert twice["extract_frames"].seconds == once["extract_frames"].seconds


def test_sampled_answers_cost_what_their_batches_take(paper: Run) -> None:
    """2,700, 4,000, 2,175 and 625 questions in batches of 4; 300 tokens of two arms that reason, 4 of two that do not."""

    def planned(**sampling: Any) -> StepPlan:
        return {step.rule: step for step in plan_steps(configs.paper(evaluation={"sampling": sampling}))}[
            "sample_answers"
        ]

    whole = {step.rule: step for step in plan_steps(paper)}["sample_answers"]
    batches = 2700 / 4 + 4000 / 4 + 544 + 157
    assert whole.units == f"{batches * (2 * 300 + 2 * 4):,.0f} token of a batch"
    assert whole.seconds == pytest.approx(batches * 608 / 25)
    assert whole.jobs == 4 * (8 + 8 + 8 + 2)
    assert planned(arms=["r1"]).units == f"{batches * 300:,.0f} token of a batch"
    assert planned(questions=400, arms=["r1"]).units == f"{400 * 300:,.0f} token of a batch"
    assert planned(answers=64).units == whole.units
    nothing = {step.rule: step for step in plan_steps(configs.paper(evaluation={"sampling": None}))}["sample_answers"]
    assert (nothing.jobs, nothing.seconds) == (0, 0)


def test_a_number_that_is_not_known_gives_no_estimate(paper: Run) -> None:
    open_ended = configs.paper(datasets={"nextqa": {"questions": None}})
    steps = {step.rule: step for step in plan_steps(open_ended)}
    assert steps["train_grpo"].seconds is None
    assert steps["train_grpo"].units == ""
    assert "Not counted: filter_questions, extract_frames, train_sft, sample_rollouts, train_grpo, because" in describe(
        open_ended
    )
    assert "Not counted" not in describe(paper)


def test_only_a_selection_keeps_fewer_questions(paper: Run) -> None:
    assert "Selection keeps fewer" in describe(paper)
    everything = configs.paper(arms={"r1": {"selection": {"strategy": "all"}}})
    assert "Selection keeps fewer" not in describe(everything)


def test_every_estimate_says_where_it_comes_from(paper: Run) -> None:
    text = describe(paper)
    for name, cost in COSTS.items():
        assert len(cost.basis) > 20
        assert f"{name}: {cost.seconds:g} s of a {cost.of} per {cost.unit} ({cost.basis})" in text
