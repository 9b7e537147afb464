"""The rule-based rewards of the paper: format with length, accuracy, and how they combine.

FR = 0.5 + 0.5 * min(1, Len / ML) if the completion has the form `<think>..</think> <answer>..</answer>`, else 0.
R = 1 + FR if correct, -FR if wrong, -2 if FR = 0.

Where the published code and the paper disagree, `RewardRules` has one named switch each; `rules_for` gives the two
protocols.

Source: arXiv 2504.09641 section 3.3; tinyllava/train/train.py and tinyllava_trainer_reason.py of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

import dataclasses
import functools
import re
import threading
from collections.abc import Sequence
from typing import Any, Literal

from vidreason.records import LETTERS, Question
from vidreason.tasks.markup import first_line_block, last_block
from vidreason.tasks.multiple_choice import strict

Protocol = Literal["upstream", "paper"]
PROTOCOLS = ("upstream", "paper")

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
FORM = re.compile(r"<think>(.*?)</think>\s*<answer>.*?</answer>", re.DOTALL)
UNFORMATTED = -2.0
"""Reward of a completion that breaks the format (and, in the upstream protocol, is wrong too)."""

VERIFY_SECONDS = 5
"""Upper limit math_verify gives itself per text; its clock needs the main thread."""


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


def think_text(completion: str) -> str | None:
    r"""The stripped think text of a well-formed completion, else None.

    Well-formed: each of the four tags exactly once, and nothing but white space outside and between the two blocks'
    places.

    Example:
        >>> think_text("<think> it falls </think>\n<answer>B</answer>")
        'it falls'
    """
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    found = FORM.fullmatch(completion)
    return None if found is None else found.group(1).strip()


def format_reward(completion: str, rules: RewardRules) -> float:
    """FR of a stripped completion.

    Example:
        >>> format_reward("<think>" + "x" * 600 + "</think><answer>B</answer>", rules_for("upstream"))
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
        solution: The gold answer, with or without `<answer>` tags.
        rules: Decides how the answer is found.
        choices: Letters of the question's options, by which the strict reading tells a list of options from words.
    """
    if rules.accuracy == "tagged":
        return float(_tagged_correct(completion, solution, choices))
    return float(_anywhere_correct(completion, solution))


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
    return reward(completion, f"<answer>{question.gold}</answer>", rules, question.letters)


def reward(completion: str, solution: str, rules: RewardRules, choices: Sequence[str] = LETTERS) -> Reward:
    """All rewards of one completion.

    Args:
        completion: Decoded text without special tokens; stripped here, as upstream strips it.
        solution: The gold answer, with or without `<answer>` tags.
        rules: Switches.
        choices: See `accuracy_reward`.
    """
    completion = completion.strip()
    accuracy = accuracy_reward(completion, solution, rules, choices)
    form = format_reward(completion, rules)
    return Reward(accuracy, form, combined_reward(accuracy, form, rules), len(think_text(completion) or ""))


def _tagged_correct(completion: str, solution: str, choices: Sequence[str]) -> bool:
    """Compare the letter, or failing a letter in the solution the text, of the last answer block."""
    block = last_block(solution)
    gold = (solution if block is None else block).strip()
    if len(gold) == 1 and gold in LETTERS:
        return strict(completion, choices) == gold
    given = (last_block(completion) or "").strip()
    return bool(given and gold) and (given == gold or _verified(given, gold))


def _anywhere_correct(completion: str, solution: str) -> bool:
    """Upstream's rule: symbolic first, then as strings, where the solution may equal just the first character."""
    if _verified(completion, solution):
        return True
    gold, given = _one_line(solution), _one_line(completion)
    return bool(given) and gold in (given, given[0])


def _one_line(text: str) -> str:
    """Content of the first answer block on one line, or the whole text, stripped."""
    block = first_line_block(text, breaks_around=False)
    return text.strip() if block is None else block


def _verified(completion: str, solution: str) -> bool:
    """Whether math_verify takes the two for equal, with the completion in the place of the gold answer.

    Most solutions are letters, in which it finds nothing to compare with: then the completion need not be parsed.
    """
    wanted = _expressions(solution)
    if not wanted:
        return False
    from math_verify import verify  # imported here: sympy takes a second that most users of this module never need

    return bool(verify(list(_expressions(completion)), list(wanted), timeout_seconds=_limit()))


@functools.lru_cache(maxsize=4096)
def _expressions(text: str) -> tuple[Any, ...]:
    """What math_verify reads in a text."""
    from math_verify import parse as parse_expressions

    return tuple(parse_expressions(text, parsing_timeout=_limit()))


def _limit() -> int | None:
    """math_verify's time limit, which only the main thread can have."""
    return VERIFY_SECONDS if threading.current_thread() is threading.main_thread() else None
