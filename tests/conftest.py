"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# Before torch is imported anywhere: the tests' numbers must not depend on how many cores a machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GOMP_SPINCOUNT"] = "0"  # beside other test processes a waiting thread has to leave its core at once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["tests.support.plugin"]


# An example is slow where the machine is busy; that is no fault of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

LONGEST = (
    "tests/slurm/test_faults.py",
    "tests/workflow/test_paper.py",
    "tests/workflow/test_interruption.py",
    "tests/workflow/test_reruns.py",
    "tests/slurm/test_cluster.py",
    "tests/unit/training/test_distributed.py",
    "tests/workflow/",
    "tests/unit/world/test_pretraining.py",
    "tests/unit/engine/test_cuda.py",
)
"""Files and folders that take longest, whichever has few tests: what begins last should be short, and fill the gaps."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is alone with it at the end."""

    def place(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.nodeid.startswith(name)), len(LONGEST))

    items.sort(key=place)
