"""The score of one arm on one benchmark: what `score.json` holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args

from vidreason.artifacts.files import read_json
from vidreason.artifacts.typed_records import record_of
from vidreason.config.settings import Scoring
from vidreason.config.types import Style
from vidreason.data.registry import dataset_of
from vidreason.evaluation.statistics import Estimate
from vidreason.tasks.base import task_of
from vidreason.tasks.metrics import Metric

MACRO = "_macro"
"""Ending of a metric that is the unweighted mean over categories instead of the mean over questions."""


@dataclass(frozen=True)
class ScoringRules:
    """The settings `evaluation.scoring` that a score was made with.

    Attributes:
        parser: A key of `vidreason.evaluation.scored_answers.RULES`.
        unparsed: `wrong` or `random`.
        max_missing_fraction: Share of questions without frames that was tolerated.
    """

    parser: str
    unparsed: str
    max_missing_fraction: float


@dataclass(frozen=True)
class Majority:
    """The most frequent gold letter, and the accuracy of always answering it."""

    letter: str
    accuracy: float


@dataclass(frozen=True)
class Reading:
    """What one rule of reading makes of the answers.

    Attributes:
        accuracy: Share of right answers among those that the rule reads; a letter drawn at random does not count.
        unparsed: Answers in which nothing is read.
    """

    accuracy: float
    unparsed: int


@dataclass(frozen=True)
class Part:
    """The questions of one category or group.

    Attributes:
        name: The benchmark's name of it.
        n: Questions.
        with_frames: Questions that the model could answer.
        unparsed: Of these, answers in which nothing was read.
        estimate: Mean over the questions of the benchmark's first metric.
        chance: Expected value of blind guesses; None where there is no sensible guess.
    """

    name: str
    n: int
    with_frames: int
    unparsed: int
    estimate: Estimate
    chance: float | None


@dataclass(frozen=True)
class Score:
    """Everything that a table needs of one arm's answers to one benchmark. Shares are fractions, rounded to 8 digits.

    Attributes:
        benchmark: Name of the benchmark.
        arm: Name of the arm.
        style: Answer style, `reason` or `option`.
        seed: Seed of the arm.
        rules: How it was scored.
        n: Questions of the benchmark, answered or not: the denominator.
        with_frames: Questions that the model could answer.
        missing: Status -> questions that it could not answer for that reason.
        answered: Answers in which something was read.
        unparsed: Answers in which nothing was read.
        unread: Kind of fault -> answers, or parts of one such as the interval, that could not be read for it. Only some answer
            types tell the kind (docs/answers.md).
        unfinished: Answers that were cut off at their limit.
        without_gold: Questions of which no option is right.
        metrics: Metric of the benchmark's first task -> its estimate, over questions and (with the ending `_macro`) over categories.
        headline: The metric that is reported, a key of `metrics`.
        chance: Expected value of blind guesses; None where there is no sensible guess.
        majority: The most frequent gold letter; None where not every answer is a letter.
        format_followed: Share of well-formed completions among questions with frames; None without any.
        within_well_formed: The benchmark's first metric among well-formed completions; None without any.
        think_true: Share of think texts that describe the clip as it was; None where the truth is not known.
        readings: Rule of reading -> what it makes of the answers.
        disagree: Questions that the rules read differently.
        categories: One entry a category; empty where the benchmark names none.
        groups: One entry a group; empty where the benchmark names none.
    """

    FORMAT: ClassVar[str] = "score/3"

    benchmark: str
    arm: str
    style: str
    seed: int
    rules: ScoringRules
    n: int
    with_frames: int
    missing: Mapping[str, int]
    answered: int
    unparsed: int
    unread: Mapping[str, int]
    unfinished: int
    without_gold: int
    metrics: Mapping[str, Estimate]
    headline: str
    chance: float | None
    majority: Majority | None
    format_followed: float | None
    within_well_formed: Estimate | None
    think_true: float | None
    readings: Mapping[str, Reading]
    disagree: int
    categories: tuple[Part, ...]
    groups: tuple[Part, ...]

    @property
    def estimate(self) -> Estimate:
        """The headline metric with its interval."""
        return self.metrics[self.headline]

    @property
    def is_macro(self) -> bool:
        """Whether the headline is the mean over categories."""
        return self.headline.endswith(MACRO)

    def of(self, metric: Metric) -> Estimate:
        """A metric of the benchmark's first task: the mean over categories where the headline is one, else over questions."""
        return self.metrics[f"{metric.name}{MACRO if self.is_macro else ''}"]

    @property
    def over_questions(self) -> Estimate:
        """The headline metric as the mean over questions, whichever mean is reported."""
        return self.metrics[self.headline.removesuffix(MACRO)]

    @property
    def coverage(self) -> float:
        """Share of questions that the model could answer, rounded like every share."""
        return rounded(self.with_frames / self.n)


