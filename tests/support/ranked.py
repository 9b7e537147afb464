"""A training of the micro model as `torchrun` starts it, once for each process; see test_distributed.py."""

import atexit
import contextlib
import json
import os
import sys
import time
from pathlib import Path

from tests.support import micro
from vidreason.rl import losses
from vidreason.rl.rewards import RewardFunction
from vidreason.training import optimizer as update
from vidreason.training import sft
from vidreason.training.distributed import ending_together


class FailedError(Exception):
    """What stops a training half-way, in every process alike."""


def fail_at(step: int) -> None:
    """Let the SFT fail at a step."""
    steps, loss = iter(range(10**6)), sft.batch_loss

    def failing(*args):
        if next(steps) == step:
            raise FailedError
        return loss(*args)

    sft.batch_loss = failing


def die_at_exit() -> None:
    """Let the process crash while Python shuts down, and the first one take its time to write the weights."""
    atexit.register(os.abort)
    save = sft.save_checkpoint

    def slow(*args):
        time.sleep(3)
        save(*args)

    sft.save_checkpoint = slow


def train(method: str, folder: Path, name: str, changes: dict) -> Path:
    """Train from `folder/init` on the questions of `folder` into `folder/name`."""
    questions, held_out = folder / "questions.jsonl", folder / "validation.jsonl"
    data = micro.files(folder / name, folder / "init", questions, [folder / "shard0.parquet"], held_out)
    RewardFunction.__call__ = micro.letters_of_odd_questions if changes.get("resample") else micro.even_letters
    micro.train(method, data, **changes)
    return folder / name


if __name__ == "__main__":
    losses.LOGITS_AT_ONCE = 2048  # a few tokens' logits at a time, so that there are several chunks
    update.WEIGHTS_A_GROUP = 8000  # several groups under DeepSpeed
    changes = json.loads(sys.argv[4])
    if "fail_at" in changes:
        fail_at(changes.pop("fail_at"))
    if changes.pop("dies_at_exit", False):
        die_at_exit()
    with ending_together(), contextlib.suppress(FailedError):
        train(sys.argv[1], Path(sys.argv[2]), sys.argv[3], changes)
