"""Assigns GPUs to jobs: as many as a job requested, and none that another job of the same user has.

Each job takes the first GPUs whose lock files are free and hides the others through `CUDA_VISIBLE_DEVICES`. The process holds
the locks until it ends, in whatever way. A job that requested no GPU sees none. A SLURM job gets its GPUs from SLURM; only
jobs that share one allocation choose among its GPUs.

This module imports nothing that imports torch, because GPUs must be hidden before torch looks for them.
`python -m vidreason.config.gpus N COMMAND ...` takes N GPUs and then replaces itself by the command.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.locks import LockedError, lock_file

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 5.0
"""Seconds between two attempts to take the locks."""
_held: list[int] = []
"""Handles of the lock files. They stay open until the process ends; the command that replaces it inherits them."""


def gpus_per_node(resources: Mapping[str, Any]) -> tuple[int, int]:
    """Number of nodes of a job, and number of GPUs on each of them.

    Args:
        resources: Resources of the job's rule: `nodes`, `gpu` (GPUs of all nodes together), `gres` (GPUs of one node, such as
            `gpu:4` or `gpu:a100:4`). Others are ignored.

    Raises:
        ValueError: A number is not a whole number, the resources contradict each other, or there are several nodes without
            a GPU.

    Example:
        >>> gpus_per_node({"gpu": 8, "nodes": 2}), gpus_per_node({"gres": "gpu:a100:4"}), gpus_per_node({})
        ((2, 4), (1, 4), (1, 0))
    """
    nodes, gpus = _whole_number(resources, "nodes", 1), _whole_number(resources, "gpu", 0)
    gres = str(resources.get("gres") or "")
    if "gpu" in gres:
        if gpus:
            raise ValueError(f"gpu: {gpus} and gres: {gres} are both given; write one of them (slurm/config.yaml)")
        # A type may begin with a digit (2080ti, 1g.10gb), but is no number.
        match = re.search(r"(?:^|,)gpu(?::(?!\d+(?:$|[,(]))[^:,(]+)?(?::(\d+))?(?=$|[,(])", gres)
        per_node = int(match.group(1) or 1) if match else 0
        if not per_node:
            raise ValueError(f"gres: {gres} names no number of GPUs; allowed: gpu:4, gpu:a100:4 (slurm/config.yaml)")
    elif gpus % nodes:
        raise ValueError(
            f"gpu: {gpus} cannot be shared evenly by nodes: {nodes}; give a multiple, or the GPUs of one node as gres"
        )
    else:
        per_node = gpus // nodes
    if nodes > 1 and not per_node:
        raise ValueError(
            f"nodes: {nodes} without a GPU: a training would run on CPUs there, which nobody waits for; give the GPUs of "
            "one node as gres, such as gres=gpu:4, or leave nodes at 1 (docs/cluster.md)"
        )
    return nodes, per_node


def _whole_number(resources: Mapping[str, Any], name: str, least: int) -> int:
    value = resources.get(name, least)
    if not re.fullmatch(r"\d+", str(value)) or int(value) < least:
        raise ValueError(
            f"{name}: {value} is not allowed; allowed: a whole number, {least} or more (slurm/config.yaml)"
        )
    return int(value)


def take_gpus(count: int, folder: Path | None = None) -> None:
    """Take `count` GPUs that no other job has, and make them the only ones that this process and its children see.

    Must be called before torch looks for GPUs. Waits while too few GPUs are free. Does nothing where SLURM assigned no more
    GPUs than requested, or where the machine has none.

    Args:
        count: Number of GPUs; 0 hides all of them.
        folder: Folder of the lock files; by default one for this machine and user.

    Raises:
        ValueError: The machine has fewer GPUs.
        PermissionError: The lock folder belongs to another user.
    """
    gpus = visible_gpus()
    if count == 0:
        if gpus:
            _say(
                f"this job asked for no GPU and computes on the CPU, though there are {len(gpus)}; to use one: --resources "
                f"gpu={len(gpus)} --set-resources RULE:gpu=1 (docs/hardware.md)"
            )
        os.environ[VISIBLE] = ""
        return
    if not gpus or ("SLURM_JOB_ID" in os.environ and len(gpus) <= count):
        return
    if len(gpus) < count:
        raise ValueError(
            f"{count} GPUs were asked for, {len(gpus)} can be used here ({', '.join(gpus)}); ask for fewer with "
            "--set-resources RULE:gpu=N"
        )
    folder = folder or _lock_folder()
    waited = False
    while True:
        taken = _lock_some(gpus, count, folder)
        if taken:
            os.environ[VISIBLE] = ",".join(taken)
            _say(f"computes on {', '.join(taken)} of {len(gpus)} GPUs")
            return
        if not waited:
            holders = "; ".join(f"{name}: {_holder(path)}" for name, path in _lock_files(gpus, folder).items())
            _say(f"waits until {count} of {len(gpus)} GPUs are free ({holders})")
            waited = True
        time.sleep(POLL)


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that this process may use; empty where the driver reports none."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return chosen_gpus(done.stdout, os.environ.get(VISIBLE))


def chosen_gpus(listing: str, visible: str | None) -> list[str]:
    r"""UUIDs of the GPUs that `CUDA_VISIBLE_DEVICES` leaves visible; for a GPU divided by MIG, those of its instances.

    Args:
        listing: Output of `nvidia-smi -L`.
        visible: Value of `CUDA_VISIBLE_DEVICES`; None where it is not set.

    Example:
        >>> listing = "GPU 0: NVIDIA H100 (UUID: GPU-aa)\nGPU 1: NVIDIA H100 (UUID: GPU-bb)"
        >>> chosen_gpus(listing, None), chosen_gpus(listing, "1"), chosen_gpus(listing, "")
        (['GPU-aa', 'GPU-bb'], ['GPU-bb'], [])
    """
    whole: list[list[str]] = []
    for line in listing.splitlines():
        match = re.search(r"UUID: ((GPU|MIG)-[^)\s]+)\)", line)
        if match and match.group(2) == "GPU":
            whole.append([match.group(1)])
        elif match and whole:
            whole[-1].append(match.group(1))
    parts = [names[1:] or names for names in whole]
    if visible is None:
        return [name for names in parts for name in names]
    chosen: list[str] = []
    for token in filter(None, (part.strip() for part in visible.split(","))):
        if re.fullmatch(r"\d+", token):
            if int(token) >= len(parts):
                break  # CUDA ignores everything after an invalid index, too
            chosen += parts[int(token)]
        else:
            named = [name for names in whole for name in names if name.startswith(token)]
            chosen += named[:1]
    return list(dict.fromkeys(chosen))


def _lock_folder() -> Path:
    """Folder of the lock files of this machine and user. It separates the jobs of one user only."""
    folder = Path(tempfile.gettempdir()) / f"vidreason-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise PermissionError(f"{folder} is not a folder of yours; remove it, or set TMPDIR to a folder of your own")
    return folder


def _lock_files(gpus: Sequence[str], folder: Path) -> dict[str, Path]:
    return {gpu: folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.lock" for gpu in gpus}


def _lock_some(gpus: Sequence[str], count: int, folder: Path) -> list[str]:
    """Lock the first `count` free GPUs, or none: jobs that hold some while they wait for more would block each other."""
    taken: dict[str, int] = {}
    for gpu, path in _lock_files(gpus, folder).items():
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock_file(handle, path)
        except LockedError:
            os.close(handle)
            continue
        taken[gpu] = handle
        if len(taken) == count:
            for kept in taken.values():
                os.ftruncate(kept, 0)
                os.write(kept, f"process {os.getpid()}".encode())
                os.set_inheritable(kept, True)
            _held.extend(taken.values())
            return list(taken)
    for handle in taken.values():
        os.close(handle)
    return []


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "free"
    except OSError:
        return "free"


def _say(message: str) -> None:
    print(f"GPUs: {message}", file=sys.stderr, flush=True)


def main() -> None:
    """Take GPUs, then replace this process by the command, which keeps its process ID and locks."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit("usage: python -m vidreason.config.gpus N COMMAND ...")
    try:
        take_gpus(int(sys.argv[1]))
    except (ValueError, PermissionError) as error:
        sys.exit(f"GPUs: {error}")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
