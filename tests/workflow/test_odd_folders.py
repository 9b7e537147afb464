"""Folders whose names a shell would take apart, or run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.workflow.conftest import Workplace

pytestmark = pytest.mark.workflow
ODD = "a b;$(touch x)`touch y`'c"
TARGET = "results/tiny/train_grpo/r1/seed0/checkpoint"


@pytest.mark.parametrize("name", [ODD, "a b", "$(touch x)", "a&b", "it's", "a:b", "a{b,c}", "a*"])
def test_setup_says_in_one_sentence_that_snakemake_cannot_run_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(Path(__file__).parents[2] / file, folder)
    before = sorted(folder.iterdir())
    # A home that cannot be written sends the caches of libraries below the folder.
    nowhere = {**os.environ, "XDG_CACHE_HOME": "/dev/null/none"}
    done = subprocess.run(["make", "setup"], cwd=folder, env=nowhere, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"{folder}: Snakemake cannot run in this folder")
    assert len(rest) == 1, "make's own line that the target failed"
    assert sorted(folder.iterdir()) == before


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment in an odd folder, with the packages of this one."""
    folder = tmp_path_factory.mktemp("odd") / ODD / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.rglob("site-packages"))
    ours = [path for path in sys.path if "site-packages" in path]
    (packages / "ours.pth").write_text("\n".join(dict.fromkeys([sysconfig.get_path("purelib"), *ours])) + "\n")
    return folder / "bin/python"


@pytest.mark.parametrize("asked", ["gpu=1", "gpu=2", "gres=gpu:2", "gpu=4 nodes=2"])
def test_the_interpreter_is_one_word_however_a_training_is_started(
    fresh: Workplace, interpreter: Path, asked: str
) -> None:
    configs = fresh.overlay("large", "methods: {grpo: {batch_size: 16}}")
    resources = [f"train_grpo:{each}" for each in asked.split()]
    command = [str(interpreter), "-m", "snakemake", "--dry-run", "--printshellcmds", TARGET]
    command += ["--set-resources", *resources, "--configfile", *configs]
    done = subprocess.run(command, cwd=fresh.root, env=fresh.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Shell command: (exec .*train\.py .*)$", done.stdout + done.stderr, re.MULTILINE)
    assert found, done.stdout + done.stderr
    words = shlex.split(found[1])
    assert str(interpreter) in words
    assert not {"x", "y"} & {path.name for path in fresh.root.iterdir()}


def test_a_training_runs_in_an_odd_folder(finished: Workplace, tmp_path: Path) -> None:
    place = finished.copy(tmp_path / ODD)
    metrics = place.results / "train_sft/coldstart/seed0/metrics.jsonl"
    before = metrics.read_bytes()
    place.run(str(metrics.relative_to(place.root)), "--forcerun", "train_sft", "--allowed-rules", "train_sft")
    assert metrics.read_bytes() == before
    assert not {"x", "y"} & {path.name for path in place.root.iterdir()}
