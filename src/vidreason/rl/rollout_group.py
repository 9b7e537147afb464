"""The record that rewards work on: the sampled completions of one question, with their grades."""

import dataclasses

from vidreason.records import Completion, Grade, Question


@dataclasses.dataclass(frozen=True)
class RolloutGroup:
    """The G completions of one question under one view of its video.

    Attributes:
        question: The question.
        completions: G completions.
        grades: G grades, of the same completions.
        view: View of the video that the completions were sampled under: `ordered`, `shuffled` or `gray`.
        contrast: Completions of the same question under another view, which are compared with but not learned from; None
            where only one view is sampled.
    """

    question: Question
    completions: tuple[Completion, ...]
    grades: tuple[Grade, ...]
    view: str = "ordered"
    contrast: "RolloutGroup | None" = None

    def __post_init__(self) -> None:
        """Refuse groups that do not fit together."""
        if len(self.completions) != len(self.grades):
            raise ValueError(
                f"question {self.question.id!r}: {len(self.completions)} completions, {len(self.grades)} grades"
            )
        if self.contrast is not None and self.contrast.question != self.question:
            raise ValueError(
                f"question {self.question.id!r}: its contrast group belongs to question {self.contrast.question.id!r}"
            )
