"""What a cluster does to a running training; whatever it is, the weights end as if nothing had happened."""

import os
import re
import signal
import subprocess

import pytest

from tests.slurm.conftest import R1, Cluster, files_of, on_cluster, start, wait_until
from tests.workflow.conftest import TINY, Workplace

pytestmark = pytest.mark.workflow
STATE = "results/tiny/state/train_grpo/r1/seed0"
LONG = "methods: {grpo: {epochs: 60, runtime: {save_every: 1}, validation: {every: 1000}}}\n"
"""About 120 steps: time for something to happen in between."""
LONGER = (*TINY, "long.yaml")


def training(place: Workplace) -> list[int]:
    """Processes that train in a workplace."""
    return place.processes("workflow/scripts/train.py")


def saved_step(place: Workplace) -> int:
    """The step of the newest state; 0 where there is none."""
    return max((int(path.name[4:]) for path in (place.root / STATE).glob("step????????")), default=0)


def jobs_of(cluster: Cluster) -> list[str]:
    """Jobs in the queue."""
    return cluster.ask("squeue", "--noheader", "--format", "%i").split()


def next_job(cluster: Cluster, process: subprocess.Popen[str]) -> str:
    """The job in the queue, once there is one."""
    found: list[str] = []
    wait_until(lambda: found or found.extend(jobs_of(cluster)), process)
    assert len(found) == 1
    return found[0]


def log_of(place: Workplace) -> str:
    """What the training has said so far."""
    log = place.root / "logs/tiny/train_grpo/r1/seed0.log"
    return log.read_text() if log.exists() else ""


def scancel(cluster: Cluster, place: Workplace, job: str) -> None:
    """As its owner or an administrator does."""
    cluster.ask("scancel", job)


def kill_rank(cluster: Cluster, place: Workplace, job: str) -> None:
    """As the kernel does where memory is short."""
    for number in training(place):
        os.kill(number, signal.SIGKILL)


def kill_step(cluster: Cluster, place: Workplace, job: str) -> None:
    """The step of the job in which the training runs, and not the job."""
    steps = cluster.ask("squeue", "--steps", "--noheader", "--format", "%i").split()
    cluster.ask("scancel", "--signal", "KILL", *(step for step in steps if step.split(".")[1].isdigit()))


def hang(cluster: Cluster, place: Workplace, job: str) -> None:
    """The training does nothing more, and SLURM ends its job at the limit: wakes it, asks it to stop, kills it."""
    for number in training(place):
        os.kill(number, signal.SIGSTOP)
    cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    finished = f"JobId={job} .*JobState=TIMEOUT"
    wait_until(lambda: re.search(finished, (cluster.folder / "log/jobcomp.txt").read_text()))


FAULTS = (scancel, kill_rank, kill_step, hang)


@pytest.fixture(scope="session")
def undisturbed(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, bytes]]:
    """A workplace before a longer training, and what that training gives where nothing happens."""
    before = finished.copy(tmp_path_factory.mktemp("before") / "place")
    before.overlay("long", LONG)
    place = before.copy(tmp_path_factory.mktemp("undisturbed") / "place")
    place.run(R1, configs=LONGER)
    return before, files_of(place.root / R1)


def go_on(place: Workplace) -> subprocess.Popen[str]:
    """Snakemake in a workplace, whose training has saved a state of its own."""
    before = saved_step(place)
    process = start(place, *on_cluster(R1), configs=LONGER)
    wait_until(lambda: saved_step(place) > before, process)
    return process


def test_a_training_that_is_struck_again_and_again_ends_the_same(cluster, undisturbed, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Every fault strikes a retry of the one before.

    All jobs are submitted with a minute, which is what a training keeps for saving: the first stops by itself after a step.
    The others are given more by their administrator.
    """
    before, wanted = undisturbed
    place = before.copy(tmp_path / "place")
    retries = ("--retries", str(len(FAULTS) + 1))
    process = start(place, *on_cluster(R1, *retries, grpo=("gpu=1", "runtime=1")), configs=LONGER)
    first = next_job(cluster, process)
    wait_until(lambda: first not in jobs_of(cluster), process)
    assert saved_step(place) >= 1, log_of(place)
    for fault in FAULTS:
        step = saved_step(place)
        job = next_job(cluster, process)
        cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=60")
        wait_until(lambda: saved_step(place) > step, process)  # noqa: B023 (called here)
        fault(cluster, place, job)
        wait_until(lambda: job not in jobs_of(cluster), process)  # noqa: B023
        # The next one takes seconds to begin its log anew.
        assert fault is hang or ("asked to stop (SIGTERM)" in log_of(place)) == (fault is scancel)
    cluster.ask("scontrol", "update", f"JobId={next_job(cluster, process)}", "TimeLimit=60")
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    assert printed.count("Trying to restart job") == 1 + len(FAULTS)
    assert "asked to stop (the time of its job is nearly over)" in printed, "the failed job's log is shown"
    assert "grpo: resumes after step" in log_of(place)
    assert files_of(place.root / R1) == wanted
    assert not (place.root / STATE).exists()


def test_when_snakemake_is_struck_nothing_is_done_twice(cluster, undisturbed, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Beside the orphans of a killed snakemake nothing starts; one that is asked to end lets the training finish."""
    before, wanted = undisturbed
    place = before.copy(tmp_path / "place")
    process = go_on(place)
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
    wait_until(lambda: not jobs_of(cluster))

    process = go_on(place)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=600)
    assert (place.root / R1).exists(), printed
    place.run(*on_cluster(R1), configs=LONGER)
    assert files_of(place.root / R1) == wanted
