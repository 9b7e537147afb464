"""OCR: the answer is a text that stands in the picture."""

from vidreason.records import Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.metrics import MEAN_VALUE, Metric
from vidreason.tasks.similarity import word_accuracy
from vidreason.tasks.written import Written


class Ocr(Written):
    """The answer is a transcription. Value: 1 - word error rate, at least 0; only 1 is right."""

    name = "ocr"
    metrics: tuple[Metric, ...] = (MEAN_VALUE,)
    asks_for = "transcription"
    alone = "Answer with the transcribed text alone."

    def grade_block(self, block: str, gold: str) -> Grade:
        """1 - word error rate."""
        value = word_accuracy(block, gold) if gold.split() else 0.0
        return Grade(value, value >= self.right_from, block)

    def training_reward(self, answer: str, gold: str) -> float:
        """1 - word error rate; 1 for two empty texts."""
        return video_r1.ocr_reward(answer, gold)

    def check(self, question: Question) -> None:
        """Refuse an empty gold text."""
        if not question.gold.split():
            raise ValueError(f"the answer is {question.gold[:80]!r}; allowed: a text with at least one word")


base.register(Ocr())
