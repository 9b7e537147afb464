"""Taking published multiple-choice questions apart: the question, its options, the gold letter."""

import re
from collections.abc import Sequence

from vidreason.data.fields import LONGEST_TEXT
from vidreason.records import LETTERS, NO_OPTION
from vidreason.tasks.chat_tokens import IMAGE
from vidreason.tasks.markup import without_instruction

_INSTRUCTION = re.compile(r"^(please|answer|select|respond|output|choose|give|provide)\b", re.IGNORECASE)
_ANSWER_LETTER = re.compile(r"^\s*\(?([A-Za-z])(?:[.):\s]|$)")


def split_choices(text: str) -> tuple[str, tuple[str, ...]]:
    r"""Take a published question apart.

    The text is `<image>` (optional), the question, a line `Options:` (optional), lines `A. ...`, `B. ...` and at most
    one line of instruction after them.

    Args:
        text: The text as published.

    Returns:
        The question and the options without their letters.

    Raises:
        ValueError: There is no question or no option, a line is unexpected, or the text is longer than `LONGEST_TEXT`.

    Example:
        >>> split_choices("<image>\nWhy?\nA. rain.\nB. sun.\nPlease answer with the letter.")
        ('Why?', ('rain.', 'sun.'))
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"question and options have {len(text)} characters; allowed are {LONGEST_TEXT}")
    text = text.replace("\r\n", "\n")
    text = text.replace(IMAGE, "", 1).strip()
    lines = without_instruction(text).split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("A. ") or line == "A."), None)
    if first is None:
        raise ValueError(f"no line begins with 'A. ' in {text[:200]!r}")
    options: list[str] = []
    rest = lines[first:]
    while rest and len(options) < len(LETTERS) and rest[0].startswith(f"{LETTERS[len(options)]}."):
        options.append(rest.pop(0)[2:].removeprefix(" "))
    if rest and not (len(rest) == 1 and _INSTRUCTION.match(rest[0])):
        wanted = f"option {LETTERS[len(options)]!r} or" if len(options) < len(LETTERS) else "after ten options at most"
        raise ValueError(f"expected {wanted} one instruction, found {rest[0][:80]!r}")
    question_lines = lines[:first]
    if question_lines and question_lines[-1].strip().rstrip(":").lower() == "options":
        question_lines.pop()
    question = "\n".join(question_lines).strip()
    if not question:
        raise ValueError(f"the question is empty in {text[:200]!r}")
    return question, tuple(options)


def answer_letter(text: str, options: Sequence[str]) -> str:
    """The letter of a published answer such as `E`, `E. training.` or `(E)`; `NO_OPTION` if its text is none of the options.

    Texts are compared without regard to case, white space and a final full stop.

    Raises:
        ValueError: There is no letter, no option has the letter, or the text is that of another option.

    Example:
        >>> answer_letter("B. Dog", ["a cat.", "a dog."]), answer_letter("B. A dog", ["a cat.", "a dog."])
        ('@', 'B')
    """
    match = _ANSWER_LETTER.match(text)
    allowed = LETTERS[: len(options)]
    letter = match.group(1).upper() if match else ""
    if letter not in allowed or not letter:
        raise ValueError(f"the answer {text[:80]!r} names no option; allowed letters: {allowed}")
    wording = _plain(text[match.end() :]) if match else ""
    own = _plain(options[allowed.index(letter)])
    if not wording or wording == own:
        return letter
    if wording in map(_plain, options):
        raise ValueError(
            f"the answer {text[:80]!r} has the letter of one option and the words of another: {list(options)}"
        )
    return NO_OPTION


def _plain(text: str) -> str:
    """A text without the differences that do not matter: case, white space, a final full stop."""
    return " ".join(text.split()).removesuffix(".").strip().casefold()


def letter_of(answer: str, candidates: Sequence[str]) -> str:
    """Letter of the candidate equal to the answer; the last one if several are, `NO_OPTION` if none is.

    Source: `qa_template` in TinyLLaVA-Video-R1@efe76a1 tinyllava/eval/eval_{mvbench,mlvu}.py.

    Example:
        >>> letter_of("b", ["a", "b", "b"]), letter_of("c", ["a", "b"])
        ('C', '@')
    """
    places = [index for index, candidate in enumerate(candidates) if candidate == answer]
    return LETTERS[places[-1]] if places else NO_OPTION
