"""Reward functions in files of the user's own: in the configuration, in the spec, and where they fail."""

import re

import pytest
import torch

from tests.support import configs
from tests.unit.project.test_packaging import ROOT
from vidreason.artifacts.digests import sha256_of
from vidreason.config.settings import RewardFile, Rewards
from vidreason.config.yaml_layers import ConfigError
from vidreason.records import WELL_FORMED, ClipRef, Completion, Grade, Question
from vidreason.rl.advantages import group_advantages
from vidreason.rl.own_functions import RewardFunctionError, load_function
from vidreason.rl.rewards import RewardFunction
from vidreason.rl.rollout_group import RolloutGroup

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
*_, EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def group_of(*texts, values):
    question = Question("q7", "nextqa", "multiple_choice", "Which?", ClipRef("v.mp4"), ("a", "b"), "A")
    completions = tuple(Completion(text, len(text.split()), True) for text in texts)
    grades = tuple(Grade(value, value > 0.5, parts={WELL_FORMED: 1.0}) for value in values)
    return RolloutGroup(question, completions, grades)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_rewards.py"
    path.write_text(EXAMPLE)
    return path


def entry(file, function="brevity", **more):
    return {"file": str(file), "function": function, **more}


def run_with(functions, **rewards):
    return configs.demo(arms={"r1": {"rewards": {"functions": functions, **rewards}}})


def reward_of(file, function="brevity", combine="sum", **more):
    terms = {"accuracy": {}, "format": {"weight": 0.5}}
    functions = {"own": RewardFile(file=str(file), function=function, **more)}
    return RewardFunction(Rewards(combine=combine, penalize_wrong=True, terms=terms, functions=functions), "paper")


GROUP = group_of("one two three", "one", "one two", values=[1.0, 0.0, 1.0])


class TestReward:
    def test_the_example_of_the_page(self, file):
        table = reward_of(file, weight=0.2)([GROUP])
        assert table.columns["own"].tolist() == [0.0, 0.0, 1.0]
        assert table.total.tolist() == pytest.approx([1.5, 0.5, 1.7])

    def test_it_is_added_to_the_papers_reward_too(self, file):
        table = reward_of(file, combine="tinyllava_r1", weight=0.2)([GROUP])
        assert table.total.tolist() == pytest.approx([1.5, -0.5, 1.7])

    def test_it_may_be_the_only_one(self, file):
        functions = {"own": RewardFile(file=str(file), function="brevity")}
        rewards = Rewards(combine="sum", penalize_wrong=True, terms={}, functions=functions)
        assert RewardFunction(rewards, "paper")([GROUP]).total.tolist() == [0.0, 0.0, 1.0]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (
                "raise KeyError('length')",
                r"reward function 'own' \(brevity of .*my_rewards.py\): KeyError: 'length'; question 'q7', completions "
                r"0: 'one two three'; 1: 'one'; 2: 'one two'",
            ),
            ("return ['a', 'b', 'c']", r"reward function 'own' .*could not convert string to float.*question 'q7'"),
            ("return [1.0, float('nan'), 0.0]", r"'own' is nan for a completion of question 'q7'.*: 'one'$"),
            ("return [1.0, 0.0, float('-inf')]", r"'own' is -inf for a completion of question 'q7'.*: 'one two'$"),
            ("return [1.0, 0.0]", r"'own': values of shape \(2,\) for 3 completions of question 'q7'"),
            ("return 1.0", r"'own': values of shape \(\) for 3 completions of question 'q7'"),
            (
                "return [2e18, 0.0, 0.0]",
                r"question 'q7' is 2e\+18 .*own 2e\+18, before weighting\); allowed: -1e\+16 to 1e",
            ),
            ("return [1e308, 0.0, 0.0]", r"question 'q7' is inf \(accuracy 1, format 1, own 1e\+308, before weighting"),
            ("raise SystemExit(0)", r"reward function 'own' .*: SystemExit: 0; question 'q7'"),
            ("return None", r"'own': values of shape \(\) for 3 completions of question 'q7'"),
        ],
    )
    def test_what_it_does_wrong_is_told_with_question_and_completion(self, file, body, words):
        file.write_text(f"def brevity(group):\n    {body}\n")
        with pytest.raises(ValueError, match=words):
            reward_of(file, weight=100.0 if "1e308" in body else 1.0)([GROUP])

    def test_the_largest_reward_has_an_advantage(self, file):
        file.write_text("def brevity(group):\n    return [-1e16, 1e16] * 512\n")
        group = group_of(*["x"] * 1024, values=[0.0] * 1024)
        total = torch.from_numpy(reward_of(file)([group]).total).float()
        advantages = group_advantages(total, 1024)
        assert advantages.tolist() == pytest.approx([-1.0, 1.0] * 512, rel=1e-3)

    def test_long_completions_are_cut(self, file):
        file.write_text("def brevity(group):\n    raise ValueError\n")
        with pytest.raises(RewardFunctionError) as caught:
            reward_of(file)([group_of("x" * 100_000, values=[0.0])])
        assert len(str(caught.value)) < 1000

    def test_a_file_that_fails_while_it_is_imported(self, file):
        file.write_text("import no_such_library\n\ndef brevity(group):\n    pass\n")
        with pytest.raises(
            RewardFunctionError, match=r"rewards.functions.own: .*my_rewards.py cannot be imported: Mod"
        ):
            reward_of(file)

    def test_a_file_that_ends_the_program_while_it_is_imported(self, file):
        file.write_text("import sys\n\nsys.exit(0)\n")
        with pytest.raises(RewardFunctionError, match=r"cannot be imported: SystemExit: 0"):
            reward_of(file)

    def test_a_file_that_has_changed_since_the_spec_is_refused(self, file):
        digest = sha256_of(file)
        load_function("own", RewardFile(file=str(file), function="brevity", sha256=digest))
        file.write_text(EXAMPLE + "\n")
        with pytest.raises(ValueError, match="the file has changed since; run the same command again"):
            load_function("own", RewardFile(file=str(file), function="brevity", sha256=digest))


