"""Settings of all tests."""

import os

import pytest

# Before torch is imported anywhere: the tests' numbers must not depend on how many cores a machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GOMP_SPINCOUNT"] = "0"  # beside other test processes a waiting thread has to leave its core at once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["tests.support.plugin"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run Snakemake: they take longest, and the others fill the gaps beside them."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
