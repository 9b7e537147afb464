"""How numbers stand in a cell: metrics and their intervals in percent, shares as fractions."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from vidreason.evaluation.statistics import Estimate

Row = dict[str, object]
"""Column -> cell."""


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction in percent with fixed decimals; `""` for None.

    Example:
        >>> percent(0.52341), percent(-0.00001), percent(None)
        ('52.34', '0.00', '')
    """
    if fraction is None:
        return ""
    text = f"{100 * fraction:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def shorter(cell: str, digits: int = 1) -> str:
    """A number of a cell with fewer decimals, a final 5 away from zero.

    Example:
        >>> shorter("35.05"), shorter("-0.25"), shorter("90.94")
        ('35.1', '-0.3', '90.9')
    """
    return str(Decimal(cell).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def share(value: float | None) -> str:
    """A fraction with four decimals; `""` for None."""
    return "" if value is None else f"{value:.4f}"


def flag(value: bool | None) -> str:
    """`true` or `false`; `""` for None."""
    return "" if value is None else str(value).lower()


def mean_of(values: Sequence[float]) -> float | None:
    """Mean; None of no values."""
    return sum(values) / len(values) if values else None


def interval_cells(estimate: Estimate | None, columns: tuple[str, str, str]) -> Row:
    """An estimate, its lower and its upper end in percent; empty cells for None."""
    numbers = (None, None, None) if estimate is None else (estimate.mean, estimate.low, estimate.high)
    return {column: percent(number) for column, number in zip(columns, numbers, strict=True)}


VALUE = ("value", "ci_low", "ci_high")
"""Columns of a metric and its interval."""


def plus_minus(estimate: Estimate) -> str:
    """`52.3 ± 4.0`, in percent."""
    return f"{100 * estimate.mean:.1f} ± {100 * estimate.half_width:.1f}"
