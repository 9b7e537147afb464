"""Which questions a training step gets: those with frames that fit, in an order named by seed and epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vidreason.artifacts.files import read_jsonl
from vidreason.media.frame_store import FrameStore
from vidreason.records import OK, Question

FRESH = 0xF8E54
"""Name of the orders of fresh questions."""


class EpochSampler:
    """Batches of the questions whose clip has frames and whose text fits into the context, reshuffled every epoch.

    An epoch has as many whole batches as fit. Which questions remain over differs from epoch to epoch.

    Attributes:
        skipped: Number of questions that are never used, by reason.
        size: Number of questions of a step.
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
            store: Knows which clips have frames.
            batch_size: Questions a step; all of them if there are fewer.
            seed: Names the orders, together with the number of the epoch.
            fits: Whether a question's text fits into the context; one that does not is skipped, never cut.

        Raises:
            ValueError: No question has frames and fits.
        """
        questions = read_jsonl(path, Question)
        with_frames = [question for question in questions if store.status(question.clip.key) == OK]
        self._usable = [question for question in with_frames if fits(question)]
        if not self._usable:
            raise ValueError(
                f"{path}: none of {len(questions)} questions has frames and fits into the context "
                f"({len(questions) - len(with_frames)} without frames, {len(with_frames)} too long)"
            )
        self.skipped = {
            "without_frames": float(len(questions) - len(with_frames)),
            "too_long": float(len(with_frames) - len(self._usable)),
        }
        self.size = min(batch_size, len(self._usable))
        self._per_epoch = len(self._usable) // self.size
        self._seed = list(seed)

    def steps(self, epochs: float) -> int:
        """Number of steps of that many passes over the questions, at least one."""
        return max(1, round(self._per_epoch * epochs))

    def batch(self, step: int) -> list[Question]:
        """Questions of a step, counted from 0."""
        epoch, place = divmod(step, self._per_epoch)
        order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._usable))
        return [self._usable[index] for index in order[place * self.size : (place + 1) * self.size]]

    def fresh(self, step: int, number: int) -> list[Question | None]:
        """Questions that may replace those of a step in round `number` of resampling, one for each.

        They come from an order of all other usable questions that the step names. Each place of each round has its own question,
        whichever process has the place; None where the order has none left.
        """
        own = {question.id for question in self.batch(step)}
        order = np.random.default_rng([*self._seed, FRESH, step]).permutation(len(self._usable))
        others = [self._usable[index] for index in order if self._usable[index].id not in own]
        taken: list[Question | None] = [*others[number * self.size : (number + 1) * self.size]]
        return taken + [None] * (self.size - len(taken))
