"""A copy of the workflow in a folder of its own, and the tiny run of the whole graph in it."""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vidreason.artifacts.digests import sha256_of

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "Makefile", "CITATION.cff", "workflow", "config", "profiles", "slurm", "envs", "src")
TINY = ("config/demo.yaml", "tests/workflow/tiny.yaml")


COMPARED = {".jsonl", ".parquet", ".safetensors", ".csv", ".mp4", ".md"}
"""Kinds of files that hold results and neither times nor dates."""
TIMES = ("timing.csv", "timing.jsonl")
"""Endings of the others of these kinds, which hold seconds."""


@dataclass(frozen=True)
class Workplace:
    """A folder with the workflow in it."""

    root: Path

    @property
    def results(self) -> Path:
        """What the tiny run makes."""
        return self.root / "results/tiny"

    def environment(self) -> dict[str, str]:
        """Environment in which the copy's own package is the one that is imported."""
        bin_folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_folder, os.environ["PATH"]])
        return {**os.environ, "PYTHONPATH": str(self.root / "src"), "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str, configs: tuple[str, ...] = TINY, ok: bool = True) -> str:
        """Call snakemake; return what it printed."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        if configs:
            command += ["--configfile", *configs]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert (done.returncode == 0) == ok, done.stdout
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the background, in a session of its own."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pipesize=2**20,  # nobody reads before the end, and a full pipe would hold it up
            start_new_session=True,
            # A parent that ignores Ctrl-C hands that down; here it must arrive.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def processes(self, script: str) -> list[int]:
        """Processes in this folder that run a script whose path has this part."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                here = (process / "cwd").readlink() == self.root.resolve()
            except OSError:
                continue
            if here and any(script.encode() in word for word in words[1:2]):
                found.append(int(process.name))
        return found

    def overlay(self, name: str, text: str) -> tuple[str, ...]:
        """Write a further overlay; return the configuration files of the tiny run with it."""
        (self.root / f"{name}.yaml").write_text(text)
        return (*TINY, f"{name}.yaml")

    def jobs(self, *arguments: str, configs: tuple[str, ...] = TINY) -> dict[str, int]:
        """Jobs that would run, by rule."""
        printed = self.run("--dry-run", *arguments, configs=configs)
        if "Nothing to be done" in printed:
            return {}
        table = printed.split("Job stats:")[1].split("total")[0]
        found = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        found.pop("all", None)
        return found

    def copy(self, root: Path) -> "Workplace":
        """The same with everything that was made, times of files included."""

        def passing(folder: str, names: list[str]) -> set[str]:
            """What another process that reads the same workplace may make and remove meanwhile."""
            return {"locks", "log", "scripts", "tmp"} & set(names) if Path(folder).name == ".snakemake" else set()

        shutil.copytree(self.root, root, symlinks=True, ignore=passing)
        return Workplace(root)


def results_of(place: Workplace) -> dict[str, str]:
    """Digests of the results that are there. What is hidden is being written, or was when its writer was killed."""
    found = {}
    for path in place.results.rglob("*"):
        name = path.relative_to(place.results)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix in COMPARED and not hidden and name.parts[0] != "state" and not name.name.endswith(TIMES):
            found[str(name)] = sha256_of(path) if path.name != "ablations.csv" else _without_seconds(path)
    return found


def _without_seconds(table: Path) -> str:
    """A table but for its columns of times."""
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    return json.dumps([{name: row[name] for name in row if not name.startswith("seconds_")} for row in rows])


def provenance(place: Workplace, artifact: str) -> dict[str, object]:
    """Sidecar of an artifact."""
    found: dict[str, object] = json.loads((place.root / f"{artifact}.provenance.json").read_text())
    return found


def new_workplace(root: Path) -> Workplace:
    """The workflow's sources in an empty folder, with what Python has compiled of them but for files being written."""
    root.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("*.egg-info", ".*", "*.pyc.*"))
        else:
            shutil.copy2(source, root / part)
    (root / "tests/workflow").mkdir(parents=True)
    shutil.copy2(ROOT / "tests/workflow/tiny.yaml", root / "tests/workflow/tiny.yaml")
    return Workplace(root)


@pytest.fixture
def fresh(tmp_path: Path) -> Workplace:
    """A workplace where nothing has run."""
    return new_workplace(tmp_path / "fresh")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace where the whole tiny graph has run. Tests must leave it as it is: all test processes share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (shared / "finished.done").exists():
            return Workplace(root)
        shutil.rmtree(root, ignore_errors=True)
        place = new_workplace(root)
        place.run()
        (shared / "finished.done").touch()
    return place


@pytest.fixture
def spare(finished: Workplace, tmp_path: Path) -> Workplace:
    """A copy of the finished workplace that a test may change."""
    return finished.copy(tmp_path / "spare")
