"""One step of an optimizer: what it waits for, and what it keeps on the device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.memory import Setting, memory
from bench.sizes import SIZES
from tests.support import micro
from tests.support.storages import Storages
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.costs import ModelCosts as Model
from vidreason.training import optimizer as update
from vidreason.training.distributed import SINGLE_PROCESS
from vidreason.training.optimizer import PlainOptimizer

ROOT = Path(__file__).parents[3]


def apart(*arguments):
    """Run a step under DeepSpeed in a process of its own, which it does not leave as it was."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.deepspeed_steps", *arguments],
        cwd=ROOT,
        env={**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_waits_for_the_device_while_decoding_under_deepspeed():
    """From the third step on its timer does, and a wait while a step is recorded is CUDA's error."""
    assert apart("waits") == [0] * 4


@pytest.fixture(scope="module")
def demo():
    return SIZES["demo"]()


@pytest.mark.parametrize("share", [1, 4])
def test_the_floor_counts_what_zero_holds_in_an_update(demo, monkeypatch, share):
    """One group of all weights: 22 bytes a weight; groups of a quarter of them: 18."""
    most = -(-Model(demo.model).trained_weights() // share)
    measured = apart("memory", str(most))
    assert (measured["groups"] > 1) == (share > 1)
    monkeypatch.setattr(update, "WEIGHTS_A_GROUP", most)
    counted = memory(demo, Setting("", zero=2))
    stands = sum(counted[name] for name in ("weights", "gradients", "optimizer", "update"))
    assert measured["peak"] == pytest.approx(stands, rel=0.04)


def test_the_floor_counts_what_plain_adamw_holds_in_an_update(demo):
    """On a GPU it is one kernel, here the CPU's."""
    model = initialize(demo.model, 0).eval()
    model.freeze_vision()
    optimizer = PlainOptimizer(model, micro.optimizer(), SINGLE_PROCESS)
    optimizer.optimizers = [update._adamw([list(optimizer.weights.values())], 0.0, fused=True)]
    before = Storages().alive - sum(weight.nbytes for weight in model.parameters())  # of other tests
    for _ in range(2):
        for weight in optimizer.weights.values():
            weight.grad = torch.ones_like(weight)
        with Storages() as storages:
            optimizer.step(1e-3)
    counted = memory(demo, Setting(""))
    stands = sum(counted[name] for name in ("weights", "gradients", "optimizer", "update"))
    assert storages.peak - before == pytest.approx(stands, rel=0.02)


def test_groups_are_whole_weights_in_their_order():
    weights = {str(number): torch.zeros(count) for number, count in enumerate((5, 3, 9, 2, 2))}
    sizes = [[len(weight) for weight in group] for group in update.in_groups(weights, 8)]
    assert sizes == [[5, 3], [9], [2, 2]]


def test_a_fused_optimizer_gets_its_steps_back_on_the_device(cuda):
    """`step` is on the host, unless AdamW is one kernel."""
    made = []
    for _ in range(2):
        model = torch.nn.Linear(3, 2).to("gpu")
        optimizer = PlainOptimizer(model, micro.optimizer(), SINGLE_PROCESS)
        optimizer.backward(model(torch.ones(1, 3, device="gpu")).sum())
        optimizer.step(0.1)
        made.append(optimizer)
    first, second = made
    saved = {name: tensor.to("cpu") for name, tensor in first.state().items()}
    weights = {name: weight.detach().to("cpu") for name, weight in first.weights.items()}
    second.restore(weights, saved)
    assert {tensor.device.type for tensor in second.state().values()} == {"gpu"}
    for optimizer in made:
        optimizer.backward(optimizer.weights["weight"].square().sum())
        optimizer.step(0.1)
    assert first.weights["weight"].tolist() == second.weights["weight"].tolist()
