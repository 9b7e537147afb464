"""A real SLURM of two nodes on this machine, thrown away afterwards, and the tiny graph on it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Workplace, finished, fresh, spare

__all__ = ["finished", "fresh", "spare"]
R1 = "results/tiny/train_grpo/r1/seed0/checkpoint"
SCRIPT = Path(__file__).parent / "cluster.sh"
# As large as slurm/config.yaml asks for, so that it is used as it is: nodes may declare more than there is.
SIZE = {"NODES": "2", "CPUS": "128", "MEM_MB": "600000", "GPUS": "8"}
QUICK = ("--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "5", "--jobs", "4")
"""Ask for the state of jobs soon: here they are over in seconds."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: Its configuration and logs.
        environment: In which SLURM's commands find it.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture(scope="session")
def started_cluster() -> Iterator[Cluster]:
    """Two nodes with eight GPUs each that do nothing; everything that it started is stopped, by pid."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    if missing := [name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name, path=path)]:
        pytest.skip(f"no SLURM on this machine ({', '.join(missing)}); on Debian: apt-get install slurm-wlm munge")
    name = socket.gethostname().split(".")[0]
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        pytest.skip(
            f"{name} resolves to {address}: the cluster listens on the loopback; add 127.0.0.1 {name} to /etc/hosts"
        )
    folder = Path(tempfile.mkdtemp(prefix="vr", dir="/tmp"))  # short: sockets' paths have 108 bytes at most
    folder.chmod(0o755)
    # Below those that systems hand out by themselves, others for each worker of a run and mostly for each run.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    port = str(22000 + (os.getppid() + worker) % 26 * 400)
    try:
        up = subprocess.run(
            [SCRIPT, "up", folder], env={**os.environ, **SIZE, "PORT_BASE": port}, capture_output=True, text=True
        )
        assert up.returncode == 0, up.stdout + up.stderr
        found = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "SLURM_CONF": f"{folder}/etc/slurm.conf"}
        yield Cluster(folder, {**os.environ, **found})
    finally:
        subprocess.run([SCRIPT, "down", folder], capture_output=True, check=True)
        shutil.rmtree(folder)


STARTED: list[subprocess.Popen[str]] = []
"""What `start` has started and a test that failed may have left."""


@pytest.fixture
def cluster(started_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, which commands find on the path; a test leaves no process and no job behind."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, started_cluster.environment[name])
    yield started_cluster
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if left := started_cluster.ask("squeue", "--noheader", "--format", "%i").split():
        started_cluster.ask("scancel", *left)
        wait_until(lambda: not started_cluster.ask("squeue", "--noheader"))


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of the files below a folder, by their names in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def on_cluster(*arguments: str, grpo: tuple[str, ...] = ("gpu=1",)) -> tuple[str, ...]:
    """Arguments of `snakemake --profile slurm`; the tiny batches can be shared by one or two GPUs and not by eight."""
    gpus = ("train_sft:gpu=1", *(f"train_grpo:{word}" for word in grpo))
    return (*arguments, "--profile", "slurm", *QUICK, "--set-resources", *gpus)


def start(place: Workplace, *arguments: str, configs: tuple[str, ...] = TINY) -> subprocess.Popen[str]:
    """Snakemake in the background."""
    process = place.start(sys.executable, "-m", "snakemake", *arguments, "--configfile", *configs)
    STARTED.append(process)
    return process


def wait_until(true: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 180) -> None:
    """Wait for something to become true, while a process runs if one is given."""
    deadline = time.monotonic() + seconds
    while not true():
        assert process is None or process.poll() is None, process and process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
