"""The scored answer: a question, a prediction, and how good it is by each rule of reading.

`{benchmark}.scored.jsonl` has one line per question of the benchmark, answered or not, sorted by question id, so that two
arms' files can be compared line by line and every table can be made again without the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vidreason.artifacts.files import read_jsonl
from vidreason.records import NO_OPTION, OK, Grade, Prediction, Question
from vidreason.tasks.base import task_of
from vidreason.tasks.markup import first_think_text

RULES: Mapping[str, str] = {
    "strict": "tagged",
    "upstream": "first_block",
    "video_r1": "video_r1_eval",
    "temporal_r1": "temporal_r1_eval",
}
"""Value of `evaluation.scoring.parser` -> the rule of reading that it stands for."""
ALWAYS_RECORDED = ("tagged", "first_block")
"""Rules by which every answer is graded, whichever counts."""


@dataclass(frozen=True)
class Truth:
    """What the demo's world knows about one question.

    Attributes:
        caption: What happens in the clip, in the words of the world.
        temporal: Whether the order of the frames is needed to answer.
        kind: The world's own name for the kind of question, the same in every benchmark.
    """

    caption: str
    temporal: bool
    kind: str


@dataclass(frozen=True)
class Scored:
    """One answer with its grades.

    Attributes:
        question: The question.
        prediction: The answer.
        rule: The rule of reading that counts, a key of `grades`.
        grades: Rule of reading -> grade. A question that was not answered counts as wrong by every rule.
        guess: Letter drawn in place of an answer that `rule` cannot read; None unless the run asks for that.
        truth: What the demo's world knows about the question; None for real data.
    """

    FORMAT: ClassVar[str] = "scored/2"

    question: Question
    prediction: Prediction
    rule: str
    grades: Mapping[str, Grade]
    guess: str | None = None
    truth: Truth | None = None

    @property
    def has_frames(self) -> bool:
        """Whether the model was shown the clip: it has frames, and the prompt fits into the context."""
        return self.prediction.status == OK

    @property
    def unfinished(self) -> bool:
        """Whether the completion was cut off at its limit."""
        return self.has_frames and not self.prediction.completion.finished

    @property
    def grade(self) -> Grade:
        """The grade that counts."""
        return self.grades[self.rule]

    @property
    def correct(self) -> bool:
        """Whether the answer counts as right."""
        return self.grade.correct

    @property
    def well_formed(self) -> bool:
        """Whether the completion has the form that its task asks for."""
        return self.grade.well_formed

    @property
    def think(self) -> str:
        """Text between the first pair of think tags, stripped, however the completion goes on; `""` without one."""
        return first_think_text(self.prediction.completion.text)

    @property
    def think_true(self) -> bool | None:
        """Whether the think text describes the clip as it was; None where the truth is not known or the question was not answered."""
        if self.truth is None or not self.has_frames:
            return None
        return bool(self.think) and caption_is_true(self.think, self.truth.caption)

    @property
    def temporal(self) -> bool | None:
        """Whether the order of the frames is needed to answer; None where that is not known."""
        return None if self.truth is None else self.truth.temporal

    @property
    def kind(self) -> str:
        """The world's own name for the kind of question; `""` where there is none."""
        return "" if self.truth is None else self.truth.kind

    @property
    def chance(self) -> float | None:
        """Expected value of a blind guess; None where there is no sensible guess."""
        return task_of(self.question.task).chance(self.question)


def read_scored(path: str | Path) -> list[Scored]:
    """Read a `*.scored.jsonl`."""
    return read_jsonl(path, Scored)


def caption_is_true(think: str, caption: str) -> bool:
    """Whether a think text describes the scene as it was: the whole caption stands in it, word for word.

    Strict on purpose: one wrong color, thing, verb or direction, or a wrong order, makes it false.

    Args:
        think: Text between the think tags.
        caption: `Scene.caption` of the clip.
    """
    return f" {caption.lower()} " in f" {' '.join(think.lower().replace('.', ' ').split())} "


def chance_level(rows: Sequence[Scored]) -> float | None:
    """Expected accuracy of blind guessing, uniform over each question's options; None where a question cannot be guessed."""
    levels = [level for row in rows if (level := row.chance) is not None]
    return sum(levels) / len(levels) if len(levels) == len(rows) else None


def majority_letter(rows: Sequence[Scored]) -> tuple[str, float]:
    """The gold letter that is most frequent and the accuracy of always answering it (ties: first of the alphabet).

    What a model without eyes and without reading could reach at best; far above chance it says that the benchmark's
    letters are not balanced.
    """
    golds = [row.question.gold for row in rows]
    counts = {letter: golds.count(letter) for letter in set(golds) - {NO_OPTION}}
    if not counts:
        return "", 0.0
    letter = min(counts, key=lambda candidate: (-counts[candidate], candidate))
    return letter, counts[letter] / len(rows)
