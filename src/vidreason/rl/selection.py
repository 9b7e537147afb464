"""Which training questions a GRPO training learns from: by how much the answers of the model about to be trained differ.

A group whose answers are all worth the same has no variance: every advantage in it is 0, so GRPO learns nothing from it and pays
for its rollouts. With N repeated answers to a question, of which k are right:

- Discrete answers are right or wrong. p = k/N, their variance is p(1-p), their spread its square root.
- Continuous answers are worth a value from 0 to 1. Their spread is the standard deviation of the values, or half their range.

Both spreads lie between 0 and 0.5, and the standard deviation of values that are only 0 or 1 is that of the discrete answers, so
questions of several answer types can be ranked together.

A grounded choice has a letter and an interval. Its reward is the sum of both (the dual reward), so its answers are worth the mean
of correctness and temporal IoU: a group in which either of them varies teaches something.

Source: Temporal-RLT (arXiv 2506.01908), variance-aware selection by repeated inference with the model about to be trained.
Differs from the source: the paper names neither N nor thresholds nor the statistic of the continuous reward, and no code of it is
    published, so they are settings.
"""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidreason.config.selection import SelectionRule
from vidreason.records import Grade

ALWAYS_WRONG = "always_wrong"
ALWAYS_RIGHT = "always_right"
TOO_HARD = "too_hard"
TOO_EASY = "too_easy"
NO_SPREAD = "no_spread"
LITTLE_SPREAD = "little_spread"
OVER_THE_LIMIT = "over_the_limit"
OVER_THE_BUDGET = "over_the_budget"
SAME_VIDEO = "same_video"
ONE_OPTION = "one_option"
NOT_DRAWN = "not_drawn"

MOST_SPREAD = 0.5
"""Greatest spread of values from 0 to 1: half of them 0, half of them 1."""


@dataclass(frozen=True)
class Candidate:
    """A question that was answered N times.

    Attributes:
        id: Its id.
        task: Its answer type.
        video: Its video or image.
        discrete: Whether its answers are right or wrong and nothing between.
        values: What each answer is worth, from 0 to 1 (`worth`); for discrete answers 0 or 1.
        correct: How many are right.
        single: Whether it has one option. Such a question can only be missed by an answer that names no letter, which does not
            tell whether the model knows something, so every strategy drops it.
    """

    id: str
    task: str
    video: str
    discrete: bool
    values: tuple[float, ...]
    correct: int
    single: bool = False

    @property
    def mean(self) -> float:
        """Mean worth of its answers; p for discrete ones."""
        return statistics.fmean(self.values)

    def spread(self, statistic: str) -> float:
        """How much its answers differ, from 0 to 0.5.

        Args:
            statistic: `std` or `range`, for continuous answers.

        Example:
            >>> Candidate("a", "grounding", "a.mp4", False, (0.0, 0.5), 1).spread("range")
            0.25
        """
        if self.discrete:
            return math.sqrt(variance(self.correct, len(self.values)))
        if statistic == "range":
            return (max(self.values) - min(self.values)) / 2
        return statistics.pstdev(self.values)


def variance(correct: int, group_size: int) -> float:
    """Variance p(1-p) of the correctness of one question's answers, p = correct / group_size.

    Example:
        >>> variance(4, 8), variance(8, 8)
        (0.25, 0.0)
    """
    p = correct / group_size
    return p * (1 - p)


def worth(grade: Grade, discrete: bool) -> float:
    """What an answer is worth for the selection, from 0 to 1.

    Args:
        grade: Its grade.
        discrete: Whether its answer type knows right and wrong only.

    Example:
        >>> worth(Grade(1.0, True, parts={"tiou": 0.5}), discrete=False)
        0.75
    """
    if discrete:
        return float(grade.correct)
    # The value of grounding is the temporal IoU itself; that of a grounded choice is its letter's.
    return (grade.value + grade.parts.get("tiou", grade.value)) / 2


