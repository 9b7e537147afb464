"""Reading any data set of the project into `Question` records."""

from pathlib import Path

from vidreason.benchmarks import BENCHMARKS
from vidreason.datasets import coldstart, nextqa
from vidreason.files import write_jsonl
from vidreason.records import Question

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
    dataset: str, root: str | Path, out: str | Path, annotations: str | Path | None = None, protocol: str = "paper"
) -> int:
    """Read the questions of a data set and write them as JSON lines; return how many."""
    return write_jsonl(out, read_questions(dataset, root, annotations, protocol))
