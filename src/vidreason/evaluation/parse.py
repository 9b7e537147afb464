"""From a completion to an option's letter: a strict parser and upstream's, side by side."""

from collections.abc import Sequence
from random import Random

from vidreason.answers import first_line_block, strict

__all__ = ["strict", "upstream", "upstream_guesses"]


def upstream(completion: str, choices: Sequence[str], rng: Random | None = None) -> str | None:
    """The letter that upstream's evaluation scripts would read, quirks included.

    The first block on one line counts; its first character decides (so `Answer: B` is A and `cat` is C); failing that
    the first option, in their order, that stands in round brackets anywhere in it.

    Args:
        completion: Raw text of the model.
        choices: Letters of the options.
        rng: Draws a letter where upstream would; None to leave such answers unparsed.

    Returns:
        A letter; None for an empty block, and, without `rng`, for everything that upstream would guess.

    Source: parse_multi_choice_response in tinyllava/eval/eval_mvbench.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1
        (the four scripts agree).
    Differs from the source: the guess is drawn from a generator that is passed in, so that it can be repeated.

    Example:
        >>> upstream("<answer>Answer: B</answer>", "ABCD")
        'A'
    """
    letter = _upstream_letter(completion, choices)
    if letter is None and rng is not None and upstream_guesses(completion, choices):
        return rng.choice(list(choices))
    return letter


def upstream_guesses(completion: str, choices: Sequence[str]) -> bool:
    """Whether upstream would draw a random letter: it finds none, and the answer block is not there or not empty."""
    answer = first_line_block(completion, breaks_around=True)
    return answer != "" and _upstream_letter(completion, choices) is None


def _upstream_letter(completion: str, choices: Sequence[str]) -> str | None:
    """The letter upstream reads without guessing."""
    answer = first_line_block(completion, breaks_around=True)
    if not answer:
        return None
    if any(answer[0] in (choice, choice.lower()) for choice in choices):
        return answer[0].upper()
    bracketed = (choice for choice in choices if f"({choice})" in answer or f"({choice.lower()})" in answer)
    return next(bracketed, None)
