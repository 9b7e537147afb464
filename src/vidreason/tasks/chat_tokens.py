"""The marks of the `qwen2_base` chat template. No text that is put into the template may contain one."""

import re

USER = "USER: "
ASSISTANT = "ASSISTANT:"
END = "<|endoftext|>"
IMAGE = "<image>"
"""Where the video goes."""
SEPARATOR = f" {ASSISTANT} "
"""Where label masks are cut; a text that contains it cannot be masked."""

_MARK = re.compile(rf"{re.escape(IMAGE)}|{USER.strip()}|{ASSISTANT}|<\|\w+\|>|</?s>")


def mark_in(text: str) -> str | None:
    """The first mark of the template, or end or control token of a language model, in a training text.

    With such a text the video would be inserted twice, or the labels could not be masked.

    Example:
        >>> mark_in("He leaves.<|im_end|>"), mark_in("USER: Who?"), mark_in("a < b") is None
        ('<|im_end|>', 'USER:', True)
    """
    match = _MARK.search(text)
    return match.group() if match else None
