"""The scored runs that tables, figures and the report are made of, read once and put in order."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vidreason.data.registry import title_of
from vidreason.evaluation.score_record import Score, headline_metric, read_score
from vidreason.evaluation.scored_answers import Scored, read_scored
from vidreason.evaluation.statistics import Estimate
from vidreason.records import Question
from vidreason.tasks.metrics import ACCURACY
from vidreason.tasks.option_edits import PUBLISHED, same_but_for_options

CONTROL = "control"

Answers = list[tuple[tuple[str, str], Scored]]
"""Answers with their clusters, (benchmark, video): videos of different benchmarks are different videos."""


@dataclass(frozen=True)
class Arm:
    """What tables and figures say about an arm.

    Attributes:
        name: Key in the config.
        label: Name for tables and figures.
        style: How it answers: with an `option` alone, or with a `reason` before it.
        method: `given`, `sft`, `grpo` or `control`.
        parent: Arm whose weights it starts from (or uses, for a control); `""` without one.
        view: How it is shown the frames: a name of `vidreason.media.views.VIEWS`.
        sampler: `{arm}/{data set}` whose repeated answers its questions were selected by; `""` where none were sampled.
        repeats: Answers to each of these questions.
        options: How the options of its questions are changed: a name of `vidreason.tasks.option_edits.EDITS`.
    """

    name: str
    label: str
    style: str
    method: str
    parent: str = ""
    view: str = "ordered"
    sampler: str = ""
    repeats: int = 0
    options: str = PUBLISHED


@dataclass(frozen=True)
class Run:
    """One arm, one seed, one benchmark.

    Attributes:
        arm: The arm.
        score: Its score.
        scored_path: Its `scored.jsonl`.
    """

    arm: Arm
    score: Score
    scored_path: Path

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return self.score.benchmark

    @property
    def seed(self) -> int:
        """Seed of the arm."""
        return self.score.seed

    @cached_property
    def rows(self) -> list[Scored]:
        """The scored answers, read at the first use."""
        rows = read_scored(self.scored_path)
        if len(rows) != self.score.n:
            raise ValueError(
                f"{self.scored_path}: {len(rows)} scored answers, the score beside it counts {self.score.n}; score again"
            )
        if len({row.question.id for row in rows}) != len(rows):
            raise ValueError(f"{self.scored_path}: a question is scored twice; score again")
        return rows

    @property
    def estimate(self) -> Estimate:
        """The headline metric with its interval."""
        return self.score.estimate


@dataclass(frozen=True)
class Runs:
    """Every run of one configuration, in the order of the tables: arms as configured, seeds, benchmarks as configured.

    Attributes:
        arms: All arms that have runs.
        seeds: All seeds, ascending.
        benchmarks: The benchmarks.
        by_key: (arm name, seed, benchmark) -> run.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]
    by_key: Mapping[tuple[str, int, str], Run]

    def of(self, arm: str, seed: int) -> list[Run]:
        """The runs of one arm and seed, one per benchmark."""
        return [self.by_key[arm, seed, benchmark] for benchmark in self.benchmarks]

    def answers(self, arm: Arm, seed: int, benchmarks: Sequence[str] | None = None) -> Answers:
        """All answers of an arm, pooled over some benchmarks, or over all."""
        members = [self.by_key[arm.name, seed, name] for name in benchmarks or self.benchmarks]
        return [((run.benchmark, row.question.clip.path), row) for run in members for row in run.rows]

    def by_metric(self) -> Mapping[str, tuple[str, ...]]:
        """Headline metric -> the benchmarks that it stands for: their answers can be pooled."""
        groups: dict[str, tuple[str, ...]] = {}
        for benchmark in self.benchmarks:
            name = headline_metric(benchmark).name
            groups[name] = (*groups.get(name, ()), benchmark)
        return groups

    def pairs(self, controls: bool) -> list[tuple[Arm, int]]:
        """(arm, seed) in the order of the tables, with or without the control arms."""
        return [(arm, seed) for arm in self.arms if controls or arm.method != CONTROL for seed in self.seeds]

    def parent_of(self, arm: Arm) -> Arm | None:
        """The parent, if it has runs."""
        return next((other for other in self.arms if other.name == arm.parent), None)

    def ancestors_of(self, arm: Arm) -> list[Arm]:
        """Parent, its parent and so on, those that have runs."""
        parent = self.parent_of(arm)
        return [] if parent is None else [parent, *self.ancestors_of(parent)]

    @property
    def reference(self) -> Arm | None:
        """The arm that the others are compared with: the first that is trained by GRPO."""
        return next((arm for arm in self.arms if arm.method == "grpo"), None)


def read_arms(arms: Mapping[str, Mapping[str, str]]) -> dict[str, Arm]:
    """Take what the tables need from the config's `arms`.

    Args:
        arms: Arm name -> settings; `label`, `style` and `method` are required, the other attributes of `Arm` optional.

    Raises:
        ValueError: A required key is missing.
    """
    known = {}
    for name, settings in arms.items():
        absent = [key for key in ("label", "style", "method") if key not in settings]
        if absent:
            raise ValueError(f"arms.{name}: {absent} missing; the tables need label, style and method of every arm")
        known[name] = Arm(
            name,
            str(settings["label"]),
            str(settings["style"]),
            str(settings["method"]),
            str(settings.get("parent") or ""),
            str(settings.get("view") or "ordered"),
            str(settings.get("sampler") or ""),
            int(settings.get("repeats") or 0),
            str(settings.get("options") or PUBLISHED),
        )
    return known


