r"""Intervals of time: reading one in an answer, strictly, and measuring how well it fits the gold segments.

An answer holds exactly one interval, in one of two forms:

- `2.5 to 7.0`: start, then `to` or a dash, then end. `from` may stand before, a unit (`s`, `sec`, `seconds`) behind each
  number, and a period at the end.
- `{"start_time": "2.5", "end_time": "7.0"}`: the form of Temporal-R1. The keys may come in any order, the numbers may stand
  without quotes.

A time is a decimal number of seconds (`7`, `7.0`), or a clock time of minutes and seconds or of hours, minutes and seconds
(`1:07.5`, `1:02:07`), within quotes where the form is JSON. No sign, no exponent, no decimal comma. The end comes after the
start and lies within the video. Everything else is no answer; `FAULTS` names the kinds.

Every function takes time in proportion to the length of the text, whatever the text is.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidreason.records import IMAGE, Question

Interval = tuple[float, float]
"""Start and end in seconds from the clip's start."""

LONGEST = 1_000
"""Most characters of an answer that is read."""
SLACK = 0.05
"""Seconds by which an interval may end after the video: what rounding to one decimal adds at most."""

FAULTS: Mapping[str, str] = {
    "no_block": "there is no answer block",
    "empty": "the answer is empty",
    "too_long": "the answer has more characters than `LONGEST`, or a number more digits than any time needs",
    "no_interval": "the answer is something else",
    "list": "the answer is a list",
    "several": "the answer holds several intervals or several objects",
    "wrong_keys": "the object lacks a key, or has one twice or one too many",
    "not_a_number": "a time is no decimal number and no clock time",
    "not_finite": "a time is NaN or infinite",
    "negative": "a time is negative",
    "reversed": "the end comes before the start",
    "no_length": "start and end are the same",
    "beyond": "the end lies after the end of the video",
}
"""Why an answer holds no interval: the kind -> what it means. `vidreason.records.UNREAD` says how a grade records it."""


@dataclass(frozen=True)
class Read:
    """What was read in an answer: an interval, or the kind of fault (`FAULTS`) for which there is none."""

    interval: Interval | None
    fault: str = ""


_UNIT = r"(?:s|secs?|seconds?)"
_TIME = r"""[-−+]?[^\s\-–—−,;{}\[\]"]+"""
_SPAN = rf"(?:from\s+)?({_TIME})(?:\s+{_UNIT})?(?:\s+to\s+|\s*[-–—]\s*)({_TIME})(?:\s+{_UNIT})?"
_WHOLE = re.compile(_SPAN, re.IGNORECASE)
_TAIL = re.compile(rf"(?:^|(?<=[\s,;:.)\]])){_SPAN}\Z", re.IGNORECASE)
_NUMBERS = re.compile(r"[0-9]\s*(?:s(?:ec(?:ond)?s?)?\s*)?(?:to\s|[-–—])\s*[0-9]", re.IGNORECASE)
"""Enough of an interval to count how many a text holds."""
_PAIR = r"""\s*"(\w+)"\s*:\s*("[^"]*"|[^\s",:{}\[\]]+)\s*"""
_OBJECT = re.compile(rf"\{{{_PAIR}(?:,{_PAIR})*\}}")
_PAIRS = re.compile(_PAIR)
_PLAIN = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,20})?")
_CLOCK = re.compile(r"(?:([0-9]{1,2}):(?=[0-5][0-9]:))?([0-9]{1,3}):([0-5][0-9](?:\.[0-9]{1,20})?)")
_DIGITS = re.compile(r"[0-9.]+")
_NOT_FINITE = ("nan", "inf", "infinity")


def read_interval(answer: str | None, duration: float | None) -> Read:
    """Read the one interval of an answer.

    Args:
        answer: Text of the answer block; None where there is no block.
        duration: Length of the video in seconds; None leaves it open where the video ends.

    Example:
        >>> read_interval("2.5 to 7.0 seconds", 10.0)
        Read(interval=(2.5, 7.0), fault='')
        >>> read_interval('{"start_time": "7", "end_time": 2.5}', 10.0).fault
        'reversed'
    """
    if fault := unreadable(answer):
        return Read(None, fault)
    text = (answer or "").strip()
    if text.startswith("{"):
        return read_object(text, duration, ("start_time", "end_time"))[0]
    whole = _WHOLE.fullmatch(text.removesuffix("."))
    return Read(None, _kind(text)) if whole is None else _checked(whole.group(1), whole.group(2), duration)