def dropped_questions(candidates: Sequence[Candidate], rule: SelectionRule, seed: int) -> dict[str, str]:
    """Which of the answered questions are dropped, and why.

    The steps, in this order:

    1. Questions with one option are dropped.
    2. The strategy drops questions by their answers. `informative`: discrete ones whose number of right answers lies outside
       `keep_min` to `keep_max`, and continuous ones whose spread is below `min_spread`. `band`: those whose mean worth lies outside
       `band`, and those without spread. `top`: those without spread.
    3. The others are ranked by their spread, the greatest first; ties are drawn with the seed.
    4. The ranking is read from the top. A question is dropped once `limit` questions are kept, once `per_task` of its answer type
       are, or once `per_video` of its video are; the first of these that applies is the reason.

    `random` keeps as many questions of each answer type as `informative` keeps with the same numbers, drawn with the seed from all
    that step 1 leaves, and no more than `per_video` of a video.

    Args:
        candidates: The answered questions, in the order of the questions, all with the same number of answers.
        rule: How questions are selected. With the strategy `all` there is nothing to select by.
        seed: Breaks ties, and draws at random.

    Returns:
        Id of every dropped question -> the reason, in the order of the candidates.

    Raises:
        ValueError: The bounds contradict each other or the number of answers.

    Example:
        >>> rule = SelectionRule(
        ...     strategy="informative", keep_min=1, keep_max=7, statistic="std", min_spread=0.01, band=(0.2, 0.8), limit=None,
        ...     per_task={}, per_video=None,
        ... )
        >>> answers = {"a": 0, "b": 4, "c": 8}
        >>> dropped_questions(
        ...     [Candidate(name, "numerical", "v.mp4", True, (1.0,) * k + (0.0,) * (8 - k), k) for name, k in answers.items()], rule, 0
        ... )
        {'a': 'always_wrong', 'c': 'always_right'}
    """
    if candidates:
        check_bounds(rule, len(candidates[0].values))
    reasons = {one.id: ONE_OPTION for one in candidates if one.single}
    pool = [one for one in candidates if one.id not in reasons]
    strategy = "informative" if rule.strategy == "random" else rule.strategy
    unfit = {one.id: reason for one in pool if (reason := _drop_reason(one, strategy, rule))}
    ranked = _ranked([one for one in pool if one.id not in unfit], rule.statistic, seed)
    kept, over = _within_budgets(ranked, rule.limit, rule.per_task, rule.per_video)
    if rule.strategy == "random":
        drawn = _random_draw(pool, Counter(one.task for one in kept), rule.per_video, seed)
        reasons |= {one.id: NOT_DRAWN for one in pool if one.id not in drawn}
    else:
        reasons |= unfit | over
    return {one.id: reasons[one.id] for one in candidates if one.id in reasons}


def check_bounds(rule: SelectionRule, size: int) -> None:
    """Refuse bounds that contradict each other or the number of answers.

    Raises:
        ValueError: They do.
    """
    if not 0 <= rule.keep_min <= rule.keep_max <= size:
        raise ValueError(
            f"selection: keep_min {rule.keep_min} and keep_max {rule.keep_max} must satisfy 0 <= keep_min <= keep_max <= {size} "
            f"(the number of rollouts per question)"
        )


def _drop_reason(one: Candidate, strategy: str, rule: SelectionRule) -> str | None:
    """Why a strategy drops a question by its answers; None if it does not."""
    spread = one.spread(rule.statistic)
    if strategy == "informative":
        return _outside(one, rule) if one.discrete else _too_little(spread, rule.min_spread)
    if spread == 0:
        return _without_spread(one)
    low, high = rule.band
    if strategy == "band" and not low <= one.mean <= high:
        return TOO_HARD if one.mean < low else TOO_EASY
    return None


def _outside(one: Candidate, rule: SelectionRule) -> str | None:
    """Why the number of right answers is not within the bounds; None if it is."""
    if one.correct < rule.keep_min:
        return TOO_HARD if one.correct else ALWAYS_WRONG
    if one.correct > rule.keep_max:
        return TOO_EASY if one.correct < len(one.values) else ALWAYS_RIGHT
    return None


def _too_little(spread: float, least: float) -> str | None:
    if spread >= least:
        return None
    return LITTLE_SPREAD if spread else NO_SPREAD


def _without_spread(one: Candidate) -> str:
    if not one.discrete:
        return NO_SPREAD
    return ALWAYS_RIGHT if one.correct else ALWAYS_WRONG


def _ranked(candidates: Sequence[Candidate], statistic: str, seed: int) -> list[Candidate]:
    """The greatest spread first; ties in an order that is drawn."""
    draw = random.Random(seed)
    tie = {name: draw.random() for name in sorted(one.id for one in candidates)}
    return sorted(candidates, key=lambda one: (-one.spread(statistic), tie[one.id]))


