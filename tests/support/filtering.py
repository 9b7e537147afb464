"""Settings of the filter of the training data, and of the selection among what it kept."""

from typing import Any

from vidreason.config.datasets import Filter
from vidreason.config.selection import SelectionRule


def filter_rules(**changes: Any) -> Filter:
    """Videos of up to 30 s, nothing held out, no limit."""
    rules = {"max_seconds": 30, "duration": "whole_seconds", "validation_fraction": 0.0, "questions_limit": None}
    return Filter(**rules | changes)


def selection_rule(**changes: Any) -> SelectionRule:
    """What is sometimes right and sometimes wrong in eight answers, or has any spread; no limits."""
    rule = {
        "strategy": "informative", "keep_min": 1, "keep_max": 7, "statistic": "std", "min_spread": 0.01, "band": (0.2, 0.8),
        "limit": None, "per_task": {}, "per_video": None,
    }  # fmt: skip
    return SelectionRule.model_validate(rule | changes)
