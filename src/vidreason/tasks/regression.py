"""Regression: the answer is a number, and a near miss is worth something."""

import dataclasses

from vidreason.records import Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.metrics import MEAN_VALUE, Metric
from vidreason.tasks.numbers import check_number, read_number
from vidreason.tasks.written import Written

MRA = "mra"
"""Part of a grade: the mean relative accuracy of the answer."""
MEAN_RELATIVE_ACCURACY = Metric(MRA, "mean relative accuracy", lambda grade: grade.parts.get(MRA, 0.0))


class Regression(Written):
    """The answer is a number.

    Value by the strict rule: 1 - |answer - gold| / |gold|, at least 0. Every grade has the part `mra`, the mean relative
    accuracy by which evaluations report (`vidreason.tasks.video_r1.mean_relative_accuracy`).
    """

    name = "regression"
    metrics: tuple[Metric, ...] = (MEAN_RELATIVE_ACCURACY, MEAN_VALUE)
    asks_for = "number"
    alone = "Answer with a number alone, for example 7 or 2.5."
    right_from = 0.95

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """Grade one completion by a rule."""
        grade = super().grade(completion, question, rule)
        score = video_r1.regression_score(grade.parsed or "", question.gold)
        return dataclasses.replace(grade, parts={**grade.parts, MRA: score})

    def grade_block(self, block: str, gold: str) -> Grade:
        """1 - relative difference, at least 0."""
        number, wanted = read_number(block), read_number(gold)
        if number is None:
            return self.nothing()
        given, truth = float(number), float(wanted or 0)
        value = max(0.0, 1.0 - abs(given - truth) / abs(truth)) if truth else 0.0
        return Grade(value, value >= self.right_from, str(number))

    def training_reward(self, answer: str, gold: str) -> float:
        """1 - relative difference, with the published code's treatment of 0 and not-a-number."""
        return video_r1.regression_reward(answer, gold)

    def evaluation_reward(self, answer: str, gold: str) -> float:
        """Mean relative accuracy."""
        return video_r1.regression_score(answer, gold)

    def check(self, question: Question) -> None:
        """Refuse a gold answer that is no number, or 0, from which no answer has a relative difference."""
        if not check_number(question.gold):
            raise ValueError(
                f"the answer is {question.gold[:80]!r}; allowed: a number other than 0, since a regression answer is graded by "
                f"its relative difference"
            )


base.register(Regression())
