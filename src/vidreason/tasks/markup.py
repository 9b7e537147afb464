r"""The tags of a reasoned answer: a think block, then an answer block. No other module spells them out.

Every function takes time in proportion to the length of the text, whatever the text is.

Example:
    >>> think_text("<think> it falls </think>\n<answer>B</answer>")
    'it falls'
"""

import re

THINK, END_THINK = "<think>", "</think>"
ANSWER, END_ANSWER = "<answer>", "</answer>"
TAGS = (THINK, END_THINK, ANSWER, END_ANSWER)

_WELL_FORMED = re.compile(f"{THINK}(.*?){END_THINK}\\s*{ANSWER}.*?{END_ANSWER}", re.DOTALL)
_BETWEEN_BLOCKS = re.compile(f"{END_THINK}\\s*{ANSWER}")
_THINK_BLOCK = re.compile(f"{THINK}(.*?){END_THINK}", re.DOTALL)
_ANSWER_BLOCK = re.compile(f"{ANSWER}(.*?){END_ANSWER}", re.DOTALL)


def reasoned_instruction(answer: str) -> str:
    """How a prompt asks for both blocks.

    Args:
        answer: What the answer block is to hold, as "option" or "number".

    Source: ZhangXJ199/TinyLLaVA-Video-R1@efe76a1, training and evaluation alike, where it is always "option".

    Example:
        >>> reasoned_instruction("number")
        'Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags.'
    """
    return (
        f"Output the thinking process in {THINK} {END_THINK} and final answer ({answer}) in {ANSWER} {END_ANSWER} tags."
    )


INSTRUCTION = reasoned_instruction("option")
"""How a prompt with options asks for both blocks."""


def completion_of(think: str, answer: str) -> str:
    """A well-formed completion."""
    return f"{THINK} {think} {END_THINK} {ANSWER} {answer} {END_ANSWER}"


def as_answer(text: str) -> str:
    """A completion that is an answer alone, as an answer block; one that has an opening tag of its own stays as it is.

    Example:
        >>> as_answer(" B ")
        '<answer>B</answer>'
    """
    return text if ANSWER in text else f"{ANSWER}{text.strip()}{END_ANSWER}"


def without_instruction(text: str) -> str:
    """A published question without the instruction that it ends with, whatever wording stands between the tags."""
    begins, ends = INSTRUCTION.partition(f" {END_THINK}")[0], f"{END_ANSWER} tags."
    return text.partition(begins)[0].rstrip() if text.endswith(ends) else text


def think_text(completion: str) -> str | None:
    """The stripped text of the think block of a well-formed completion, else None.

    Well-formed means: each of the four tags exactly once, the think block first, and nothing but white space between the two
    blocks. There is nothing before and after them either; the caller strips the completion.
    """
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    match = _WELL_FORMED.fullmatch(completion)
    return None if match is None else match.group(1).strip()


def has_loose_form(text: str) -> bool:
    r"""Whether a text begins with a think block and ends with an answer block, with white space alone in between.

    The blocks may hold tags of their own, so two answer blocks pass; white space before or after the text does not.

    Source: the format reward of tulerfeng/Video-R1@59d65c3:src/r1-v/src/open_r1/grpo.py.

    Example:
        >>> has_loose_form("<think></think>\n<answer>A</answer><answer>B</answer>"), has_loose_form("<answer>A</answer>")
        (True, False)
    """
    inside = len(THINK), len(text) - len(END_ANSWER)
    return text.startswith(THINK) and text.endswith(END_ANSWER) and bool(_BETWEEN_BLOCKS.search(text, *inside))


def first_think_text(text: str) -> str:
    """Text of the first think block, stripped, however the completion goes on; `""` without one."""
    return between(text, THINK, END_THINK) or ""


def split_think(text: str) -> tuple[str, str, str]:
    """What stands before the first think block, in it, and after it, each stripped; without a block, all stands after it.

    A block that is not closed, as in a completion that was cut off, goes on to the end.

    Example:
        >>> split_think("So <think> it falls </think> <answer>B</answer>"), split_think("<think>it fal"), split_think("B")
        (('So', 'it falls', '<answer>B</answer>'), ('', 'it fal', ''), ('', '', 'B'))
    """
    before, opening, rest = text.partition(THINK)
    if not opening:
        return "", "", text.strip()
    think, _, after = rest.partition(END_THINK)
    return before.strip(), think.strip(), after.strip()


def first_answer(text: str) -> str | None:
    """Text of the first answer block, stripped; None without one."""
    return between(text, ANSWER, END_ANSWER)


def checked_answer(completion: str) -> str:
    """The stripped answer of a completion with exactly one think block and one answer block after it.

    Raises:
        ValueError: A tag is absent or repeated, the blocks are in the wrong order, or the think block is empty.
    """
    counts = {tag: completion.count(tag) for tag in TAGS}
    if set(counts.values()) != {1}:
        raise ValueError(f"every tag must stand exactly once in the completion; found {counts} in {completion[:200]!r}")
    think, answer = _THINK_BLOCK.search(completion), _ANSWER_BLOCK.search(completion)
    if think is None or answer is None or answer.start() < think.end():
        raise ValueError(
            f"expected {THINK}..{END_THINK} followed by {ANSWER}..{END_ANSWER}, found {completion[:200]!r}"
        )
    if not think.group(1).strip():
        raise ValueError(f"the think block is empty in {completion[:200]!r}")
    return answer.group(1).strip()


def between(text: str, opening: str, closing: str) -> str | None:
    """Text between the first opening tag and the first closing tag after it, stripped; None without such a pair.

    Example:
        >>> between("<a> x </a>", "<a>", "</a>")
        'x'
    """
    start = text.find(opening)
    end = text.find(closing, start + len(opening)) if start >= 0 else -1
    return text[start + len(opening) : end].strip() if end >= 0 else None


def last_block(text: str) -> str | None:
    """Content of the last complete answer block, without an opening tag in it; None if there is none.

    Example:
        >>> last_block("<answer>A</answer> no, <answer>B</answer> <answer>C")
        'B'
    """
    start = text.rfind(ANSWER, 0, max(0, text.rfind(END_ANSWER)))
    return None if start < 0 else text[start + len(ANSWER) : text.find(END_ANSWER, start)]


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
    start = text.find(ANSWER)
    while start >= 0:
        end = text.find(END_ANSWER, start)
        if end < 0:
            return None
        inside = text[start + len(ANSWER) : end]
        # The content has to begin after the last line break in it.
        first = (inside.rstrip() if breaks_around else inside).rfind("\n") + 1
        if breaks_around:
            first = len(inside[:first].rstrip())
        if first == 0:
            return inside.strip()
        inner = inside.find(ANSWER, max(0, first - len(ANSWER)))
        if inner >= 0:
            return inside[inner + len(ANSWER) :].strip()
        start = text.find(ANSWER, end)
    return None
