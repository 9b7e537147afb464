"""Check that a finished demo has learned: `python -m tests.workflow.learned results/demo`.

R1 must lie at least 10 points above its cold start in the mean over the benchmarks, with intervals that do not overlap,
follow the format in more than 95% of its answers, and answer both kinds of question above chance: a model that has only
learned the format, and says the same letter to everything, gains many points too. With the frames shuffled it must fall to
chance on questions that need the order of time, and stay above it on the others; with gray frames it must be at chance.
"""

import csv
import sys
from pathlib import Path

POINTS, FORMAT = 10.0, 0.95
ABOVE_CHANCE = {
    ("r1", "temporal"): True,
    ("r1", "other"): True,
    ("r1_shuffled", "temporal"): False,
    ("r1_shuffled", "other"): True,
    ("r1_gray", "temporal"): False,
    ("r1_gray", "other"): False,
}
"""Arm and kind of question -> whether the whole interval has to lie above chance."""


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
        if (row["benchmark"], row["metric"]) == ("all", "accuracy")
    }
    controls = [row for row in rows(run / "tables/controls.csv") if row["metric"] == "accuracy"]
    for seed in sorted({seed for _, seed in means}):
        before, after = means["coldstart", seed], means["r1", seed]
        gain = float(after["value"]) - float(before["value"])
        print(f"seed {seed}: cold start {before['value']}, R1 {after['value']}: {gain:+.2f} points")
        if gain < POINTS:
            found.append(
                f"seed {seed}: R1 gains {gain:.2f} points over its cold start; at least {POINTS:g} are asked for"
            )
        if float(after["ci_low"]) <= float(before["ci_high"]):
            found.append(f"seed {seed}: the intervals of R1 and cold start overlap")
        for row in controls:
            expected = ABOVE_CHANCE.get((row["arm"], row["questions"]))
            if (
                row["seed"] == seed
                and expected is not None
                and (float(row["ci_low"]) > float(row["chance"])) != expected
            ):
                found.append(
                    f"seed {seed}: {row['arm']} is {'not ' if expected else ''}above chance on {row['questions']} questions"
                )
        if formats["r1", seed] <= FORMAT:
            found.append(
                f"seed {seed}: R1 follows the format in {formats['r1', seed]:.1%}; over {FORMAT:.0%} are asked for"
            )
    return found


if __name__ == "__main__":
    missing = problems(Path(sys.argv[1]))
    print("\n".join(missing) or "It has learned.")
    sys.exit(bool(missing))
