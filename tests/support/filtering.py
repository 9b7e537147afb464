"""Settings of the filter of the training data."""

from typing import Any

from vidreason.config.datasets import Filter


def filter_rules(**changes: Any) -> Filter:
    """Videos of up to 30 s, nothing held out, no limit."""
    rules = {"max_seconds": 30, "duration": "whole_seconds", "validation_fraction": 0.0, "questions_limit": None}
    return Filter(**rules | changes)
