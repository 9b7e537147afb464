"""GPUs of jobs: how many are asked for, and that no two jobs take the same one, with real processes and real locks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidreason.config import gpus

ROOT = Path(__file__).parents[3]
LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa0000-1111)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb0000-2222)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc0000)
  MIG 3g.20gb     Device  0: (UUID: MIG-dddd0000)
  MIG 3g.20gb     Device  1: (UUID: MIG-eeee0000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-ffff0000)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists two GPUs, outside of SLURM, with a folder of locks of its own."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    (tools / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setattr(gpus, "_held", [])
    yield tmp_path
    for handle in gpus._held:
        os.close(handle)


def start(count, seconds=60):
    """A job that takes GPUs, becomes a shell, says what it sees and stays for a while."""
    command = ["sh", "-c", f'echo "$CUDA_VISIBLE_DEVICES"; exec sleep {seconds}']
    return subprocess.Popen(
        [sys.executable, "-m", "vidreason.config.gpus", str(count), *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def seen(job):
    return job.stdout.readline().strip()


def end(*jobs):
    for job in jobs:
        job.kill()
        job.communicate()


def test_two_jobs_take_two_gpus_and_a_third_waits_for_the_first_that_is_free(machine):
    first, second = start(1), start(1)
    taken = {seen(first), seen(second)}
    assert taken == {"GPU-aaaa0000-1111", "GPU-bbbb0000-2222"}
    third = start(1)
    try:
        assert "waits until 1 of 2 GPUs are free" in third.stderr.readline()
        os.kill(second.pid, signal.SIGKILL)  # whatever ends a process releases its GPU
        second.wait()
        began = time.monotonic()
        assert seen(third) in taken
        assert time.monotonic() - began < 3 * gpus.POLL
    finally:
        end(first, second, third)


def test_a_training_takes_all_its_gpus_or_none(machine):
    one = start(1)
    assert seen(one) == "GPU-aaaa0000-1111"
    both = start(2)
    try:
        assert "waits until 2 of 2 GPUs are free" in both.stderr.readline()
        # It does not sit on the one that is free meanwhile.
        other = start(1)
        assert seen(other) == "GPU-bbbb0000-2222"
        end(one, other)
        assert seen(both) == "GPU-aaaa0000-1111,GPU-bbbb0000-2222"
    finally:
        end(one, both)


def test_a_job_that_asked_for_none_sees_none(machine, capfd):
    gpus.take_gpus(0)
    assert os.environ[gpus.VISIBLE] == ""
    assert "asked for no GPU and computes on the CPU, though there are 2" in capfd.readouterr().err


def test_more_than_there_are_is_refused(machine):
    done = subprocess.run(
        [sys.executable, "-m", "vidreason.config.gpus", "3", "true"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "3 GPUs were asked for, 2 can be used here" in done.stderr


def test_what_slurm_gave_is_left_alone(machine, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0")
    gpus.take_gpus(1)
    assert os.environ[gpus.VISIBLE] == "0"
    assert not gpus._held


def test_jobs_that_share_an_allocation_take_different_gpus(machine, monkeypatch):
    """Grouped jobs, and a snakemake that was itself started by sbatch or salloc: each job sees all GPUs of the allocation."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    jobs = [start(1), start(1)]
    try:
        assert {seen(job) for job in jobs} == {"GPU-aaaa0000-1111", "GPU-bbbb0000-2222"}
    finally:
        end(*jobs)


def test_a_launchers_choice_is_chosen_from(machine, monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "1")
    gpus.take_gpus(1)
    assert os.environ[gpus.VISIBLE] == "GPU-bbbb0000-2222"


def test_a_machine_without_gpus_changes_nothing(machine, monkeypatch):
    (machine / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    gpus.take_gpus(2)
    assert gpus.VISIBLE not in os.environ


def test_a_folder_of_somebody_else_is_refused(machine):
    (machine / f"vidreason-gpus-{os.getuid()}").symlink_to(machine / "bin")
    with pytest.raises(PermissionError, match="not a folder of yours"):
        gpus.take_gpus(1)


@pytest.mark.parametrize(
    ("listing", "visible", "expected"),
    [
        (LISTING, None, ["GPU-aaaa0000-1111", "GPU-bbbb0000-2222"]),
        (LISTING, "1,0", ["GPU-bbbb0000-2222", "GPU-aaaa0000-1111"]),
        (LISTING, "GPU-bbbb", ["GPU-bbbb0000-2222"]),
        (LISTING, "0,7,1", ["GPU-aaaa0000-1111"]),
        (LISTING, "NoDevFiles", []),
        (LISTING, "-1", []),
        ("", None, []),
        (DIVIDED, None, ["MIG-dddd0000", "MIG-eeee0000", "GPU-ffff0000"]),
        (DIVIDED, "MIG-eeee0000", ["MIG-eeee0000"]),
    ],
)
def test_gpus_that_may_be_used(listing, visible, expected):
    assert gpus.chosen_gpus(listing, visible) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, (1, 0)),
        ({"gpu": 0}, (1, 0)),
        ({"gpu": 8, "nodes": 1}, (1, 8)),
        ({"gpu": 8, "nodes": 2}, (2, 4)),
        ({"gpu": 0, "gres": "gpu:a100:4", "nodes": 2}, (2, 4)),
        ({"gres": "gpu:2080ti:4"}, (1, 4)),
        ({"gres": "gpu:1g.10gb:2"}, (1, 2)),
        ({"gres": "gpu:4(S:0-1)"}, (1, 4)),
        ({"gres": "gpu"}, (1, 1)),
        ({"gres": "gpu:a100"}, (1, 1)),
        ({"gres": "gpu:2080ti"}, (1, 1)),
        ({"gres": "shard:1"}, (1, 0)),
    ],
)
def test_what_a_job_asks_for(resources, expected):
    assert gpus.gpus_per_node(resources) == expected


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ({"gpu": "many"}, "gpu: many is not allowed; allowed: a whole number, 0 or more"),
        ({"gpu": -1}, "gpu: -1 is not allowed"),
        ({"nodes": 0}, "nodes: 0 is not allowed; allowed: a whole number, 1 or more"),
        ({"gpu": 3, "nodes": 2}, "gpu: 3 cannot be shared evenly by nodes: 2"),
        ({"gpu": 1, "gres": "gpu:1"}, "gpu: 1 and gres: gpu:1 are both given"),
        ({"gpu": 2, "gres": "gpu"}, "gpu: 2 and gres: gpu are both given"),
        ({"gres": "gpu:a:b:1"}, "names no number of GPUs"),
        ({"gres": "gpu:two:0"}, "gres: gpu:two:0 names no number of GPUs"),
        ({"nodes": 2}, "nodes: 2 without a GPU"),
        ({"nodes": 2, "gpu": 0}, "nodes: 2 without a GPU"),
    ],
)
def test_what_no_job_can_ask_for(resources, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        gpus.gpus_per_node(resources)
