"""Video-R1's training data: questions of five answer types about images and videos, and annotated thoughts for a cold start.

Layout (Video-R1/Video-R1-data): `Video-R1-260k.json` and `Video-R1-COT-165k.json`, lists of
`{problem_id, problem, data_type, problem_type, options, solution, path, data_source}`, the second with a `process`; images and
videos below the same folder. Relatives of the data name the file `video_filename` or give a list as `problem_type`.

Records that cannot be used are set aside with a reason: in several hundred thousand, one must not stop a run.
"""

import dataclasses
import re
from typing import Any

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.fields import (
    UnusableRecordError,
    as_optional_text,
    as_text,
    as_texts,
    questions_of,
    read_records,
    require_keys,
    usable,
    video_path,
)
from vidreason.data.options import answer_letter
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import LETTERS, ClipRef, Question
from vidreason.tasks.markup import checked_answer, first_answer
from vidreason.tasks.prompt_templates import dotted

RL = ("Video-R1-260k.json",)
"""Published name of the annotation file below the root."""
COT = ("Video-R1-COT-165k.json",)
TASKS = {
    "multiple choice": "multiple_choice",
    "numerical": "numerical",
    "OCR": "ocr",
    "free-form": "free_form",
    "regression": "regression",
}
"""Value of `problem_type` -> answer type."""
UNKNOWN_TYPE = "unknown_type"
NO_THOUGHT = "no_thought"
_LETTERED = re.compile(r"\s*([A-J])[.:)]\s*(.*)", re.DOTALL)


def read_rl(source: Source) -> list[Question]:
    """Read the questions for reinforcement learning in file order."""
    return _read("video_r1_260k", source, RL)


def read_cot(source: Source) -> list[Question]:
    """Read the questions with annotated thoughts in file order."""
    return _read("video_r1_cot", source, COT)


def _read(dataset: str, source: Source, names: tuple[str, ...]) -> list[Question]:
    """Read one of the two files; `category` is the published type, `group` the data set that a question comes from.

    Raises:
        ValueError: The file is absent, or a record is malformed.
    """
    file = find_annotations(source.root, source.annotations, names)
    known: set[str] = set()

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record, dataset, index)
        while question.id in known:  # numbers of problems repeat where files were joined
            question = dataclasses.replace(question, id=f"{question.id}-record{index + 1}")
        known.add(question.id)
        return usable(question, for_training=True)

    return questions_of(file, read_records(file), parse, for_training=True, aside=source)


def parse_record(record: Any, dataset: str, index: int) -> Question:
    """Turn one record into a question.

    Args:
        record: As published.
        dataset: `video_r1_260k`, or `video_r1_cot` for records with a `process`.
        index: Place in the file, from 0; used in the id if the record has no `problem_id`.

    Raises:
        UnusableRecordError: Its type is unknown, no option is right, or its thought is not one think block.
        ValueError: It is malformed.
    """
    require_keys(record, ("problem", "data_type", "problem_type", "solution"))
    path = video_path(record[_path_key(record)], _path_key(record))
    kind = _kind_of(record["problem_type"], path)
    if record["data_type"] not in ("image", "video"):
        raise ValueError(f"data_type is {record['data_type']!r}; allowed: image, video")
    solution = as_text(record["solution"], "solution")
    answer = first_answer(solution)
    question = Question(
        id=as_optional_text(record.get("problem_id"), "problem_id") or f"record{index + 1}",
        dataset=dataset,
        task=TASKS[kind],
        text=as_text(record["problem"], "problem"),
        clip=ClipRef(path, record["data_type"]),
        gold=solution.strip() if answer is None else answer,
        category=kind,
        group=as_optional_text(record.get("data_source"), "data_source"),
    )
    if kind == "multiple choice":
        question = _with_options(question, record.get("options"))
    if dataset == "video_r1_cot":
        require_keys(record, ("process",))
        # Training texts of the published code are made in the same way: thought, line break, solution.
        question = dataclasses.replace(
            question, demonstration=f"{as_text(record['process'], 'process').strip()}\n{solution.strip()}"
        )
        try:
            checked_answer(question.demonstration)
        except ValueError as error:
            raise UnusableRecordError(NO_THOUGHT, str(error), question) from error
    return question


def _path_key(record: Any) -> str:
    """The key of the file's path."""
    keys = [key for key in ("path", "video_filename") if record.get(key)]
    if not keys:
        raise ValueError(f"no key 'path' or 'video_filename'; the record has {sorted(record)}")
    return keys[0]


def _kind_of(value: Any, path: str) -> str:
    """The published type; of a list of labels, the first that is one.

    Raises:
        UnusableRecordError: There is none.
    """
    labels = value if isinstance(value, list) else [value]
    kind = next((label for label in labels if isinstance(label, str) and label in TASKS), None)
    if kind is None:
        allowed = ", ".join(map(repr, TASKS))
        raise UnusableRecordError(UNKNOWN_TYPE, f"problem_type is {str(value)[:80]!a}; allowed: {allowed}", path)
    return kind


def _with_options(question: Question, published: Any) -> Question:
    """A question with its options, without their letters, and with the letter of the right one."""
    try:
        texts = as_texts(published, "options")
        lettered = [_LETTERED.fullmatch(text) for text in texts]
        if [match and match.group(1) for match in lettered] == list(LETTERS[: len(texts)]):
            texts = tuple(match.group(2) for match in lettered if match)
        question = dataclasses.replace(question, options=texts)
        return dataclasses.replace(question, gold=answer_letter(question.gold, texts))
    except ValueError as error:
        raise UnusableRecordError("unusable_answer", str(error), question) from error


def question_block(question: Question) -> str:
    r"""The question as the published code presents it: `Options:` follows the problem without a line break.

    Source: tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/grpo.py.
    Differs from the source: the last option's line break is left out, because the instruction begins with one.

    Example:
        >>> question_block(Question("1", "", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain", "sun"), "A"))
        'Why?Options:\nA. rain\nB. sun'
    """
    return f"{question.text}Options:\n{dotted(question.options)}" if question.options else question.text


QUESTIONS = Dataset(
    name="video_r1_260k",
    title="Video-R1-260k",
    description="Video-R1-260k (images and videos, five answer types)",
    citation="Feng et al., Video-R1, arXiv 2503.21776",
    role="training",
    template=question_block,
    read=read_rl,
    annotation_files=lambda source: existing_annotations(source.root, source.annotations, RL),
    tasks=tuple(TASKS.values()),
)
register(QUESTIONS)
register(
    dataclasses.replace(
        QUESTIONS,
        name="video_r1_cot",
        title="Video-R1-CoT",
        description="Video-R1-CoT-165k (annotated thoughts)",
        role="demonstrations",
        read=read_cot,
        annotation_files=lambda source: existing_annotations(source.root, source.annotations, COT),
    )
)
