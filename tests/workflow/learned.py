"""Check that a finished demo has learnt: `python -m tests.workflow.learned results/demo`.

R1 must lie at least 10 points above its cold start in the mean over the benchmarks, with intervals that do not overlap,
follow the format in more than 95% of its answers, and answer both kinds of question above chance: a model that has only
learnt the format, and says the same letter to everything, gains many points too.
"""

import csv
import sys
from pathlib import Path

POINTS, FORMAT = 10.0, 0.95


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def problems(run: Path) -> list[str]:
    """What is missing, one line each, for every seed of a finished run."""
    found = []
    means = {(row["arm"], row["seed"]): row for row in rows(run / "tables/main.csv") if row["benchmark"] == "mean"}
    formats = {
        (row["arm"], row["seed"]): float(row["format_followed"])
        for row in rows(run / "tables/thinking.csv")
        if row["benchmark"] == "all"
    }
    controls = rows(run / "tables/controls.csv")
    for seed in sorted({seed for _, seed in means}):
        before, after = means["coldstart", seed], means["r1", seed]
        gain = float(after["accuracy"]) - float(before["accuracy"])
        print(f"seed {seed}: cold start {before['accuracy']}, R1 {after['accuracy']}: {gain:+.2f} points")
        if gain < POINTS:
            found.append(
                f"seed {seed}: R1 gains {gain:.2f} points over its cold start; at least {POINTS:g} are asked for"
            )
        if float(after["ci_low"]) <= float(before["ci_high"]):
            found.append(f"seed {seed}: the intervals of R1 and cold start overlap")
        for row in controls:
            if row["arm"] == "r1" and row["seed"] == seed and float(row["ci_low"]) <= float(row["chance"]):
                found.append(f"seed {seed}: R1 is not above chance on {row['questions']} questions")
        if formats["r1", seed] <= FORMAT:
            found.append(
                f"seed {seed}: R1 follows the format in {formats['r1', seed]:.1%}; over {FORMAT:.0%} are asked for"
            )
    return found


if __name__ == "__main__":
    missing = problems(Path(sys.argv[1]))
    print("\n".join(missing) or "It has learnt.")
    sys.exit(bool(missing))
