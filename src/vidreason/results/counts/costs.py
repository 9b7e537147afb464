"""What training an arm cost: rollouts and seconds, of the training itself and of the selection of its questions."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidreason.artifacts.count_tables import count_of
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.config import paths
from vidreason.records import Question
from vidreason.results.counts.measured import read_metrics
from vidreason.results.number_format import Row
from vidreason.results.result_inputs import Files, ResultInputs
from vidreason.results.scored_runs import Arm, arm_and_seed


@dataclass(frozen=True)
class Cost:
    """Cost of one arm and seed; None where it is not known.

    Attributes:
        rollouts_training: Completions that GRPO sampled.
        rollouts_selection: Completions by which the training questions were selected; several arms may share them.
        seconds_training: Wall time of the training job; of its last attempt, where it was resumed.
        seconds_selection: Wall time of the jobs that sampled and selected, added up.
    """

    rollouts_training: int | None
    rollouts_selection: int | None
    seconds_training: float | None
    seconds_selection: float | None


def cost_of(inputs: ResultInputs, arm: Arm, seed: int) -> Cost:
    """What an arm's own training cost, without that of its parent."""
    own = {"arm": arm.name, "seed": seed}
    seconds = _seconds(inputs.costs, [_table(f"train_{arm.method}", own)]) if arm.method in ("sft", "grpo") else 0.0
    if arm.method != "grpo":
        return Cost(0, 0, seconds, 0.0)
    selecting = [_table("select_by_variance", own)]
    if arm.sampler:
        sampler, dataset = arm.sampler.split("/")
        selecting.append(_table("sample_rollouts", {"arm": sampler, "dataset": dataset, "seed": seed, "shard": "*"}))
    return Cost(
        _sampled(inputs, arm, seed), _selected_from(inputs, arm, seed), seconds, _seconds(inputs.costs, selecting)
    )


def mean_cost(inputs: ResultInputs, arm: Arm, seeds: Iterable[int]) -> Row:
    """Mean cost over the seeds, as cells; empty where it is not known for every seed."""
    costs = [cost_of(inputs, arm, seed) for seed in seeds]
    return {
        "rollouts_training": _mean([cost.rollouts_training for cost in costs]),
        "rollouts_selection": _mean([cost.rollouts_selection for cost in costs]),
        "seconds_training": _mean([cost.seconds_training for cost in costs], 1),
        "seconds_selection": _mean([cost.seconds_selection for cost in costs], 1),
    }


def _table(rule: str, wildcards: Mapping[str, object]) -> str:
    """Where Snakemake writes what a job costs, below the folder of all costs of a run."""
    return paths.cost(rule).removeprefix(f"{paths.COSTS}/").format(**wildcards)


def _mean(values: list[float | None] | list[int | None] | list[int | float | None], digits: int = 0) -> str:
    known = [value for value in values if value is not None]
    return f"{math.fsum(known) / len(known):.{digits}f}" if len(known) == len(values) else ""


def _of(files: Files, arm: Arm, seed: int) -> str | Path | None:
    """The file of an arm and seed, among files in folders `.../{arm}/seed{seed}/`."""
    return next((path for path in files if arm_and_seed(path) == (arm.name, seed)), None)


def _sampled(inputs: ResultInputs, arm: Arm, seed: int) -> int | None:
    """Rollouts of a training, as its curves count them."""
    path = _of(inputs.grpo, arm, seed)
    if path is None:
        return None
    counts = [row.values.get("rollouts") for row in read_metrics(path) if row.kind == "train"]
    known = [count for count in counts if count is not None]
    return round(math.fsum(known)) if len(known) == len(counts) else None


def _selected_from(inputs: ResultInputs, arm: Arm, seed: int) -> int | None:
    """Rollouts of a selection: those of the questions that it kept, and of those that it dropped after sampling."""
    if not arm.sampler:
        return 0
    selected, dropped = _of(inputs.selected, arm, seed), _of(inputs.dropped, arm, seed)
    if selected is None or dropped is None:
        return None
    lost = sum(count_of(row["rollouts"], f"{dropped}: rollouts") for row in read_csv(dropped, ("rollouts",)))
    return lost + arm.repeats * len(read_jsonl(selected, Question))


def _seconds(folder: str | Path | None, patterns: list[str]) -> float | None:
    """Wall time of jobs in Snakemake's tables of costs; None where one of the patterns has none."""
    seconds = 0.0
    for pattern in patterns:
        tables = sorted(Path(folder).glob(pattern)) if folder else []
        if not tables:
            return None
        for table in tables:
            seconds += sum(_number(row["s"], table) for row in read_csv(table, ("s",)))
    return seconds


def _number(text: str, path: Path) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{path}: s is {text[:80]!r}; needed are seconds") from error
    if not 0 <= number < math.inf:
        raise ValueError(f"{path}: s is {text[:80]!r}; needed are seconds, 0 or more")
    return number
