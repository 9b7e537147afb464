"""The section `controls`: which arms it makes, what takes them out, and what is refused."""

from typing import Any

import pytest

from tests.support.configs import demo, demos_layers, known, paper, papers_layers
from vidreason.config import job_inputs
from vidreason.config.load_runs import load_run
from vidreason.config.run import Run
from vidreason.config.yaml_layers import ConfigError

OF_COLDSTART_AND_R1 = ("direct", "shuffled", "gray", "text", "permuted", "no_gold")


def controls_of(run: Run) -> list[str]:
    return run.arms_by("control")


def test_the_papers_controls_are_on_by_default() -> None:
    expected = ["base_thinks", "sft_thinks"]
    expected += [f"{arm}_{control}" for arm in ("coldstart", "r1") for control in OF_COLDSTART_AND_R1]
    assert controls_of(paper()) == controls_of(demo()) == expected
    assert list(paper().arms)[:4] == ["base", "sft", "coldstart", "r1"], "behind the arms that are written"


@pytest.mark.parametrize(
    ("name", "label", "asked"),
    [
        ("base_thinks", "Base, asked to think", ("base", "reason", "ordered", "published")),
        ("r1_direct", "R1, asked without thinking", ("r1", "option", "ordered", "published")),
        ("r1_shuffled", "R1, frames shuffled", ("r1", "reason", "shuffled", "published")),
        ("r1_gray", "R1, gray frames", ("r1", "reason", "gray", "published")),
        ("coldstart_text", "Cold start, no video", ("coldstart", "reason", "none", "published")),
        ("r1_permuted", "R1, options permuted", ("r1", "reason", "ordered", "permuted")),
        ("r1_no_gold", "R1, gold option replaced", ("r1", "reason", "ordered", "without_gold")),
    ],
)
def test_what_a_control_does_not_say_is_the_arms(name: str, label: str, asked: tuple[str, ...]) -> None:
    run = demo()
    arm = run.arms[name]
    assert arm.label == label
    assert (arm.parent, arm.style, arm.shown_view, arm.shown_options) == asked
    assert job_inputs.weights(run, name, 0) == job_inputs.weights(run, asked[0], 0)


def test_a_control_of_a_control_keeps_what_the_first_changes() -> None:
    gray = {"label": "Gray", "method": "control", "parent": "r1", "view": "gray", "style": "reason"}
    run = demo(arms={"blind": gray}, controls={"direct": {"of": ["blind"]}})
    arm = run.arms["blind_direct"]
    assert (arm.parent, arm.style, arm.view, run.weights_arm("blind_direct")) == ("blind", "option", "gray", "r1")


def test_null_takes_one_or_all_out_and_a_later_layer_brings_one_back() -> None:
    assert controls_of(demo(controls=None)) == []
    assert [name for name in controls_of(demo(controls={"gray": None})) if name.endswith("gray")] == []
    back = {"gray": {"label": "gray", "of": ["r1"], "view": "gray"}}
    run = load_run(demos_layers(("one.yaml", {"controls": None}), ("two.yaml", {"controls": back})), known())
    assert controls_of(run) == ["r1_gray"]
    assert controls_of(demo(controls={"gray": {"of": ["sft"]}}))[2] == "sft_gray"


def test_the_run_of_a_bundle_has_the_same_arms() -> None:
    for changes in ({}, {"controls": None}, {"controls": {"gray": None}}):
        run = demo(**changes)
        again = load_run([("bundle", run.merged_layers())], known())
        assert (again.arms, list(again.arms)) == (run.arms, list(run.arms))


def test_only_changed_options_depend_on_the_runs_seed() -> None:
    run = paper(seed=7)
    assert job_inputs.option_edit(run, "r1") == job_inputs.option_edit(run, "r1_gray") == {"name": "published"}
    assert job_inputs.option_edit(run, "r1_permuted") == {"name": "permuted", "seed": 7}


