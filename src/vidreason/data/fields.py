"""Reading annotation files: records, the fields of a record, and what no question may be.

Readers of single records do not know where theirs stands: `questions_of` adds the file and the number to every message.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vidreason.artifacts.files import read_json, read_json_lines
from vidreason.artifacts.paths import is_inside
from vidreason.artifacts.strict_json import abridged
from vidreason.records import LETTERS, NO_OPTION, Question, check_label
from vidreason.tasks.marks import mark_in

LONGEST_TEXT = 100_000
"""Characters of one text of an annotation file; no model here has room for a question as long as that."""


def read_records(source: Path) -> list[Any]:
    """The records of a JSON file that holds a list, or of a `.jsonl` file.

    Raises:
        ValueError: The file holds something else.
    """
    records = read_json_lines(source) if source.suffix == ".jsonl" else read_json(source)
    if not isinstance(records, list):
        raise ValueError(f"{source}: expected a list of records, found {type(records).__name__}")
    return records


def questions_of(
    source: object, records: Iterable[Any], parse: Callable[[Any, int], Question | None], learnt: bool = False
) -> list[Question]:
    """Turn the records of one file into questions.

    Args:
        source: The file, for the message.
        records: Its records in order.
        parse: Turns a record and its place, from 0, into a question; None leaves it out.
        learnt: Whether the questions are trained on; then no text may be empty or hold a mark of the chat template. A
            benchmark's are asked as they are published, an empty one too, so that every model is asked the same.

    Raises:
        ValueError: A record is malformed, an id comes twice, or nothing is left. The message names the file and the record.
    """
    questions: list[Question] = []
    places: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        try:
            question = parse(record, number - 1)
            if question is not None:
                check_question(question, learnt)
                if question.id in places:
                    raise ValueError(f"the id {question.id!r} was already used by record {places[question.id]}")
        except ValueError as error:
            raise ValueError(
                f"{source}: record {number}: {abridged(str(error))} (records are counted from 1)"
            ) from error
        if question is not None:
            places[question.id] = number
            questions.append(question)
    if not questions:
        raise ValueError(f"{source}: no multiple-choice question in it")
    return questions


def check_question(question: Question, learnt: bool = False) -> None:
    """Refuse a question that no later stage could handle.

    Args:
        question: One option is enough: such a question has the gold letter A and a chance of 1.
        learnt: See `questions_of`.

    Raises:
        ValueError: Says what is wrong, without the place.
    """
    _check_number(question.options)
    if question.gold != NO_OPTION and question.gold not in tuple(question.letters):
        raise ValueError(f"the answer {question.gold!r} is not one of the letters {question.letters!r}")
    labels = {"video": question.clip.path, "id": question.id, "task": question.category, "group": question.group}
    for key, text in labels.items():  # the video first: an id may be made of its words
        check_label(text, key)
    if not question.id:
        raise ValueError("the id is empty")
    if not is_inside(question.clip.path):
        raise ValueError(f"the video {question.clip.path[:200]!r} is no path inside the data set")
    if learnt:
        if not question.text.strip():
            raise ValueError("the question is empty")
        for key, text in (("question", question.text), ("thought", question.demonstration), *_named(question.options)):
            if mark := mark_in(text):
                raise ValueError(
                    f"the {key} holds {mark!r}, a mark of the chat template, and could not be learnt: {text[:200]!r}. "
                    f"Take the mark out of the annotation"
                )


def _named(options: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"option {letter}", text) for letter, text in zip(LETTERS, options, strict=False)]


# --- Fields ----------------------------------------------------------------------------------------------------------


def need(record: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Check that a record is a JSON object with the keys that are read from it.

    Raises:
        ValueError: It is not; the message says which keys it has.
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")
    absent = [key for key in keys if key not in record]
    if absent:
        raise ValueError(
            f"no key {absent}; the record has {sorted(record)}. Is it a file of another data set or revision?"
        )
    return record


def plain_text(value: Any, key: str) -> str:
    """A text of a record; a finite number is taken as it is written.

    Raises:
        ValueError: It is something else, null for instance, or longer than `LONGEST_TEXT`.
    """
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)):
        text = str(value)
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"{key} has {len(text)} characters; allowed are {LONGEST_TEXT}")
        # Half of a pair, which JSON can hold and no file can.
        if not any("\ud800" <= letter <= "\udfff" for letter in text):
            return text
    raise ValueError(f"{key} is {str(value)[:80]!a} ({type(value).__name__}); expected a text")


def _finite(value: float) -> bool:
    return value - value == 0


def option_texts(values: Any, key: str) -> tuple[str, ...]:
    """The options of a record, a list of 1 to 10 texts; a table's array counts as one.

    Raises:
        ValueError: It is something else, holds something else, or has fewer or more.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list):
        raise ValueError(f"{key} is {str(values)[:80]!a} ({type(values).__name__}); expected a list of texts")
    _check_number(values)
    return tuple(plain_text(value, f"{key}[{number}]") for number, value in enumerate(values))


def _check_number(options: Sequence[Any]) -> None:
    if not 1 <= len(options) <= len(LETTERS):
        raise ValueError(f"{len(options)} options; allowed: 1 to {len(LETTERS)}")


def optional_text(value: Any, key: str) -> str:
    """As `plain_text`; nothing, null and a missing number (NaN, as tables have it) are the empty text."""
    return "" if value is None or value != value else plain_text(value, key)


def gold_letter(value: Any, letters: str) -> str:
    """The letter that a record gives as its answer; `NO_OPTION` where the answer is empty.

    Raises:
        ValueError: It is something else.
    """
    answer = plain_text(value, "answer").strip()
    if answer and answer not in tuple(letters):
        raise ValueError(f"the answer {answer!r} is not one of the letters {letters!r}")
    return answer or NO_OPTION


def refuse_withheld(source: object, questions: Sequence[Question]) -> None:
    """Refuse a file of letters in which every answer is empty: no score could be computed."""
    if all(question.gold == NO_OPTION for question in questions):
        raise ValueError(f"{source}: every answer is empty. Is it a test set whose answers are withheld?")


def video_path(value: Any, key: str = "video") -> str:
    """A path of a record in its one spelling, so that one video has one name: without `./` and repeated slashes.

    Raises:
        ValueError: It is no text, or names nothing below the folder that it is relative to.

    Example:
        >>> video_path("./NextQA//NExTVideo/./1006/8968804598.mp4")
        'NextQA/NExTVideo/1006/8968804598.mp4'
    """
    text = plain_text(value, key)
    path = PurePosixPath(text)
    if not is_inside(text) or not path.parts:
        raise ValueError(f"the {key} {text[:200]!r} is no path inside the data set")
    return path.as_posix()
