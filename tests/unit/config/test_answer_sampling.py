"""The section `evaluation.sampling`: on for all arms but controls, and every mistake in it named."""

from typing import Any

import pytest

from tests.support.configs import ROOT, demo, demos_layers, known
from vidreason.config import job_inputs
from vidreason.config.load_runs import load_run
from vidreason.config.yaml_layers import ConfigError, read_layer


def sampling(**changes: Any) -> dict[str, Any]:
    return {"evaluation": {"sampling": changes}}


def test_by_default_all_arms_but_the_controls_are_sampled() -> None:
    run = demo()
    assert run.sampled_arms() == ["base", "sft", "coldstart", "r1"]
    assert job_inputs.answer_sampling(run) == {
        "answers": 8,
        "sampling": {"temperature": 1.0, "top_k": 50, "top_p": None, "max_new_tokens": 72},
        "batch_size": 16,
        "questions": None,
        "precision": "fp32",
    }
    assert len(job_inputs.scored_samples(run)) == 16


def test_arms_can_be_chosen_and_decide_no_answer() -> None:
    run = demo(**sampling(arms=["r1", "base"]), seeds=[3, 4])
    assert run.sampled_arms() == ["base", "r1"], "in the order of the configuration"
    assert job_inputs.answer_sampling(run) == job_inputs.answer_sampling(demo())
    assert job_inputs.scored_samples(run)[5] == "results/demo/score_samples/base/seed4/mvbench.jsonl"
    shards = job_inputs.samples(demo(datasets={"mlvu": {"shards": {"predict": 2}}}), "r1", 0, "mlvu")
    assert shards == [f"results/demo/sample_answers/r1/seed0/mlvu/shard{number}.jsonl" for number in (0, 1)]


def test_a_control_is_sampled_where_it_is_named() -> None:
    assert demo(**sampling(arms=["r1_gray"])).sampled_arms() == ["r1_gray"]


def test_null_samples_nothing_and_says_so_where_it_is_asked_for() -> None:
    run = demo(evaluation={"sampling": None})
    assert run.sampled_arms() == job_inputs.scored_samples(run) == []
    with pytest.raises(
        ConfigError, match=r"results/demo: no answers are sampled, because evaluation\.sampling is null"
    ):
        job_inputs.answer_sampling(run)


@pytest.mark.parametrize("overlay", ["ablations", "grounding"])
def test_overlays_that_compare_trainings_sample_nothing(overlay: str) -> None:
    layers = demos_layers(read_layer(ROOT / f"config/{overlay}.yaml"))
    assert load_run(layers, known()).sampled_arms() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["r1", "bse"]}, r'sampling\.arms\.1: "bse" is no arm; allowed: .*did you mean base\?'),
        ({"arms": []}, r"sampling\.arms: \[\] is not allowed; allowed: 1 entries or more"),
        ({"arms": ["r1", "r1"]}, r'sampling\.arms: \["r1", "r1"\] is not allowed; allowed: every entry once'),
        ({"answers": 0}, r"sampling\.answers: 0 is not allowed; allowed: 1 or more"),
        ({"answers": 2.0}, r"sampling\.answers: 2.0 is not allowed; allowed: integer"),
        ({"questions": 0}, r"sampling\.questions: 0 is not allowed; allowed: 1 or more"),
        ({"anwsers": 4}, r"sampling\.anwsers: unknown key \(value 4\); .*did you mean answers\?"),
        ({"sampling": {"temperature": 0}}, r"sampling\.sampling\.temperature: 0 is not allowed; allowed: more than 0"),
        (
            {"sampling": {"max_new_tokens": 500}},
            r"sampling\.sampling\.max_new_tokens: 500 is not allowed; allowed: less than 480",
        ),
        ({"batch_size": None}, r"sampling\.batch_size: null is not allowed; allowed: integer"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"change\.yaml: evaluation\." + message):
        demo(**sampling(**changes))


def test_a_section_without_its_keys_is_refused() -> None:
    layers = demos_layers(("off.yaml", {"evaluation": {"sampling": None}}), ("on.yaml", sampling(answers=4)))
    with pytest.raises(ConfigError, match=r"evaluation\.sampling\.sampling: missing; How they are sampled"):
        load_run(layers, known())
