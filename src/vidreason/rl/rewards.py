"""The rule-based rewards of the paper: format with length, accuracy, and how they combine.

FR = 0.5 + 0.5 * min(1, Len / ML) if the completion is one think block and one answer block, else 0.
R = 1 + FR if correct, -FR if wrong, -2 if FR = 0.

Where the published code and the paper disagree, `RewardRules` has one named switch each; `rules_for` gives the two
protocols.

Source: arXiv 2504.09641 section 3.3; tinyllava/train/train.py and tinyllava_trainer_reason.py of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from vidreason.config.settings import Rewards
from vidreason.records import LETTERS, Question
from vidreason.rl import terms
from vidreason.rl.groups import RolloutGroup
from vidreason.tasks.equivalence import matches_anywhere
from vidreason.tasks.markup import as_answer, think_text
from vidreason.tasks.multiple_choice import matches_tagged

Protocol = Literal["upstream", "paper"]
PROTOCOLS = ("upstream", "paper")

UNFORMATTED = -2.0
"""Reward of a completion that breaks the format (and, in the upstream protocol, is wrong too)."""


@dataclasses.dataclass(frozen=True)
class RewardRules:
    """Switches of the rewards.

    Attributes:
        max_think: ML, characters of the stripped think text at which the length reward is full.
        format_base: Reward for the format alone.
        length_weight: Largest addition for length; 0 rewards the format alone.
        penalise_wrong: Whether a wrong, well-formed answer gets -FR. If not, R = accuracy + FR (the ablation without
            the wrong-answer penalty); -2 for a wrong answer without the format stays.
        accuracy: `anywhere` (upstream): math_verify over the whole text, then the first answer block on one line, or
            the whole text where there is none; its first character is enough. `tagged` (paper): the letter of the
            last answer block, over several lines if need be.
        correct_unformatted: Reward of a correct answer without the format: 1 in upstream's code, -2 in the paper.
    """

    max_think: int = 1200
    format_base: float = 0.5
    length_weight: float = 0.5
    penalise_wrong: bool = True
    accuracy: Literal["anywhere", "tagged"] = "anywhere"
    correct_unformatted: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if self.max_think < 1:
            raise ValueError(f"max_think is {self.max_think}; it must be at least 1 character")
        if self.accuracy not in ("anywhere", "tagged"):
            raise ValueError(f"accuracy is {self.accuracy!r}; allowed: anywhere, tagged")


@dataclasses.dataclass(frozen=True)
class Reward:
    """What one completion earned.

    Attributes:
        accuracy: 0 or 1.
        format: FR.
        total: R.
        think_characters: Characters of the stripped think text, 0 where the format is broken.
    """

    accuracy: float
    format: float
    total: float
    think_characters: int


@dataclasses.dataclass(frozen=True)
class ProtocolRules:
    """Where the published code and the paper reward differently.

    Attributes:
        rule: How a task reads the answer in a completion (see `RewardRules.accuracy`).
        correct_unformatted: Reward of a right answer in a broken format.
    """

    rule: Literal["anywhere", "tagged"]
    correct_unformatted: float


PROTOCOL_RULES: Mapping[str, ProtocolRules] = {
    "upstream": ProtocolRules("anywhere", 1.0),
    "paper": ProtocolRules("tagged", UNFORMATTED),
}


@dataclasses.dataclass(frozen=True)
class RewardTable:
    """The rewards of N completions: a column for each term.

    Attributes:
        columns: Name of a term -> float64 [N], before weighting.
        total: float64 [N], the combined reward.
    """

    columns: Mapping[str, np.ndarray]
    total: np.ndarray


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


def weighted_sum(columns: Mapping[str, np.ndarray], weighing: Weighing) -> np.ndarray:
    """Sum of all columns, each times its weight.

    Example:
        >>> columns = {"accuracy": np.array([1.0, 0.0]), "format": np.array([1.0, 1.0])}
        >>> weighted_sum(columns, Weighing({"accuracy": 1.0, "format": 0.5})).tolist()
        [1.5, 0.5]
    """
    weighted = [weighing.weights[name] * column for name, column in columns.items()]
    return np.asarray(np.sum(weighted, axis=0), dtype=np.float64)


def tinyllava_r1(columns: Mapping[str, np.ndarray], weighing: Weighing) -> np.ndarray:
    """The paper's reward R from accuracy, format and think_length; any further term is added with its weight.

    FR = w_format format + w_think_length think_length;
    R = accuracy + (2 accuracy - 1) FR, or accuracy + FR without `penalize_wrong`.
    In a broken format R is `correct_unformatted` for a right answer and -2 for a wrong one.

    Source: tinyllava/train/tinyllava_trainer_reason.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1, which maps a total of
        exactly 0 to -2 and so leaves a correct answer without the format at 1; arXiv 2504.09641 gives it -2.

    Example:
        >>> columns = {"accuracy": np.array([1.0, 0.0, 0.0]), "format": np.array([1.0, 1.0, 0.0])}
        >>> tinyllava_r1(columns, Weighing({"accuracy": 1.0, "format": 0.5})).tolist()
        [1.5, -0.5, -2.0]
    """
    own = ("accuracy", "format", "think_length")
    accuracy, well_formed = columns["accuracy"], columns["format"]
    form = weighing.weights["format"] * well_formed
    if "think_length" in columns:
        form = form + weighing.weights["think_length"] * columns["think_length"]
    sign = 2 * accuracy - 1 if weighing.penalize_wrong else 1.0
    unformatted = np.where(accuracy > 0, weighing.correct_unformatted, UNFORMATTED)
    total = np.where(well_formed > 0, accuracy + sign * form, unformatted)
    further = {name: column for name, column in columns.items() if name not in own}
    return total + weighted_sum(further, weighing) if further else total


@dataclasses.dataclass(frozen=True)
class Combination:
    """A way to make one reward of several terms.

    Attributes:
        combine: (columns, weighing) -> float64 [N].
        needs: Terms that have to be there.
    """

    combine: Callable[[Mapping[str, np.ndarray], Weighing], np.ndarray]
    needs: tuple[str, ...] = ()


COMBINATIONS: Mapping[str, Combination] = {
    "tinyllava_r1": Combination(tinyllava_r1, needs=("accuracy", "format")),
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
            rewards: Combination, and terms with their weights and parameters.
            protocol: `upstream` or `paper`.

        Raises:
            ValueError: A name is unknown or a parameter is not allowed.
        """
        if protocol not in PROTOCOL_RULES:
            raise ValueError(f"protocol is {protocol!r}; allowed: {', '.join(PROTOCOL_RULES)}")
        if rewards.combine not in COMBINATIONS:
            raise ValueError(f"combine is {rewards.combine!r}; allowed: {', '.join(COMBINATIONS)}")
        combination, rules = COMBINATIONS[rewards.combine], PROTOCOL_RULES[protocol]
        if missing := [name for name in combination.needs if name not in rewards.terms]:
            raise ValueError(f"combine: {rewards.combine} needs the terms {', '.join(missing)} too")
        if not rewards.terms:
            raise ValueError("rewards.terms names no term; expected at least one")
        self.rule = rules.rule
        self._combine = combination.combine
        self._terms = {name: terms.make(name, parameters) for name, parameters in rewards.terms.items()}
        weights = {name: terms.weight_of(name, parameters) for name, parameters in rewards.terms.items()}
        self._weighing = Weighing(weights, rewards.penalize_wrong, rules.correct_unformatted)

    def __call__(self, groups: Sequence[RolloutGroup]) -> RewardTable:
        """Reward all completions of some groups, group after group.

        Raises:
            ValueError: A term gives another number of values than there are completions.
        """
        columns = {name: np.concatenate([self._column(name, group) for group in groups]) for name in self._terms}
        return RewardTable(columns, self._combine(columns, self._weighing))

    def _column(self, name: str, group: RolloutGroup) -> np.ndarray:
        values = np.asarray(self._terms[name](group), dtype=np.float64)
        if values.shape != (len(group.completions),):
            raise ValueError(
                f"reward term {name!r}: values of shape {values.shape} for {len(group.completions)} completions of question "
                f"{group.question.id!r}; expected one a completion"
            )
        return values


