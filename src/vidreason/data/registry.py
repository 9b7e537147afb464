"""The data sets and benchmarks of the project. Each is one module of this folder, which registers itself on import.

Every module of the folder is imported before a data set is looked up: a new one is one new file. Importing them loads no
heavy library, because the workflow's graph is built from their names.

Example of such a file:

    register(
        Dataset(
            name="street",
            title="Street",
            description="Street scenes, test split",
            citation="...",
            role="benchmark",
            template=with_letters,
            read=lambda source: [...],
            annotation_files=lambda source: [source.root / "test.json"],
        )
    )
"""

import importlib
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import vidreason.data
from vidreason.artifacts.control_characters import escaped
from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.data.fields import check_questions
from vidreason.records import NO_OPTION, Question, check_name
from vidreason.tasks import base as answer_types

Role = Literal["training", "demonstrations", "benchmark"]
Headline = Literal["micro", "macro"]
Part = Literal["category", "group"]


@dataclass(frozen=True)
class Dropped:
    """A question that was read and is not used; a row of `dropped.csv`.

    Attributes:
        id: `Question.id`; `""` where the record gives none.
        video: Its video or image; `""` where the record gives none.
        reason: One word for tables, for instance `duplicate`.
        detail: What is wrong, and in which record of which file.
        duration: Length of the clip in seconds; None where it is unknown.
        category: `Question.category`.
        group: `Question.group`.
    """

    id: str
    video: str
    reason: str
    detail: str = ""
    duration: float | None = None
    category: str = ""
    group: str = ""


@dataclass(frozen=True)
class Source:
    """Where and how a data set is read, and what the reader could not use.

    Attributes:
        root: Its folder.
        annotations: Its annotation file, absolute or relative to `root`, for data that is trained on; None looks for the
            published names.
        protocol: `paper` or `upstream`.
        dropped: Questions that the reader set aside, in the order of their files.
        repairs: What the reader changed in questions that it keeps -> in how many.
    """

    root: Path
    annotations: str | Path | None = None
    protocol: str = "paper"
    dropped: list[Dropped] = field(default_factory=list, compare=False)
    repairs: Counter[str] = field(default_factory=Counter, compare=False)

    def set_aside(self, item: Question | str, reason: str, detail: str = "", where: str = "") -> None:
        """Count a record that was read but cannot be used.

        Args:
            item: Its question; or its video, where no question could be made of it.
            reason: See `Dropped`.
            detail: What is wrong.
            where: File and number of the record.
        """
        detail = f"{detail} ({where})" if detail and where else detail or where
        if isinstance(item, Question):
            of_question = (item.duration, item.category, item.group)
            self.dropped.append(Dropped(item.id, item.clip.path, reason, detail, *of_question))
        else:
            self.dropped.append(Dropped("", item, reason, detail))


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Attributes:
        name: Key of the configuration's `datasets`, and value of `Question.dataset`.
        title: Short name for tables and figures.
        description: Full name, with the part that is used.
        citation: Whom to cite.
        role: What it is for.
        template: Question -> its text with options, without a video mark and without an instruction.
        read: Source -> its questions as published, in published order, whatever their videos are like. Records that cannot
            be used are counted with `Source.set_aside`.
        annotation_files: Source -> the files that questions are read from; some may not exist.
        tasks: Answer types of its questions. The metrics of the first are those of a benchmark's score.
        headline: Whether the number that is reported is the mean over questions (`micro`) or the unweighted mean over
            categories (`macro`).
        parts: Field of a question by which the published number of questions is known.
        protocols: Whether the run's protocol changes how it is read.
        video_name: Path of a video -> a name by which published forms of the data set with different paths hold out the same
            videos.
        count_hint: Questions found, questions expected, source -> what may be the matter; None for a general remark.
    """

    name: str
    title: str
    description: str
    citation: str
    role: Role
    template: Callable[[Question], str]
    read: Callable[[Source], list[Question]]
    annotation_files: Callable[[Source], list[Path]]
    tasks: tuple[str, ...] = ("multiple_choice",)
    headline: Headline = "micro"
    parts: Part = "category"
    protocols: bool = False
    video_name: Callable[[str], str] = str
    count_hint: Callable[[int, int, Source], str] | None = None

    @property
    def module(self) -> str:
        """Dotted name of the module that defines it, which is where `read` is written."""
        return self.read.__module__


_datasets: dict[str, Dataset] = {}


def register(dataset: Dataset) -> None:
    """Make a data set known by its name.

    Raises:
        ValueError: The name is not allowed (`check_name`) or another data set has it, or a field has a value that is not
            allowed.
    """
    check_name("data set", dataset.name)
    known = _datasets.get(dataset.name, dataset)
    if known is not dataset:
        raise ValueError(
            f"data set {dataset.name!r} is defined by {known.module} and by {dataset.module}; allowed: once"
        )
    fields: dict[str, Any] = {"role": Role, "headline": Headline, "parts": Part}
    for key, kind in fields.items():
        if (value := getattr(dataset, key)) not in get_args(kind):
            raise ValueError(
                f"data set {dataset.name!r} of {dataset.module}: {key} is {value!r}; allowed: {', '.join(get_args(kind))}"
            )
    if not dataset.tasks or isinstance(dataset.tasks, str):
        raise ValueError(
            f"data set {dataset.name!r} of {dataset.module}: tasks is {dataset.tasks!r}; allowed: a tuple of one or more"
        )
    _datasets[dataset.name] = dataset


def discover() -> Mapping[str, Dataset]:
    """Import every module of the folder; all data sets by name.

    Raises:
        ValueError: A data set names an answer type that is not registered.
    """
    for module in pkgutil.iter_modules(vidreason.data.__path__):
        importlib.import_module(f"vidreason.data.{module.name}")
    tasks = answer_types.discover()
    for dataset in _datasets.values():
        if unknown := [task for task in dataset.tasks if task not in tasks]:
            raise ValueError(
                f"data set {dataset.name!r} of {dataset.module}: tasks names {', '.join(map(repr, unknown))}; "
                f"allowed: {', '.join(sorted(tasks))}"
            )
    return _datasets


def names(role: Role | None = None) -> list[str]:
    """Names of all data sets, or of those of one role, sorted."""
    return sorted(name for name, dataset in discover().items() if role in (None, dataset.role))


def dataset_of(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        ValueError: There is none.
    """
    dataset = _datasets.get(name) or discover().get(name)
    if dataset is None:
        raise ValueError(f"unknown data set {name!r}; allowed: {', '.join(names())}")
    return dataset


