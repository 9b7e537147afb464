"""Checkpoints of a run by the names of their arms, and what a run knows about one of its checkpoints."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json
from vidreason.artifacts.integrity import sidecar_of
from vidreason.config import paths
from vidreason.config.messages import listing, unknown

TEMPLATES = {"train_grpo": paths.GRPO, "train_sft": paths.SFT, "import_weights": paths.IMPORTED}
"""Rule -> where it writes checkpoints."""


class NoSuchArmError(ValueError):
    """A run or one of its arms is not there."""


@dataclass(frozen=True)
class ArmFolder:
    """A checkpoint folder that a run has made.

    Attributes:
        folder: The checkpoint.
        run: Folder of the run.
        rule: Rule that made it, a key of `TEMPLATES`.
        arm: Name of the arm.
        seed: Seed of its training; None for weights that were given.
        sidecar: Content of the checkpoint's sidecar; empty where there is none.
    """

    folder: Path
    run: Path
    rule: str
    arm: str
    seed: int | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def style(self) -> str | None:
        """How the arm was trained to answer; None for weights that were given."""
        params = self.sidecar.get("params")
        style = params.get("style") if isinstance(params, dict) else None
        return style if isinstance(style, str) else None

    def frames(self) -> int | None:
        """Frames that the run takes of a clip, from one of its frame tables; None without any."""
        import pyarrow.parquet as pq

        from vidreason.media.frame_store import FRAMES

        for table in sorted(self.run.glob("extract_frames/*/*.parquet")):
            with contextlib.suppress(OSError, ValueError):  # a table that cannot be read tells nothing
                declared = (pq.read_schema(table).metadata or {}).get(FRAMES, b"")
                if declared.isdigit() and int(declared):
                    return int(declared)
        return None


def arm_folder(folder: str | Path) -> ArmFolder | None:
    """What the path of a checkpoint says about it; None where no run has made it."""
    folder = Path(folder).absolute()
    for rule, template in TEMPLATES.items():
        parts = Path(template).parts[2:]  # below results/{run}
        own = folder.parts[-len(parts) :]
        names = dict(zip(parts, own, strict=False))
        seed = names.get("seed{seed}", "seed0").removeprefix("seed")
        if len(own) == len(parts) and own[0] == rule and own[-1] == parts[-1] and seed.isdigit():
            number = int(seed) if "seed{seed}" in names else None
            return ArmFolder(folder, folder.parents[len(parts) - 1], rule, names["{arm}"], number, _sidecar(folder))
    return None


def _sidecar(folder: Path) -> Mapping[str, Any]:
    """Content of a checkpoint's sidecar; nothing where there is none."""
    try:
        known = read_json(sidecar_of(folder))
    except FileNotFoundError:
        return {}
    return known if isinstance(known, dict) else {}


def find_arm(run: str, arm: str, seed: int | None = None) -> ArmFolder:
    """The checkpoint of an arm of a run, below the folder of results where the command is started.

    Args:
        run: Name of the run.
        arm: Name of the arm. A control has no weights: its parent's are meant.
        seed: Seed of its training; the smallest that there is by default.

    Raises:
        NoSuchArmError: The run, the arm or the seed is not there; the message lists those that are.
    """
    runs = sorted(path.name for path in paths.RESULTS.glob("*") if path.is_dir())
    if run not in runs:
        has = unknown(run, runs) if runs else "there is none; `make demo` makes one"
        raise NoSuchArmError(f"run {run!r} has no folder in {paths.RESULTS.absolute()}; {has}")
    found = [
        known
        for rule in TEMPLATES
        for folder in (paths.RESULTS / run / rule).glob("**/checkpoint")
        if (known := arm_folder(folder))
    ]
    arms = sorted({known.arm for known in found})
    if arm not in arms:
        has = unknown(arm, arms) if arms else "it has none"
        raise NoSuchArmError(f"run {run!r} has no weights of an arm {arm!r}; {has}")
    of_arm = sorted((known for known in found if known.arm == arm), key=lambda known: known.seed or 0)
    chosen = [known for known in of_arm if seed in (None, known.seed)]
    if not chosen:
        seeds = listing("none (given weights)" if known.seed is None else known.seed for known in of_arm)
        raise NoSuchArmError(f"arm {arm!r} of run {run!r} has no weights of seed {seed}; allowed: {seeds}")
    return chosen[0]
