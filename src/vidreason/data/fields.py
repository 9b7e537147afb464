"""Reading annotation files: their records, the fields of a record, and checks of a question.

A parser of one record raises errors without a place: `questions_of` adds the file and the number of the record.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from vidreason.artifacts.files import read_json, read_json_lines
from vidreason.artifacts.path_checks import is_inside
from vidreason.artifacts.strict_json import abridged
from vidreason.records import FRAME_RULES, LETTERS, NO_OPTION, Question, check_label
from vidreason.tasks.base import task_of
from vidreason.tasks.chat_tokens import mark_in
from vidreason.tasks.multiple_choice import check_number

LONGEST_TEXT = 100_000
"""Most characters of one text of an annotation file, more than any model's context can hold."""


class UnusableRecordError(ValueError):
    """A record that is well-formed but cannot be used, so that it is set aside and counted rather than refused."""

    def __init__(self, reason: str, detail: str, item: Question | str) -> None:
        """For `Aside.set_aside`.

        Args:
            reason: One word for tables.
            detail: What is wrong.
            item: The question as far as it was read, or its video.
        """
        super().__init__(detail)
        self.reason, self.item = reason, item


class Aside(Protocol):
    """Counts records that cannot be used (`vidreason.data.registry.Source`)."""

    def set_aside(self, item: Question | str, reason: str, detail: str = "", where: str = "") -> None:
        """Count one."""


def read_records(source: Path) -> list[Any]:
    """The records of a JSON file that holds a list, of a `.jsonl` file, or of a `.parquet` table.

    Raises:
        ValueError: The file holds something else.
    """
    if source.suffix == ".parquet":
        return read_table(source)
    records = read_json_lines(source) if source.suffix == ".jsonl" else read_json(source)
    if not isinstance(records, list):
        raise ValueError(f"{source}: expected a list of records, found {type(records).__name__}")
    return records