def control(**keys: Any) -> dict[str, Any]:
    return {"mine": {"label": "mine", "of": ["r1"], "view": "gray", **keys}}


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        (control(of=["r2"]), 'controls.mine.of: "r2" is no arm; allowed: base, sft, coldstart, r1; or mine: null takes the control out'),
        (control(of=["r1_gray"]), 'controls.mine.of: "r1_gray" is no arm'),
        (control(of=[]), "controls.mine.of: [] is not allowed; allowed: 1 entries or more"),
        (control(of=["r1", "r1"]), "controls.mine.of: [\"r1\", \"r1\"] is not allowed; allowed: every entry once"),
        (control(view="grey"), "controls.mine.view: \"grey\" is not allowed; allowed: ordered, shuffled, gray, times_shuffled, none (did"),
        (control(options="sorted"), 'controls.mine.options: "sorted" is not allowed; allowed: published, permuted, without_gold'),
        (control(weights="x"), 'controls.mine.weights: unknown key (value "x"); allowed: label, of, style, view, options'),
        ({"mine": {"of": ["r1"], "view": "gray"}}, "controls.mine.label: missing"),
        (
            control(view="ordered"),
            "controls.mine: changes nothing of r1, which has style reason, view ordered, options published; allowed: another style,",
        ),
        (control(of=["base"], view=None), "controls.mine.view: null is not allowed"),
        ({"mine": {"label": "mine", "of": ["r1"], "style": "reason"}}, "controls.mine: changes nothing of r1"),
        (control(label="gray frames"), "controls.mine.label: \"gray frames\" is the label of the control gray too"),
        (control(view="times_shuffled"), "controls.mine.view: times_shuffled is not allowed: the prompts of no benchmark"),
        ({"Mine": control()["mine"]}, "controls"),
        ({"mine": None}, "mine.yaml: controls.mine: null is not allowed"),
        ("gray", 'controls: "gray" is not allowed'),
        (
            {"a": {"label": "one", "of": ["r1"], "view": "gray"}, "b_a": {"label": "two", "of": ["r1"], "view": "gray"}},
            "",
        ),
    ],
)  # fmt: skip
def test_mistakes(controls: Any, message: str) -> None:
    if not message:
        load_run(papers_layers(("mine.yaml", {"controls": controls})), known())
        return
    with pytest.raises(ConfigError) as error:
        load_run(papers_layers(("mine.yaml", {"controls": controls})), known())
    assert message in str(error.value)


def test_an_arms_name_that_a_control_would_take_is_refused() -> None:
    arm = {"like": "r1", "label": "R1 of mine"}
    with pytest.raises(ConfigError, match=r"controls\.gray: makes of r1 an arm r1_gray, which is an arm already"):
        paper(arms={"r1_gray": arm})
    with pytest.raises(
        ConfigError, match=r"controls\.b_gray: makes of r1 an arm r1_b_gray, which the control gray makes of r1_b"
    ):
        paper(
            arms={"r1_b": arm},
            controls={"b_gray": {"label": "b", "of": ["r1"], "view": "shuffled"}, "gray": {"of": ["r1_b"]}},
        )


def test_options_of_benchmarks_without_options_are_refused_where_they_are_written() -> None:
    with pytest.raises(ConfigError) as error:
        paper(evaluation={"benchmarks": ["charades_sta"]})
    assert (
        "config.yaml: controls.permuted.options: permuted is not allowed: the questions of no benchmark (charades_sta)"
        in (str(error.value))
    )


def test_an_arms_label_that_a_control_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'controls\.gray\.label: "R1, gray frames" is the label of the arm mine too'):
        demo(arms={"mine": {"like": "r1", "label": "R1, gray frames"}})


def test_several_answers_are_sampled_to_published_options_alone() -> None:
    with pytest.raises(ConfigError, match=r'evaluation\.sampling\.arms\.1: "r1_permuted" is asked with other options'):
        paper(evaluation={"sampling": {"arms": ["r1_gray", "r1_permuted"]}})
