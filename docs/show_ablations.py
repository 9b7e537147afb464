"""Write the numbers of the ablations into docs/ablations.md: `python docs/show_ablations.py results/ablations results/grounding`.

For every run: each arm against the reference in the mean and by benchmark, every metric of benchmarks that are not multiple
choice, accuracy by kind of question with the controls, and what the trainings did. Where docs/ablations.md does not exist, the
text is printed.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, variance

from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_json
from vidreason.artifacts.integrity import sidecar_of
from vidreason.data.registry import title_of
from vidreason.evaluation.score_record import MACRO
from vidreason.results.counts.measured import read_metrics
from vidreason.tasks.metrics import ACCURACY

PAGE = Path(__file__).with_name("ablations.md")
BEGIN, END = "<!-- ablations: begin (docs/show_ablations.py) -->", "<!-- ablations: end -->"
MEAN = "mean"
LAST_STEPS = 10
"""Steps at the end of a training whose mean shows where it arrived."""

Row = dict[str, str]


def rows(run: Path, table: str) -> list[Row]:
    """Rows of one of a run's tables."""
    return read_csv(run / "tables" / f"{table}.csv")


def markdown(header: Sequence[str], body: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table whose first columns are texts and whose others are numbers."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    lines = [header, rule, *([cell.replace("|", "\\|") for cell in line] for line in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_arm(table: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each arm, in the order of the table."""
    groups: dict[str, list[Row]] = {}
    for row in table:
        groups.setdefault(row["arm"], []).append(row)
    return groups


def signed(points: str) -> str:
    """A difference in points with its sign, or a dash.

    Example:
        >>> signed("2.449"), signed("-0.04"), signed("")
        ('+2.4', '0.0', '-')
    """
    if not points:
        return "-"
    text = f"{float(points):+.1f}"
    return text[1:] if float(text) == 0 else text


def interval(row: Row) -> str:
    """A difference with its 95% interval."""
    return f"{signed(row['difference'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})" if row["p"] else "-"


def added(*parts: str) -> str:
    """What training and selection cost, `3200 + 3200`; a dash where it is not known, no part that is 0."""
    if not all(parts):
        return "-"
    known = [f"{round(float(part)):,}" for part in parts if float(part)]
    return " + ".join(known) or "0"


def origin(run: Path) -> str:
    """When and from what the table of differences was made."""
    made = read_json(sidecar_of(run / "tables" / "ablations.csv"))
    commit, changes, _ = made["commit"].partition("+changes")
    source = f"commit {commit[:7] or 'unknown'}{' with changes' if changes else ''}"
    versions = f"Python {made['python']}, torch {made['versions'].get('torch', 'unknown')}"
    return f"The table of differences was made on {made['created'][:10]} from {source} ({versions})."


def means(run: Path) -> str:
    """Every arm in the mean over the benchmarks: value, difference from the reference, p-values, costs."""
    body = [
        [
            row["label"],
            f"{float(row['value']):.1f}",
            interval(row),
            row["p"] or "-",
            row["p_holm"] or "-",
            f"{signed(row['difference_lowest_seed'])} to {signed(row['difference_highest_seed'])}" if row["p"] else "-",
            added(row["rollouts_training"], row["rollouts_selection"]),
            # Keeping every question takes part of a second, which is no cost worth a word.
            added(row["seconds_training"], "0" if row["rollouts_selection"] == "0" else row["seconds_selection"]),
        ]
        for row in rows(run, "ablations")
        if row["benchmark"] == MEAN
    ]
    header = ["arm", "mean", "difference (95% interval)", "p", "p (Holm)", "single seeds", "rollouts", "seconds"]
    return markdown(header, body)


def spread_of_seeds(run: Path) -> str:
    """How far the seeds of a difference lie apart, as a sentence; `""` for a single seed or a single arm.

    The variance over the seeds of an arm's mean minus the reference's, pooled over the arms of GRPO. Arms of one seed share their
    parent, so the differences count and not the arms by themselves.
    """
    of_grpo = {path.name for path in (run / "train_grpo").iterdir()}
    table = [row for row in rows(run, "main") if row["benchmark"] == MEAN and row["arm"] in of_grpo]
    values = [[float(row["value"]) for row in own] for own in by_arm(table).values()]
    if len(values) < 2 or len(values[0]) < 2:
        return ""
    reference, *others = values
    differences = [[one - other for one, other in zip(own, reference, strict=True)] for own in others]
    error = (fmean(variance(own) for own in differences) / len(reference)) ** 0.5
    return (
        f"A difference has a standard error of {error:.1f} points from the seeds alone (from the differences of single seeds, pooled over "
        f"{len(others)} arms), which the intervals leave out."
    )


def benchmarks(run: Path) -> str:
    """Every arm by every metric of every benchmark: the reference's value, and the others' differences with their intervals."""
    table = [row for row in rows(run, "ablations") if row["benchmark"] != MEAN]
    body = [
        [own[0]["label"], *(interval(row) if row["compared_to"] else f"{float(row['value']):.1f}" for row in own)]
        for own in by_arm(table).values()
    ]
    places = dict.fromkeys((row["benchmark"], row["metric"]) for row in table)
    several = len({benchmark for benchmark, _ in places}) < len(places)
    header = [f"{title_of(name)}: {metric}" if several else title_of(name) for name, metric in places]
    return markdown(["arm", *header], body)


def metrics(run: Path) -> str:
    """Every metric of the benchmarks whose headline is not accuracy, of arms and controls, in the mean over the seeds.

    Means over questions, or over categories where the headline is one.
    """
    table = rows(run, "metrics")
    other = {
        row["benchmark"] for row in table if row["headline"] == "yes" and not row["metric"].startswith(ACCURACY.name)
    }
    macro = {row["benchmark"] for row in table if row["headline"] == "yes" and row["metric"].endswith(MACRO)}
    shown = [
        row
        for row in table
        if row["benchmark"] in other and row["metric"].endswith(MACRO) == (row["benchmark"] in macro)
    ]
    if not shown:
        return ""
    columns = list(dict.fromkeys((row["benchmark"], row["metric"]) for row in shown))
    header = ["arm", *(f"{title_of(benchmark)}: {metric}" for benchmark, metric in columns)]
    return markdown(header, _means(shown, columns, lambda row: (row["benchmark"], row["metric"])))


def kinds(run: Path) -> str:
    """Questions that need the order of time, and the others, for arms and controls, in the mean over the seeds."""
    table = [row for row in rows(run, "controls") if row["questions"] != "all"]
    if not table:
        return ""
    columns = list(dict.fromkeys((row["metric"], row["questions"]) for row in table))
    header = ["arm", *(f"{metric}: {kind}" for metric, kind in columns)]
    body = _means(table, columns, lambda row: (row["metric"], row["questions"]))
    chances = {(row["metric"], row["questions"]): row["chance"] for row in table}
    chance = [f"{float(chances[column]):.1f}" if chances[column] else "-" for column in columns]
    return markdown(header, [*body, ["chance", *chance]] if any(chances.values()) else body)


def _means(
    table: Sequence[Row], columns: Sequence[tuple[str, str]], column_of: Callable[[Row], tuple[str, str]]
) -> list[list[str]]:
    """A line an arm, with the mean of `value` over the seeds in every column."""
    lines = []
    for own in by_arm(table).values():
        cells = []
        for column in columns:
            values = [float(row["value"]) for row in own if column_of(row) == column and row["value"]]
            cells.append(f"{fmean(values):.1f}" if values else "-")
        lines.append([own[0]["label"], *cells])
    return lines


TRAINED = {
    "groups without variance": ("zero_variance", "all"),
    "groups replaced": ("resampled", "all"),
    "groups with the bonus": ("temporal_fired", "all"),
    "clipped tokens": ("clip_fraction", "all"),
    "KL": ("kl", "end"),
    "entropy": ("entropy", "end"),
    "format": ("format", "end"),
    "thought, characters": ("think_characters", "end"),
}
"""Column of the table of trainings -> the metric, and whether its mean is taken over all steps or over the last ones."""


def trainings(run: Path) -> str:
    """What the trainings of every arm of GRPO measured, in the mean over the seeds."""
    labels = {row["arm"]: row["label"] for row in rows(run, "ablations")}
    body = []
    for arm, label in labels.items():
        curves = [
            [row.values for row in read_metrics(path) if row.kind == "train"]
            for path in sorted((run / "train_grpo" / arm).glob("seed*/metrics.jsonl"))
        ]
        if not curves:
            continue
        cells = [f"{fmean(len(curve) for curve in curves):.0f}"]
        for metric, part in TRAINED.values():
            values = [
                row[metric] for curve in curves for row in curve[-LAST_STEPS if part == "end" else 0 :] if metric in row
            ]
            known = [value for value in values if value is not None]
            if metric == "kl" and not any(known):
                known = []  # a training without a reference policy measures none and logs 0
            digits = 0 if metric == "think_characters" else 2
            cells.append(f"{fmean(known):.{digits}f}" if known else "-")
        body.append([label, *cells])
    return markdown(["arm", "steps", *TRAINED], body) if body else ""


def block(runs: Sequence[Path]) -> str:
    """The text between the marks in docs/ablations.md."""
    parts = [BEGIN]
    for run in runs:
        reference = next(
            row["label"] for row in rows(run, "ablations") if row["benchmark"] == MEAN and not row["compared_to"]
        )
        last = f"the last {LAST_STEPS} steps"
        sections = (
            (f"Every arm minus “{reference}”, in points", means(run)),
            ("By benchmark: the value of the reference, and the differences of the others", benchmarks(run)),
            ("Every metric, controls included, means over the seeds", metrics(run)),
            (
                "Questions that need the order of time and the others, controls included, means over the seeds",
                kinds(run),
            ),
            (f"The trainings: means over the steps; KL, entropy, format and thought over {last}", trainings(run)),
        )
        parts += [f"### {run.name}", origin(run)]
        parts += [f"{title}:\n\n{table}" for title, table in sections if table]
        parts += filter(None, [spread_of_seeds(run)])
    return "\n\n".join([*parts, END])


def write(runs: Sequence[Path]) -> None:
    """Put the text between the marks of the page, or print it where there is no page."""
    new = block(runs)
    if not PAGE.exists():
        print(new)
        return
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{PAGE}: the marks {BEGIN} and {END} are not there; nothing was written")
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: new, text, flags=re.DOTALL), "utf-8")


if __name__ == "__main__":
    write([Path(run) for run in sys.argv[1:]])
