"""The marks of the `qwen2_base` chat template, which no text that is put into it may hold itself."""

import re

USER = "USER: "
ASSISTANT = "ASSISTANT:"
END = "<|endoftext|>"
IMAGE = "<image>"
"""Where the video goes."""
SEPARATOR = f" {ASSISTANT} "
"""What label masks are cut at; a text that holds it itself cannot be masked."""

_MARK = re.compile(rf"{re.escape(IMAGE)}|{USER.strip()}|{ASSISTANT}|<\|\w+\|>|</?s>")


def mark_in(text: str) -> str | None:
    """The first mark of the template, or end or control token of a language model, in a text that is to be learnt.

    Such a text does not teach what it says: the video would be put in twice, or the labels could not be masked.

    Example:
        >>> mark_in("He leaves.<|im_end|>"), mark_in("USER: Who?"), mark_in("a < b") is None
        ('<|im_end|>', 'USER:', True)
    """
    match = _MARK.search(text)
    return match.group() if match else None
