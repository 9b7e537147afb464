"""The GPU hour: its pieces fit into it, say what they lack, end in time, and work at the demo's size without a GPU."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench import gpu, gpu_decode, gpu_step
from bench.sizes import SIZES
from bench.workload import build
from vidreason.training.distributed import Ranks

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


def piece(seconds=60, **options):
    """A piece without commands."""
    return gpu.Piece("Something.", (), seconds, **options)


@pytest.fixture
def programs(tmp_path):
    """Makes a piece of little programs."""

    def make(*codes, seconds=60):
        names = [f"program{number}" for number in range(len(codes))]
        for name, code in zip(names, codes, strict=True):
            (tmp_path / f"{name}.py").write_text(code)
        given = {"PYTHONPATH": str(tmp_path)}
        return gpu.Piece("Something.", tuple(gpu.Command((name,), given) for name in names), seconds)

    return make


def test_every_piece_is_under_ten_minutes_and_all_together_an_hour():
    assert all(found.seconds + 2 * gpu.ENDING < gpu.LIMIT for found in gpu.PIECES.values())
    assert sum(found.seconds for found in gpu.PIECES.values()) <= 3600
    assert next(iter(gpu.PIECES)) == "tests"


def test_every_command_is_there():
    for found in gpu.PIECES.values():
        for command in found.commands:
            name = command.words[0]
            assert name == "pytest" or (ROOT / f"{name.replace('.', '/')}.py").is_file()
            assert all((ROOT / word).exists() for word in command.words if word.startswith("tests/"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", [["bench/gpu.sh"], ["bench/gpu.sh", "decode"]])
def test_without_a_gpu_it_says_so_in_one_sentence_and_fails(command):
    before = gpu.OUT.read_bytes() if gpu.OUT.exists() else None
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("make gpu: torch sees no CUDA device here, so nothing was measured")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
    assert (gpu.OUT.read_bytes() if gpu.OUT.exists() else None) == before


def test_a_piece_that_is_none_is_refused():
    done = subprocess.run(["bench/gpu.sh", "decod"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "decod: no such piece; there are tests, deepspeed, decode" in done.stderr


def test_what_is_missing_is_said():
    assert gpu.skipped(piece(packages=("no_such_module", "sys")), 80.0) == (
        "skipped: no_such_module cannot be imported; install it"
    )
    assert gpu.skipped(piece(memory=70), 39.4) == "skipped: it needs 70 GiB of GPU memory, there are 39"
    assert gpu.skipped(piece(memory=70), 79.1) == ""


def test_a_command_that_fails_is_recorded_and_the_next_one_runs(programs):
    told, printed = gpu.run(programs("raise SystemExit(3)", "print('here')"))
    assert told.startswith("failed (exit status 3): PYTHONPATH=")
    assert told.endswith("program0")
    assert "here" in printed


CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)", PID])
"""


def test_a_piece_ends_in_its_time_with_all_that_it_started(programs, tmp_path):
    began = time.monotonic()
    told, printed = gpu.run(programs(f"PID = {str(tmp_path / 'pid')!r}{CHILD}", "print('not reached')", seconds=8))
    assert told.startswith("ended after 8 s, in: PYTHONPATH=")
    assert "not reached" not in printed
    assert time.monotonic() - began < 60
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() - began < 60:
        time.sleep(0.2)
    assert time.monotonic() - began < 60


def test_a_section_names_card_versions_date_and_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_card", lambda: "NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.1")
    for _ in range(2):
        gpu.add(tmp_path / "GPU.md", gpu.section("decode", "done in 7 s", "4 ms a token\n"))
    page = (tmp_path / "GPU.md").read_text()
    assert page.count("# What was measured on GPUs") == 1
    assert page.count("## decode, 20") == 2
    assert f"NVIDIA H100 80GB HBM3, 81559 MiB, driver 580.1; Python 3.{sys.version_info.minor}" in page
    assert f"torch {torch.__version__}" in page
    assert "commit " in page
    assert "Result: done in 7 s.\n\n```\n4 ms a token\n```\n" in page
    assert "at most 0.10\nGPU-seconds a rollout, at least 5,700 tokens/s decoded at 64 rows, learning at 30%" in page


def test_commands_have_a_small_form_for_the_cpu():
    (first, _), (second,) = gpu.PIECES["step"].commands, gpu.PIECES["compare"].commands
    assert " ".join(gpu.on_cpu(first.words)) == "bench.gpu_step demo --questions 2 --steps 3 --plain --tokens 8"
    assert " ".join(gpu.on_cpu(second.words)) == "bench.run --sizes demo --parts step evaluation --repeats 1"


def test_steps_are_measured_and_rows_end_from_the_third_on():
    size = dataclasses.replace(gpu_step.sized("demo", questions=1, tokens=12), rollouts=4)
    rows = list(gpu_step.steps_of(size, 3, Ranks(), True, CPU))
    assert [row["tokens"] for row in rows[:2]] == [12, 12]
    assert rows[2]["tokens"] < 12
    assert set(rows[0]["phases"]) == {"encode", "sample", "score", "backward", "update"}
    assert list(rows[0]["memory"]) == ["sampled and learned", "updated"]
    assert "graphs (rows, positions): none" in gpu_step.described(size, 0, rows[0])


def test_goals_stand_beside_what_was_measured():
    """8 questions of 8 rollouts in 6.4 s are 0.1 s each; a share of the peak is operations over seconds and peak."""
    size = gpu_step.sized("paper", questions=8, tokens=None)
    row = {"seconds": 6.4, "phases": {"score": 1.0, "backward": 3.0}}
    costs = gpu_step.step_costs(size, "ours")
    work = sum(costs[name].flops for name in ("policy", "reference", "backward"))
    rollout, learning = gpu_step.goals(size, row, peak=work / 4 / 0.25)
    assert rollout == "GPU-seconds a rollout: 0.100; goal: at most 0.10"
    assert learning.startswith("learning: 25% of the ")
    assert learning.endswith("goal: at least 30%")
    assert all("this is size demo" in line for line in gpu_step.goals(gpu_step.sized("demo", 8, None), row, 1e12))


def test_recorded_and_plain_decoding_are_compared(tmp_path):
    size = dataclasses.replace(SIZES["demo"](), dtype="bfloat16")
    lines = list(gpu_decode.measure(build(size, tmp_path, 2, CPU), tokens=4))
    assert lines[0].startswith("recorded: ")
    assert "tokens/s decoded" in lines[0]
    assert (
        lines[1]
        == "goal: at least 5,700 tokens/s at 64 rows of the paper's size on one H100; this is size demo at 2 rows"
    )
    assert lines[2].startswith("plain: ")
    assert lines[3] == "recorded and plain: 100.00% of tokens agree, 2 of 2 rows wholly"