def title_of(name: str) -> str:
    """Short name of a data set for tables and figures; any other name as it is."""
    dataset = discover().get(name)
    return name if dataset is None else dataset.title


def module_of(name: str) -> str:
    """Dotted name of the module that defines a data set, for digests of the code that a result depends on."""
    return dataset_of(name).module


def question_prompt(question: Question) -> str:
    """The question with its options as its data set presents them, without a video mark and without an instruction.

    Raises:
        ValueError: The question's data set is unknown.
    """
    try:
        dataset = dataset_of(question.dataset)
    except ValueError as error:
        raise ValueError(f"question {question.id!r}: {error}") from error
    return dataset.template(question)


def read_questions(
    name: str, root: str | Path, annotations: str | Path | None = None, protocol: str = "paper"
) -> list[Question]:
    """Read the questions of a data set as published, whatever its videos are like.

    Args:
        name: Name of the data set.
        root: Its folder.
        annotations: See `Source`.
        protocol: See `Source`.

    Raises:
        ValueError: Unknown data set, no annotation file, or a malformed record.
    """
    return dataset_of(name).read(Source(Path(root), annotations, protocol))


def write_questions(
    name: str,
    source: Source,
    out: str | Path,
    expected: int | Mapping[str, int] | None = None,
    dropped: str | Path | None = None,
) -> int:
    """Read the questions of a data set, check them and their number, and write them as JSON lines.

    Which annotation files are absent, how many questions are odd (`oddities`) and how many were set aside goes to the log.

    Args:
        name: Name of the data set.
        source: Where and how it is read.
        out: JSON lines of `Question`.
        expected: See `check_counts`.
        dropped: CSV of the questions set aside (`write_dropped`); None writes none.

    Returns:
        How many there are.

    Raises:
        ValueError: As `read_questions`, `check_counts` and `check_questions`.
    """
    dataset = dataset_of(name)
    questions = dataset.read(source)
    absent = []
    if dataset.role == "benchmark":
        absent = [path for path in dataset.annotation_files(source) if not path.is_file()]
    check_counts(name, [*questions, *source.dropped], expected, absent, source)
    check_questions(name, questions, dataset.tasks, for_training=dataset.role != "benchmark")
    odd = ", ".join(f"{count} {what}" for what, count in {**oddities(questions), **source.repairs}.items() if count)
    print(f"{name}: {len(questions)} questions{f'; {odd}' if odd else ''}", file=sys.stderr)
    for reason, count in Counter(row.reason for row in source.dropped).items():
        first = next(row for row in source.dropped if row.reason == reason)
        print(f"{name}: {count} set aside: {reason}, the first: {escaped(first.detail)}", file=sys.stderr)
    if dropped is not None:
        write_dropped(dropped, source.dropped)
    for path in absent:
        print(f"{path}: no such file; its questions are left out", file=sys.stderr)
    return write_jsonl(out, questions)