def read_table(source: Path) -> list[Any]:
    """The rows of a parquet table.

    Raises:
        ValueError: It is not one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(source).to_pylist())
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # overflow: a date beyond Python's range
        raise ValueError(f"{source}: not a parquet file ({error}). Was it cut short, or is it a web page?") from error


def questions_of(
    source: object,
    records: Iterable[Any],
    parse: Callable[[Any, int], Question | None],
    for_training: bool = False,
    aside: Aside | None = None,
) -> list[Question]:
    """Turn the records of one file into questions.

    Args:
        source: The file, for the message.
        records: Its records in order.
        parse: Turns a record and its place, from 0, into a question; None leaves it out.
        for_training: Whether the questions are trained on. Then no text may be empty or contain a mark of the chat
            template. Benchmark questions are taken as published, even empty ones, so that scores are comparable.
        aside: Receives the records for which `parse` raises `UnusableRecordError`; None refuses them.

    Raises:
        ValueError: A record is malformed, an id comes twice, or nothing is left. The message names the file and the record.
    """
    questions: list[Question] = []
    places: dict[str, int] = {}
    unusable = ""
    for number, record in enumerate(records, start=1):
        try:
            question = parse(record, number - 1)
            if question is not None:
                check_question(question, for_training)
                if question.id in places:
                    raise ValueError(f"the id {question.id!r} was already used by record {places[question.id]}")
        except ValueError as error:
            if isinstance(error, UnusableRecordError) and aside is not None:
                aside.set_aside(error.item, error.reason, abridged(str(error)), f"{source}: record {number}")
                unusable = unusable or f"; the first that was set aside, record {number}: {abridged(str(error))}"
                continue
            raise ValueError(
                f"{source}: record {number}: {abridged(str(error))} (records are counted from 1)"
            ) from error
        if question is not None:
            places[question.id] = number
            questions.append(question)
    if not questions:
        raise ValueError(f"{source}: none of its records is a question of the kind that is read{unusable}")
    return questions


def check_question(question: Question, for_training: bool = False) -> None:
    """Refuse a question that no later stage could handle, or that its answer type cannot use (`Task.check`).

    Args:
        question: The question.
        for_training: See `questions_of`.

    Raises:
        ValueError: Says what is wrong, without the place.
    """
    task = task_of(question.task)
    task.check(question)
    labels = {"video": question.clip.path, "id": question.id, "category": question.category, "group": question.group}
    for key, text in labels.items():  # the video first: an id may be derived from it
        check_label(text, key)
    if not question.id:
        raise ValueError("the id is empty")
    if not is_inside(question.clip.path):
        raise ValueError(f"the video {question.clip.path[:200]!r} is no path inside the data set")
    for key, bound in (("start", question.clip.start), ("end", question.clip.end)):
        if bound is not None and not 0 <= bound < math.inf:
            raise ValueError(f"the {key} of the clip is {bound}; allowed: a number of seconds, 0 or more")
    if question.clip.frame_rule not in FRAME_RULES:
        raise ValueError(f"the frame rule is {question.clip.frame_rule!r}; allowed: {', '.join(FRAME_RULES)}")
    if for_training:
        if not question.text.strip():
            raise ValueError("the question is empty")
        learned = (("thought", question.demonstration), ("answer", task.answer(question)))
        for key, text in (("question", question.text), *learned, *_named(question.options)):
            if mark := mark_in(text):
                raise ValueError(
                    f"the {key} holds {mark!r}, a mark of the chat template, and could not be learned: {text[:200]!r}. "
                    f"Take the mark out of the annotation"
                )


def usable(question: Question, for_training: bool = False) -> Question:
    """The question, if it can be used. For large published sets, in which one bad record should not stop a run.

    Raises:
        UnusableRecordError: It fails `check_question`.
    """
    reason = "unusable_answer"
    try:
        task_of(question.task).check(question)
        reason = "unusable_text"
        check_question(question, for_training)
    except ValueError as error:
        raise UnusableRecordError(reason, str(error), question) from error
    return question


def check_questions(name: str, questions: Sequence[Question], tasks: Sequence[str], for_training: bool = False) -> None:
    """Refuse the questions of a data set if any could not be handled later, whatever reader made them.

    Args:
        name: Name of the data set.
        questions: All of them.
        tasks: Answer types that its entry names. They decide which code the results depend on.
        for_training: See `questions_of`.

    Raises:
        ValueError: One is of another data set or answer type, fails `check_question`, or has an id that came before. The
            message names the question.
    """
    places: dict[str, int] = {}
    for number, question in enumerate(questions, start=1):
        where = f"{name}: question {str(question.id)[:200]!r}"
        if question.dataset != name:
            raise ValueError(f"{where} has the data set {question.dataset!r}; allowed: {name!r}")
        if question.task not in tasks:
            raise ValueError(
                f"{where} has the task {question.task!r}; allowed by the data set's entry: {', '.join(tasks)}"
            )
        try:
            check_question(question, for_training)
        except ValueError as error:
            raise ValueError(f"{where}: {abridged(str(error))}") from error
        if question.id in places:
            raise ValueError(
                f"{where} is number {places[question.id]} and number {number}; allowed: an id of its own for each question"
            )
        places[question.id] = number


def _named(options: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"option {letter}", text) for letter, text in zip(LETTERS, options, strict=False)]


def require_keys(record: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Check that a record is a JSON object with the keys that are read from it.

    Raises:
        ValueError: The record is no object or lacks keys; the message lists the keys that it has.
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {type(record).__name__}")
    absent = [key for key in keys if key not in record]
    if absent:
        raise ValueError(
            f"no key {absent}; the record has {sorted(record)}. Is it a file of another data set or revision?"
        )
    return record


def as_text(value: Any, key: str) -> str:
    """A text field of a record; a finite number becomes its digits.

    Raises:
        ValueError: The value is of another type, null for instance, or longer than `LONGEST_TEXT`.
    """
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)):
        text = str(value)
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"{key} has {len(text)} characters; allowed are {LONGEST_TEXT}")
        # A lone surrogate is valid in JSON but cannot be encoded in UTF-8.
        if not any("\ud800" <= letter <= "\udfff" for letter in text):
            return text
    raise ValueError(f"{key} is {str(value)[:80]!a} ({type(value).__name__}); expected a text")


def _finite(value: float) -> bool:
    return value - value == 0


def as_texts(values: Any, key: str) -> tuple[str, ...]:
    """The options of a record: a list, or the array of a table, of 1 to 10 texts.

    Raises:
        ValueError: The value is no list, an item is no text, or there are fewer or more items.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list):
        raise ValueError(f"{key} is {str(values)[:80]!a} ({type(values).__name__}); expected a list of texts")
    check_number(values)
    return tuple(as_text(value, f"{key}[{number}]") for number, value in enumerate(values))


def as_optional_text(value: Any, key: str) -> str:
    """As `as_text`; null and NaN, the missing value of a table, become the empty text."""
    return "" if value is None or value != value else as_text(value, key)


def gold_letter(value: Any, letters: str) -> str:
    """The letter that a record gives as its answer; `NO_OPTION` where the answer is empty.

    Raises:
        ValueError: The answer is not one of the letters.
    """
    answer = as_text(value, "answer").strip()
    if answer and answer not in tuple(letters):
        raise ValueError(f"the answer {answer!r} is not one of the letters {letters!r}")
    return answer or NO_OPTION


def refuse_withheld(source: object, questions: Sequence[Question]) -> None:
    """Refuse a file of letters in which every answer is empty: no score could be computed."""
    if all(question.gold == NO_OPTION for question in questions):
        raise ValueError(f"{source}: every answer is empty. Is it a test set whose answers are withheld?")


def video_path(value: Any, key: str = "video") -> str:
    """A path of a record, normalized (no `./`, no repeated slashes) so that each video has one name.

    Raises:
        ValueError: The value is no text, or the path leaves the folder that it is relative to.

    Example:
        >>> video_path("./NextQA//NExTVideo/./1006/8968804598.mp4")
        'NextQA/NExTVideo/1006/8968804598.mp4'
    """
    text = as_text(value, key)
    path = PurePosixPath(text)
    if not is_inside(text) or not path.parts:
        raise ValueError(f"the {key} {text[:200]!r} is no path inside the data set")
    return path.as_posix()