def read_tail(answer: str, duration: float | None) -> tuple[str, Read]:
    """Read the interval that an answer ends with, and what stands before it.

    Args:
        answer: A text that is not `unreadable`.
        duration: See `read_interval`.

    Returns:
        The text before the interval without white space and marks at its end (the whole text where it ends with no
        interval), and what was read.

    Example:
        >>> read_tail("B, 2.5 to 7.0", 10.0)
        ('B', Read(interval=(2.5, 7.0), fault=''))
    """
    text = answer.strip()
    tail = _TAIL.search(text.removesuffix("."))
    if tail is None:
        return text, Read(None, _kind(text))
    return text[: tail.start()].rstrip(" \t\n\r,;:-–—"), _checked(tail.group(1), tail.group(2), duration)


def read_object(text: str, duration: float | None, keys: Sequence[str]) -> tuple[Read, Mapping[str, str]]:
    """Read the interval of one flat JSON object.

    Args:
        text: Begins with a brace.
        duration: See `read_interval`.
        keys: Exactly these keys are allowed and needed, `start_time` and `end_time` among them.

    Returns:
        What was read, and the value of every key without quotes; no values where the text is no such object.
    """
    if not _OBJECT.fullmatch(text):
        return Read(None, _kind(text)), {}
    pairs = _PAIRS.findall(text)
    values = {key: value.strip('"') for key, value in pairs}
    if sorted(key for key, _ in pairs) != sorted(keys):
        return Read(None, "wrong_keys"), values
    times = dict(pairs)
    return _checked(times["start_time"], times["end_time"], duration), values


def unreadable(answer: str | None) -> str:
    """The kind of fault of an answer that need not be looked into; `""` for any other."""
    if answer is None:
        return "no_block"
    if not answer.strip():
        return "empty"
    return "too_long" if len(answer) > LONGEST else ""


def count_intervals(text: str) -> int:
    """How many intervals of numbers a text holds, whatever their times are."""
    return len(_NUMBERS.findall(text))


def _kind(text: str) -> str:
    """The kind of fault of a text that is no interval."""
    if text.startswith("["):
        return "list"
    return "several" if text.count("{") > 1 or count_intervals(text) > 1 else "no_interval"


def _checked(start: str, end: str, duration: float | None) -> Read:
    """The interval of two times as written, if it is one."""
    times = []
    for text in (start, end):
        time = _seconds(text)
        if isinstance(time, str):
            return Read(None, time)
        times.append(time)
    if times[1] <= times[0]:
        return Read(None, "reversed" if times[1] < times[0] else "no_length")
    if duration is not None and not times[1] <= duration + SLACK:
        return Read(None, "beyond")
    return Read((times[0], times[1]))


def _seconds(text: str) -> float | str:
    """A time as written, in quotes or not; a kind of fault if it is none."""
    bare = text.strip('"').strip()
    number = re.sub(rf"\s*{_UNIT}\Z", "", bare, flags=re.IGNORECASE)
    if _PLAIN.fullmatch(number):
        return float(number)
    if clock := _CLOCK.fullmatch(number):
        hours, minutes, seconds = clock.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)
    unsigned = bare.lstrip("-−+")
    if unsigned.lower() in _NOT_FINITE:
        return "not_finite"
    if bare[:1] in ("-", "−") and isinstance(_seconds(unsigned), float):
        return "negative"
    return "too_long" if len(number) > 7 and _DIGITS.fullmatch(number) else "not_a_number"


def tiou(interval: Interval, segments: Sequence[Interval], rule: str = "union") -> float:
    """Temporal intersection over union of one interval with the gold segments, from 0 to 1.

    - `union`: |interval ∩ S| / |interval ∪ S|, where S is all segments together.
    - `hull`: |interval ∩ S| / the stretch from the first start to the last end of interval and segments. With one segment it
      equals `union`; with several it also counts the gaps between them as missed.
    - `best`: the greatest value over the segments, each taken alone.

    Args:
        interval: What was answered.
        segments: At least one, each with its start before its end.
        rule: How several segments count.

    Source: `hull` is the denominator of appletea233/Temporal-R1@f364f6c:verl/utils/reward_score/tvg.py, which knows one segment
        only; `best` is doc-doc/NExT-GQA@3902e7d:code/TempGQA/eval_ground.py.

    Example:
        >>> [tiou((0.0, 4.0), [(0.0, 2.0), (6.0, 8.0)], rule) for rule in ("union", "hull", "best")]
        [0.3333333333333333, 0.25, 0.5]
    """
    if rule == "best":
        return max(tiou(interval, [segment]) for segment in segments)
    merged = _merged(segments)
    shared = sum(_overlap(interval, segment) for segment in merged)
    if shared <= 0:
        return 0.0
    if rule == "hull":
        whole = max(interval[1], merged[-1][1]) - min(interval[0], merged[0][0])
    elif rule == "union":
        whole = interval[1] - interval[0] + sum(end - start for start, end in merged) - shared
    else:
        raise ValueError(f"tiou: the rule for several segments is {rule!r}; allowed: union, hull, best")
    return shared / whole


