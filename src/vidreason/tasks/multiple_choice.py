"""Multiple choice: reading an option's letter out of a completion, strictly and as upstream does, and grading it.

Every function takes time in proportion to the length of the text, whatever the text is.
"""

import re
import unicodedata
from collections.abc import Sequence
from random import Random

from vidreason.records import LETTERS, NO_OPTION, Grade, Question
from vidreason.tasks import base, video_r1
from vidreason.tasks.equivalence import matches_anywhere
from vidreason.tasks.markup import as_answer, first_line_block, last_block
from vidreason.tasks.metrics import ACCURACY, Metric
from vidreason.tasks.prompt_templates import instruction

_OPEN = r"""(?:[*_"'`“‘«„$(\[{【「『《]|\\[(\[]|\\[a-z]++\s*+\{)"""
_CLOSE = r"""(?:[*_"'`”’»$)\]}】」』》]|\\[)\]])"""
_MARK = r"[.:,;!?。、]"
_WRAPPING = re.compile(rf"(?:\s|{_OPEN})*+", re.ASCII)
"""White space, brackets, quotes, emphasis and LaTeX commands (`boxed`) before a letter."""
_ENCLOSED = re.compile(
    rf"([A-Z])\s*+{_CLOSE}(?:{_CLOSE}|{_MARK})*+(?:(?<=[)\]}}】」』》])|(?![A-Z0-9-]))", re.IGNORECASE | re.ASCII
)
"""After an opening one: a letter and its closing bracket, quote or emphasis."""
_SET_OFF = re.compile(
    rf"""
    ([A-Z])(?:(?![)\]}}]){_CLOSE})*+
    (?: \s*\Z                                                       # nothing follows,
      | [^\S\n]*\n                                                  # at least not on this line
      | [^\S\n]*{_MARK}(?:{_MARK}|{_CLOSE})*+(?=\s|\Z|[\u3000-\U0010FFFF])  # `B.`; East Asian text needs no blank
      | [^\S\n]*[)\]}}](?:{_MARK}|{_CLOSE})*+                       # `B)`
      | [^\S\n]+[-‐‑–—−](?=\s|\Z)                                    # `B - he runs`
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_JOINED = re.compile(r"(?:[\s,;/&+|‐‑–—−-]|(?:and|or|nor)\b)*+", re.IGNORECASE | re.ASCII)
_GOES_ON = re.compile(r"([A-Z])\s*(?:[,;/&+|]|(?:and|or|nor|are)\b)", re.IGNORECASE | re.ASCII)
"""A letter in the middle of a list: `B, C`, `B and C`."""

_INITIAL = re.compile(r"[^\S\n]*([A-Z])\.(?=[,;:!?]|\s*\Z|\n)", re.ASCII)
"""A second initial and a mark, right after a letter and its full stop: `A. M., before noon`."""
_FURTHER = re.compile(
    r"(?:(?:\n|[,;.]\s|\b(?:and|or)\s)\s{0,4}[(\[*]{0,4}([A-Z])[.):\]*]{1,4}|\s\(?([A-Z])\))\s{1,4}\S",
    re.IGNORECASE | re.ASCII,
)
"""A further option with its text, at the beginning of a line or of a part of a sentence, or in brackets: `A. rain, B. sun`."""


def strict(completion: str, choices: Sequence[str]) -> str | None:
    r"""The option's letter that the last answer block begins with, if it stands alone.

    A letter stands alone if it is enclosed (`(B)`, `**B**`, `\boxed{B}`), or if its line ends after it, or a mark and
    white space follow (`B. he runs`, `B - he runs`). It does not count if another option's letter that stands alone
    comes next, directly or behind further letters, or stands with its text further on: that is a list. Nor do initials
    (`A. M., before noon`). `docs/answers.md` has the rule as a table.

    Args:
        completion: Raw text of the model.
        choices: Letters of the options.

    Returns:
        One of `choices`, or None if there is no complete answer block or no letter of an option at its beginning.

    Differs from the source: upstream takes the first block, and its first character whatever follows; its own parser is
        `upstream`.

    Example:
        >>> strict(as_answer("B. a dog"), "ABCD"), strict(as_answer("a dog"), "ABCD")
        ('B', None)
    """
    block = last_block(completion)
    if block is None:
        return None
    # Full-width and other forms of a letter become the letter; what has no width goes.
    text = unicodedata.normalize("NFKC", block)
    text = "\n".join("".join(sign for sign in text if unicodedata.category(sign) != "Cf").strip().splitlines())
    first = _alone(text, 0)
    if first is None:
        return None
    letter, last = first[1], first
    while following := _next_letter(text, last.end()):
        other = following[1]
        if other != letter and other.isupper() == letter.isupper() and other.upper() in choices:
            return None
        last = following
    if text[: first.end()].endswith(".") and _INITIAL.match(text, first.end()):
        return None
    others = {match[1] or match[2] for match in _FURTHER.finditer(text, first.end() - 1)} - {letter}
    if any(other.isupper() == letter.isupper() and other.upper() in choices for other in others):
        return None
    return letter.upper() if letter.upper() in choices else None


def _alone(text: str, place: int) -> re.Match[str] | None:
    """The letter that stands alone at a place of a text, as group 1."""
    start = _end(_WRAPPING.match(text, place))
    enclosed = _ENCLOSED.match(text, start) if text[place:start].strip() else None
    return enclosed or _SET_OFF.match(text, start)


def _next_letter(text: str, place: int) -> re.Match[str] | None:
    """The letter that stands alone next, behind what joins a list, as group 1."""
    start = _end(_JOINED.match(text, place))
    return _alone(text, start) or _GOES_ON.match(text, _end(_WRAPPING.match(text, start)))


def _end(match: re.Match[str] | None) -> int:
    """Where a match that may be empty ends."""
    return match.end() if match else 0


def upstream(completion: str, choices: Sequence[str], rng: Random | None = None) -> str | None:
    """The letter that upstream's evaluation scripts would read, quirks included.

    The first block on one line counts; its first character decides (so `Answer: B` is A and `cat` is C); failing that
    the first option, in their order, that stands in round brackets anywhere in it.

    Args:
        completion: Raw text of the model.
        choices: Letters of the options.
        rng: Draws a letter where upstream would; None to leave such answers unparsed.

    Returns:
        A letter; None for an empty block, and, without `rng`, for everything that upstream would guess.

    Source: parse_multi_choice_response in tinyllava/eval/eval_mvbench.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1
        (the four scripts agree).
    Differs from the source: the guess is drawn from a generator that is passed in, so that it can be repeated.

    Example:
        >>> upstream(as_answer("Answer: B"), "ABCD")
        'A'
    """
    letter = _upstream_letter(completion, choices)
    if letter is None and rng is not None and upstream_guesses(completion, choices):
        return rng.choice(list(choices))
    return letter


def upstream_guesses(completion: str, choices: Sequence[str]) -> bool:
    """Whether upstream would draw a random letter: it finds none, and the answer block is not there or not empty."""
    answer = first_line_block(completion, breaks_around=True)
    return answer != "" and _upstream_letter(completion, choices) is None


def _upstream_letter(completion: str, choices: Sequence[str]) -> str | None:
    """The letter upstream reads without guessing."""
    answer = first_line_block(completion, breaks_around=True)
    if not answer:
        return None
    if any(answer[0] in (choice, choice.lower()) for choice in choices):
        return answer[0].upper()
    bracketed = (choice for choice in choices if f"({choice})" in answer or f"({choice.lower()})" in answer)
    return next(bracketed, None)


def check_options(question: Question) -> None:
    """Refuse a question without options, or whose gold letter is none of them.

    A single option is allowed: its gold letter is A and its chance level 1. So is `NO_OPTION`, which no answer can get right.

    Raises:
        ValueError: Says what is wrong.
    """
    check_number(question.options)
    if question.gold != NO_OPTION and question.gold not in tuple(question.letters):
        raise ValueError(f"the answer {question.gold[:200]!r} is not one of the letters {question.letters!r}")


def check_number(options: Sequence[object]) -> None:
    """Refuse a list of options that is empty, or longer than there are letters.

    Raises:
        ValueError: Says how many there are.
    """
    if not 1 <= len(options) <= len(LETTERS):
        raise ValueError(f"{len(options)} options; allowed: 1 to {len(LETTERS)}")


class MultipleChoice:
    """One of the options is right; the answer is its letter.

    Rules of reading: `tagged` takes the letter of the last answer block (`strict`), `first_block` what upstream's evaluation
    reads (`upstream`), `anywhere` what upstream's training rewards, in which no single letter is read. `video_r1` and
    `video_r1_eval` compare the whole answer with the letter, as Video-R1's training and evaluation do.
    """

    name = "multiple_choice"
    metrics: tuple[Metric, ...] = (ACCURACY,)
    rules: tuple[str, ...] = ("tagged", "first_block", "anywhere", *video_r1.RULES)
    timed = False

    def instruction(self, style: str) -> str:
        """What a prompt of a style ends with."""
        return instruction(style)

    def grade(self, completion: str, question: Question, rule: str) -> Grade:
        """1 if the gold letter is read, else 0; always 0 for a question of which no option is right."""
        base.check_rule(self, rule)
        if rule in video_r1.RULES:
            answer = video_r1.answer_of(completion, rule)
            correct = answer == question.gold != NO_OPTION
            letter = answer if answer in tuple(question.letters) else ""
            return video_r1.graded(float(correct), correct, letter, completion)
        read = None
        if rule == "anywhere":
            correct = matches_anywhere(completion, as_answer(question.gold))
        else:
            read = strict(completion, question.letters) if rule == "tagged" else upstream(completion, question.letters)
            correct = read == question.gold
        correct = correct and question.gold != NO_OPTION
        return Grade(float(correct), correct, read)

    def check(self, question: Question) -> None:
        """Refuse a question without options, or whose gold letter is none of them."""
        check_options(question)

    def answer(self, question: Question) -> str:
        """The gold letter."""
        return question.gold

    def chance(self, question: Question) -> float:
        """1/options; 0 if no option is right."""
        return 0.0 if question.gold == NO_OPTION else 1.0 / len(question.options)


base.register(MultipleChoice())
