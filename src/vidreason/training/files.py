"""The files that a training reads and writes."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class TrainingFiles:
    """Inputs and outputs of one training.

    Attributes:
        init: Checkpoint folder of the parent.
        questions: Question records to train on.
        validation: Held-out question records; None for a method without validation.
        frames: Frame tables of all clips.
        checkpoint: Checkpoint folder to write.
        metrics: Training curves to write, as JSON lines.
        state: Folder of the saved states.
        rollouts: Rollouts of some steps to write, as JSON lines; None for a method without rollouts.
        timing: What every step cost, to write as JSON lines; None measures nothing. Its bytes differ from run to run.
        spec: JSON file of the spec; None outside of the workflow.
    """

    init: Path
    questions: Path
    validation: Path | None
    frames: tuple[Path, ...]
    checkpoint: Path
    metrics: Path
    state: Path
    rollouts: Path | None = None
    timing: Path | None = None
    spec: Path | None = None

    @property
    def inputs(self) -> list[Path]:
        """All files and folders that the training reads, besides its spec."""
        validation = [] if self.validation is None else [self.validation]
        return [self.init, self.questions, *validation, *self.frames]

    @property
    def outputs(self) -> list[Path]:
        """All files and folders that the training writes, besides its states."""
        return [self.checkpoint, self.metrics, *(path for path in (self.rollouts, self.timing) if path is not None)]
