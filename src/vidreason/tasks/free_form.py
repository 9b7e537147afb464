"""Free-form questions: the answer is a text that says the same as the gold one."""

from vidreason.records import Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.metrics import MEAN_VALUE, Metric
from vidreason.tasks.similarity import rouge, words
from vidreason.tasks.written import Written


class FreeForm(Written):
    """The answer is a short text. Value: mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L.

    From 0.6 on it counts as right, which is where the published filter of demonstrations begins (`video_r1.KEPT_ABOVE`).

    By the strict rule words of every script count, and a gold answer of one word, which has no pair of words, is compared
    without ROUGE-2, so that the gold answer itself always gets 1.
    """

    name = "free_form"
    metrics: tuple[Metric, ...] = (MEAN_VALUE,)
    asks_for = "text"
    alone = "Answer with a short text."
    right_from = video_r1.KEPT_ABOVE

    def grade_block(self, block: str, gold: str) -> Grade:
        """Mean F1."""
        value = rouge(block, gold, words, skip_absent=True)
        return Grade(value, value >= self.right_from, block)

    def training_reward(self, answer: str, gold: str) -> float:
        """Mean F1 by rouge-score's own words."""
        return video_r1.free_form_reward(answer, gold)

    def check(self, question: Question) -> None:
        """Refuse a gold text without a word."""
        if not words(question.gold):
            raise ValueError(f"the answer is {question.gold[:80]!r}; allowed: a text with at least one word")


base.register(FreeForm())
