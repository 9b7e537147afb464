"""The rollouts that a GRPO training learns from, kept for some of its steps: what it wrote, what that was worth, and why.

Each kept step is a file of its own in the folder of saved states, written before the step's update. A training that resumes takes
the steps after its saved state again and writes the same bytes again, so that nothing has to be saved twice.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from vidreason.artifacts.files import json_line, remove, write_aside
from vidreason.records import KeptRollout
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.training.distributed import Ranks
from vidreason.training.rollouts import Sampled

FOLDER = "rollouts"
"""Name of the folder beside the saved states."""


class RolloutLog:
    """Writes the rollouts of every `every`-th step."""

    def __init__(self, target: Path, state: Path, every: int, ranks: Ranks) -> None:
        """Nothing is written yet.

        Args:
            target: JSON lines (`KeptRollout`), written by `finish`.
            state: Folder of the saved states.
            every: Steps from one whose rollouts are kept to the next; 0 keeps none.
            ranks: The processes; the main one writes.
        """
        self.target, self.folder, self.every, self.ranks = target, state / FOLDER, every, ranks
        self._began = False

    def begin(self, step: int) -> None:
        """Called before every step: before the first, what an earlier attempt kept of it and of later ones is removed."""
        if not self._began and self.ranks.is_main and self.folder.exists():
            for path in self.folder.iterdir():
                if path.name >= _name(step):
                    remove(path)
        self._began = True

    def write(self, step: int, sampled: Sequence[Sampled], advantages: Sequence[torch.Tensor]) -> None:
        """Keep the rollouts of a step, if it is one of those; all processes call this together.

        Args:
            step: Number of the step, from 0.
            sampled: The groups of this process's questions, in the order of its share of the step.
            advantages: Of each group, float32 [G].
        """
        if not self.every or step % self.every:
            return
        own = ["".join(map(json_line, rows_of(step, *pair))) for pair in zip(sampled, advantages, strict=True)]
        groups = zip(*self.ranks.gather(own), strict=True)  # of R processes each has every R-th question
        if self.ranks.is_main:
            with write_aside(self.folder / _name(step), durable=True) as aside:
                aside.write_text("".join(text for texts in groups for text in texts), encoding="utf-8", newline="")

    def finish(self) -> None:
        """Write the target: the kept steps in their order."""
        if self.ranks.is_main:
            with write_aside(self.target) as aside, aside.open("wb") as stream:
                for path in sorted(self.folder.iterdir()) if self.folder.exists() else ():
                    with path.open("rb") as part:
                        shutil.copyfileobj(part, stream)


def _name(step: int) -> str:
    return f"step{step:08d}.jsonl"


def rows_of(step: int, sampled: Sampled, advantages: torch.Tensor) -> Iterable[KeptRollout]:
    """The rollouts of a group, and those that they were compared with."""
    group, rewards = sampled.group, sampled.rewards
    for index, (completion, grade, advantage) in enumerate(
        zip(group.completions, group.grades, advantages.tolist(), strict=True)
    ):
        terms = {name: float(column[index]) for name, column in rewards.columns.items()}
        reward = float(rewards.total[index])
        yield KeptRollout(step, group.question.id, index, group.view, completion, grade, terms, reward, advantage)
    yield from _compared_with(step, group.contrast)


def _compared_with(step: int, contrast: RolloutGroup | None) -> Iterable[KeptRollout]:
    if contrast is not None:
        for index, (completion, grade) in enumerate(zip(contrast.completions, contrast.grades, strict=True)):
            yield KeptRollout(step, contrast.question.id, index, contrast.view, completion, grade)