class TestConfiguration:
    def test_the_spec_has_the_files_digest(self, file):
        run = run_with({"brevity": entry(file, weight=0.2)})
        (name, own), *_ = run.spec("r1", 0).settings.rewards.functions.items()
        assert (name, own.function, own.weight, own.sha256) == ("brevity", "brevity", 0.2, sha256_of(file))
        before = run.spec("r1", 0)
        file.write_text(EXAMPLE.replace("shortest", "least"))
        assert run.spec("r1", 0) != before

    def test_no_other_spec_changes(self, file):
        assert run_with({"brevity": entry(file)}).spec("sft", 0) == configs.demo().spec("sft", 0)
        assert configs.demo().spec("r1", 0).settings.rewards.functions == {}

    def test_a_null_takes_an_inherited_one_out(self, file):
        arms = {
            "r1": {"rewards": {"functions": {"brevity": entry(file)}}},
            "plain": {"like": "r1", "label": "Plain", "rewards": {"functions": {"brevity": None}}},
        }
        run = configs.demo(arms=arms)
        assert list(run.spec("r1", 0).settings.rewards.functions) == ["brevity"]
        assert run.spec("plain", 0).settings.rewards.functions == {}

    @pytest.mark.parametrize(
        ("name", "changes", "words"),
        [
            ("brevity", {"file": "nowhere.py"}, r"brevity.file: nowhere.py cannot be read as Python .*No such file"),
            ("brevity", {"function": "brevty"}, r"brevity.function: \"brevty\" is no function of .*; allowed: brevity"),
            ("brevity", {"weight": -1}, r"brevity.weight: -1 is not allowed; allowed: 0 or more"),
            ("brevity", {"sha256": "0"}, r"brevity.sha256: unknown key"),
            ("accuracy", {}, r"functions.accuracy: \"accuracy\" is the name of a reward term; allowed: another name"),
            ("tokens", {}, r"functions.tokens: \"tokens\" is the name of a column of the metrics"),
            ("Brevity", {}, r"reward function 'Brevity': the name is not allowed"),
            ("brevity_zero_variance", {}, r"is the name of a column of the metrics"),
        ],
    )
    def test_a_mistake_is_named(self, file, name, changes, words):
        with pytest.raises(ConfigError, match=words):
            run_with({name: {**entry(file), **changes}})

    def test_a_file_that_is_no_python(self, file):
        file.write_text("def brevity(group)\n")
        with pytest.raises(ConfigError, match=r"cannot be read as Python \(expected ':'"):
            run_with({"brevity": entry(file)})

    def test_a_file_whose_expressions_python_cannot_parse(self, file):
        file.write_text("depth = " + "-" * 200_000 + "1\n")
        with pytest.raises(ConfigError, match=r"cannot be read as Python \(nested too deeply\)"):
            run_with({"brevity": entry(file)})

    def test_a_file_that_training_could_not_import(self, file):
        other = file.rename(file.with_suffix(".txt"))
        with pytest.raises(ConfigError, match=r"cannot be read as Python \(its name must end in .py\)"):
            run_with({"brevity": entry(other)})

    def test_checking_imports_nothing(self, file):
        """The graph is built where the libraries of a reward may be missing."""
        file.write_text("import no_such_library\n\ndef brevity(group):\n    pass\n")
        run_with({"brevity": entry(file)}).spec("r1", 0)

    def test_a_bonus_without_anything_to_compare_with_is_refused(self):
        terms = {"temporal": {"weight": 0.3}}
        with pytest.raises(ConfigError, match=r"temporal is not allowed where views.shuffled is 0"):
            configs.demo(arms={"r1": {"rewards": {"terms": terms}}})
        configs.demo(arms={"r1": {"views": {"shuffled": 4}, "rewards": {"terms": terms}}})
