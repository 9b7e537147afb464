"""The sampled answers of a run beside its greedy ones, and means over questions of either."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidreason.evaluation.sampled_statistics import guessed_pass, subset_sizes
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.score_samples import ScoredSamples, read_samples
from vidreason.evaluation.scored_answers import Scored
from vidreason.evaluation.statistics import Estimate, clustered_mean, paired_difference
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import Arm, Runs, arm_and_seed
from vidreason.tasks.metrics import ACCURACY


@dataclass(frozen=True)
class Sampled:
    """Several answers of one arm and seed to the questions of one benchmark.

    Attributes:
        benchmark: Name of the benchmark.
        count: Answers to each question, n.
        rows: Its greedy answers to the same questions.
        samples: The sampled ones, in the same order.
        by_category: Whether the benchmark's number is the mean over its categories.
    """

    benchmark: str
    count: int
    rows: Sequence[Scored]
    samples: Sequence[ScoredSamples]
    by_category: bool

    @property
    def clusters(self) -> list[Hashable]:
        """Video of every question."""
        return [row.question.clip.path for row in self.rows]

    @property
    def strata(self) -> list[Hashable] | None:
        """Category of every question, where the benchmark's number is the mean over them."""
        return [row.question.category for row in self.rows] if self.by_category else None

    @property
    def votes(self) -> bool:
        """Whether a majority of answers has a meaning: answers that are texts or intervals are rarely written alike."""
        return headline_metric(self.benchmark).name == ACCURACY.name

    @property
    def greedy(self) -> list[float]:
        """What the greedy answers add to the headline metric."""
        return [headline_metric(self.benchmark).value(row.grade) for row in self.rows]

    @property
    def greedy_right(self) -> list[float]:
        """1 where the greedy answer is right."""
        return [float(row.correct) for row in self.rows]

    @property
    def one_draw(self) -> list[float]:
        """What a single draw adds to the headline metric: mean@1."""
        return [one.mean for one in self.samples]

    def passed(self, k: int) -> list[float]:
        """Probabilities of a right answer among k."""
        return [one.pass_at(k) for one in self.samples]

    def majority(self, k: int) -> list[float]:
        """Expected values of the majority's answer among k."""
        return [one.majority_at(k) for one in self.samples]

    def guessed(self, k: int) -> float | None:
        """Mean of the probabilities of a right one among k guesses; None where a question cannot be guessed."""
        levels = [row.chance for row in self.rows]
        known = [guessed_pass(level, k) for level in levels if level is not None]
        return sum(known) / len(known) if len(known) == len(levels) else None

    def mean(self, values: Sequence[float]) -> Estimate:
        """Mean of values of the questions with its interval clustered by video, averaged as the benchmark's number is."""
        return clustered_mean(values, self.clusters, self.strata, headline_metric(self.benchmark).bounds)

    def difference(self, values: Sequence[float], others: Sequence[float]) -> Estimate:
        """Mean difference of two values of every question, paired."""
        return paired_difference(values, others, self.clusters, self.strata)


@dataclass(frozen=True)
class SampledRun:
    """Sampled answers of one arm and seed to all benchmarks.

    Attributes:
        arm: The arm.
        seed: Its seed.
        parts: One for every benchmark, in the order of the columns.
    """

    arm: Arm
    seed: int
    parts: Sequence[Sampled]

    @property
    def count(self) -> int:
        """Answers to each question, n."""
        return self.parts[0].count

    @property
    def sizes(self) -> tuple[int, ...]:
        """The k that are shown."""
        return subset_sizes(self.count)

    @property
    def votes(self) -> bool:
        """Whether a majority of answers has a meaning on every benchmark."""
        return all(part.votes for part in self.parts)


def load_sampled(inputs: ResultInputs) -> dict[tuple[str, int], SampledRun]:
    """(arm name, seed) -> sampled answers, in the order of the tables; empty where none were sampled.

    Raises:
        ValueError: Sampled answers of another run, of other questions than the greedy ones, of different numbers, or holes.
    """
    runs = inputs.runs
    found: dict[tuple[str, int, str], Path] = {}
    for path in map(Path, inputs.samples):
        key = (*arm_and_seed(path), path.stem)
        if key not in runs.by_key:
            raise ValueError(
                f"{path}: sampled answers of arm {key[0]!r}, seed {key[1]}, benchmark {key[2]!r}, of which there is no score; "
                f"score that arm, or remove the file"
            )
        found[key] = path
    loaded = {}
    for arm, seed in runs.pairs(controls=True):
        there = {name: found[arm.name, seed, name] for name in runs.benchmarks if (arm.name, seed, name) in found}
        if there:
            if len(there) != len(runs.benchmarks):
                absent = [name for name in runs.benchmarks if name not in there]
                raise ValueError(f"arm {arm.name}, seed {seed}: no sampled answers to {absent}; sample them too")
            loaded[arm.name, seed] = SampledRun(arm, seed, [_part(runs, arm, seed, *item) for item in there.items()])
    return _counted(loaded)


def _part(runs: Runs, arm: Arm, seed: int, benchmark: str, path: Path) -> Sampled:
    """Read the answers to one benchmark, and find the greedy ones to the same questions."""
    run, samples = runs.by_key[arm.name, seed, benchmark], read_samples(path)
    greedy = {row.question.id: row for row in run.rows}
    for one in samples:
        row = greedy.get(one.question_id)
        if row is None or row.question.sha256 != one.question_sha256:
            what = "is no question of" if row is None else "has changed since, as the questions show of"
            raise ValueError(f"{path}: question {one.question_id!r} {what} {run.scored_path}; sample and score again")
    if not samples:
        raise ValueError(f"{path}: no sampled answers; score them again")
    counts = sorted({len(one.correct) for one in samples} - {0})
    if len(counts) > 1:
        raise ValueError(
            f"{path}: questions have {counts} answers; allowed: the same number each; sample and score again"
        )
    rows = [greedy[one.question_id] for one in samples]
    return Sampled(benchmark, counts[0] if counts else 0, rows, samples, run.score.is_macro)


def _counted(loaded: dict[tuple[str, int], SampledRun]) -> dict[tuple[str, int], SampledRun]:
    """The same, with one number of answers in all parts; a benchmark of which no question was answered has none of its own."""
    counts = {part.count: f"{run.arm.name}, {part.benchmark}" for run in loaded.values() for part in run.parts}
    known = {count: name for count, name in counts.items() if count}
    if len(known) > 1:
        found = ", ".join(f"{count} ({name})" for count, name in sorted(known.items()))
        raise ValueError(
            f"answers to a question: {found}; allowed: the same number for all arms and benchmarks; sample again"
        )
    count = next(iter(known), 1)
    return {key: replace(run, parts=[replace(part, count=count) for part in run.parts]) for key, run in loaded.items()}
