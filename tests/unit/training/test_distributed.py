"""Several processes: shards, loss scales and means; the same training as one process; DeepSpeed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import accelerate
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support import micro, ranked
from vidreason.artifacts.files import read_json, read_json_lines
from vidreason.records import OK
from vidreason.rl.rewards import RewardFunction
from vidreason.training.distributed import Ranks, balanced, ending_together, start_ranks
from vidreason.training.optimizer import deepspeed_config, gathered_weights

ROOT = Path(__file__).parents[3]
RATE = 1e-3
CHANGES = {
    "sft": {"epochs": 3, "batch_size": 4, "learning_rate": RATE},
    "grpo": {"epochs": 2, "batch_size": 4, "learning_rate": RATE, "validate_every": 2, "validation_limit": 3},
}
TARGETS = ("<think> red ball goes left </think> <answer> B </answer>", "<think> two </think> <answer> A </answer>")


class TestParts:
    def test_one_process_takes_all(self):
        single = Ranks()
        assert single.is_main
        assert single.shard([3, 1, 2]) == [3, 1, 2]
        assert single.loss_scale(7) == 1.0
        assert single.loss_scale(0) == 0.0
        assert single.mean({"loss": 2.5}, 4) == {"loss": 2.5}
        assert single.gather("x") == ["x"]
        single.barrier()

    def test_parts_are_even_and_cover_the_batch(self):
        parts = [Ranks(rank, 3).shard(range(9)) for rank in range(3)]
        assert parts == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]

    def test_an_uneven_batch_is_refused(self):
        with pytest.raises(
            ValueError, match="10 questions a step cannot be split evenly over 4 processes; make batch_size a"
        ):
            Ranks(0, 4).shard(range(10))

    def test_groups_are_rebalanced_so_that_nobody_waits_long(self, monkeypatch):
        """Four questions over two processes, distributed round-robin: 0 and 2, 1 and 3."""
        rows = [[(90.0, "q0"), (80.0, "q2")], [(10.0, "q1"), (20.0, "q3")]]
        monkeypatch.setattr(Ranks, "gather", lambda self, value: rows)
        assert [Ranks(rank, 2).rebalance(["?", "?"], [0, 0]) for rank in (0, 1)] == [["q0", "q1"], ["q2", "q3"]]

    def test_one_question_each_stays_where_it_is(self, monkeypatch):
        monkeypatch.setattr(Ranks, "gather", lambda self, value: pytest.fail("gathered from the others"))
        assert Ranks(1, 2).rebalance(["q"], [5.0]) == ["q"]
        assert Ranks().rebalance(["q", "r"], [5.0, 1.0]) == ["q", "r"]

    def test_parts_are_of_equal_size_and_nearly_equal_cost(self):
        costs = [float(cost) for cost in np.random.default_rng(0).integers(100, 600, 32)]
        parts = balanced(costs, 4)
        assert sorted(number for part in parts for number in part) == list(range(32))
        assert {len(part) for part in parts} == {8}
        sums = [sum(costs[number] for number in part) for part in parts]
        round_robin = [sum(costs[rank::4]) for rank in range(4)]
        assert max(sums) - min(sums) < 0.1 * (max(round_robin) - min(round_robin))

    def test_shares_make_a_mean_of_means_the_mean_of_all(self, monkeypatch):
        weights, means = [3, 5], [2.0, 10.0]
        monkeypatch.setattr(Ranks, "gather", lambda self, value: weights)
        shares = [Ranks(rank, 2).loss_scale(weights[rank]) for rank in range(2)]
        assert sum(s * m for s, m in zip(shares, means, strict=True)) / 2 == pytest.approx((3 * 2 + 5 * 10) / 8)

    def test_means_leave_out_who_has_nothing(self, monkeypatch):
        rows = [({"accuracy": 0.5}, 4), ({}, 0), ({"accuracy": 1.0}, 2)]
        monkeypatch.setattr(Ranks, "gather", lambda self, value: rows)
        assert Ranks(1, 3).mean({}, 0) == {"accuracy": pytest.approx(4 / 6)}

    def test_without_torchrun_there_is_one_process(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        assert start_ranks() == Ranks(0, 1)
        assert not torch.distributed.is_initialized()


def test_processes_wait_for_each_other_for_hours(monkeypatch):
    """One of them may be reading or writing a state of 45 GB; NCCL would give up after ten minutes."""
    waits = []

    def state(timeout=None, **_):
        waits.append(timeout)
        return SimpleNamespace(process_index=0, num_processes=1)

    for name, value in {
        "WORLD_SIZE": "1",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, timeout=None: waits.append(timeout))
    monkeypatch.setattr(accelerate, "PartialState", state)
    assert start_ranks(deepspeed=True) == Ranks(0, 1)
    assert [wait.total_seconds() for wait in waits] == [7200, 7200]


def test_the_configuration_of_deepspeed():
    sharding = {"zero_stage": 3, "offload_optimizer": True}
    made = deepspeed_config(micro.optimizer(precision="bf16", max_grad_norm=0.5, deepspeed=sharding))
    assert made["zero_optimization"] == {"stage": 3, "offload_optimizer": {"device": "cpu"}}
    assert made["bf16"] == {"enabled": True}
    assert made["gradient_clipping"] == 0.5
    assert made["timers"] == {"throughput": {"enabled": False}}
    plain = deepspeed_config(micro.optimizer(deepspeed={"zero_stage": 1, "offload_optimizer": False}))
    assert plain["zero_optimization"] == {"stage": 1}
    assert plain["bf16"] == {"enabled": False}


def test_weights_are_whole_anyway_without_zero3():
    model = torch.nn.Linear(2, 2)
    with gathered_weights(model):
        assert model.weight.shape == (2, 2)


@pytest.fixture
def folder(tmp_path):
    """Data, first weights, and room for several trainings from them."""
    micro.checkpoint(tmp_path / "init")
    clips = [*"abcdefgh"]
    questions = [micro.question(n, clip, "ABC"[n % 3], target=TARGETS[n % 2]) for n, clip in enumerate(clips)]
    micro.write_questions(tmp_path / "questions.jsonl", questions)
    micro.write_questions(tmp_path / "validation.jsonl", [micro.question(10 + n, "v") for n in range(3)])
    micro.write_frames(tmp_path / "shard0.parquet", dict.fromkeys((*clips, "v"), OK))
    return tmp_path


def alone(method, folder, name="alone", **changes):
    with pytest.MonkeyPatch.context() as patch:
        reward = micro.letters_of_odd_questions if changes.get("resample") else micro.even_letters
        patch.setattr(RewardFunction, "__call__", reward)
        return ranked.train(method, folder, name, CHANGES[method] | changes)


def together(method, folder, name="together", processes=2, **changes):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else ())]
    given = json.dumps(CHANGES[method] | changes)
    compiled = folder / "compiled"
    done = subprocess.run(
        [*command, str(ROOT / "tests/support/ranked.py"), method, str(folder), name, given],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(compiled)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not compiled.exists(), "a training needs no compiler"
    return folder / name


def assert_same_training(one, other, init):
    """Two trainings that differ in the order of float32 sums only.

    Losses agree to rounding. AdamW divides a gradient by its own size, so where a gradient is almost zero its rounding
    decides the direction of a whole step: of the weights all but a few must agree to a hundredth of a step.
    """
    rows, others = (
        [row for row in read_json_lines(folder / "metrics.jsonl") if row["kind"] == "train"] for folder in (one, other)
    )
    assert len(rows) == len(others) > 2
    for row, theirs in zip(rows, others, strict=True):
        for key in ("loss", "grad_norm"):
            assert theirs[key] == pytest.approx(row[key], rel=1e-3, abs=1e-5), (key, row["step"])
    weights, theirs, first = (
        load_file(folder / "model.safetensors") for folder in (one / "checkpoint", other / "checkpoint", init)
    )
    apart = torch.cat([(theirs[key] - weights[key]).abs().flatten() for key in weights])
    moved = torch.cat([(weights[key] - first[key]).abs().flatten() for key in weights])
    assert float(moved.max()) > RATE
    assert float((apart > RATE / 100).float().mean()) < 0.01
    assert float(apart.max()) <= 2 * RATE * len(rows)


class TestSplits:
    """However a step's four questions are split over processes and parts, the training is that of one process with all."""

    @pytest.mark.parametrize("method", ["sft", "grpo"])
    @pytest.mark.parametrize("size", [1, 3])
    def test_one_process_in_parts(self, folder, method, size):
        whole = alone(method, folder, name="whole")
        assert_same_training(whole, alone(method, folder, name="parts", micro_batch=size), folder / "init")

    @pytest.mark.parametrize("method", ["sft", "grpo"])
    @pytest.mark.parametrize("size", [pytest.param(None, marks=pytest.mark.slow), 1])
    def test_two_processes_train_as_one(self, folder, method, size):
        assert_same_training(alone(method, folder), together(method, folder, micro_batch=size), folder / "init")
        rows = [
            [row for row in read_json_lines(folder / name / "metrics.jsonl") if row["kind"] == "validation"]
            for name in ("alone", "together")
        ]
        assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
        assert len(rows[0]) == (2 if method == "grpo" else 0)

    @pytest.mark.slow
    def test_a_seed_decides_every_byte(self, folder):
        once, again = (together("grpo", folder, name) for name in ("once", "again"))
        assert micro.weights_of(once / "checkpoint") == micro.weights_of(again / "checkpoint")
        assert (once / "metrics.jsonl").read_bytes() == (again / "metrics.jsonl").read_bytes()


