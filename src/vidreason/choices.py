"""Multiple-choice text: taking published questions apart, putting prompts together, checking both.

Shared by the data sets and the benchmarks, which differ only in the little words around the options.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vidreason.files import is_inside
from vidreason.records import LETTERS, NO_OPTION, Question

_INSTRUCTION = re.compile(r"^(please|answer|select|respond|output|choose|give|provide)\b", re.IGNORECASE)
_REASON_SUFFIX = re.compile(r"\s*Output the thinking process in <think>.*?</answer> tags\.\s*$", re.DOTALL)
_ANSWER_LETTER = re.compile(r"^\s*\(?([A-Za-z])(?:[.):\s]|$)")


def with_options_line(question: Question) -> str:
    r"""Question, a line `Options:`, then `A. text` lines (NextQA, Video-MME, MVBench).

    Example:
        >>> with_options_line(Question("1", "nextqa", "v.mp4", "Why?", ("rain.", "sun."), "A"))
        'Why?\nOptions:\nA. rain.\nB. sun.'
    """
    return f"{question.question}\nOptions:\n{dotted(question.options)}"


def with_options_line_cut(question: Question) -> str:
    """As `with_options_line`, white space at the very end cut (MVBench)."""
    return with_options_line(question).rstrip()


def with_letters(question: Question) -> str:
    """Question, then `A. text` lines (MMVU)."""
    return f"{question.question}\n{dotted(question.options)}"


def with_brackets_cut(question: Question) -> str:
    """Question, then `(A) text` lines, white space at the very end cut (MLVU)."""
    return f"{question.question}\n{bracketed(question.options)}".rstrip()


PROMPTS: Mapping[str, Callable[[Question], str]] = {
    "nextqa": with_options_line,
    "coldstart": with_options_line,
    "video_mme": with_options_line,
    "mvbench": with_options_line_cut,
    "mlvu": with_brackets_cut,
    "mmvu": with_letters,
}
"""Data set -> how it presents a question.

Source: `eval_model` in eval_{videomme,mmvu}.py, `qa_template` in eval_{mvbench,mlvu}.py, tinyllava/eval of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1; for NextQA the published text itself.
"""


def question_prompt(question: Question) -> str:
    """The question with its options as its data set presents them, without `<image>` and without a suffix.

    Raises:
        ValueError: The question's data set is unknown.
    """
    if question.dataset not in PROMPTS:
        raise ValueError(
            f"question {question.id!r}: unknown data set {question.dataset!r}; allowed: {', '.join(PROMPTS)}"
        )
    return PROMPTS[question.dataset](question)


def dotted(options: Sequence[str]) -> str:
    """The options as `A. text` lines."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def bracketed(options: Sequence[str]) -> str:
    """The options as `(A) text` lines."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))


def split_choices(text: str) -> tuple[str, tuple[str, ...]]:
    r"""Take a published question apart.

    The text is `<image>` (optional), the question, a line `Options:` (optional), lines `A. ...`, `B. ...` and at most
    one line of instruction after them.

    Args:
        text: The text as published.

    Returns:
        The question and the options without their letters.

    Raises:
        ValueError: No question, fewer than two options, or a line that fits nowhere.

    Example:
        >>> split_choices("<image>\nWhy?\nA. rain.\nB. sun.\nPlease answer with the letter.")
        ('Why?', ('rain.', 'sun.'))
    """
    lines = _REASON_SUFFIX.sub("", text.replace("<image>", "", 1)).strip().split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("A. ") or line == "A."), None)
    if first is None:
        raise ValueError(f"no line begins with 'A. ' in {text[:200]!r}")
    options: list[str] = []
    rest = lines[first:]
    while rest and len(options) < len(LETTERS) and rest[0].startswith(f"{LETTERS[len(options)]}."):
        options.append(rest.pop(0)[2:].removeprefix(" "))
    if rest and not (len(rest) == 1 and _INSTRUCTION.match(rest[0])):
        raise ValueError(
            f"expected option {LETTERS[len(options) % len(LETTERS)]!r} or one instruction, found {rest[0][:80]!r}"
        )
    question_lines = lines[:first]
    if question_lines and question_lines[-1].strip().rstrip(":").lower() == "options":
        question_lines.pop()
    question = "\n".join(question_lines).strip()
    if not question:
        raise ValueError(f"the question is empty in {text[:200]!r}")
    if len(options) < 2:
        raise ValueError(f"{len(options)} option where at least 2 are needed, in {text[:200]!r}")
    return question, tuple(options)


def answer_letter(text: str, options: Sequence[str]) -> str:
    """The letter a published answer gives: `E`, `E. training.`, `(E)`.

    Raises:
        ValueError: No letter, a letter that no option has, or a text that is another option's.
    """
    found = _ANSWER_LETTER.match(text)
    allowed = LETTERS[: len(options)]
    letter = found.group(1).upper() if found else ""
    if letter not in allowed or not letter:
        raise ValueError(f"the answer {text[:80]!r} names no option; allowed letters: {allowed}")
    wording = text[found.end() :].strip() if found else ""
    if (
        wording
        and wording != options[allowed.index(letter)].strip()
        and wording in [option.strip() for option in options]
    ):
        raise ValueError(
            f"the answer {text[:80]!r} has the letter of one option and the words of another: {list(options)}"
        )
    return letter


def letter_of(answer: str, candidates: Sequence[str]) -> str:
    """Letter of the candidate equal to the answer; the last one if several are, `NO_OPTION` if none is.

    Source: `qa_template` in TinyLLaVA-Video-R1@efe76a1 tinyllava/eval/eval_{mvbench,mlvu}.py.

    Example:
        >>> letter_of("b", ["a", "b", "b"]), letter_of("c", ["a", "b"])
        ('C', '@')
    """
    places = [index for index, candidate in enumerate(candidates) if candidate == answer]
    return LETTERS[places[-1]] if places else NO_OPTION


def need(record: Any, keys: Sequence[str], where: str) -> dict[str, Any]:
    """Check that a record is a JSON object with the keys that are read from it.

    Raises:
        ValueError: It is not; the message says where, and which keys it has.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(record).__name__}")
    absent = [key for key in keys if key not in record]
    if absent:
        raise ValueError(
            f"{where}: no key {absent}; the record has {sorted(record)}. Is it a file of another data set or revision?"
        )
    return record