def _within_budgets(
    ranked: Iterable[Candidate], limit: int | None, per_task: Mapping[str, int | None], per_video: int | None
) -> tuple[list[Candidate], dict[str, str]]:
    """The questions that are kept when a ranking is read from its top, and why each other one is not."""
    kept: list[Candidate] = []
    over: dict[str, str] = {}
    tasks: Counter[str] = Counter()
    videos: Counter[str] = Counter()
    for one in ranked:
        budget = per_task.get(one.task)
        if limit is not None and len(kept) >= limit:
            over[one.id] = OVER_THE_LIMIT
        elif budget is not None and tasks[one.task] >= budget:
            over[one.id] = OVER_THE_BUDGET
        elif per_video is not None and videos[one.video] >= per_video:
            over[one.id] = SAME_VIDEO
        else:
            kept.append(one)
            tasks[one.task] += 1
            videos[one.video] += 1
    return kept, over


def _random_draw(pool: Sequence[Candidate], sizes: Mapping[str, int], per_video: int | None, seed: int) -> set[str]:
    """Ids of as many questions of each answer type as `sizes` says, drawn at random; `pool` must hold such a selection."""
    by_id = sorted(pool, key=lambda one: one.id)
    order = random.Random(seed).sample(by_id, len(by_id))
    budgets = {one.task: sizes.get(one.task, 0) for one in pool}
    there = Counter(one.task for one in pool)
    # Answer types with the least choice first: others could use up their videos.
    order.sort(key=lambda one: there[one.task] - budgets[one.task])
    kept, _over = _within_budgets(order, None, budgets, per_video)
    lacking = Counter(sizes) - Counter(one.task for one in kept)
    if per_video is not None and lacking:
        draw = _Draw(order, kept, per_video)
        for task in lacking.elements():
            draw.add(task)
        return draw.ids
    return {one.id for one in kept}


class _Draw:
    """A random draw that lacks questions of some answer types because others took the places of their videos.

    A question of the lacking type takes the place of one of another type, which takes a place about another video, and so on
    to a video with a free place: an augmenting path of a flow from answer types to videos. There is one as long as any selection
    of the wanted size exists (Ford and Fulkerson 1956).
    """

    def __init__(self, order: Sequence[Candidate], kept: Sequence[Candidate], per_video: int) -> None:
        """Take over a draw.

        Args:
            order: All questions, in the order in which they were drawn.
            kept: Those of the draw.
            per_video: Most questions about one video.
        """
        self.ids = {one.id for one in kept}
        self._used = Counter(one.video for one in kept)
        self._free = [video for video in dict.fromkeys(one.video for one in order) if self._used[video] < per_video]
        self._per_video = per_video
        self._kept: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._spare: dict[tuple[str, str], list[str]] = defaultdict(list)
        # Keys without values: a set has no order that could be repeated.
        self._videos: dict[str, dict[str, None]] = defaultdict(dict)
        for one in order:
            (self._kept if one.id in self.ids else self._spare)[one.task, one.video].append(one.id)
            self._videos[one.task][one.video] = None

    def add(self, task: str) -> None:
        """Draw one more question of an answer type.

        Raises:
            ValueError: No selection is so large.
        """
        gave_way: dict[str, tuple[str, str]] = {}  # answer type -> the type that takes a place from it, and the video
        reached = [task]
        for current in reached:
            place = next((video for video in self._free if self._spare[current, video]), None)
            if place is not None:
                self._exchange(task, current, place, gave_way)
                return
            for video in self._videos[current]:
                if len(reached) == len(self._videos):
                    break
                if self._spare[current, video]:
                    others = [other for other in self._videos if other not in reached and self._kept[other, video]]
                    gave_way |= dict.fromkeys(others, (current, video))
                    reached += others
        raise ValueError(
            f"selection: no draw with at most {self._per_video} of a video has one more question of {task}"
        )

    def _exchange(self, task: str, current: str, place: str, gave_way: Mapping[str, tuple[str, str]]) -> None:
        """Fill a free place with a question of `current`, its own with one of the type that it gave way to, up to `task`."""
        self._used[place] += 1
        self._free = [video for video in self._free if self._used[video] < self._per_video]
        self._keep(current, place)
        while current != task:
            taker, video = gave_way[current]
            given = self._kept[current, video].pop()
            self._spare[current, video].append(given)
            self.ids.remove(given)
            self._keep(taker, video)
            current = taker

    def _keep(self, task: str, video: str) -> None:
        chosen = self._spare[task, video].pop(0)
        self._kept[task, video].append(chosen)
        self.ids.add(chosen)