def test_results_are_whole_before_any_process_may_die_of_its_end(folder):
    """The second process is done at once and the first still writes; every process crashes if Python is left to shut down."""
    made = together("sft", folder, dies_at_exit=True)
    assert (made / "checkpoint" / "model.safetensors").is_file()
    assert (made / "checkpoint" / "tokenizer_config.json").is_file()


class TestRollouts:
    """Shuffled rollouts, fresh questions and further updates are the same in two processes as in one."""

    CHANGES = {"shuffled": 2, "resample": 2, "updates": 2, "epochs": 3}  # noqa: RUF012

    def assert_same(self, folder, **changes):
        one, other = alone("grpo", folder, **self.CHANGES), together("grpo", folder, **self.CHANGES, **changes)
        assert_same_training(one, other, folder / "init")
        rows = [
            [
                (row["rollouts"], row["resampled"], row["zero_variance"])
                for row in read_json_lines(made / "metrics.jsonl")
                if row["kind"] == "train"
            ]
            for made in (one, other)
        ]
        assert rows[0] == rows[1]
        kept = [read_json_lines(made / "rollouts.jsonl") for made in (one, other)]
        first = [[row for row in lines if row["step"] == 0] for lines in kept]
        assert first[0] == first[1], "before the first update the processes' questions stand as in one process"
        assert len(first[0]) == 24
        assert any(resampled for _, resampled, _ in rows[0])
        # Four questions of 4 + 2 rollouts, and as many again for each that was tried in a round.
        assert any(rollouts > 24 for rollouts, _, _ in rows[0])
        assert all(rollouts >= 24 and rollouts % 6 == 0 for rollouts, _, _ in rows[0])

    def test_two_processes_train_as_one(self, folder):
        self.assert_same(folder, micro_batch=1)

    def test_under_deepspeed_too(self, folder):
        """With sharded weights every gather needs all processes, also those with nothing to sample again."""
        self.assert_same(folder, deepspeed={"zero_stage": 3, "offload_optimizer": False}, gradient_checkpointing=True)


