"""Rollouts kept for some steps: what was learned from, and the same bytes after a kill."""

import collections
import json

import numpy as np
import pytest

from tests.support import micro
from vidreason.artifacts.files import read_json_lines, read_jsonl
from vidreason.records import OK, KeptRollout
from vidreason.training.grpo import GrpoTrainer
from vidreason.training.rollout_log import FOLDER

CLIPS = dict.fromkeys("abcd", OK)
SHUFFLED = {"views": {"ordered": 4, "shuffled": 2}}


class StoppedError(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    return micro.checkpoint(tmp_path_factory.mktemp("init") / "checkpoint")


@pytest.fixture
def run(init, tmp_path):
    """Train in a folder of the given name, and read what it kept."""
    questions = [micro.question(n, clip, "ABC"[n % 3]) for n, clip in enumerate(CLIPS)]
    data = (
        micro.write_questions(tmp_path / "questions.jsonl", questions),
        [micro.write_frames(tmp_path / "shard0.parquet", CLIPS)],
        micro.write_questions(tmp_path / "validation.jsonl", [micro.question(9, "a")]),
    )

    def train(name, **changes):
        files = micro.files(tmp_path / name, init, *data)
        micro.train("grpo", files, epochs=2, **changes)
        return read_jsonl(files.rollouts, KeptRollout)

    return train


def test_every_group_of_a_kept_step_is_there(run, tmp_path):
    kept = run("all")
    assert collections.Counter((one.step, one.view) for one in kept) == {(n, "ordered"): 2 * 4 for n in range(4)}
    groups = collections.defaultdict(list)
    for one in kept:
        groups[one.step, one.question_id].append(one)
    assert all([one.index for one in group] == [0, 1, 2, 3] for group in groups.values())
    rows = [row for row in read_json_lines(tmp_path / "all" / "metrics.jsonl") if row["kind"] == "train"]
    for row in rows:
        step = [one for one in kept if one.step == row["step"]]
        assert np.mean([one.reward for one in step]) == pytest.approx(row["reward"])
        assert np.mean([one.completion.tokens for one in step]) == pytest.approx(row["tokens"])
        assert np.mean([one.terms["accuracy"] for one in step]) == pytest.approx(row["accuracy"])


def test_advantages_are_those_of_the_rewards(run, monkeypatch):
    from vidreason.rl.rewards import RewardFunction

    monkeypatch.setattr(RewardFunction, "__call__", micro.even_letters)
    settings = {"std": "unbiased", "eps": 1e-4, "noise": 0.0}
    kept = run("rewarded", advantage=settings)
    group = [one for one in kept if (one.step, one.question_id) == (kept[0].step, kept[0].question_id)]
    rewards = np.array([one.reward for one in group])
    wanted = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
    assert np.ptp(rewards) > 0
    np.testing.assert_allclose([one.advantage for one in group], wanted, atol=1e-6)  # float32


def test_those_compared_with_have_neither_reward_nor_advantage(run):
    kept = run("views", **SHUFFLED)
    assert collections.Counter(one.view for one in kept) == {"ordered": 4 * 2 * 4, "shuffled": 4 * 2 * 2}
    for one in kept:
        learned = one.view == "ordered"
        assert [one.reward is not None, one.advantage is not None, bool(one.terms)] == [learned] * 3


@pytest.mark.parametrize(("every", "steps"), [(0, []), (2, [0, 2]), (3, [0, 3]), (10, [0])])
def test_only_some_steps_are_kept(run, every, steps):
    assert sorted({one.step for one in run("some", keep_rollouts=every)}) == steps


@pytest.mark.parametrize("cut_at", [1, 3])
def test_a_killed_training_keeps_the_same_bytes(run, tmp_path, monkeypatch, cut_at):
    run("whole", save_every=2)
    take_step = GrpoTrainer.step

    def stop(trainer, step, *others):
        yield from take_step(trainer, step, *others)
        if step == cut_at:
            raise StoppedError

    monkeypatch.setattr(GrpoTrainer, "step", stop)
    with pytest.raises(StoppedError):
        run("cut", save_every=2)
    monkeypatch.setattr(GrpoTrainer, "step", take_step)
    assert not (tmp_path / "cut/rollouts.jsonl").exists()
    later = tmp_path / "cut/state" / FOLDER / "step00000003.jsonl"
    later.write_text(json.dumps({"step": 3, "left by": "another attempt"}) + "\n")
    run("cut", save_every=2)
    assert (tmp_path / "cut/rollouts.jsonl").read_bytes() == (tmp_path / "whole/rollouts.jsonl").read_bytes()


def test_what_a_training_of_other_settings_left_is_not_mixed_in(run, tmp_path):
    folder = tmp_path / "new/state" / FOLDER
    folder.mkdir(parents=True)
    (folder / "step00000001.jsonl").write_text("{}\n")
    assert {one.step for one in run("new", keep_rollouts=2)} == {0, 2}