def load_runs(
    scores: Sequence[str | Path],
    scored: Sequence[str | Path],
    arms: Mapping[str, Arm],
    benchmarks: Sequence[str],
) -> Runs:
    """Read the scores and put them in order.

    Args:
        scores: All `score.json` files.
        scored: The `*.scored.jsonl` of each score, in the same order.
        arms: Arm name -> arm, in the order of the rows.
        benchmarks: In the order of the columns.

    Returns:
        The runs; every arm that has a score has one for every seed and benchmark.

    Raises:
        ValueError: Lists of different length, an unknown arm or benchmark, or holes in the grid.
    """
    if len(scores) != len(scored):
        raise ValueError(
            f"{len(scores)} score files but {len(scored)} files of scored answers; one of each per run is needed"
        )
    by_key: dict[tuple[str, int, str], Run] = {}
    for path, answers in zip(scores, scored, strict=True):
        score = read_score(path)
        name, seed, benchmark = score.arm, score.seed, score.benchmark
        if name not in arms or benchmark not in benchmarks:
            raise ValueError(
                f"{path}: a score of arm {name!r} on benchmark {benchmark!r}; allowed are arms {list(arms)} "
                f"and benchmarks {list(benchmarks)}"
            )
        by_key[name, seed, benchmark] = Run(arms[name], score, Path(answers))
    present = tuple(arm for arm in arms.values() if any(key[0] == arm.name for key in by_key))
    seeds = tuple(sorted({key[1] for key in by_key}))
    holes = [
        f"{arm.name}/seed{seed}/{benchmark}"
        for arm in present
        for seed in seeds
        for benchmark in benchmarks
        if (arm.name, seed, benchmark) not in by_key
    ]
    if holes or not by_key:
        raise ValueError(f"scores are missing: {holes or 'all'}; a mean over fewer benchmarks would not be comparable")
    return Runs(present, seeds, tuple(benchmarks), by_key)


def read_in_words(row: Scored, published: Question) -> str | None:
    """What was read in an answer; with the words of the option where a control asked the question with other options.

    Args:
        row: The answer, with the question as it was asked.
        published: The question as other arms were asked, whose letters a page shows.
    """
    read, question = row.grade.parsed, row.question
    if read is None or question.options == published.options:
        return read
    letter = read.partition(",")[0]
    words = question.options[question.letters.index(letter)] if letter in tuple(question.letters) else ""
    return f"{read} ({words})" if words else read


def same_questions(one: Run, other: Run) -> bool:
    """Whether two runs answered the same questions, up to the options that a control changes.

    Whole questions are compared and not their ids: one whose gold answer was corrected in between is another one.
    """
    pairs = zip((row.question for row in one.rows), (row.question for row in other.rows), strict=False)
    if len(one.rows) != len(other.rows):
        return False
    if one.arm.options == other.arm.options:
        return all(first == second for first, second in pairs)
    return all(same_but_for_options(first, second) for first, second in pairs)


_ARM_AND_SEED = re.compile(r"seed(\d+)")


def arm_and_seed(path: str | Path) -> tuple[str, int]:
    """Arm and seed of a file that lies in a folder `.../{arm}/seed{seed}/`.

    Example:
        >>> arm_and_seed("results/demo/train_grpo/r1/seed3/metrics.jsonl")
        ('r1', 3)
    """
    folder = Path(path).parent
    match = _ARM_AND_SEED.fullmatch(folder.name)
    if not match or not folder.parent.name:
        raise ValueError(f"{path}: expected a path that ends in <arm>/seed<number>/{Path(path).name}")
    return folder.parent.name, int(match.group(1))


def title(benchmark: str) -> str:
    """Heading of a benchmark, or of the mean over the benchmarks."""
    return "Mean" if benchmark == "mean" else title_of(benchmark)


def title_with_metric(benchmark: str, benchmarks: Sequence[str]) -> str:
    """Heading of a benchmark; with its metric, as in `Charades-STA (mIoU)`, unless all of them measure accuracy."""
    metrics = {name: headline_metric(name) for name in benchmarks}
    if benchmark not in metrics or {metric.name for metric in metrics.values()} == {ACCURACY.name}:
        return title(benchmark)
    return f"{title(benchmark)} ({metrics[benchmark].title})"


def axis_label(benchmarks: Sequence[str]) -> str:
    """Label of an axis for the headline metrics of some benchmarks: `accuracy (%)`, `mIoU or accuracy (%)`."""
    return f"{' or '.join(dict.fromkeys(headline_metric(name).title for name in benchmarks))} (%)"


def values_of(rows: Sequence[Scored]) -> list[float]:
    """What every answer contributes to the headline metric of its benchmark: for accuracy 1 if it is right, else 0."""
    return [headline_metric(row.question.dataset).value(row.grade) for row in rows]


def headline_name(benchmarks: Sequence[str]) -> str:
    """Names of the headline metrics of some benchmarks, each once: `accuracy`, or `miou+accuracy` where they differ."""
    return "+".join(dict.fromkeys(headline_metric(benchmark).name for benchmark in benchmarks))