def plain_text(value: Any, key: str, where: str) -> str:
    """A text of a record; a number is taken as it is written.

    Raises:
        ValueError: It is something else, null for instance.
    """
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and value == value):
        text = str(value)
        # Half of a pair, which JSON can hold and no file can.
        if not any("\ud800" <= letter <= "\udfff" for letter in text):
            return text
    raise ValueError(f"{where}: {key} is {str(value)[:80]!a} ({type(value).__name__}); expected a text")


def plain_texts(values: Any, key: str, where: str) -> list[str]:
    """A list of texts of a record; a table's array counts as one.

    Raises:
        ValueError: It is something else, or holds something else.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list):
        raise ValueError(f"{where}: {key} is {str(values)[:80]!a} ({type(values).__name__}); expected a list of texts")
    return [plain_text(value, f"{key}[{number}]", where) for number, value in enumerate(values)]


def check_questions(questions: Iterable[Question], source: object) -> list[Question]:
    """Refuse what no later stage could handle.

    That is an empty question, too few or too many options, an id given twice, a video outside the data set.

    Args:
        questions: Questions in file order.
        source: File or folder they come from, for the message.

    Raises:
        ValueError: With the number of the record, counted from 1.
    """
    seen: dict[str, int] = {}
    checked = []
    for number, question in enumerate(questions, start=1):
        where = f"{source}: record {number} (id {question.id!r})"
        if not question.question.strip():
            raise ValueError(f"{where}: the question is empty")
        if not 2 <= len(question.options) <= len(LETTERS):
            raise ValueError(f"{where}: {len(question.options)} options; allowed: 2 to {len(LETTERS)}")
        if not is_inside(question.video):
            raise ValueError(f"{where}: the video {question.video[:200]!r} is no path inside the data set")
        if question.answer != NO_OPTION and question.answer not in tuple(question.letters):
            raise ValueError(f"{where}: the answer {question.answer!r} is not one of the letters {question.letters!r}")
        if question.id in seen:
            raise ValueError(f"{where}: the id was already used by record {seen[question.id]}")
        seen[question.id] = number
        checked.append(question)
    if not checked:
        raise ValueError(f"{source}: no multiple-choice question in it")
    return checked
