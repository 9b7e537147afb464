"""Whether an answer equals the gold one by upstream's training rule: as mathematics first, then as text.

Source: the accuracy reward in tinyllava/train/train.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

import functools
import threading
from typing import Any

from vidreason.tasks.markup import first_line_block

VERIFY_SECONDS = 5
"""Upper limit math_verify gives itself per text; its clock needs the main thread."""


def matches_anywhere(completion: str, solution: str) -> bool:
    """Upstream's rule: symbolic first, then as strings, where the solution may equal just the first character."""
    if is_equivalent(completion, solution):
        return True
    gold, given = _one_line(solution), _one_line(completion)
    return bool(given) and gold in (given, given[0])


def _one_line(text: str) -> str:
    """Content of the first answer block on one line, or the whole text, stripped."""
    block = first_line_block(text, breaks_around=False)
    return text.strip() if block is None else block


def is_equivalent(completion: str, solution: str) -> bool:
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
