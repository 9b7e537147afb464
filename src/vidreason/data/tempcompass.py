"""TempCompass: short videos that differ in time only (action, speed, direction, order, attribute change).

Layout (llyx97/TempCompass): `questions/<kind>.json`, `{"<video>": {"<dimension>": [{"question", "answer"}, ..]}}`; videos
`videos/<video>.mp4`. The tables of the hub's lmms-lab/TempCompass, `<kind>/test-00000-of-00001.parquet`, are read too.

Three of the four kinds are questions with one right choice. The fourth, captioning, is judged by a language model upstream and is
not read.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json
from vidreason.artifacts.strict_json import abridged
from vidreason.config.annotations import existing_annotations
from vidreason.data.fields import as_text, questions_of, read_records, require_keys, video_path
from vidreason.data.moments import video_finder
from vidreason.data.options import answer_letter, split_choices
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import LETTERS, ClipRef, Question
from vidreason.tasks.multiple_choice import check_number
from vidreason.tasks.prompt_templates import with_letters

FOLDERS = ("videos", ".")
"""Folders of the videos below the root, in the order in which they are tried."""
_LABELLED = re.compile(r"(?:Option|Sentence|Caption) ([1-9A-J]): *(.+)")
Choice = tuple[str, tuple[str, ...], str]
"""The question alone, its options, and the letter of the right one."""


def read(source: Source) -> list[Question]:
    """Read the questions of three kinds: 1,580 multiple choice, 2,453 yes or no, 1,503 caption matching.

    Returns:
        Questions; `category` is the dimension, `group` the kind.

    Raises:
        ValueError: No file is there, or a record is malformed.
    """
    located = video_finder(source.root, FOLDERS)
    questions: list[Question] = []
    for kind in KINDS:
        files = existing_annotations(source.root, None, names_of(kind))
        for file in files:

            def parse(record: Any, index: int, kind: str = kind) -> Question:
                return parse_record(record, kind, located)

            questions += questions_of(file, records_of(file), parse)
    if not questions:
        raise ValueError(
            f"{source.root}: no questions; looked for {', '.join(name for kind in KINDS for name in names_of(kind))}"
        )
    return questions


def names_of(kind: str) -> tuple[str, ...]:
    """Names of the file of a kind below the root, in the order in which they are tried."""
    return (f"questions/{kind}.json", f"{kind}.json", f"{kind}/test-00000-of-00001.parquet")


def annotation_files(source: Source) -> list[Path]:
    """One file for each kind; it may not exist."""
    by_kind = {kind: existing_annotations(source.root, None, names_of(kind)) for kind in KINDS}
    return [file for kind, files in by_kind.items() for file in files or [source.root / names_of(kind)[0]]]


def records_of(file: Path) -> list[Any]:
    """The questions of a file as flat records, each with its number within its video and dimension.

    Raises:
        ValueError: The file is not of the published form.
    """
    if file.suffix == ".json":
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError(f"{file}: expected an object by video, found {type(content).__name__}")
        rows = []
        for video, dimensions in content.items():
            if not isinstance(dimensions, dict) or not all(isinstance(items, list) for items in dimensions.values()):
                raise ValueError(f"{file}: video {video[:80]!r}: expected lists of questions by dimension")
            for dimension, items in dimensions.items():
                for item in items:
                    try:
                        require_keys(item, ("question", "answer"))
                    except ValueError as error:
                        raise ValueError(
                            f"{file}: video {video[:80]!r}, {dimension[:80]!r}: {abridged(str(error))}"
                        ) from error
                    rows.append({**item, "video_id": video, "dim": dimension})
    else:
        rows = read_records(file)
    counts: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            require_keys(row, ("video_id", "dim", "question", "answer"))
            place = (as_text(row["video_id"], "video_id"), as_text(row["dim"], "dim"))
        except ValueError as error:
            raise ValueError(f"{file}: record {number}: {abridged(str(error))} (records are counted from 1)") from error
        counts[place] = row["number"] = counts.get(place, -1) + 1
    return rows


def parse_record(record: Any, kind: str, located: Callable[[str], str]) -> Question:
    """Turn one flat record into a question.

    Raises:
        ValueError: The question has no options of the kind's form, or the answer is none of them.
    """
    video, dimension = as_text(record["video_id"], "video_id"), as_text(record["dim"], "dim")
    text, options, gold = KINDS[kind](as_text(record["question"], "question"), as_text(record["answer"], "answer"))
    return Question(
        id=f"{kind}/{video}/{dimension}/{record['number']}",
        dataset="tempcompass",
        task="multiple_choice",
        text=text,
        clip=ClipRef(located(video_path(video, "video_id"))),
        options=options,
        gold=gold,
        category=dimension,
        group=kind,
    )


def multiple_choice(question: str, answer: str) -> Choice:
    r"""Take a question with lettered options apart.

    Example:
        >>> multiple_choice("What is he doing?\nA. diving\nB. rowing", "B. rowing")
        ('What is he doing?', ('diving', 'rowing'), 'B')
    """
    text, options = split_choices(question)
    return text, options, answer_letter(answer, options)


def yes_or_no(question: str, answer: str) -> Choice:
    """A question with the answer yes or no, as a choice of both.

    Differs from the source: upstream asks for the word; here it is a lettered option, so that one grader serves all kinds.

    Example:
        >>> yes_or_no("Is he diving?", "no")
        ('Is he diving?', ('yes', 'no'), 'B')
    """
    if answer not in ("yes", "no"):
        raise ValueError(f"the answer is {answer[:80]!r}; allowed: yes, no")
    return question.strip(), ("yes", "no"), "A" if answer == "yes" else "B"


def caption_matching(question: str, answer: str) -> Choice:
    r"""Take a question whose options are labelled sentences apart.

    Differs from the source: the labels (`Option 1`, `Sentence A`, `Caption A`) become letters.

    Example:
        >>> caption_matching("Which fits?\nOption 1: It rises.\nOption 2: It falls.", "Option 2: It falls.")
        ('Which fits?', ('It rises.', 'It falls.'), 'B')
    """
    lines = question.strip().splitlines()
    labelled = [match for line in lines if (match := _LABELLED.fullmatch(line.strip()))]
    text = "\n".join(line for line in lines if not _LABELLED.fullmatch(line.strip())).strip()
    options = tuple(match.group(2).strip() for match in labelled)
    right = _LABELLED.fullmatch(answer.strip())
    if not text or len(options) < 2:
        raise ValueError(f"expected a question and two or more labelled sentences, found {question[:200]!r}")
    check_number(options)
    places = [number for number, match in enumerate(labelled) if right and match.groups() == right.groups()]
    if len(places) != 1:
        raise ValueError(f"the answer {answer[:80]!r} is not one of the sentences {list(options)}")
    return text, options, LETTERS[places[0]]


KINDS: Mapping[str, Callable[[str, str], Choice]] = {
    "multi-choice": multiple_choice,
    "yes_no": yes_or_no,
    "caption_matching": caption_matching,
}
"""Kind, as the files are called -> how its questions are taken apart."""

register(
    Dataset(
        name="tempcompass",
        title="TempCompass",
        description="TempCompass (multiple choice, yes or no, caption matching)",
        citation="Liu et al., TempCompass, Findings of ACL 2024, arXiv 2403.00476",
        role="benchmark",
        template=with_letters,
        read=read,
        annotation_files=annotation_files,
        parts="group",
    )
)
