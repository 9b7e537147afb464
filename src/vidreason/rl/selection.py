"""Which training questions a GRPO training learns from: by how often the model about to be trained answers them right.

With N repeated answers of which k are right, p = k/N and the variance of the correctness is p(1-p). A group that is
always right or always wrong has no variance: every advantage in it is 0, so GRPO learns nothing from it and pays for
its rollouts. Nor does a question with one option tell whether the model knows something: it can only be missed by an answer
that names no letter, so every strategy drops it, whatever its variance.

Source: Temporal-RLT (arXiv 2506.01908), variance-aware selection by repeated inference with the model about to be
    trained, discrete reward.
Differs from the source: the paper names neither N nor thresholds, so they are settings; only multiple choice, no
    temporal IoU.
"""

import random
from collections.abc import Collection, Mapping

from vidreason.config.settings import ArmSelection

ALWAYS_WRONG = "always_wrong"
ALWAYS_RIGHT = "always_right"
TOO_HARD = "too_hard"
TOO_EASY = "too_easy"
OVER_THE_LIMIT = "over_the_limit"
ONE_OPTION = "one_option"
NOT_DRAWN = "not_drawn"


def variance(correct: int, group_size: int) -> float:
    """Variance p(1-p) of the correctness of one question's answers, p = correct / group_size.

    Example:
        >>> variance(4, 8), variance(8, 8)
        (0.25, 0.0)
    """
    p = correct / group_size
    return p * (1 - p)


def dropped_questions(
    correct: Mapping[str, int], single: Collection[str], size: int, rule: ArmSelection, seed: int
) -> dict[str, str]:
    """Which of the answered questions are dropped, and why.

    `informative` keeps the questions whose number of right answers lies in the rule's bounds, the greatest variances first where
    there is a limit. `random` keeps as many, drawn from all answered questions with two options or more. `all` keeps all of these,
    whatever bounds and limit say.

    Args:
        correct: Right answers of every answered question, by its id, in the order of the questions.
        single: Ids of the questions with one option.
        size: N, answers of each question.
        rule: Strategy, bounds and limit.
        seed: Breaks ties of the variance, and draws at random.

    Returns:
        Id of every dropped question -> the reason.

    Raises:
        ValueError: The bounds contradict each other or the number of answers.

    Example:
        >>> rule = ArmSelection(strategy="informative", keep_min=1, keep_max=7, limit=None)
        >>> dropped_questions({"a": 0, "b": 4, "c": 8, "d": 3}, ["d"], 8, rule, seed=0)
        {'a': 'always_wrong', 'c': 'always_right', 'd': 'one_option'}
    """
    low, high, limit = rule.keep_min, rule.keep_max, rule.limit
    if not 0 <= low <= high <= size:
        raise ValueError(
            f"selection: keep_min {low} and keep_max {high} must satisfy 0 <= keep_min <= keep_max <= {size} "
            f"(the number of rollouts per question)"
        )
    lone = {name: ONE_OPTION for name in correct if name in single}
    if rule.strategy == "all":
        return lone
    reasons: dict[str, str] = {}
    for name, right in correct.items():
        if name in single:
            reasons[name] = ONE_OPTION
        elif right < low:
            reasons[name] = ALWAYS_WRONG if right == 0 else TOO_HARD
        elif right > high:
            reasons[name] = ALWAYS_RIGHT if right == size else TOO_EASY
    kept = [name for name in correct if name not in reasons]
    if limit is not None and len(kept) > limit:
        draw = random.Random(seed)
        tie = {name: draw.random() for name in sorted(kept)}
        kept.sort(key=lambda name: (-variance(correct[name], size), tie[name]))
        reasons |= dict.fromkeys(kept[limit:], OVER_THE_LIMIT)
    if rule.strategy == "random":
        pool = sorted(name for name in correct if name not in lone)
        drawn = set(random.Random(seed).sample(pool, len(correct) - len(reasons)))
        return {name: ONE_OPTION if name in lone else NOT_DRAWN for name in correct if name not in drawn}
    return reasons
