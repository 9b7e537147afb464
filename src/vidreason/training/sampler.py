"""Which questions a training step sees: those with frames that fit, in an order that seed and epoch name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vidreason.artifacts.files import read_jsonl
from vidreason.media.frame_store import FrameStore
from vidreason.records import OK, Question


class EpochBatches:
    """Batches of the questions whose clip has frames and whose text fits into the context, shuffled anew every epoch.

    An epoch has as many whole batches as fit; what is left over differs from epoch to epoch.
    """

    def __init__(
        self,
        path: Path,
        store: FrameStore,
        batch_size: int,
        seed: Sequence[int],
        fits: Callable[[Question], bool],
    ) -> None:
        """Read the questions.

        Args:
            path: Question records.
            store: Says which clips have frames.
            batch_size: Questions a step; all of them where there are fewer.
            seed: Names the orders, together with the number of the epoch.
            fits: Says whether a question's text fits into the context; one that does not is left out, never cut.

        Raises:
            ValueError: No question has frames and fits.
        """
        asked = read_jsonl(path, Question)
        seen = [question for question in asked if store.status(question.clip.key) == OK]
        self._usable = [question for question in seen if fits(question)]
        if not self._usable:
            raise ValueError(
                f"{path}: none of {len(asked)} questions has frames and fits into the context "
                f"({len(asked) - len(seen)} without frames, {len(seen)} too long)"
            )
        self.left_out = {
            "without_frames": float(len(asked) - len(seen)),
            "too_long": float(len(seen) - len(self._usable)),
        }
        self._size = min(batch_size, len(self._usable))
        self._per_epoch = len(self._usable) // self._size
        self._seed = list(seed)

    def steps(self, epochs: float) -> int:
        """Number of steps of so many passes over the questions, at least one."""
        return max(1, round(self._per_epoch * epochs))

    def batch(self, step: int) -> list[Question]:
        """Questions of a step, counted from 0."""
        epoch, place = divmod(step, self._per_epoch)
        order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._usable))
        return [self._usable[index] for index in order[place * self._size : (place + 1) * self._size]]
