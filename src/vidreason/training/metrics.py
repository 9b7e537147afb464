"""The training curves, written while the training runs: JSON lines, and TensorBoard's files beside them."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from vidreason.artifacts.disk import explain_full_disk
from vidreason.artifacts.files import write_aside

LIVE = "metrics.jsonl"
"""Name of the growing file in the folder of saved states, for watching a running training. The target is written only at the
end, because a workflow system removes the outputs of a failed job. A resumed training takes its rows from its saved state."""
BOARD = "tensorboard"
"""Folder of TensorBoard's event files, beside the target. They contain clock times and are not an output of the workflow."""


class MetricsLog:
    """Rows of numbers, `{"kind": "train" | "validation", "step": ..., ...}`."""

    def __init__(self, target: Path, state: Path, step: int, rows: str, writes: bool = True) -> None:
        """Begin with the rows of the saved state that the training resumes from.

        Args:
            target: JSON lines, written by `finish`.
            state: Folder of the saved states, where the log grows.
            step: Number of steps already done.
            rows: The rows of those steps.
            writes: Whether this process writes; if not, every method does nothing.
        """
        self.target, self.live, self.writes = target, state / LIVE, writes
        if not writes:
            return
        from torch.utils.tensorboard import SummaryWriter  # imported here: it takes a second

        board = target.parent / BOARD
        if not step:
            shutil.rmtree(board, ignore_errors=True)
        self.live.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.live.open("w+", encoding="utf-8", newline="")
        self._stream.write(rows)
        self._board = SummaryWriter(str(board), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, row: Mapping[str, float]) -> None:
        """Write one row.

        Args:
            kind: `train` or `validation`.
            step: For `train`, the number of the step from 0; for `validation`, the number of steps done.
            row: Name -> value.
        """
        if self.writes:
            with explain_full_disk(self.live):
                self._stream.write(json.dumps({"kind": kind, "step": step, **row}) + "\n")
                for name, value in row.items():
                    # TensorBoard counts steps done, so that both kinds share an axis.
                    self._board.add_scalar(f"{kind}/{name}", value, step + (kind == "train"))

    def rows(self) -> str:
        """All rows so far; an empty text in a process that does not write."""
        if not self.writes:
            return ""
        with explain_full_disk(self.live):
            self._stream.flush()
        return self.live.read_text(encoding="utf-8")

    def finish(self) -> None:
        """Write the target."""
        if self.writes:
            with write_aside(self.target) as aside:
                self._stream.flush()
                shutil.copyfile(self.live, aside)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        # Flushing may fail on a full disk as well; the first error says more.
        with contextlib.suppress(OSError) if error else explain_full_disk(self.live):
            try:
                self._stream.close()
            finally:
                self._board.close()
