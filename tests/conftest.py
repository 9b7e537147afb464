"""Settings of all tests."""

import os

# Before torch is imported anywhere: the tests' numbers must not depend on how many cores a machine has.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