def metrics_of(benchmark: str) -> tuple[Metric, ...]:
    """What a benchmark's questions are measured by: the metrics of its first task."""
    return task_of(dataset_of(benchmark).tasks[0]).metrics


def headline_metric(benchmark: str) -> Metric:
    """What the headline number of a benchmark measures: its first metric."""
    return metrics_of(benchmark)[0]


def bounds_of(score: Score) -> Mapping[str, tuple[float, float]]:
    """Least and greatest possible value of every metric that the benchmark's first task has today."""
    return {f"{metric.name}{ending}": metric.bounds for metric in metrics_of(score.benchmark) for ending in ("", MACRO)}


def rounded(value: float) -> float:
    """Eight digits: more than any table shows, fewer than what summation order could change."""
    return round(value, 8) + 0.0


def read_score(path: str | Path) -> Score:
    """Read a `score.json`.

    Raises:
        ChangedError: The file is not what its sidecar describes.
        ValueError: A key is missing or of another type, or holds what no scoring writes.
    """
    row = read_json(path)
    if not isinstance(row, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(row).__name__}; score again")
    score = record_of(Score, row, str(path))
    for problem in _problems(score):
        raise ValueError(f"{path}: {problem}. Score again")
    return score


def _problems(score: Score) -> Iterator[str]:
    """What no scoring writes, as key, value and what is needed."""
    words = {
        "style": (score.style, get_args(Style)),
        "rules.parser": (score.rules.parser, get_args(Scoring.model_fields["parser"].annotation)),
        "rules.unparsed": (score.rules.unparsed, get_args(Scoring.model_fields["unparsed"].annotation)),
        "headline": (score.headline, tuple(score.metrics)),
    }
    for name, (word, allowed) in words.items():
        if word not in allowed:
            yield f"{name} is {word!r}; allowed: {', '.join(allowed)}"
    plain = score.headline.removesuffix(MACRO)
    if plain not in score.metrics:
        yield f"metrics.{plain} is missing; the headline {score.headline} needs it; there are {', '.join(score.metrics)}"
    for metric in metrics_of(score.benchmark):
        for name in (metric.name, f"{metric.name}{MACRO}")[: 1 + score.is_macro]:
            if name not in score.metrics:  # the task may have got the metric since
                yield f"metrics.{name} is missing; {score.benchmark} is measured by it; there are {', '.join(score.metrics)}"
    if not score.n:
        yield "n is 0; needed is one question or more"
    if score.with_frames > score.n:
        yield f"{score.with_frames} of {score.n} questions have frames"
    for name in ("answered", "unparsed", "unfinished", "without_gold", "disagree"):
        if getattr(score, name) > score.n:
            yield f"{name} is {getattr(score, name)}; needed is at most n, {score.n}"
    for name, count in score.unread.items():
        if count > score.with_frames:
            yield f"unread.{name} is {count}; needed is at most with_frames, {score.with_frames}"
    shares: dict[str, float | None] = {
        "chance": score.chance,
        "rules.max_missing_fraction": score.rules.max_missing_fraction,
        "format_followed": score.format_followed,
        "think_true": score.think_true,
        "majority.accuracy": score.majority.accuracy if score.majority else None,
        **{f"readings.{name}.accuracy": reading.accuracy for name, reading in score.readings.items()},
    }
    estimates = {f"metrics.{name}": estimate for name, estimate in score.metrics.items()}
    if score.within_well_formed:
        estimates["within_well_formed"] = score.within_well_formed
    for kind, parts in (("categories", score.categories), ("groups", score.groups)):
        for place, part in enumerate(parts):
            shares[f"{kind}.{place}.chance"] = part.chance
            estimates[f"{kind}.{place}.estimate"] = part.estimate
            if part.with_frames > part.n or part.unparsed > part.with_frames:
                yield f"{kind}.{place} has {part.n} questions, {part.with_frames} with frames, {part.unparsed} unparsed"
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            yield f"{name} is {share}; needed is a share between 0 and 1"
    bounds = bounds_of(score)
    for name, estimate in estimates.items():
        least, most = bounds.get(name.removeprefix("metrics."), bounds.get(plain, (0.0, 1.0)))
        for end in ("mean", "low", "high"):
            if not least <= getattr(estimate, end) <= most:
                wanted = "a share between 0 and 1" if (least, most) == (0, 1) else f"{least:g} to {most:g}"
                yield f"{name}.{end} is {getattr(estimate, end)}; needed is {wanted}"
        if not estimate.low <= estimate.mean <= estimate.high:
            yield f"{name} is {estimate.mean} from {estimate.low} to {estimate.high}; needed is low <= mean <= high"
        if estimate.se < 0:
            yield f"{name}.se is {estimate.se}; needed is 0 or more"
        if not 1 <= estimate.clusters <= estimate.n:
            yield f"{name}.clusters is {estimate.clusters}; needed is 1 to n, {estimate.n}"
        if estimate.trials is not None and estimate.trials <= 0:
            yield f"{name}.trials is {estimate.trials}; needed is more than 0"
