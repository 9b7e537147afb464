"""Temporal grounding: when does what the query describes happen? The answer is one interval, graded by its overlap."""

from vidreason.records import UNREAD, WELL_FORMED, Grade, Question
from vidreason.tasks import base, temporal_r1
from vidreason.tasks.intervals import (
    Read,
    as_written,
    check_segments,
    gold_interval,
    overlap_part,
    overlaps,
    read_interval,
)
from vidreason.tasks.markup import last_block, reasoned_instruction
from vidreason.tasks.metrics import Metric, share_from
from vidreason.tasks.prompt_templates import instruction

RIGHT = 0.5
"""Least temporal IoU of an answer that counts as right, as in R@1 at 0.5."""
_OPTION = "Answer with start and end in seconds, as in 2.0 to 7.5."
_REASON = reasoned_instruction("start to end in seconds")


def _tiou(grade: Grade) -> float:
    return grade.parts.get("tiou", 0.0)


class Grounding:
    """The answer is the interval in which the query happens; its value is the temporal IoU with the gold segments.

    Rules of reading: `tagged` reads the last answer block strictly (`vidreason.tasks.intervals`), `temporal_r1` and
    `temporal_r1_eval` read what Temporal-R1's reward and evaluation read (`vidreason.tasks.temporal_r1`). A question with several
    segments is measured with all of them together (`intervals.tiou`).
    """

    name = "grounding"
    metrics: tuple[Metric, ...] = (
        Metric("miou", "mIoU", _tiou),
        *(
            share_from("r1", "R@1 IoU", _tiou, threshold) for threshold in (0.3, 0.5, 0.7)
        ),  # one answer a query, hence R@1
    )
    rules: tuple[str, ...] = ("tagged", "temporal_r1", "temporal_r1_eval")
    timed = True

    def instruction(self, style: str) -> str:
        """What a prompt of a style ends with.

        Raises:
            ValueError: There is no such style.
        """
        return instruction(style, {"reason": _REASON, "option": _OPTION})

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """The temporal IoU; 0, with the kind of fault among the parts, where there is no interval."""
        base.check_rule(self, rule)
        if rule == "tagged":
            return graded(read_interval(last_block(completion), question.duration), question)
        form = {WELL_FORMED: float(temporal_r1.well_formed(completion))}
        if rule == "temporal_r1_eval":
            return graded(temporal_r1.read_evaluation(completion), question, form)
        return graded(temporal_r1.read_reward(completion), question, form)

    def check(self, question: Question) -> None:
        """Refuse a question without a duration, without segments, or with a segment that is not within the clip."""
        check_segments(question)

    def answer(self, question: Question) -> str:
        """The gold interval, as in `2.0 to 7.5`; with several segments, the best single answer."""
        return as_written(gold_interval(question.segments))

    def chance(self, question: Question) -> None:
        """There is no guess without a prior of where segments lie."""


def graded(read: Read, question: Question, parts: dict[str, float] | None = None) -> Grade:
    """The grade of an interval that was read, or of the fault for which there is none.

    Args:
        read: What was read.
        question: Its question, which has segments.
        parts: Further parts of the grade.
    """
    measured = {**overlaps(read.interval, question.segments), **(parts or {})}
    if read.interval is None:
        return Grade(0.0, False, None, {**measured, f"{UNREAD}{read.fault}": 1.0})
    value = overlap_part(measured, "tiou", "union")
    return Grade(value, value >= RIGHT, "{:.10g} to {:.10g}".format(*read.interval), measured)


base.register(Grounding())