def rules_for(protocol: Protocol, **changes: Any) -> RewardRules:
    """The switches of a protocol, with changes by name.

    Example:
        >>> rules_for("paper").correct_unformatted, rules_for("upstream").correct_unformatted
        (-2.0, 1.0)
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}; allowed: {', '.join(PROTOCOLS)}")
    rules = RewardRules()
    if protocol == "paper":
        rules = RewardRules(accuracy="tagged", correct_unformatted=UNFORMATTED)
    return dataclasses.replace(rules, **changes)


def format_reward(completion: str, rules: RewardRules) -> float:
    """FR of a stripped completion.

    Example:
        >>> from vidreason.tasks.markup import completion_of
        >>> format_reward(completion_of("x" * 600, "B"), rules_for("upstream"))
        0.75
    """
    think = think_text(completion)
    if think is None:
        return 0.0
    return rules.format_base + rules.length_weight * min(len(think) / rules.max_think, 1)


def accuracy_reward(completion: str, solution: str, rules: RewardRules, choices: Sequence[str] = LETTERS) -> float:
    """1 if the completion's answer is right, else 0.

    Args:
        completion: Stripped completion.
        solution: The gold answer, with or without answer tags.
        rules: Decides how the answer is found.
        choices: Letters of the question's options, by which the strict reading tells a list of options from words.
    """
    if rules.accuracy == "tagged":
        return float(matches_tagged(completion, solution, choices))
    return float(matches_anywhere(completion, solution))


def combined_reward(accuracy: float, form: float, rules: RewardRules) -> float:
    """R from accuracy and FR.

    Differs from the source: upstream's code computes accuracy + (2 accuracy - 1) FR and maps a total of exactly 0 to
        -2, which leaves a correct answer without the format at 1; `correct_unformatted` names that value.

    Example:
        >>> combined_reward(0, 0.75, rules_for("upstream")), combined_reward(1, 0, rules_for("paper"))
        (-0.75, -2.0)
    """
    if form == 0:
        return rules.correct_unformatted if accuracy else UNFORMATTED
    if accuracy:
        return 1 + form
    return -form if rules.penalise_wrong else form


def question_reward(completion: str, question: Question, rules: RewardRules) -> Reward:
    """All rewards of one completion as an answer to a question, read as `vidreason.evaluation.score` reads it."""
    return reward(completion, as_answer(question.gold), rules, question.letters)


def reward(completion: str, solution: str, rules: RewardRules, choices: Sequence[str] = LETTERS) -> Reward:
    """All rewards of one completion.

    Args:
        completion: Decoded text without special tokens; stripped here, as upstream strips it.
        solution: The gold answer, with or without answer tags.
        rules: Switches.
        choices: See `accuracy_reward`.
    """
    completion = completion.strip()
    accuracy = accuracy_reward(completion, solution, rules, choices)
    form = format_reward(completion, rules)
    return Reward(accuracy, form, combined_reward(accuracy, form, rules), len(think_text(completion) or ""))
