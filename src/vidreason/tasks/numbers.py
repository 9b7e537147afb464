"""Numbers as answers: which text is one by the strict reading, and when an answer is as good as the gold number.

docs/answers.md has the rule as a table.
"""

import decimal
import re
import unicodedata
from decimal import Decimal

LONGEST = 100
"""Most characters of a number; a longer text is none. So no text can hold the reading up."""

_NUMBER = re.compile(r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)
"""ASCII digits, commas between groups of three, a decimal point, an exponent."""
_WRAPPED = re.compile(
    r"""\*+(.*?)\*+ | "(.*)" | '(.*)' | \((.*)\) | \[(.*)\] | \$(.*)\$ | \\\((.*)\\\) | \\boxed\{(.*)\}""",
    re.VERBOSE,
)
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {ord("−"): ord("-")}
"""Full-width characters and the minus sign -> what they stand for. Not NFKC, by which `5²` would become 52."""
_EXACT = decimal.Context(prec=4 * LONGEST)


def read_number(text: str) -> Decimal | None:
    r"""The number that a text consists of; None where it is anything else, or not finite.

    Marks around it are allowed: emphasis, quotes, brackets, LaTeX's `$` and `\boxed`. A unit is not, nor is a per cent sign.

    Example:
        >>> read_number("3,238"), read_number("**48.**"), read_number("48 cm"), read_number("nan")
        (Decimal('3238'), Decimal('48'), None, None)
    """
    if len(text) > LONGEST * 2:
        return None
    plain = "".join(sign for sign in text.translate(_PLAIN) if unicodedata.category(sign) != "Cf").strip()
    while wrapped := _WRAPPED.fullmatch(plain):
        plain = next(inner for inner in wrapped.groups() if inner is not None).strip()
    if len(plain) > LONGEST or not _NUMBER.fullmatch(plain):
        return None
    return Decimal(plain.replace(",", ""))


def agrees(answer: Decimal, gold: Decimal) -> bool:
    """Whether an answer is the gold number to the decimals that the gold number is written with.

    A whole gold number has to be met exactly; 3.33 is met by whatever lies less than 0.005 away.

    Example:
        >>> agrees(Decimal("48.0"), Decimal("48")), agrees(Decimal("48.2"), Decimal("48"))
        (True, False)
        >>> agrees(Decimal("3.334"), Decimal("3.33")), agrees(Decimal("3.335"), Decimal("3.33"))
        (True, False)
    """
    decimals = gold.as_tuple().exponent
    if not isinstance(decimals, int) or decimals >= 0:
        return answer == gold
    return abs(_EXACT.subtract(answer, gold)) < Decimal((0, (5,), decimals - 1))


def check_number(gold: str) -> Decimal:
    """The gold answer of a question that asks for a number.

    Raises:
        ValueError: It is no number.
    """
    number = read_number(gold)
    if number is None:
        raise ValueError(
            f"the answer is {gold[:80]!r}; allowed: a finite number, for instance 48, 3,238 or 3.5, without a unit"
        )
    return number