def write_dropped(path: str | Path, dropped: Sequence[Dropped]) -> None:
    """Write the table of questions that are not used."""
    rows = [
        [row.id, row.video, row.reason, "" if row.duration is None else f"{row.duration:.3f}", row.detail]
        for row in dropped
    ]
    write_csv(path, ["question", "video", "reason", "duration", "detail"], rows)


def oddities(questions: Sequence[Question]) -> dict[str, int]:
    """How many questions have a published defect. Each of them is used, and counts, like any other.

    Example:
        >>> from vidreason.records import ClipRef
        >>> oddities([Question("1", "mlvu", "multiple_choice", "", ClipRef("v.mp4"), ("", ""), "B")])["without a text"]
        1
    """
    return {
        "without a text": sum(not question.text.strip() for question in questions),
        "with one option": sum(len(question.options) == 1 for question in questions),
        "with an empty option": sum(not all(map(str.strip, question.options)) for question in questions),
        "with an option twice": sum(len(set(question.options)) < len(question.options) for question in questions),
        "whose answer is none of the options": sum(question.gold == NO_OPTION for question in questions),
    }


def check_counts(
    name: str,
    questions: Sequence[Question | Dropped],
    expected: int | Mapping[str, int] | None,
    absent: Sequence[Path] = (),
    source: Source | None = None,
) -> None:
    """See that a data set holds as many questions as were published.

    Args:
        name: Name of the data set.
        questions: All that were read, those that were set aside too.
        expected: How many there must be: in all, or by part (see `Dataset.parts`); None for any number.
        absent: Annotation files that are not there, for the message.
        source: Where the data set was read from, for the data set's own remark (`Dataset.count_hint`).

    Raises:
        ValueError: There are more or fewer, with a table of the parts.
    """
    if expected is None:
        return
    if isinstance(expected, Mapping):
        part = dataset_of(name).parts
        counts: Counter[str] = Counter(getattr(question, part) for question in questions)
        wanted = dict(expected)
    else:
        counts, wanted = Counter({"all": len(questions)}), {"all": expected}
    parts = [*wanted, *sorted(set(counts) - set(wanted))]
    if all(counts[part] == wanted.get(part, 0) for part in parts):
        return
    table = "\n".join(f"  {part}: {counts[part]} found, {wanted.get(part, 0)} expected" for part in parts)
    found, hint = sum(counts.values()), dataset_of(name).count_hint
    if absent:
        guess = f"Not there: {', '.join(map(str, absent))}."
    elif hint and source:
        guess = hint(found, sum(wanted.values()), source)
    else:
        guess = "Is the file of another revision, or cut short?"
    meant = "the numbers found" if isinstance(expected, Mapping) else found
    raise ValueError(
        f"{name}: {found} questions, expected are {sum(wanted.values())}.\n{table}\n{guess} If these are the "
        f"questions you mean, set datasets.{name}.questions to {meant}, or to null"
    )
