"""Where a completion says its answer: the strict reading of an option's letter."""

import re
from collections.abc import Sequence

TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
"""An answer block that holds no further opening tag."""

LETTER = re.compile(
    r"""
    [\s*_"'`]*                          # emphasis or quotes
    (?:\(\s*(?P<round>[A-Z])\s*\)       # (B)
      |\[\s*(?P<square>[A-Z])\s*\]      # [B]
      |(?P<bare>[A-Z])(?=[\s*_"'`]*(?:$|[.:,;)]))  # B, or B followed by a full stop, colon, comma, bracket
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def strict(completion: str, choices: Sequence[str]) -> str | None:
    r"""The letter that the last answer block begins with.

    A letter counts if it stands alone, in brackets, or before a full stop, colon or comma: `B`, `(b)`, `B. he runs`.
    A word that happens to begin with an option's letter does not.

    Args:
        completion: Raw text of the model.
        choices: Letters of the options.

    Returns:
        One of `choices`, or None if there is no complete answer block or no letter of an option in it.

    Differs from the source: upstream takes the first block, and its first character whatever follows; its own parser is
        `vidreason.evaluation.parse.upstream`.

    Example:
        >>> strict("<think>A?</think><answer>\nB. a dog\n</answer>", "ABCD")
        'B'
        >>> strict("<answer>a dog</answer>", "ABCD") is None
        True
    """
    blocks = TAGGED.findall(completion)
    if not blocks:
        return None
    found = LETTER.match(blocks[-1])
    if found is None:
        return None
    letter = next(part for part in found.groups() if part is not None).upper()
    return letter if letter in choices else None
