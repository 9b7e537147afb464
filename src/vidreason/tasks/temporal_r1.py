r"""How Temporal-R1's published code reads answers: its reward, its format, and its evaluation, habits included.

Source: appletea233/Temporal-R1@f364f6c: verl/utils/reward_score/tvg.py (reward and format),
third_party/lmms-eval/lmms_eval/models/qwen2_5_vl_r1.py (answers of the evaluation) and tasks/*/eval_tvg.py (its scores).
Differs from the source: every function takes time in proportion to the length of the text, and none raises.
"""

import json
import math
import re
from collections.abc import Sequence

from vidreason.tasks.intervals import Interval, Read
from vidreason.tasks.markup import ANSWER, END_ANSWER, END_THINK, THINK, first_answer

_ANSWER_BLOCK = re.compile(
    rf'\s*{ANSWER}\s*\{{\s*"start_time"\s*:\s*"([\d.]+)"\s*,\s*"end_time"\s*:\s*"([\d.]+)"\s*\}}\s*{END_ANSWER}'
)
"""What follows the think block: quoted numbers of digits and dots, in this order, and nothing else."""
_RANGE = re.compile(r"(\d++)(?:(\.*+\d*+)\s*+-\s*+(\d++\.*+\d*+))?+")
_NUMBER = re.compile(r"\b(?:\d+\.\d+|\d+)\b")
_BREAK = re.compile(r"[!?\n]")
_TIME_WORDS = ("start", "end", "happen")
_EXAMPLE = "a specific example is : 20.8 - 30.0 seconds"
"""A sentence that the evaluation takes out of answers, because an older prompt contained it."""


def well_formed(completion: str) -> bool:
    """Whether the format reward is given: a think block, and a JSON object with quoted times in the last answer block.

    Example:
        >>> block = '{"start_time": "1", "end_time": "2.5"}'
        >>> well_formed(f"{THINK}a{END_THINK}{ANSWER}{block}{END_ANSWER}")
        True
    """
    end = completion.rfind(END_THINK)
    if not completion.startswith(THINK) or end < len(THINK):
        return False
    return _ANSWER_BLOCK.fullmatch(completion, end + len(END_THINK)) is not None


def read_reward(completion: str) -> Read:
    """The interval that the reward reads: a JSON object in the first answer block, with whatever Python takes for a number.

    Reversed intervals, and those that leave the video, are read: they are measured, and score what they share with the truth.
    """
    answer = first_answer(completion)
    if answer is None:
        return Read(None, "no_block")
    try:
        times = json.loads(answer)
        interval = (float(times["start_time"]), float(times["end_time"]))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return Read(None, "no_interval")
    return Read(interval) if all(map(math.isfinite, interval)) else Read(None, "not_finite")


def reward_tiou(interval: Interval | None, truth: Sequence[object], length: float) -> float:
    """The overlap that the reward pays for an interval in seconds.

    Args:
        interval: From `read_reward`.
        truth: Start and end as shares of the video's length. The published code divides the answer alone, so a truth in
            seconds scores 0.
        length: Length of the video in seconds.
    """
    start, end = truth if len(truth) == 2 else (None, None)
    if interval is None or not isinstance(start, float | int) or not isinstance(end, float | int):
        return 0.0
    if not length:
        return 0.0
    return overlap((interval[0] / length, interval[1] / length), (float(start), float(end)))


def overlap(one: Interval, other: Interval) -> float:
    """Intersection over the stretch that spans both; 0 for reversed intervals, and where the published code divides by 0.

    Source: `temporal_iou` of the reward and `iou` of the evaluation, which agree.
    """
    shared = min(one[1], other[1]) - max(one[0], other[0])
    whole = max(one[1], other[1]) - min(one[0], other[0])
    return shared / whole if shared > 0 and 0 < whole < math.inf else 0.0


def extract_timestamps(completion: str) -> str:
    """The interval that the evaluation takes from a completion, as text; `0.0-0.0` where there is none.

    It looks for the form of the format reward anywhere in the text; the first one counts.
    """
    position = completion.find(THINK)
    position = completion.find(END_THINK, position + len(THINK)) if position >= 0 else -1
    while position >= 0:
        position += len(END_THINK)
        if match := _ANSWER_BLOCK.match(completion, position):
            try:
                return f"{float(match.group(1))}-{float(match.group(2))}"
            except ValueError:
                break
        position = completion.find(END_THINK, position)
    return "0.0-0.0"


def extract_time(text: str) -> Interval | None:
    """The interval that the evaluation's script reads in an answer, the smaller number first; None for none.

    The first range of two numbers counts, `to` being a dash; without a range, the first numbers of the first two sentences
    that speak of a start, an end or a happening.

    Raises:
        ValueError: A range holds no number, such as `1..5-2`; the published script stops there.
    """
    text = text.lower().replace(_EXAMPLE, "").replace("to", "-")
    ranges = [
        (float(first + rest), float(last))
        for first, rest, last in (match.groups() for match in _RANGE.finditer(text))
        if last is not None
    ]
    if not ranges:
        sentences = (sentence for sentence in _BREAK.split(text) if any(word in sentence for word in _TIME_WORDS))
        times = [float(number.group()) for number in map(_NUMBER.search, sentences) if number]
        ranges = [(times[0], times[1])] if len(times) > 1 else []
    return (min(ranges[0]), max(ranges[0])) if ranges else None


def read_evaluation(completion: str) -> Read:
    """The interval that the evaluation measures: `extract_timestamps`, then `extract_time`."""
    try:
        interval = extract_time(extract_timestamps(completion))
    except ValueError:
        interval = None
    return Read(None, "no_interval") if interval in (None, (0.0, 0.0)) else Read(interval)
