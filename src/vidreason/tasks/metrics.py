"""What a score measures: a metric is the mean over questions of one number of their grades."""

from collections.abc import Callable
from dataclasses import dataclass

from vidreason.records import Grade


@dataclass(frozen=True)
class Metric:
    """One number of a score.

    Attributes:
        name: Key of the score's `metrics`.
        title: Heading of tables.
        value: Grade -> the number that is averaged.
        bounds: Least and greatest possible value, to which intervals are clipped.
    """

    name: str
    title: str
    value: Callable[[Grade], float]
    bounds: tuple[float, float] = (0.0, 1.0)


ACCURACY = Metric("accuracy", "accuracy", lambda grade: float(grade.correct))
"""Share of questions that are answered right."""
MEAN_VALUE = Metric("value", "mean value", lambda grade: grade.value)
"""Mean of the grades' values: an overlap or a similarity, for answers that are not simply right or wrong."""


def share_from(prefix: str, title: str, measure: Callable[[Grade], float], threshold: float) -> Metric:
    """Share of answers whose measure reaches a threshold.

    Example:
        >>> share_from("r1", "R@1 IoU", lambda grade: grade.value, 0.5).name
        'r1_05'
    """
    name = f"{prefix}_{round(10 * threshold):02d}"
    return Metric(name, f"{title} {threshold:g}", lambda grade: float(measure(grade) >= threshold))