def iop(interval: Interval, segments: Sequence[Interval], rule: str = "union") -> float:
    """Intersection over prediction: the share of the interval that lies in gold segments; arguments as in `tiou`.

    Example:
        >>> iop((1.0, 3.0), [(0.0, 2.0), (6.0, 8.0)])
        0.5
    """
    if rule == "best":
        return max(iop(interval, [segment]) for segment in segments)
    length = interval[1] - interval[0]
    return sum(_overlap(interval, segment) for segment in _merged(segments)) / length if length > 0 else 0.0


def overlaps(interval: Interval | None, segments: Sequence[Interval]) -> dict[str, float]:
    """The parts of a grade that measure an interval: `tiou` and `iop`, and those by other rules where there are several segments.

    Args:
        interval: What was answered; None for no interval, which scores 0.
        segments: See `tiou`.

    Example:
        >>> overlaps((0.0, 4.0), [(0.0, 2.0)])
        {'tiou': 0.5, 'iop': 0.5}
    """
    rules = ("union", "hull", "best") if len(segments) > 1 else ("union",)
    parts = {}
    for rule in rules:
        parts[part_name("tiou", rule)] = 0.0 if interval is None else tiou(interval, segments, rule)
        if rule != "hull":  # IoP has no union
            parts[part_name("iop", rule)] = 0.0 if interval is None else iop(interval, segments, rule)
    return parts


def part_name(measure: str, rule: str) -> str:
    """Key of `Grade.parts` for `tiou` or `iop` by a rule for several segments."""
    return measure if rule == "union" else f"{measure}_{rule}"


def overlap_part(parts: Mapping[str, float], measure: str, rule: str) -> float:
    """A measure in the parts of a grade; where there is one segment, all rules give the same and only one is kept."""
    return parts.get(part_name(measure, rule), parts.get(measure, 0.0))


def check_segments(question: Question) -> None:
    """Refuse a question whose gold segments no answer could be measured with.

    Raises:
        ValueError: It is about an image, it has no segments, the duration is not known or no length, or a segment is reversed
            or not within the clip.
    """
    segments, duration = question.segments, question.duration
    if question.clip.kind == IMAGE:
        raise ValueError(
            f"the clip {question.clip.path[:200]!r} is an image, in which nothing has a time; allowed: a video"
        )
    if duration is None or not 0 < duration < math.inf:
        raise ValueError(
            f"the duration is {duration}; allowed: seconds, more than 0. An interval is measured within its clip"
        )
    if not segments:
        raise ValueError(
            "there is no segment; allowed: at least one, with start and end in seconds from the clip's start"
        )
    for start, end in segments:
        if not 0 <= start < end <= duration + SLACK:
            raise ValueError(
                f"a segment is from {start} to {end} in a clip of {duration} seconds; allowed: 0 <= start < end <= duration"
            )


def gold_interval(segments: Sequence[Interval]) -> Interval:
    """The interval to imitate: of the segments and the stretch that spans them all, the one with the greatest `tiou`."""
    hull = (min(start for start, _ in segments), max(end for _, end in segments))
    return max([*segments, hull], key=lambda interval: tiou(interval, segments))


def as_written(interval: Interval) -> str:
    """An interval as a model should write it: with one decimal, or more where both times would read the same.

    Example:
        >>> as_written((2.0, 7.46)), as_written((3.52, 3.54))
        ('2.0 to 7.5', '3.52 to 3.54')
    """
    for decimals in range(1, 10):
        start, end = (f"{time:.{decimals}f}" for time in interval)
        if start != end:
            break
    return f"{start} to {end}"


def _overlap(one: Interval, other: Interval) -> float:
    """Seconds that two intervals share."""
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _merged(segments: Sequence[Interval]) -> list[Interval]:
    """The segments in order, those that touch or overlap made one."""
    merged: list[Interval] = []
    for start, end in sorted(segments):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
