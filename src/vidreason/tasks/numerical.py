"""Numerical questions: the answer is a number, right or wrong."""

from vidreason.records import Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.metrics import ACCURACY, Metric
from vidreason.tasks.numbers import agrees, check_number, read_number
from vidreason.tasks.written import Written


class Numerical(Written):
    """The answer is a number, and right to the decimals of the gold number (`vidreason.tasks.numbers`)."""

    name = "numerical"
    metrics: tuple[Metric, ...] = (ACCURACY,)
    asks_for = "number"
    alone = "Answer with a number alone, for example 7 or 2.5."

    def grade_block(self, block: str, gold: str) -> Grade:
        """1 where the block is a number that agrees with the gold one."""
        number, wanted = read_number(block), read_number(gold)
        if number is None:
            return self.nothing()
        correct = wanted is not None and agrees(number, wanted)
        return Grade(float(correct), correct, str(number))

    def training_reward(self, answer: str, gold: str) -> float:
        """Equal to two decimals, by the text's own marks."""
        return video_r1.numerical_reward(answer, gold)

    def evaluation_reward(self, answer: str, gold: str) -> float:
        """The same as in training."""
        return video_r1.numerical_reward(answer, gold)

    def check(self, question: Question) -> None:
        """Refuse a gold answer that is no number."""
        check_number(question.gold)


base.register(Numerical())
