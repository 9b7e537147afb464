"""Settings of a GRPO arm that contradict each other, or that have no effect."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.configs import known, paper, papers_layers
from vidreason.config.load_runs import load_run
from vidreason.config.settings import GrpoMethod
from vidreason.config.yaml_layers import ConfigError
from vidreason.tasks import base as tasks
from vidreason.training.registered import registered

ZERO: dict[str, Any] = {"weight": 0.0}


def r1(**changes: Any) -> dict[str, Any]:
    return {"arms": {"r1": changes}}


def grpo(**changes: Any) -> dict[str, Any]:
    return {"methods": {"grpo": changes}}


MISTAKES = [
    (
        r1(views={"shuffled": 4}),
        "arms.r1.views.shuffled",
        "4 is not allowed with the reward terms accuracy, format, think_length, none of which compares with shuffled rollouts; "
        "allowed: 0, or one of the terms temporal, or a reward function of your own",
    ),
    (grpo(views={"shuffled": 1}), "methods.grpo.views.shuffled", "1 is not allowed with the reward terms"),
    (
        r1(rewards={"terms": {"temporal": {}}}),
        "arms.r1.rewards.terms.temporal",
        "temporal is not allowed where views.shuffled is 0: there is nothing to compare with",
    ),
    (
        r1(rollout_limit=63),
        "arms.r1.rollout_limit",
        "63 is not allowed: one step of 8 questions (batch_size) samples 64 rollouts or more (8 of each, views.ordered); allowed: "
        "64 or more, or null",
    ),
    (grpo(rollout_limit=9), "methods.grpo.rollout_limit", "allowed: 64 or more, or null"),
    (r1(advantage={"eps": 0.0}), "arms.r1.advantage.eps", "0.0 is not allowed; allowed: more than 0"),
    (
        grpo(objective={"token_mean_over": 4}),
        "methods.grpo.objective.token_mean_over",
        "4 is not allowed: grpo takes no mean over tokens (of dapo, cispo); allowed: null",
    ),
    (
        r1(objective={"name": "dapo", "token_mean_over": 3}),
        "arms.r1.objective.token_mean_over",
        "3 is not allowed; allowed: a divisor of views.ordered, 8",
    ),
    (
        r1(rewards={"terms": {"length_band": {"tokens": [512, 320]}}}),
        "arms.r1.rewards.terms.length_band",
        "tokens is [512, 320]; allowed: the fewest and the most tokens, in this order",
    ),
    (
        r1(rewards={"terms": {"length_band": {"tokens": [1, 2, 3]}}}),
        "arms.r1.rewards.terms.length_band.tokens",
        "[1, 2, 3] is not allowed; allowed: 2 entries or fewer",
    ),
    (
        r1(rewards={"combine": "sum", "terms": {"accuracy": ZERO, "format": ZERO, "think_length": None}}),
        "arms.r1.rewards.terms",
        "every weight is 0 (accuracy, format), so that every reward is; allowed: one weight above 0 or more",
    ),
    (
        r1(rewards={"reading": "temporal_r1"}),
        "arms.r1.rewards.reading",
        "temporal_r1 is not allowed: no answer of nextqa (multiple_choice) can be read by it; allowed: tagged, anywhere, video_r1, "
        "null",
    ),
    (
        {
            "arms": {
                "times": {
                    "label": "T",
                    "method": "control",
                    "parent": "r1",
                    "style": "reason",
                    "view": "times_shuffled",
                }
            }
        },
        "arms.times.view",
        "times_shuffled is not allowed: the prompts of no benchmark (video_mme, mvbench, mlvu, mmvu) state times; allowed: another "
        "view, or a benchmark with questions of the type grounded_choice or grounding",
    ),
    (r1(rewards={"reading": "loose"}), "arms.r1.rewards.reading", "tagged, anywhere, video_r1, temporal_r1, null"),
    (
        r1(selection={"per_task": {"grounding": 2}}),
        "arms.r1.selection.per_task.grounding",
        "2 is not allowed: nextqa holds no question of this type; allowed: multiple_choice",
    ),
    (
        {"selection": {"rule": {"strategy": "all", "limit": 9}}},
        "selection.rule.limit",
        "9 is not allowed with the strategy all, which keeps every question; allowed: null",
    ),
]


@pytest.mark.parametrize(("changes", "key", "words"), MISTAKES)
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(
    changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run(papers_layers(("change.yaml", changes)), known())
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"change.yaml: {key}: ")
    assert words in line


def test_a_mistake_in_what_arms_share_is_said_once() -> None:
    with pytest.raises(ConfigError) as caught:
        paper(methods={"grpo": {"rollout_limit": 9}}, arms={"r2": {"like": "r1", "label": "Another"}})
    assert str(caught.value).count("rollout_limit: 9 is not allowed") == 1


def test_what_one_arm_cannot_use_may_be_for_another() -> None:
    """One of two arms keeps every question; the inherited limit is the other's."""
    run = paper(selection={"rule": {"limit": 9}}, arms={"r2": {"like": "r1", "label": "All", "selection": "all"}})
    assert [rule.limit for arm in ("r1", "r2") if (rule := run.arms[arm].selection)] == [9, 9]


def test_shuffled_rollouts_may_be_for_a_function_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def better(group):\n    return [0.0 for _ in group.completions]\n")
    rewards = {"functions": {"better": {"file": str(file), "function": "better"}}}
    training = paper(arms={"r1": {"views": {"shuffled": 4}, "rewards": rewards}}).arms["r1"].training
    assert isinstance(training, GrpoMethod)
    assert training.views.shuffled == 4


def test_a_limit_of_one_step_is_a_limit() -> None:
    training = paper(arms={"r1": {"rollout_limit": 64}}).arms["r1"].training
    assert isinstance(training, GrpoMethod)
    assert training.rollout_limit == 64


def test_what_is_allowed_does_not_depend_on_the_order_of_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever imports one task's module before the others registers it first."""
    first, found = registered(), tasks.discover()
    monkeypatch.setattr(tasks, "discover", lambda: dict(reversed(found.items())))
    again = registered()
    assert list(first.timed) == list(again.timed) == ["grounded_choice", "grounding"]
    assert list(first.readings) == list(again.readings)
    assert list(first.tasks) == list(again.tasks)
