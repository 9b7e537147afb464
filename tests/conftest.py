"""Settings of all tests."""

import os
from collections.abc import Sequence

import pytest

# Before torch is imported anywhere: the tests' numbers must not depend on how many cores a machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that share an expensive run to one process, and begin with them: the others fill the gaps."""
    shared: Sequence[tuple[str, str]] = (("paper", "paper"), ("finished", "tiny"), ("spare", "tiny"))
    for item in items:
        group = next((group for fixture, group in shared if fixture in getattr(item, "fixturenames", ())), None)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
