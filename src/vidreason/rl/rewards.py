"""Rewards: terms are columns of a table, and a combination makes one number of each row.

The paper's reward is the combination `tinyllava_r1` of the terms accuracy, format and think_length. Where the published code
and the paper disagree, the run's protocol decides (`vidreason.rl.protocols`).

Source: arXiv 2504.09641 section 3.3; tinyllava/train/train.py and tinyllava_trainer_reason.py of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vidreason.config.settings import Rewards
from vidreason.rl import terms
from vidreason.rl.own_functions import load_function
from vidreason.rl.protocols import UNFORMATTED, protocol_rules
from vidreason.rl.rollout_group import RolloutGroup

LARGEST = 1e16
"""Largest reward: advantages are computed in float32, which holds the sum of the squares of a group of such rewards."""


@dataclasses.dataclass(frozen=True)
class RewardTable:
    """The rewards of N completions: a column for each term.

    Attributes:
        columns: Name of a term -> float64 [N], before weighting.
        total: float64 [N], the combined reward.
    """

    columns: Mapping[str, np.ndarray]
    total: np.ndarray

    def split(self, size: int) -> list["RewardTable"]:
        """Tables of `size` completions each, in their order."""
        parts = [slice(start, start + size) for start in range(0, len(self.total), size)]
        return [
            RewardTable({name: column[part] for name, column in self.columns.items()}, self.total[part])
            for part in parts
        ]

    @classmethod
    def joined(cls, tables: Sequence["RewardTable"]) -> "RewardTable":
        """One table of several with the same columns, at least one."""
        columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns}
        return cls(columns, np.concatenate([table.total for table in tables]))


@dataclasses.dataclass(frozen=True)
class Weighing:
    """What a combination needs besides the columns.

    Attributes:
        weights: Name of a term -> its weight.
        penalize_wrong: Whether a wrong, well-formed answer loses its format reward.
        correct_unformatted: Reward of a right answer in a broken format.
    """

    weights: Mapping[str, float]
    penalize_wrong: bool = True
    correct_unformatted: float = 1.0


def weighted_sum(columns: Mapping[str, np.ndarray], correct: np.ndarray, weighing: Weighing) -> np.ndarray:
    """Sum of all columns, each times its weight; whether answers are right is a term's affair.

    Example:
        >>> columns = {"accuracy": np.array([1.0, 0.0]), "format": np.array([1.0, 1.0])}
        >>> weighted_sum(columns, np.array([True, False]), Weighing({"accuracy": 1.0, "format": 0.5})).tolist()
        [1.5, 0.5]
    """
    weighted = [weighing.weights[name] * column for name, column in columns.items()]
    return np.asarray(np.sum(weighted, axis=0), dtype=np.float64)


def tinyllava_r1(columns: Mapping[str, np.ndarray], correct: np.ndarray, weighing: Weighing) -> np.ndarray:
    """The paper's reward R from accuracy, format and think_length; any further term is added with its weight.

    FR = w_format format + w_think_length think_length;
    R = accuracy + (2 accuracy - 1) FR, or accuracy + FR without `penalize_wrong`.
    In a broken format R is `correct_unformatted` for a right answer and -2 for a wrong one. An answer that is right in part
    counts as `Grade.correct` says, so that a broken format pays no more than a good one. The formula has no weight of
    accuracy.

    Args:
        columns: Name of a term -> float64 [N].
        correct: bool [N], whether each answer counts as right.
        weighing: The weights, and what the protocol adds.

    Source: tinyllava/train/tinyllava_trainer_reason.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1, which maps a total of
        exactly 0 to -2 and so leaves a correct answer without the format at 1; arXiv 2504.09641 gives it -2.

    Example:
        >>> columns = {"accuracy": np.array([1.0, 0.0, 0.0]), "format": np.array([1.0, 1.0, 0.0])}
        >>> tinyllava_r1(columns, columns["accuracy"] > 0, Weighing({"accuracy": 1.0, "format": 0.5})).tolist()
        [1.5, -0.5, -2.0]
    """
    own = ("accuracy", "format", "think_length")
    accuracy, well_formed = columns["accuracy"], columns["format"]
    form = weighing.weights["format"] * well_formed
    if "think_length" in columns:
        form = form + weighing.weights["think_length"] * columns["think_length"]
    sign = 2 * accuracy - 1 if weighing.penalize_wrong else 1.0
    unformatted = np.where(correct, weighing.correct_unformatted, UNFORMATTED)
    total = np.where(well_formed > 0, accuracy + sign * form, unformatted)
    further = {name: column for name, column in columns.items() if name not in own}
    return total + weighted_sum(further, correct, weighing) if further else total


@dataclasses.dataclass(frozen=True)
class Combination:
    """A way to make one reward of several terms.

    Attributes:
        combine: (columns, correct, weighing) -> float64 [N].
        needs: Terms that have to be there.
        unweighted: Terms whose weight it does not use; it has to be 1.
    """

    combine: Callable[[Mapping[str, np.ndarray], np.ndarray, Weighing], np.ndarray]
    needs: tuple[str, ...] = ()
    unweighted: tuple[str, ...] = ()


COMBINATIONS: Mapping[str, Combination] = {
    "tinyllava_r1": Combination(tinyllava_r1, needs=("accuracy", "format"), unweighted=("accuracy",)),
    "sum": Combination(weighted_sum),
}


class RewardFunction:
    """The reward of an arm: its terms, how they are combined, and the run's protocol.

    Attributes:
        rule: How answers are read when completions are graded.
    """

    def __init__(self, rewards: Rewards, protocol: str) -> None:
        """Make the terms.

        Args:
            rewards: Combination, terms with their weights and parameters, and functions of the user's own files.
            protocol: `upstream` or `paper`.

        Raises:
            ValueError: A name is unknown, or a parameter or a weight is not allowed.
        """
        rules = protocol_rules(protocol)
        if rewards.combine not in COMBINATIONS:
            raise ValueError(f"combine is {rewards.combine!r}; allowed: {', '.join(COMBINATIONS)}")
        combination = COMBINATIONS[rewards.combine]
        if missing := [name for name in combination.needs if name not in rewards.terms]:
            raise ValueError(f"combine: {rewards.combine} needs the terms {', '.join(missing)} too")
        if not rewards.terms and not rewards.functions:
            raise ValueError("rewards.terms names no term; expected at least one")
        self.rule = rewards.reading or rules.rule
        self._combine = combination.combine
        self._terms = {name: terms.make(name, parameters) for name, parameters in rewards.terms.items()}
        self._terms |= {name: load_function(name, entry) for name, entry in rewards.functions.items()}
        weights = {name: terms.weight_of(name, parameters) for name, parameters in rewards.terms.items()}
        weights |= {name: entry.weight for name, entry in rewards.functions.items()}
        for name in combination.unweighted:
            if weights.get(name, 1.0) != 1.0:
                raise ValueError(
                    f"rewards.terms.{name}.weight is {weights[name]:g}; allowed with combine {rewards.combine}: 1"
                )
        self._weighing = Weighing(weights, rewards.penalize_wrong, rules.correct_unformatted)

    def __call__(self, groups: Sequence[RolloutGroup]) -> RewardTable:
        """Reward all completions of some groups, group after group.

        Raises:
            ValueError: A term gives another number of values than there are completions, or a value that is not finite; a
                user's function raises an exception; or a reward is larger than `LARGEST`.
        """
        columns = {name: np.concatenate([self._column(name, group) for group in groups]) for name in self._terms}
        correct = np.array([grade.correct for group in groups for grade in group.grades], dtype=bool)
        with np.errstate(over="ignore", invalid="ignore"):
            total = self._combine(columns, correct, self._weighing)
        large = ~(np.abs(total) <= LARGEST)  # not-a-number, as of inf - inf, is larger too
        if large.any():
            row = int(np.argmax(large))
            question = [group.question for group in groups for _ in group.completions][row]
            values = ", ".join(f"{name} {column[row]:g}" for name, column in columns.items())
            raise ValueError(
                f"the reward of a completion of question {question.id!r} is {total[row]:g} ({values}, before weighting); allowed: "
                f"-{LARGEST:g} to {LARGEST:g}"
            )
        return RewardTable(columns, total)

    def _column(self, name: str, group: RolloutGroup) -> np.ndarray:
        values = np.asarray(self._terms[name](group), dtype=np.float64)
        if values.shape != (len(group.completions),):
            raise ValueError(
                f"reward term {name!r}: values of shape {values.shape} for {len(group.completions)} completions of question "
                f"{group.question.id!r}; expected one a completion"
            )
        for value, completion in zip(values, group.completions, strict=True):
            if not np.isfinite(value):
                raise ValueError(
                    f"reward term {name!r} is {value} for a completion of question {group.question.id!r}; expected a finite "
                    f"number. The completion: {completion.text[:500]!r}"
                )
        return values
