"""A run that is killed leaves nothing that is taken for whole, and the next one goes on."""

import os
import signal
import subprocess
import time

import pytest

from tests.workflow.conftest import TINY, Workplace

pytestmark = pytest.mark.workflow
TARGET = "results/tiny/questions/mlvu.jsonl"


def start(place: Workplace) -> subprocess.Popen[str]:
    """What `make demo` starts, for one small target."""
    return place.start("bash", "workflow/launch.sh", "--cores", "2", TARGET, "--configfile", *TINY)


def wait_for_first_job(place: Workplace, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (place.root / "logs/tiny/make_world.log").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_after_a_killed_run_the_next_one_finishes(fresh: Workplace, number: signal.Signals) -> None:
    process = start(fresh)
    wait_for_first_job(fresh, process)
    os.killpg(process.pid, number)
    process.communicate(timeout=120)
    assert not (fresh.root / TARGET).exists()
    again = start(fresh)
    printed, _ = again.communicate(timeout=300)
    assert again.returncode == 0, printed
    assert ("Clearing the lock" in printed) == (number == signal.SIGKILL)
    assert (fresh.root / TARGET).read_text().count("\n") == 7


def test_a_living_run_keeps_its_lock(fresh: Workplace) -> None:
    process = start(fresh)
    try:
        wait_for_first_job(fresh, process)
        second = start(fresh)
        printed, _ = second.communicate(timeout=120)
        assert second.returncode != 0
        assert "This folder is in use" in printed
        assert "snakemake" in printed
    finally:
        process.communicate(timeout=300)
    assert process.returncode == 0


def test_a_lock_of_another_machine_is_kept(fresh: Workplace) -> None:
    """On a shared file system nobody here can see whether that run is alive."""
    locks = fresh.root / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    (locks.parent / "launched-on").write_text("elsewhere\n")
    process = start(fresh)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "locked by a run on elsewhere" in printed
    assert list(locks.iterdir())


KILLER = """
import os, signal, sys
count, sync = [], os.fsync
def fsync(handle):
    sync(handle)
    count.append(handle)
    # The journal's first line and its folder, then two batches.
    if len(count) == 4 and sys.argv[0].endswith("predict.py"):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
"""


def test_answers_that_were_killed_go_on_where_they_were(spare: Workplace) -> None:
    """Snakemake removes what a failed job declares; the journal of its answers is not declared."""
    target = "results/tiny/predict/base/seed0/mvbench/shard0.jsonl"
    answers, state = spare.root / target, spare.results / "state/predict/base/seed0/mvbench/shard0"
    whole = answers.read_bytes()
    answers.unlink()
    assert not state.exists()
    hook = spare.root / "src/sitecustomize.py"
    hook.write_text(KILLER)
    spare.run(target, ok=False)
    assert not answers.exists()
    (journal,) = state.iterdir()
    assert journal.read_text().count("\n") == 3
    hook.unlink()
    spare.run(target)
    assert answers.read_bytes() == whole
    log = (spare.root / "logs/tiny/predict/base/seed0/mvbench/shard0.log").read_text()
    assert "2 of 3 batches are answered already" in log
    assert not state.exists()
