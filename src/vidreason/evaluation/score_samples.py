"""Grading the sampled answers of one arm to one benchmark: what pass@k and the majority's answer are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.config.settings import Scoring
from vidreason.engine.batches import limited
from vidreason.evaluation.sampled_statistics import majority_at_k, pass_at_k
from vidreason.evaluation.score import Subject, check_style, merged, score_answer
from vidreason.evaluation.score_record import headline_metric, rounded
from vidreason.records import OK, Prediction, Question, SampledAnswers


@dataclass(frozen=True)
class ScoredSamples:
    """Grades of the sampled answers to one question, an entry for every answer; no entries for a question that was not answered.

    Attributes:
        question_id: `Question.id`.
        question_sha256: `Question.sha256`.
        status: `ok`, or why the question was not answered.
        correct: Whether the answer counts as right.
        values: What it adds to the benchmark's headline metric.
        parsed: What was read in it; None if nothing was.
        tokens: Its length in tokens.
        finished: Whether its end was reached before the limit.
    """

    FORMAT: ClassVar[str] = "scored_samples/1"

    question_id: str
    question_sha256: str
    status: str
    correct: tuple[bool, ...] = ()
    values: tuple[float, ...] = ()
    parsed: tuple[str | None, ...] = ()
    tokens: tuple[int, ...] = ()
    finished: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        columns = {name: len(getattr(self, name)) for name in ("correct", "values", "parsed", "tokens", "finished")}
        if len(set(columns.values())) > 1:
            raise ValueError(f"question {self.question_id!r} has {columns}; allowed: as many of each; score again")

    @property
    def mean(self) -> float:
        """Mean of the values; 0 for a question that was not answered."""
        return sum(self.values) / len(self.values) if self.values else 0.0

    def pass_at(self, k: int) -> float:
        """Probability that one of k answers is right; 0 for a question that was not answered."""
        return pass_at_k(len(self.correct), sum(self.correct), k) if self.correct else 0.0

    def majority_at(self, k: int) -> float:
        """Expected value of the majority's answer among k; 0 for a question that was not answered."""
        return majority_at_k(self.parsed, self.values, k) if self.values else 0.0


def score_samples(
    subject: Subject,
    questions: Path,
    shards: Sequence[Path],
    out: Path,
    settings: Scoring,
    limit: int | None = None,
) -> None:
    """Grade one arm's sampled answers to one benchmark by the reading that counts; one line for every question, sorted by its id.

    Args:
        subject: Arm and benchmark.
        questions: JSON lines of `Question`, the benchmark's whole list.
        shards: JSON lines of `SampledAnswers`, all shards, in any order.
        out: Where to write the grades.
        settings: Which reading of an answer counts. A letter that is drawn for an unparsable answer is drawn for each answer anew.
        limit: As in sampling, `evaluation.sampling.questions`.

    Raises:
        ValueError: Questions without or with two lines, lines of other questions, or of different numbers of answers.
    """
    check_style(subject)
    chosen = sorted(limited(read_jsonl(questions, Question), limit), key=lambda question: question.id)
    if not chosen:
        raise ValueError(f"{questions}: no questions; sampled answers need at least one")
    sampled = merged(chosen, shards, str(subject), SampledAnswers)
    counts = {len(one.completions): one.question_id for one in sampled.values() if one.status == OK}
    if len(counts) > 1 or 0 in counts:
        found = ", ".join(f"{count} ({name!r})" for count, name in sorted(counts.items()))
        raise ValueError(
            f"{subject}: questions have {found} sampled answers; allowed: one number, above 0; sample again"
        )
    write_jsonl(out, (_graded(question, sampled[question.id], subject, settings) for question in chosen))


def _graded(question: Question, sampled: SampledAnswers, subject: Subject, settings: Scoring) -> ScoredSamples:
    """Grade the answers to one question."""
    metric = headline_metric(subject.benchmark)
    grades = []
    for number, completion in enumerate(sampled.completions):
        answer = Prediction(question.id, sampled.status, sampled.prompt_sha256, completion, sampled.question_sha256)
        grades.append(score_answer(question, answer, subject, settings, draw=f":{number}").grade)
    return ScoredSamples(
        question_id=question.id,
        question_sha256=question.sha256,
        status=sampled.status,
        correct=tuple(grade.correct for grade in grades),
        values=tuple(rounded(metric.value(grade)) for grade in grades),
        parsed=tuple(grade.parsed for grade in grades),
        tokens=tuple(completion.tokens for completion in sampled.completions),
        finished=tuple(completion.finished for completion in sampled.completions),
    )


def read_samples(path: str | Path) -> list[ScoredSamples]:
    """Read the grades of sampled answers."""
    return read_jsonl(path, ScoredSamples)
