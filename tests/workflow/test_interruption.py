"""A run that is killed leaves nothing that is taken for whole, and the next one goes on."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from tests.workflow.conftest import TINY, Workplace, results_of

pytestmark = pytest.mark.workflow
TARGET = "results/tiny/questions/mlvu.jsonl"


def start(place: Workplace, *targets: str) -> subprocess.Popen[str]:
    """What `make demo` starts; for one small target if no other is given."""
    return place.start("bash", "workflow/launch.sh", "--cores", "2", *(targets or (TARGET,)), "--configfile", *TINY)


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


def test_a_folder_where_the_machines_name_is_written_is_said(fresh: Workplace) -> None:
    (fresh.root / ".snakemake/launched-on").mkdir(parents=True)
    process = start(fresh)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "launched-on is a folder, where a file is written; remove it: rm -r .snakemake/launched-on" in printed
    assert "launched-on is a folder" in fresh.run(TARGET, ok=False)


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


KILLS, LONGEST = 20, 10.0
"""Seconds after the first job of a start: what a job needs, so that some get through."""


def test_twenty_kills_at_random_moments_change_nothing(fresh: Workplace, finished: Workplace) -> None:
    """Every start goes on from what the killed ones have left, and nothing of that is but a part of a result."""
    whole = results_of(finished)
    moments = random.Random("kills")
    kills = 0
    while kills < KILLS:
        process = start(fresh, "all")
        wait_for_job(fresh, process)
        try:
            printed, _ = process.communicate(timeout=moments.uniform(0, LONGEST))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            partial = {name for name, digest in results_of(fresh).items() if digest != whole.get(name)}
            assert not partial
            continue
        assert process.returncode == 0, printed
        shutil.rmtree(fresh.root / "results")
    again = start(fresh, "all")
    printed, _ = again.communicate(timeout=1200)
    assert again.returncode == 0, printed
    assert results_of(fresh) == whole
    assert not list(fresh.results.rglob(".*.tmp"))


def wait_for_job(place: Workplace, process: subprocess.Popen[str]) -> None:
    """Until a job runs, or there is nothing more to do."""
    while process.poll() is None and not place.processes("scripts/"):
        time.sleep(0.05)


def test_a_call_with_nothing_to_do_frees_no_folder_for_a_second_run(fresh: Workplace) -> None:
    """Any snakemake that ends in a folder removes the locks of all that run there."""
    fresh.run(TARGET.replace("mlvu", "mmvu"))
    process = start(fresh, "results/tiny/train_sft/sft/seed0/checkpoint")
    try:
        deadline = time.monotonic() + 120
        while not (fresh.root / "logs/tiny/pretrain_base.log").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        jobs = fresh.processes("pretrain_base")
        for job in jobs:  # so that the first run lasts
            os.kill(job, signal.SIGSTOP)
        assert "Nothing to be done" in fresh.run(TARGET.replace("mlvu", "mmvu"))
        printed = fresh.run("results/tiny/train_sft/sft/seed0/checkpoint", ok=False)
        assert f"in use by process {process.pid}" in printed
        for job in jobs:
            os.kill(job, signal.SIGCONT)
    finally:
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
