"""Numbers for JSON, which has none that is not finite."""

import math
from collections.abc import Mapping


def plain_number(value: float | None) -> float | None:
    """Six significant decimals; None for what is not known or not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same by name."""
    return {name: plain_number(value) for name, value in values.items()}
