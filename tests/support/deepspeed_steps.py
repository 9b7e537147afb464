"""A few steps of the micro model under DeepSpeed, as a process of its own; see test_optimizer.py.

The last line that it prints is the result, as JSON.
"""

import json
import sys

import torch

from bench.sizes import SIZES
from tests.support import micro
from tests.support.storages import Storages
from vidreason.engine.generation import Decoding, generate, rollout_seed
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.training import optimizer as update
from vidreason.training.distributed import start_ranks
from vidreason.training.optimizer import DeepSpeedOptimizer

SETTINGS = micro.optimizer(precision="bf16", deepspeed={"zero_stage": 2, "offload_optimizer": False})


def loss_of(model):
    """Some scalar with a gradient in every weight of the language model."""
    ids = torch.tensor([[5, 6, 7]])
    return model(model.language_model.get_input_embeddings()(ids)).logits.float().square().mean()


def waits():
    """How often a whole call of the model, and decoding, wait for the device, before each of four steps."""
    from deepspeed.accelerator import get_accelerator

    model = micro.model().to(torch.bfloat16)
    optimizer = DeepSpeedOptimizer(model, SETTINGS, start_ranks(deepspeed=True))
    calls = []
    type(get_accelerator()).synchronize = lambda *_: calls.append(1)
    counts = []
    for step in range(4):
        calls.clear()
        seeds = [rollout_seed(1, step, row) for row in range(2)]
        generate(model, [torch.tensor([5, 6, 7, 8])], None, Decoding(4, 1.0, 6), -1, 2, seeds)
        loss = loss_of(model)
        counts.append(len(calls))
        optimizer.backward(loss)
        optimizer.step(1e-3)
    return counts


def memory(weights_a_group):
    """Most bytes that are alive in an update of the demo's model, as torch updates on a GPU: several tensors in one call."""
    update.WEIGHTS_A_GROUP = int(weights_a_group)
    ranks = start_ranks(deepspeed=True)
    model = initialize(SIZES["demo"]().model, 0).to(torch.bfloat16).eval()
    model.freeze_vision()
    optimizer = DeepSpeedOptimizer(model, SETTINGS, ranks)
    for group in optimizer.inner.param_groups:
        group["foreach"] = True
    for _ in range(2):
        resampler = model.connector._connector
        clip = torch.ones(1, 64, resampler.linear.in_features, dtype=torch.bfloat16)
        optimizer.backward(loss_of(model) + model.connect(clip).float().square().mean())
        with Storages() as storages:
            optimizer.step(1e-3)
    return {"peak": storages.peak, "groups": len(optimizer.inner.param_groups)}


if __name__ == "__main__":
    print(json.dumps({"waits": waits, "memory": memory}[sys.argv[1]](*sys.argv[2:])))
