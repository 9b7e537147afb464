"""One step of an optimiser: what it waits for, and what it keeps on the device."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def apart(*arguments):
    """Run a step under DeepSpeed in a process of its own, which it does not leave as it was."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.deepspeed_steps", *arguments],
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
