"""Characters without a picture: they move a terminal's cursor, turn the direction of text, or make two names look the same."""

import unicodedata

JOINERS = "\u200c\u200d"
"""Invisible, but letters of some scripts and of emojis are spelled with them."""


def is_control(character: str) -> bool:
    r"""Whether a character is a control, a format character (one that turns the direction, for instance) or half of a surrogate pair.

    Example:
        >>> [is_control(character) for character in "a\n\x1b\u202e\u200d"]
        [False, True, True, True, False]
    """
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in JOINERS


def visible(text: str, kept: str = "\n\r\t") -> str:
    r"""A text in which every control character but those of `kept` is U+FFFD.

    Example:
        >>> visible("so B.\x1b[2J\u202e\n")
        'so B.\ufffd[2J\ufffd\n'
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if is_control(character) and character not in kept else character for character in text)


def escaped(text: str) -> str:
    r"""A text on one line, with line ends and control characters written as escapes.

    Example:
        >>> escaped("a\r\nb\u2028c\udc80\u202e")
        'a\\r\\nb\\u2028c\\udc80\\u202e'
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if is_control(character) or ends_line(character)
        else character
        for character in text
    )


def ends_line(character: str) -> bool:
    """Whether a character is Unicode's separator of lines or paragraphs."""
    return unicodedata.category(character) in ("Zl", "Zp")
