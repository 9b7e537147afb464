"""Where a completion thinks and where it answers: blocks between tags.

Every function takes time in proportion to the length of the text, whatever the text is.
"""

import re

OPENING, CLOSING = "<answer>", "</answer>"
THINK, END_THINK = "<think>", "</think>"
TAGS = (THINK, END_THINK, OPENING, CLOSING)
WELL_FORMED = re.compile(r"<think>(.*?)</think>\s*<answer>.*?</answer>", re.DOTALL)


def between(text: str, opening: str, closing: str) -> str | None:
    """Text between the first opening tag and the first closing tag after it, stripped; None without such a pair.

    Example:
        >>> between("<a> x </a>", "<a>", "</a>")
        'x'
    """
    start = text.find(opening)
    end = text.find(closing, start + len(opening)) if start >= 0 else -1
    return text[start + len(opening) : end].strip() if end >= 0 else None


def thought(text: str) -> str:
    """Text of the first think block, stripped, however the completion goes on; `""` without one."""
    return between(text, THINK, END_THINK) or ""


def as_answer(text: str) -> str:
    """A completion that is an answer alone, as an answer block; one that has an opening tag of its own stays as it is."""
    return text if OPENING in text else f"{OPENING}{text.strip()}{CLOSING}"


def think_text(completion: str) -> str | None:
    r"""The stripped text of the think block of a well-formed completion, else None.

    Well-formed means: each of the four tags exactly once, the think block first, and nothing but white space between the two
    blocks. There is nothing before and after them either; the caller strips the completion.

    Example:
        >>> think_text("<think> it falls </think>\n<answer>B</answer>")
        'it falls'
    """
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    match = WELL_FORMED.fullmatch(completion)
    return None if match is None else match.group(1).strip()


def last_block(text: str) -> str | None:
    """Content of the last complete answer block, without an opening tag in it; None if there is none.

    Example:
        >>> last_block("<answer>A</answer> no, <answer>B</answer> <answer>C")
        'B'
    """
    start = text.rfind(OPENING, 0, max(0, text.rfind(CLOSING)))
    return None if start < 0 else text[start + len(OPENING) : text.find(CLOSING, start)]


def first_line_block(text: str, breaks_around: bool) -> str | None:
    r"""Content of the first answer block that holds no line break, stripped; None if there is none.

    Args:
        text: Raw text of the model.
        breaks_around: Whether line breaks between the tags and the content are allowed.

    Returns:
        The first group, stripped, of `<answer>(.*?)</answer>`, or with `breaks_around` of `<answer>\s*(.*?)\s*</answer>`.

    Source: tinyllava/train/train.py and tinyllava/eval/eval_mvbench.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: those patterns take time in the square or cube of the text's length.

    Example:
        >>> first_line_block("<answer>a dog\nruns</answer> <answer>\nB</answer>", True)
        'B'
    """
    start = text.find(OPENING)
    while start >= 0:
        end = text.find(CLOSING, start)
        if end < 0:
            return None
        inside = text[start + len(OPENING) : end]
        # The content has to begin after the last line break in it.
        first = (inside.rstrip() if breaks_around else inside).rfind("\n") + 1
        if breaks_around:
            first = len(inside[:first].rstrip())
        if first == 0:
            return inside.strip()
        inner = inside.find(OPENING, max(0, first - len(OPENING)))
        if inner >= 0:
            return inside[inner + len(OPENING) :].strip()
        start = text.find(OPENING, end)
    return None