class TestEnds:
    def test_one_process_ends_with_its_status(self):
        with pytest.raises(SystemExit) as stopped, ending_together():
            raise SystemExit(75)
        assert stopped.value.code == 75

    def test_an_error_goes_on(self):
        with pytest.raises(ValueError, match="no questions"), ending_together():
            raise ValueError("no questions")


class TestCards:
    """What only a machine with GPUs has is patched: how many there are."""

    @pytest.fixture(autouse=True)
    def two_cards(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def test_more_processes_than_cards_are_refused(self, monkeypatch):
        """A job of 8 GPUs that came as 4 and 4 on two nodes, with all 8 processes on the first."""
        monkeypatch.setenv("WORLD_SIZE", "4")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        with pytest.raises(ValueError, match=r"4 processes were started on .*, which has 2 GPUs for them"):
            start_ranks()

    def test_as_many_as_cards_are_not(self, monkeypatch):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        monkeypatch.setenv("WORLD_SIZE", "1")
        assert start_ranks() == Ranks()


class TestDeepSpeed:
    """Without a GPU."""

    @pytest.mark.parametrize("method", [pytest.param("sft", marks=pytest.mark.slow), "grpo"])
    @pytest.mark.parametrize("stage", [1, 2, 3])
    def test_it_trains_as_one_process_does(self, folder, method, stage):
        """Activations computed again in the backward pass, one question at a time: the paper's set-up."""
        settings = {"zero_stage": stage, "offload_optimizer": False}
        made = together(method, folder, deepspeed=settings, gradient_checkpointing=True, micro_batch=1)
        assert_same_training(alone(method, folder), made, folder / "init")

    @pytest.mark.slow
    def test_a_single_process_needs_no_torchrun(self, folder):
        made = together("sft", folder, processes=1, deepspeed={"zero_stage": 2, "offload_optimizer": False})
        assert_same_training(alone("sft", folder), made, folder / "init")

    @pytest.mark.slow
    @pytest.mark.parametrize("stage", [2, 3])
    def test_a_stopped_run_goes_on(self, folder, stage):
        """The state of a run that was saved half-way is given to a new one, which ends as the undisturbed one did."""
        changes = {"deepspeed": {"zero_stage": stage, "offload_optimizer": False}, "precision": "bf16"}
        whole = together("sft", folder, "whole", epochs=3, schedule="constant", **changes)
        cut = together("sft", folder, "cut", epochs=3, schedule="constant", save_every=4, fail_at=5, **changes)
        assert read_json(cut / "state" / "step00000004" / "state.json")["state"]["parts"] == 2
        assert not (cut / "checkpoint").exists()
        together("sft", folder, "cut", epochs=3, schedule="constant", save_every=4, **changes)
        assert micro.weights_of(cut / "checkpoint") == micro.weights_of(whole / "checkpoint")
        assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
