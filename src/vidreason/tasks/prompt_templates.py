r"""The texts around a question: how its options are written, and which instruction follows.

Source: tinyllava/train/tinyllava_trainer_reason.py and tinyllava/eval/eval_{videomme,mvbench,mlvu,mmvu}.py of
ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
"""

from collections.abc import Mapping, Sequence

from vidreason.records import LETTERS, Question
from vidreason.tasks.chat_tokens import IMAGE
from vidreason.tasks.markup import INSTRUCTION

OPTION_INSTRUCTION = "Answer with the option's letter from the given choices directly."
INSTRUCTIONS: Mapping[str, str] = {"reason": INSTRUCTION, "option": OPTION_INSTRUCTION}
"""Answer style -> what follows the question: think and answer blocks, or the answer alone."""


def instruction(style: str, texts: Mapping[str, str] = INSTRUCTIONS) -> str:
    """The instruction of an answer style.

    Args:
        style: An answer style.
        texts: Answer style -> instruction; those of multiple choice by default.

    Raises:
        ValueError: There is no such style.
    """
    if style not in texts:
        raise ValueError(f"answer style is {style!r}; allowed: {', '.join(texts)}")
    return texts[style]


def time_line(times: Sequence[float]) -> str:
    """When the frames were taken, in seconds from the clip's start, in the order in which the frames are shown.

    A video is one stretch of embeddings in the prompt, so times cannot stand beside their frames. The line is short on purpose:
    a tokenizer that spells digits needs some 70 tokens for 16 frames of a short clip.

    Example:
        >>> time_line([0.0, 1.533, 3.0666])
        'Frames at 0.0 1.5 3.1 s.'
    """
    return f"Frames at {' '.join(f'{time:.1f}' for time in times)} s."


def training_query(question: str, asks: str, video: bool = True) -> str:
    r"""The user's turn in training: the instruction follows after a space.

    Args:
        question: Question and options, without an instruction.
        asks: The instruction.
        video: Whether the turn has a place for a video; text alone has no mark, as in TinyLLaVA's template.

    Example:
        >>> training_query("Who?\nA. he", "Answer.")
        '<image>Who?\nA. he Answer.'
    """
    return f"{IMAGE if video else ''}{question} {asks}"


def evaluation_query(question: str, asks: str, video: bool = True) -> str:
    r"""The user's turn in evaluation: the instruction follows after a newline; arguments as in `training_query`.

    Example:
        >>> evaluation_query("Who?\nA. he", "Answer.")
        '<image>\nWho?\nA. he\nAnswer.'
        >>> evaluation_query("Who?\nA. he", "Answer.", video=False)
        'Who?\nA. he\nAnswer.'
    """
    mark = f"{IMAGE}\n" if video else ""
    return f"{mark}{question}\n{asks}"


def with_options_line(question: Question) -> str:
    r"""Question, a line `Options:`, then `A. text` lines (NextQA, Video-MME, MVBench).

    Example:
        >>> from vidreason.records import ClipRef
        >>> with_options_line(Question("1", "nextqa", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain.", "sun."), "A"))
        'Why?\nOptions:\nA. rain.\nB. sun.'
    """
    return f"{question.text}\nOptions:\n{dotted(question.options)}"


def with_options_line_cut(question: Question) -> str:
    """As `with_options_line`, white space at the very end cut (MVBench)."""
    return with_options_line(question).rstrip()


def with_letters(question: Question) -> str:
    """Question, then `A. text` lines (MMVU)."""
    return f"{question.text}\n{dotted(question.options)}"


def with_brackets_cut(question: Question) -> str:
    """Question, then `(A) text` lines, white space at the very end cut (MLVU)."""
    return f"{question.text}\n{bracketed(question.options)}".rstrip()


def dotted(options: Sequence[str]) -> str:
    """The options as `A. text` lines."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def bracketed(options: Sequence[str]) -> str:
    """The options as `(A) text` lines."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
