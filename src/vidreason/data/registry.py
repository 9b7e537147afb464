"""Reading any data set of the project into `Question` records."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import write_jsonl
from vidreason.data import coldstart, mlvu, mmvu, mvbench, nextqa, video_mme
from vidreason.records import NO_OPTION, Question

BENCHMARKS: Mapping[str, Any] = {"video_mme": video_mme, "mvbench": mvbench, "mlvu": mlvu, "mmvu": mmvu}
"""Benchmark -> module with `TITLE`, `CITATION`, `annotation_files`, `parse_record`, `read` and `prompt`.

A video that is not there does not keep its question out: the question is listed, and the frames say what is wrong.
"""
DATASETS = ("nextqa", "coldstart", *BENCHMARKS)


def read_questions(
    dataset: str, root: str | Path, annotations: str | Path | None = None, protocol: str = "paper"
) -> list[Question]:
    """Read the questions of a data set as published, whatever its videos are like.

    Args:
        dataset: `nextqa`, `coldstart`, or a key of `BENCHMARKS`.
        root: Folder of the data set.
        annotations: Its annotation file, for `nextqa` and `coldstart`; None looks for the published names.
        protocol: `paper` or `upstream`; only MVBench's frame picking depends on it.

    Returns:
        The questions in published order.

    Raises:
        ValueError: Unknown data set, no annotation file, or a malformed record.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; allowed: {', '.join(DATASETS)}")
    if dataset == "nextqa":
        return nextqa.read(root, annotations)[0]
    if dataset == "coldstart":
        return coldstart.read(root, annotations)
    if dataset == "mvbench":
        return BENCHMARKS[dataset].read(root, protocol=protocol)
    return BENCHMARKS[dataset].read(root)


def write_questions(
    dataset: str,
    root: str | Path,
    out: str | Path,
    annotations: str | Path | None = None,
    protocol: str = "paper",
    expected: int | Mapping[str, int] | None = None,
) -> int:
    """Read the questions of a data set, see that there are as many as expected, and write them as JSON lines.

    Which annotation files are absent, and how many questions are odd (`oddities`), goes to the log.

    Args:
        dataset: See `read_questions`.
        root: See `read_questions`.
        out: JSON lines of `Question`.
        annotations: See `read_questions`.
        protocol: See `read_questions`.
        expected: See `check_counts`.

    Returns:
        How many there are.

    Raises:
        ValueError: As `read_questions` and `check_counts`.
    """
    questions = read_questions(dataset, root, annotations, protocol)
    files = BENCHMARKS[dataset].annotation_files(Path(root)) if dataset in BENCHMARKS else ()
    absent = [path for path in files if not path.is_file()]
    check_counts(dataset, questions, expected, absent)
    odd = ", ".join(f"{count} {what}" for what, count in oddities(questions).items() if count)
    print(f"{dataset}: {len(questions)} questions{f'; {odd}' if odd else ''}", file=sys.stderr)
    for path in absent:
        print(f"{path}: no such file; its questions are not asked", file=sys.stderr)
    return write_jsonl(out, questions)


def oddities(questions: Sequence[Question]) -> dict[str, int]:
    """How many questions have a published defect. Each of them is asked, and counts, like any other.

    Example:
        >>> oddities([Question("1", "mlvu", "v.mp4", "", ("", ""), "B")])["without a text"]
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
    dataset: str,
    questions: Sequence[Question],
    expected: int | Mapping[str, int] | None,
    absent: Sequence[Path] = (),
) -> None:
    """See that a data set holds as many questions as were published.

    Args:
        dataset: Name of the data set.
        questions: All of them.
        expected: How many there must be: in all, or by part (`group` of Video-MME's questions, else `category`); None for any
            number.
        absent: Annotation files that are not there, for the message.

    Raises:
        ValueError: There are more or fewer, with a table of the parts.
    """
    if expected is None:
        return
    if isinstance(expected, Mapping):
        part = "group" if dataset == "video_mme" else "category"
        found: Counter[str] = Counter(getattr(question, part) for question in questions)
        wanted = dict(expected)
    else:
        found, wanted = Counter({"all": len(questions)}), {"all": expected}
    names = [*wanted, *sorted(set(found) - set(wanted))]
    if all(found[name] == wanted.get(name, 0) for name in names):
        return
    key = f"{'benchmarks' if dataset in BENCHMARKS else 'data'}.{dataset}.questions"
    table = "\n".join(f"  {name}: {found[name]} found, {wanted.get(name, 0)} expected" for name in names)
    guess = f"Not there: {', '.join(map(str, absent))}." if absent else "Is the file of another revision, or cut short?"
    raise ValueError(
        f"{dataset}: {sum(found.values())} questions, expected are {sum(wanted.values())}.\n{table}\n{guess} If these are the questions you mean, set {key} to the numbers found, or to null"
    )
