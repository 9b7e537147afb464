"""What Video-R1's published code takes for an answer, and how it rewards and scores one, quirks included.

The tasks use these functions under the rules `video_r1` (its training reward) and `video_r1_eval` (its evaluation).

Source: tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/grpo.py (training), src/eval_bench.py (evaluation),
src/generate_cot_vllm.py (the filter of demonstrations).
Differs from the source: every question is graded by its own kind, where the source grades a whole call by the kind of its first
sample.
"""

from collections.abc import Sequence

import numpy as np

from vidreason.records import WELL_FORMED, Grade
from vidreason.tasks.markup import first_answer, first_think_text, has_loose_form
from vidreason.tasks.similarity import library_words, rouge, word_accuracy

TRAINING, EVALUATION = "video_r1", "video_r1_eval"
"""The names of the two rules."""
RULES: tuple[str, ...] = (TRAINING, EVALUATION)
KEPT_ABOVE = 0.6
"""Least reward, itself excluded, of an answer that becomes a demonstration."""
_STEPS = (np.arange(50, 100, 5) / 100).astype(np.float32)
"""Thresholds of the mean relative accuracy, 0.50 to 0.95."""


def training_answer(completion: str) -> str:
    """Content of the first answer block, inside the thought or not; `""` without one."""
    return first_answer(completion) or ""


def evaluation_answer(completion: str) -> str:
    """Content of the first answer block; the whole text where there is none or where it is empty."""
    return first_answer(completion) or completion


def answer_of(completion: str, rule: str) -> str:
    """The answer by one of `RULES`."""
    return training_answer(completion) if rule == TRAINING else evaluation_answer(completion)


def form_of(completion: str) -> dict[str, float]:
    """The part of a grade that holds the format reward."""
    return {WELL_FORMED: float(has_loose_form(completion))}


def graded(value: float, correct: bool, answer: str, completion: str) -> Grade:
    """A grade with the format reward; nothing is parsed where there is no answer."""
    return Grade(value, correct, answer or None, form_of(completion))


def number_of(text: str) -> float | None:
    """The number that a text is, commas left out; None where it is none.

    Whatever Python reads counts: `1_0`, digits of other scripts, `nan`, `inf`.
    """
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def numerical_reward(answer: str, gold: str) -> float:
    """1 where both are equal to two decimals, and both or neither contain a point or a comma.

    Example:
        >>> numerical_reward("3.334", "3.33"), numerical_reward("48.0", "48"), numerical_reward("48,5", "485.0")
        (1.0, 0.0, 1.0)
    """
    if _has_mark(answer) != _has_mark(gold):
        return 0.0
    given, wanted = number_of(answer), number_of(gold)
    return float(given is not None and wanted is not None and round(given, 2) == round(wanted, 2))


def _has_mark(text: str) -> bool:
    return "." in text or "," in text


def regression_reward(answer: str, gold: str) -> float:
    """1 - (|answer - gold| + 1e-9) / (|gold| + 1e-9), in 0..1; 1 where that is not a number (an answer `nan`).

    Example:
        >>> round(regression_reward("9", "10"), 6), regression_reward("0", "0"), regression_reward("nan", "3")
        (0.9, 0.0, 1.0)
    """
    given, wanted = number_of(answer), number_of(gold)
    if given is None or wanted is None:
        return 0.0
    accuracy = 1.0 - (abs(given - wanted) + 1e-9) / (abs(wanted) + 1e-9)
    return 1.0 if accuracy != accuracy else min(1.0, max(0.0, accuracy))


def free_form_reward(answer: str, gold: str) -> float:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, by rouge-score's own words."""
    return rouge(answer, gold, library_words, skip_absent=False)


def ocr_reward(answer: str, gold: str) -> float:
    """1 - word error rate, in 0..1."""
    return word_accuracy(answer, gold)


def mean_relative_accuracy(answer: float, gold: float) -> float:
    """Share of the thresholds t in 0.50, 0.55, .. 0.95 for which the relative difference is below 1 - t, in float32.

    In float32 a difference of exactly 5 % counts on one side of the gold number and not on the other.

    Example:
        >>> [round(mean_relative_accuracy(answer, 1.0), 3) for answer in (1.05, 0.95, 1.2)]
        [1.0, 0.9, 0.6]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        given, wanted = np.float32(answer), np.float32(gold)
        relative = np.abs(given - wanted) / (np.abs(wanted) + np.float32(1e-8))
        return float(np.mean((relative < np.float32(1.0) - _STEPS).astype(np.float32)))


def regression_score(answer: str, gold: str) -> float:
    """Mean relative accuracy of two texts; 0 where one is no number."""
    given, wanted = number_of(answer), number_of(gold)
    return 0.0 if given is None or wanted is None else mean_relative_accuracy(given, wanted)


def means_of(scores: Sequence[tuple[str, float]]) -> tuple[float, float]:
    """The two numbers of an evaluation: the mean over all answers but those of regression, and the mean over those, in float32.

    Args:
        scores: Answer type (a name of `vidreason.tasks`) and reward of each answer.

    Returns:
        Not-a-number for the first of an evaluation of regression alone; 0 for the second without regression.
    """
    others = np.array([value for task, value in scores if task != "regression"], dtype=np.float32)
    relative = np.array([value for task, value in scores if task == "regression"], dtype=np.float32)
    return float(others.mean()) if len(others) else float("nan"), float(relative.mean()) if len(relative) else 0.0


def demonstration_thought(completion: str) -> str | None:
    """Text of the first think block, stripped; None where there is none or it is empty."""
    return first_think_text(completion) or None


def becomes_demonstration(reward: float) -> bool:
    """Whether a sampled answer is kept as a demonstration."""
    return reward > KEPT_ABOVE
