"""The small table that docs/show_results.py makes of a run's main table."""

import sys

from tests.unit.project.test_packaging import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import show_results

MAIN = """# Accuracy in percent

| arm                  | style  | seed | MMVU       | Mean       | format followed | unparsed |
|----------------------|--------|------|------------|------------|-----------------|----------|
| a\\|b                 | reason | 0    | 42.1 ± 8.5 | 35.8 ± 4.1 | 99.6%           | 0        |
| chance (1/options)   |        |      | 34.4       | 34.4       |                 |          |
| most frequent letter |        |      | 36.4       | 35.8       |                 |          |

- Questions: all.
"""


def test_the_small_table() -> None:
    assert show_results.small_table(MAIN).splitlines() == [
        "| arm | MMVU | Mean |",
        "| --- | ---: | ---: |",
        "| a\\|b | 42.1 ± 8.5 | 35.8 ± 4.1 |",
        "| chance (1/options) | 34.4 | 34.4 |",
    ]


def test_the_picture_is_there() -> None:
    assert (ROOT / show_results.PICTURE).stat().st_size < 100_000
