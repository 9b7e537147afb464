"""What is checked when a run starts: that nothing else works in its folder, and that its jobs will find what they need."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.locks import LockedError, exclusive
from vidreason.config.gpus import visible_gpus

STATE = Path(".snakemake")
RUN_ID = re.compile(r"(^|_)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
"""The end of a job's name: the run ID that the executor gives it, a UUID."""


_held = contextlib.ExitStack()
"""The open lock of this folder; it lasts as long as the process."""


class StartError(RuntimeError):
    """A run cannot start; the text says why and what to do."""


def check_start(python: str | None, folder: str, slurm: bool, resources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Take this folder's lock and see that nothing stands in the way of a run.

    Args:
        python: Snakemake's interpreter; None where jobs have one of their own.
        folder: Where snakemake was started.
        slurm: Whether this run submits jobs to SLURM.
        resources: What `--set-resources` gives each rule.

    Returns:
        Warnings.

    Raises:
        StartError: The run cannot start.
    """
    hold_folder()
    record_machine()
    warnings = (
        interpreter_warning(python) if python else None,
        None if slurm else idle_gpus_warning(resources),
        refuse_beside_orphans(folder, slurm),
    )
    return [warning for warning in warnings if warning]


DEFAULT_LIMIT = (100, 1)
"""Snakemake's limit where none is asked for: jobs, and the seconds in which no more of them are started."""


def drop_default_limit(scheduler: Any) -> None:
    """Take Snakemake's default limit of jobs by time from its scheduler.

    Another limit stays; one of exactly 100 in 1 s cannot be told from the default.

    For that limit each pass of the scheduler starts a timer that starts another pass a second later (Snakemake 9.27), and each
    finished job adds such a chain. After 250 jobs Snakemake took 40% of a core from the jobs, on a cluster from the login node.

    Args:
        scheduler: Snakemake's `JobScheduler`.
    """
    limit = getattr(scheduler, "job_rate_limiter", None)
    if limit is not None and (limit.max_jobs, limit.timespan) == DEFAULT_LIMIT:
        scheduler.job_rate_limiter = None


def interpreter_warning(python: str) -> str | None:
    """A warning where the interpreter's path cannot stand in a shell without quotes.

    Snakemake starts the jobs of a `script:` by that path, unquoted. The Makefile refuses such a folder.
    """
    if not re.search(r"[^\w/.+=@%,-]", python):
        return None
    return (
        f"Snakemake hands the path of its Python to a shell unquoted, so scripts will not start: {python}. Install it in a folder "
        "of letters, digits and / . _ - + = @ % , only."
    )


def idle_gpus_warning(resources: Iterable[Mapping[str, Any]]) -> str | None:
    """A warning where the machine has GPUs and no job was asked to use one: a long run on the CPU should be no surprise.

    Args:
        resources: What `--set-resources` gives each rule.
    """
    if any({"gpu", "gres"} & set(given) for given in resources):
        return None
    gpus = visible_gpus()
    if not gpus:
        return None
    return (
        f"This machine has {len(gpus)} GPUs, and no job was asked to use one: all compute on the CPU. To use them, see "
        "docs/hardware.md (--resources gpu=N --set-resources train_grpo:gpu=N ...)"
    )


def record_machine() -> None:
    """Tell workflow/launch.sh on which machine this folder's lock was taken.

    Raises:
        StartError: There is a folder of the file's name.
    """
    path = STATE / "launched-on"
    if path.is_dir():
        raise StartError(f"{path.resolve()} is a folder, where a file is written; remove it: rm -r {path}")
    path.write_text(f"{os.uname().nodename}\n", encoding="utf-8")


def hold_folder() -> None:
    """Let one run work in this folder at a time; the lock lasts as long as the process.

    Snakemake's own locks are not enough: any of its calls that ends in this folder removes those of all others, even one that
    had nothing to do.

    Raises:
        StartError: Another run works here.
    """
    try:
        _held.enter_context(exclusive(STATE / "in-use"))
    except LockedError as error:
        holder = error.holder or "another snakemake"
        raise StartError(
            f"This folder is in use by {holder}; wait until it is done, or end it, and try again"
        ) from None


def refuse_beside_orphans(folder: str, slurm: bool) -> str | None:
    """Refuse to start beside jobs that a killed snakemake left in SLURM's queue: the same jobs would write the same files.

    Args:
        folder: Where snakemake was started.
        slurm: Whether this run submits jobs to SLURM.

    Returns:
        A warning where SLURM could not be asked and this run does not need it.

    Raises:
        StartError: There are such jobs, or SLURM is needed and does not answer.
    """
    if not slurm and not (STATE / "slurm_logs").is_dir():
        return None  # no run of this folder has ever submitted a job
    if shutil.which("squeue") is None:
        if slurm:
            raise StartError("--profile slurm: there is no squeue here; start snakemake where SLURM's commands are")
        return None
    command = ["squeue", "--noheader", "--me", "--format", "%i|%j|%T|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        message = str(error.stderr or "").strip() or str(error)
        if slurm:
            raise StartError(
                f"--profile slurm: SLURM does not answer here, so nothing is submitted:\n{message}"
            ) from error
        return (
            "SLURM could not be asked for jobs that an earlier run of this folder may have left: "
            f"{message.splitlines()[-1]}"
        )
    left = jobs_of(done.stdout, os.path.realpath(folder), os.environ.get("SLURM_JOB_ID"))
    if left:
        listed = "\n".join(f"  job {number}, name {name}, {state}" for number, name, state in left)
        cancel = "\n".join(f"  scancel --name {name}" for name in sorted({name for _, name, _ in left}))
        raise StartError(
            f"Jobs of an earlier run in this folder are still in SLURM's queue and would write the same files:\n{listed}\n"
            f"Wait until they are through, or end them, and try again:\n{cancel}"
        )
    return None


def jobs_of(queue: str, folder: str, own: str | None) -> list[tuple[str, str, str]]:
    """Jobs that snakemake has submitted from a folder: number, name and state of each.

    Args:
        queue: What squeue printed, lines of `number|name|state|folder`.
        folder: The folder, without links.
        own: Number of the job that this process itself runs in, which does not count.

    Example:
        >>> line = "7|0f8fad5b-d9cb-469f-a165-70867728950e|RUNNING|/nowhere"
        >>> jobs_of(line, "/nowhere", None)
        [('7', '0f8fad5b-d9cb-469f-a165-70867728950e', 'RUNNING')]
    """
    rows = [line.split("|", 3) for line in queue.splitlines() if line.count("|") >= 3]
    return [
        (number, name, state)
        for number, name, state, where in rows
        if RUN_ID.search(name) and os.path.realpath(where) == folder and number != own
    ]
