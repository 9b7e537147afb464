"""What the answer types have in common whose answer is written and not chosen: numbers and texts."""

import abc

from vidreason.records import Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.markup import last_block, reasoned_instruction
from vidreason.tasks.metrics import Metric
from vidreason.tasks.prompt_templates import instruction


class Written(abc.ABC):
    """Base class of these types.

    Rules of reading: `tagged` takes the last answer block, strictly; `video_r1` and `video_r1_eval` are what Video-R1's
    training and evaluation take (`vidreason.tasks.video_r1`).

    Attributes:
        name: Value of `Question.task`.
        asks_for: What the answer block is to hold.
        alone: The instruction to answer without a thought.
        metrics: What a score measures.
        right_from: Least value of an answer that counts as right.
    """

    name: str
    metrics: tuple[Metric, ...]
    asks_for: str
    alone: str
    right_from: float = 1.0
    rules: tuple[str, ...] = ("tagged", *video_r1.RULES)
    timed = False

    def instruction(self, style: str) -> str:
        """What a prompt of a style ends with.

        Raises:
            ValueError: There is no such style.
        """
        return instruction(style, {"reason": reasoned_instruction(self.asks_for), "option": self.alone})

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """Grade one completion by a rule."""
        base.check_rule(self, rule)
        if rule == "tagged":
            block = (last_block(completion) or "").strip()
            return self.grade_block(block, question.gold) if block else self.nothing()
        answer = video_r1.answer_of(completion, rule)
        if rule == video_r1.TRAINING:
            value = self.training_reward(answer, question.gold)
            correct = value >= self.right_from
        else:
            value = self.evaluation_reward(answer, question.gold)
            correct = value == 1.0
        return video_r1.graded(value, correct, answer, completion)

    @abc.abstractmethod
    def grade_block(self, block: str, gold: str) -> Grade:
        """Grade the content of an answer block, which is not empty, by the strict rule."""

    def nothing(self) -> Grade:
        """The grade where nothing is read."""
        return Grade(0.0, False)

    @abc.abstractmethod
    def training_reward(self, answer: str, gold: str) -> float:
        """Video-R1's reward in training."""

    def evaluation_reward(self, answer: str, gold: str) -> float:
        """Video-R1's reward in evaluation: 0 for an answer in words, whatever it is."""
        return 0.0

    @abc.abstractmethod
    def check(self, question: Question) -> None:
        """Refuse a gold answer that is none of this type."""

    def answer(self, question: Question) -> str:
        """The gold answer."""
        return question.gold.strip()

    def chance(self, question: Question) -> float | None:
        """A written answer cannot be guessed."""
        return None
