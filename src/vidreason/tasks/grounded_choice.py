"""Grounded question answering: one of the options is right, and an interval of the clip holds the evidence."""

from vidreason.records import NO_OPTION, UNREAD, Grade, Question
from vidreason.tasks import base
from vidreason.tasks.intervals import (
    Read,
    as_written,
    check_segments,
    count_intervals,
    gold_interval,
    overlap_part,
    overlaps,
    read_object,
    read_tail,
    unreadable,
)
from vidreason.tasks.markup import as_answer, last_block, reasoned_instruction
from vidreason.tasks.metrics import ACCURACY, Metric, share_from
from vidreason.tasks.multiple_choice import check_options, strict
from vidreason.tasks.prompt_templates import instruction

GROUNDED = 0.5
"""Least intersection over prediction of an answer that counts as grounded."""
_OPTION = "Answer with the option's letter, and start and end of the evidence in seconds, as in B, 2.0 to 7.5."
_REASON = reasoned_instruction("option, start to end in seconds")


def _tiou(grade: Grade) -> float:
    return overlap_part(grade.parts, "tiou", "best")


def _iop(grade: Grade) -> float:
    return overlap_part(grade.parts, "iop", "best")


class GroundedChoice:
    """The answer block holds an option's letter and the interval of the evidence, in one of two forms.

    - `B, 2.0 to 7.5`: the letter, read as strictly as for multiple choice (its option's text may follow), then the interval.
    - `{"answer": "B", "start_time": "2.0", "end_time": "7.5"}`: keys in any order.

    The value is that of the choice, 1 or 0; the interval is measured in the parts `tiou` and `iop`. Each half counts alone, so
    that the reward can be the sum of both: a right letter with an unreadable interval still has its value.

    The metrics are those of NExT-GQA: of several segments the best one counts, for tIoU and IoP each.

    Source: doc-doc/NExT-GQA@3902e7d:code/TempGQA/eval_ground.py.
    Differs from the source: an interval without a length is no answer; there it has an IoP of 1 within a segment.
    """

    name = "grounded_choice"
    metrics: tuple[Metric, ...] = (
        Metric("acc_gqa", "Acc@GQA", lambda grade: float(grade.correct and _iop(grade) >= GROUNDED)),
        ACCURACY,
        Metric("miou", "mIoU", _tiou),
        *(share_from("r1", "R@1 IoU", _tiou, threshold) for threshold in (0.3, 0.5)),
        Metric("miop", "mIoP", _iop),
        *(share_from("iop", "IoP", _iop, threshold) for threshold in (0.3, 0.5)),
    )
    rules: tuple[str, ...] = ("tagged",)
    timed = True

    def instruction(self, style: str) -> str:
        """What a prompt of a style ends with.

        Raises:
            ValueError: There is no such style.
        """
        return instruction(style, {"reason": _REASON, "option": _OPTION})

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """1 if the gold letter is read, else 0; the parts measure the interval and name what could not be read."""
        base.check_rule(self, rule)
        letter, read = read_both(last_block(completion), question)
        parts = overlaps(read.interval, question.segments)
        if read.interval is None:
            parts[f"{UNREAD}{read.fault}"] = 1.0
        if letter is None:
            parts[f"{UNREAD}no_option"] = 1.0
        correct = letter == question.gold != NO_OPTION
        times = None if read.interval is None else "{:.10g} to {:.10g}".format(*read.interval)
        given = ", ".join(half for half in (letter, times) if half)
        return Grade(float(correct), correct, given or None, parts)

    def check(self, question: Question) -> None:
        """Refuse a question that multiple choice or grounding would refuse."""
        check_options(question)
        check_segments(question)

    def answer(self, question: Question) -> str:
        """Letter and interval, as in `B, 2.0 to 7.5`."""
        return f"{question.gold}, {as_written(gold_interval(question.segments))}"

    def chance(self, question: Question) -> None:
        """Both halves would have to be guessed; there is no guess of the interval without a prior of where segments lie."""


def read_both(answer: str | None, question: Question) -> tuple[str | None, Read]:
    """The option's letter and the interval of an answer block; each may be absent.

    Args:
        answer: Text of the block; None where there is no block.
        question: Its options and its duration.
    """
    if fault := unreadable(answer):
        return None, Read(None, fault)
    text = (answer or "").strip()
    if text.startswith("{"):
        read, values = read_object(text, question.duration, ("answer", "start_time", "end_time"))
        return strict(as_answer(values.get("answer", "")), question.letters), read
    head, read = read_tail(text, question.duration)
    letter = strict(as_answer(head), question.letters)
    option = question.options[question.letters.index(letter)] if letter else ""
    if count_intervals(head.replace(option, "") if option else head):
        read = Read(None, "several")
    return letter, read


base.register(GroundedChoice())
