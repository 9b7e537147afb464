"""What a cluster does to a running training; whatever it is, the weights end as if nothing had happened."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm.conftest import R1, Cluster, files_of, on_cluster, start, wait_until
from tests.workflow.conftest import TINY, Workplace

pytestmark = pytest.mark.workflow
STATE = "results/tiny/state/train_grpo/r1/seed0"
LONG = "methods: {grpo: {epochs: 60, save_every: 1, validate_every: 1000}}\n"
"""About 120 steps: time for something to happen in between."""
LONGER = (*TINY, "long.yaml")


def training(place: Workplace) -> list[int]:
    """Processes that train in a workplace."""
    return place.processes("workflow/scripts/train_grpo.py")


def scancel(cluster: Cluster, place: Workplace) -> None:
    """As its owner or an administrator does."""
    cluster.ask("scancel", *cluster.ask("squeue", "--noheader", "--format", "%i").split())


def kill_rank(cluster: Cluster, place: Workplace) -> None:
    """As the kernel does where memory is short."""
    for number in training(place):
        os.kill(number, signal.SIGKILL)


def kill_step(cluster: Cluster, place: Workplace) -> None:
    """The step of the job in which the training runs, and not the job."""
    steps = cluster.ask("squeue", "--steps", "--noheader", "--format", "%i").split()
    cluster.ask("scancel", "--signal", "KILL", *(step for step in steps if step.split(".")[1].isdigit()))


@pytest.fixture(scope="session")
def undisturbed(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, bytes]]:
    """A workplace before a longer training, and what that training gives where nothing happens."""
    before = finished.copy(tmp_path_factory.mktemp("before") / "place")
    before.overlay("long", LONG)
    place = before.copy(tmp_path_factory.mktemp("undisturbed") / "place")
    place.run(R1, configs=LONGER)
    return before, files_of(place.root / R1)


def in_mid_training(before: Workplace, folder: Path) -> tuple[Workplace, subprocess.Popen[str]]:
    """A copy of a workplace, and snakemake in it whose training has saved a state."""
    place = before.copy(folder / "place")
    process = start(place, *on_cluster(R1), configs=LONGER)
    wait_until(lambda: list((place.root / STATE).glob("step????????")), process)
    return place, process


@pytest.mark.parametrize("fault", [scancel, kill_rank, kill_step])
def test_a_training_that_is_struck_is_retried_and_ends_the_same(cluster, undisturbed, tmp_path, fault) -> None:  # type: ignore[no-untyped-def]
    before, wanted = undisturbed
    place, process = in_mid_training(before, tmp_path)
    fault(cluster, place)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    assert "Trying to restart job" in printed
    assert ("asked to stop (SIGTERM)" in printed) == (fault is scancel), "the failed job's log is shown"
    assert "grpo: goes on after step" in log_of(place)
    assert files_of(place.root / R1) == wanted
    assert not (place.root / STATE).exists()


SLOW_DISK = """
import os, sys, time
sync = os.fsync
def fsync(handle):
    sync(handle)
    if sys.argv[0].endswith("train_grpo.py"):
        time.sleep(1)
os.fsync = fsync
"""
BLIND = """
import shutil, sys
which = shutil.which
def blind(name, *rest, **more):
    return None if name == "squeue" and sys.argv[0].endswith("train_grpo.py") else which(name, *rest, **more)
shutil.which = blind
"""
"""A node without squeue: the training cannot ask for its time."""


def it_has_stopped_by_itself(cluster: Cluster, place: Workplace) -> bool:
    return "asked to stop (the time of its job is nearly over)" in log_of(place)


def slurm_has_ended_it(cluster: Cluster, place: Workplace) -> bool:
    return "JobState=TIMEOUT" in (cluster.folder / "log/jobcomp.txt").read_text()


@pytest.mark.parametrize(
    ("minutes", "node", "over"), [(2, "", it_has_stopped_by_itself), (1, BLIND, slurm_has_ended_it)]
)
def test_a_training_that_is_out_of_time_is_retried_and_ends_the_same(  # type: ignore[no-untyped-def]
    cluster, undisturbed, tmp_path, minutes, node, over
) -> None:
    """A disk that needs a second for each file makes the training last longer than its job may."""
    before, wanted = undisturbed
    place = before.copy(tmp_path / "place")
    file = place.root / "src/sitecustomize.py"
    file.write_text(SLOW_DISK + node)
    process = start(place, *on_cluster(R1, grpo=("gpu=1", f"runtime={minutes}")), configs=LONGER)
    wait_until(lambda: over(cluster, place), process, seconds=300)
    file.write_text(node)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    assert "Trying to restart job" in printed
    assert "grpo: goes on after step" in log_of(place)
    assert files_of(place.root / R1) == wanted


def log_of(place: Workplace) -> str:
    """What the training has said so far."""
    log = place.root / "logs/tiny/train_grpo/r1/seed0.log"
    return log.read_text() if log.exists() else ""


def test_snakemake_that_is_asked_to_end_lets_the_training_finish(cluster, undisturbed, tmp_path) -> None:  # type: ignore[no-untyped-def]
    before, wanted = undisturbed
    place, process = in_mid_training(before, tmp_path)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=600)
    assert (place.root / R1).exists(), printed
    place.run(*on_cluster(R1), configs=LONGER)
    assert files_of(place.root / R1) == wanted


def test_beside_the_orphans_of_a_killed_snakemake_nothing_is_started(cluster, undisturbed, tmp_path) -> None:  # type: ignore[no-untyped-def]
    before, wanted = undisturbed
    place, process = in_mid_training(before, tmp_path)
    process.kill()
    process.communicate()
    for number in training(place):
        os.kill(number, signal.SIGSTOP)  # so that it is still there when the next run begins
    place.run("--unlock", configs=LONGER)
    refused = place.run(*on_cluster(R1), configs=LONGER, ok=False)
    (run,) = set(cluster.ask("squeue", "--noheader", "--format", "%j").split())
    assert "Jobs of an earlier run in this folder are still in SLURM's queue" in refused
    assert f"scancel --name {run}" in refused
    cluster.ask("scancel", "--name", run)
    wait_until(lambda: not cluster.ask("squeue", "--noheader"))
    place.run(*on_cluster(R1), configs=LONGER)
    assert files_of(place.root / R1) == wanted
