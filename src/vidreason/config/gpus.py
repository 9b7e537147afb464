"""Which GPUs a job uses: as many as it asked for, and none that another job of the same user has.

Each job takes the first GPUs whose lock files are free and hides the others by `CUDA_VISIBLE_DEVICES`. A lock is held for as
long as its process lives, however that ends. A job that asked for no GPU uses none. A SLURM job has its GPUs from SLURM; only
where several jobs share one allocation do they choose among its GPUs.

Imports nothing that imports torch: a GPU has to be hidden before torch looks for it. `python -m vidreason.config.gpus N COMMAND ...`
takes N GPUs and becomes the command.
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
"""Seconds between two looks at the locks."""
_held: list[int] = []
"""Open lock files. They stay open until the process ends, and the command that it becomes inherits them."""


def cards_per_node(resources: Mapping[str, Any]) -> tuple[int, int]:
    """Number of nodes of a job, and of the GPUs on each, from its rule's resources.

    Args:
        resources: `nodes`, `gpu` (GPUs of all nodes), `gres` (such as `gpu:4` or `gpu:a100:4`: GPUs of one node); others do
            not matter.

    Raises:
        ValueError: They are no whole numbers, contradict each other, or name several nodes without a GPU.

    Example:
        >>> cards_per_node({"gpu": 8, "nodes": 2}), cards_per_node({"gres": "gpu:a100:4"}), cards_per_node({})
        ((2, 4), (1, 4), (1, 0))
    """
    nodes, gpus = _whole_number(resources, "nodes", 1), _whole_number(resources, "gpu", 0)
    gres = str(resources.get("gres") or "")
    if "gpu" in gres:
        if gpus:
            raise ValueError(f"gpu: {gpus} and gres: {gres} are both given; write one of them (slurm/config.yaml)")
        # A type may begin with a digit (2080ti, 1g.10gb), but is no number.
        match = re.search(r"(?:^|,)gpu(?::(?!\d+(?:$|[,(]))[^:,(]+)?(?::(\d+))?(?=$|[,(])", gres)
        cards = int(match.group(1) or 1) if match else 0
        if not cards:
            raise ValueError(f"gres: {gres} names no number of GPUs; allowed: gpu:4, gpu:a100:4 (slurm/config.yaml)")
    elif gpus % nodes:
        raise ValueError(
            f"gpu: {gpus} cannot be shared evenly by nodes: {nodes}; give a multiple, or the GPUs of one node as gres"
        )
    else:
        cards = gpus // nodes
    if nodes > 1 and not cards:
        raise ValueError(
            f"nodes: {nodes} without a GPU: a training would run on CPUs there, which nobody waits for; give the GPUs of "
            "one node as gres, such as gres=gpu:4, or leave nodes at 1 (docs/cluster.md)"
        )
    return nodes, cards


def _whole_number(resources: Mapping[str, Any], name: str, least: int) -> int:
    value = resources.get(name, least)
    if not re.fullmatch(r"\d+", str(value)) or int(value) < least:
        raise ValueError(
            f"{name}: {value} is not allowed; allowed: a whole number, {least} or more (slurm/config.yaml)"
        )
    return int(value)


def take_cards(count: int, folder: Path | None = None) -> None:
    """Let this process, and what it starts or becomes, see `count` GPUs that no other job has.

    Has to be called before torch looks for GPUs. Waits while too few are free. Changes nothing where SLURM gave no more GPUs
    than were asked for, nor where the machine names none.

    Args:
        count: Number of GPUs; 0 hides all of them.
        folder: Folder of the lock files; default: one of this machine and user.

    Raises:
        ValueError: There are fewer GPUs than that.
        PermissionError: The folder of the locks belongs to somebody else.
    """
    cards = visible_cards()
    if count == 0:
        if cards:
            _say(
                f"this job asked for no GPU and computes on the CPU, though there are {len(cards)}; to use one: --resources "
                f"gpu={len(cards)} --set-resources RULE:gpu=1 (docs/hardware.md)"
            )
        os.environ[VISIBLE] = ""
        return
    if not cards or ("SLURM_JOB_ID" in os.environ and len(cards) <= count):
        return
    if len(cards) < count:
        raise ValueError(
            f"{count} GPUs were asked for, {len(cards)} can be used here ({', '.join(cards)}); ask for fewer with "
            "--set-resources RULE:gpu=N"
        )
    folder = folder or _lock_folder()
    waited = False
    while True:
        taken = _lock_some(cards, count, folder)
        if taken:
            os.environ[VISIBLE] = ",".join(taken)
            _say(f"computes on {', '.join(taken)} of {len(cards)} GPUs")
            return
        if not waited:
            holders = "; ".join(f"{name}: {_holder(path)}" for name, path in _lock_files(cards, folder).items())
            _say(f"waits until {count} of {len(cards)} GPUs are free ({holders})")
            waited = True
        time.sleep(POLL)


def visible_cards() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them; none where the driver names none."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return chosen_cards(done.stdout, os.environ.get(VISIBLE))


def chosen_cards(listing: str, visible: str | None) -> list[str]:
    r"""The GPUs of `nvidia-smi -L` that `CUDA_VISIBLE_DEVICES` leaves visible, by UUID; instances of a divided GPU in its place.

    Args:
        listing: What nvidia-smi printed.
        visible: Value of the variable; None where it is not set.

    Example:
        >>> listing = "GPU 0: NVIDIA H100 (UUID: GPU-aa)\nGPU 1: NVIDIA H100 (UUID: GPU-bb)"
        >>> chosen_cards(listing, None), chosen_cards(listing, "1"), chosen_cards(listing, "")
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
                break  # CUDA, too, ignores what comes after a number that is none
            chosen += parts[int(token)]
        else:
            named = [name for names in whole for name in names if name.startswith(token)]
            chosen += named[:1]
    return list(dict.fromkeys(chosen))


def _lock_folder() -> Path:
    """A folder of this machine and user; others do not look into it, so it keeps only one's own jobs apart."""
    folder = Path(tempfile.gettempdir()) / f"vidreason-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise PermissionError(f"{folder} is not a folder of yours; remove it, or set TMPDIR to a folder of your own")
    return folder


def _lock_files(cards: Sequence[str], folder: Path) -> dict[str, Path]:
    return {card: folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', card)}.lock" for card in cards}


def _lock_some(cards: Sequence[str], count: int, folder: Path) -> list[str]:
    """Lock the first `count` GPUs that are free, or none: two jobs that wait for each other's would wait for ever."""
    taken: dict[str, int] = {}
    for card, path in _lock_files(cards, folder).items():
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock_file(handle, path)
        except LockedError:
            os.close(handle)
            continue
        taken[card] = handle
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
    """Take GPUs, then become the command, which keeps process number and locks."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit("usage: python -m vidreason.config.gpus N COMMAND ...")
    try:
        take_cards(int(sys.argv[1]))
    except (ValueError, PermissionError) as error:
        sys.exit(f"GPUs: {error}")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
