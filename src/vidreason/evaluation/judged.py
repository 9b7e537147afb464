"""The judged answer: a prediction, how each parser reads it and whether it is right.

`judged.jsonl` has one line per question of the benchmark, answered or not, sorted by question id, so that two arms'
files can be compared line by line and every table can be made again without the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidreason.artifacts.files import read_jsonl
from vidreason.records import NO_OPTION, OK


@dataclass(frozen=True)
class Judged:
    """One answer with its judgement: the fields of `vidreason.records.Prediction`, then what was made of them.

    Attributes:
        question: `Question.id`.
        video: `Question.video`, the cluster of the intervals.
        task: `Question.task`.
        group: `Question.group`.
        answer: Gold letter, or `vidreason.records.NO_OPTION`.
        options: Number of options.
        status: `ok`, or why the question was not asked.
        prompt_sha256: Hash of the prompt.
        completion: Raw output.
        tokens: Length in tokens.
        finish: `stop`, `length` or `""`.
        parsed_strict: Letter by the strict parser; None if it finds none.
        parsed_upstream: Letter by upstream's parser; None where upstream would draw one at random.
        guess: Letter drawn in place of an unparsable answer; None unless the run asks for that.
        correct: Whether the answer counts as right by the run's parser.
        correct_upstream: Whether it would count as right by upstream's parser.
        well_formed: Whether the completion follows the reason style, see
            `vidreason.rl.rewards.think_text`.
        think: Text between the think tags, stripped; `""` without them.
        think_true: Whether the think text tells the clip as it was; None where the truth is not known.
        temporal: Whether the order of the frames is needed to answer; None where that is not known.
        kind: The world's own name for the kind of question, the same in every benchmark; `""` where there is none.
    """

    question: str
    video: str
    task: str
    group: str
    answer: str
    options: int
    status: str
    prompt_sha256: str
    completion: str
    tokens: int
    finish: str
    parsed_strict: str | None
    parsed_upstream: str | None
    guess: str | None
    correct: bool
    correct_upstream: bool
    well_formed: bool
    think: str
    think_true: bool | None
    temporal: bool | None
    kind: str

    @property
    def has_frames(self) -> bool:
        """Whether the model was shown the clip: it has frames, and the prompt fits into the context."""
        return self.status == OK

    def letter(self, parser: str) -> str | None:
        """What a parser (`strict` or `upstream`) read; None for nothing."""
        return self.parsed_strict if parser == "strict" else self.parsed_upstream

    @property
    def chance(self) -> float:
        """Probability that a blind guess is right: 1/options, 0 if no option is right."""
        return 0.0 if self.answer == NO_OPTION else 1.0 / self.options


def read_judged(path: str | Path) -> list[Judged]:
    """Read a `judged.jsonl`."""
    return read_jsonl(path, Judged)


def chance_level(rows: Sequence[Judged]) -> float:
    """Expected accuracy of blind guessing, uniform over each question's options."""
    return sum(row.chance for row in rows) / len(rows)


def majority_letter(rows: Sequence[Judged]) -> tuple[str, float]:
    """The gold letter that is most frequent and the accuracy of always answering it (ties: first of the alphabet).

    What a model without eyes and without reading could reach at best; far above chance it says that the benchmark's
    letters are not balanced.
    """
    counts = {
        letter: sum(row.answer == letter for row in rows) for letter in {row.answer for row in rows} - {NO_OPTION}
    }
    if not counts:
        return "", 0.0
    letter = min(counts, key=lambda candidate: (-counts[candidate], candidate))
    return letter, counts[letter] / len(rows)
