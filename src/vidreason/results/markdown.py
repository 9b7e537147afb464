"""The main table to read: arms by benchmarks, with everything needed to judge the numbers."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vidreason.artifacts.csv_files import one_line, read_csv
from vidreason.results.runs import TITLES, Arm, Run, Runs
from vidreason.evaluation.score import MACRO
from vidreason.evaluation.statistics import Estimate, mean_of_estimates
from vidreason.records import PROMPT_TOO_LONG

_MARKUP = re.compile(r"[\\|`$\[~]|\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)")
PARSERS = {
    "strict": "the letter of the last answer block, also where the format is broken",
    "upstream": "the first character of the first answer block",
}
"""How an answer is read."""


def main_markdown(runs: Runs, main: pd.DataFrame, gains: pd.DataFrame, published: str | Path | None) -> str:
    """The results in Markdown.

    Args:
        runs: The runs.
        main: `tables.main_table`.
        gains: `tables.gains_table`.
        published: TSV or CSV with columns arm, benchmark, value (percent), or None.

    Returns:
        Markdown text, one table per question a reader has.
    """
    columns = [*runs.benchmarks, "mean"]
    parts = [
        "# Accuracy in percent, with 95% intervals clustered by video",
        "",
        *_table(["arm", "answer", "seed", *map(title, columns), "format followed", "unparsed"], _arm_rows(runs, main)),
        "",
        *_notes(runs),
    ]
    if len(runs.seeds) > 1:
        parts += ["", f"## Over {len(runs.seeds)} seeds: mean (lowest to highest)", "", *_over_seeds(runs)]
    if len(gains):
        parts += ["", "## Gain over the parent arm in points, paired by question", "", *_gain_rows(runs, gains), ""]
        parts += ["`*`: the two arms' own intervals do not overlap."]
    if published is not None:
        parts += ["", *_published(published, runs.benchmarks)]
    return "\n".join(parts) + "\n"


def title(benchmark: str) -> str:
    """A benchmark as its authors call it."""
    return TITLES.get(benchmark, benchmark)


def plus_minus(estimate: Estimate) -> str:
    """`52.3 ± 4.0`, in percent."""
    return f"{100 * estimate.mean:.1f} ± {100 * estimate.half_width:.1f}"


def _arm_rows(runs: Runs, main: pd.DataFrame) -> list[list[str]]:
    """One row per arm and seed, then what no model is needed for."""
    rows = []
    for arm, seed in runs.pairs(controls=False):
        members = runs.of(arm.name, seed)
        cells = [plus_minus(run.estimate) for run in members] + [
            plus_minus(mean_of_estimates(run.estimate for run in members))
        ]
        unparsed = main.loc[
            (main["arm"] == arm.name) & (main["seed"] == seed) & (main["benchmark"] == "mean"), "unparsed"
        ]
        rows.append([arm.label, arm.answer, str(seed), *cells, _format_share(arm, members), str(unparsed.iloc[0])])
    for label, key in (("chance (1/options)", "chance"), ("most frequent letter", "majority")):
        values = [_baseline(run, key) for run in _any_runs(runs)]
        rows.append([label, "", "", *(f"{100 * value:.1f}" for value in [*values, sum(values) / len(values)]), "", ""])
    return rows


def _any_runs(runs: Runs) -> list[Run]:
    """One run per benchmark: what depends on the questions alone is the same for every arm."""
    return runs.of(runs.arms[0].name, runs.seeds[0])


def _baseline(run: Run, key: str) -> float:
    """Chance level, or accuracy of the most frequent gold letter."""
    value = run.score[key]
    return float(value["accuracy"] if isinstance(value, dict) else value)


def _format_share(arm: Arm, members: Sequence[Run]) -> str:
    """Share of the answers in the reason format; a dash for arms that are not asked for it."""
    shares = [(run.score["format_followed"], run.score["with_frames"]) for run in members]
    total = sum(count for share, count in shares if share is not None)
    if arm.answer != "reason" or not total:
        return "-"
    return f"{100 * sum(share * count for share, count in shares if share is not None) / total:.1f}%"


def _notes(runs: Runs) -> list[str]:
    """What the numbers are out of."""
    members = _any_runs(runs)
    questions = ", ".join(
        f"{title(run.benchmark)} {run.score['n']} ({run.score['clusters']} videos)" for run in members
    )
    notes = [
        f"- Questions: {questions}. An answer that cannot be read, and a question whose video cannot, count as wrong."
    ]
    short = [
        f"{title(run.benchmark)} {run.score['n'] - lost}/{run.score['n']}"
        for run in members
        if (lost := sum(count for reason, count in run.score["missing"].items() if reason != PROMPT_TOO_LONG))
    ]
    notes.append(
        "- Frames: "
        + (f"missing for some questions: {', '.join(short)} have them." if short else "there for every question.")
    )
    too_long = [
        f"{plain(arm.label)} (seed {seed}) {title(run.benchmark)} {run.score['missing'][PROMPT_TOO_LONG]}"
        for arm, seed in runs.pairs(controls=False)
        for run in runs.of(arm.name, seed)
        if PROMPT_TOO_LONG in run.score["missing"]
    ]
    if too_long:
        notes.append(f"- Prompts too long for the model, not asked, count as wrong: {', '.join(too_long)}.")
    for run in members:
        if run.benchmark in MACRO:
            both = "; ".join(
                f"{plain(arm.label)} (seed {seed}) {100 * runs.by_key[arm.name, seed, run.benchmark].score['micro']['accuracy']:.1f}"
                for arm, seed in runs.pairs(controls=False)
            )
            notes.append(
                f"- {title(run.benchmark)} is the mean over its tasks, as published; over all its questions: {both}."
            )
    settings = members[0].score["settings"]
    notes.append(
        f"- Parser: {settings['parser']} ({PARSERS[settings['parser']]}); unparsable answers: {settings['unparsed']}."
    )
    notes.append("- The mean weighs the benchmarks equally; its interval takes their videos to be independent.")
    return notes


def _over_seeds(runs: Runs) -> list[str]:
    """Mean and range over the seeds, of the arms and columns of the main table."""
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in runs.pairs(controls=False)):
        by_seed = [[100 * run.estimate.mean for run in runs.of(arm.name, seed)] for seed in runs.seeds]
        columns = list(zip(*[[*values, sum(values) / len(values)] for values in by_seed], strict=True))
        rows.append([arm.label, *(f"{sum(c) / len(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in columns)])
    return _table(["arm", *map(title, [*runs.benchmarks, "mean"])], rows)


def _gain_rows(runs: Runs, gains: pd.DataFrame) -> list[str]:
    """The gains, wide."""
    labels = {arm.name: arm.label for arm in runs.arms}
    rows = []
    for (arm, parent, seed), group in gains.groupby(["arm", "compared_to", "seed"], sort=False):
        cells = {}
        for row in group.astype(str).to_dict("records"):
            half = (float(row["ci_high"]) - float(row["ci_low"])) / 2
            cells[row["benchmark"]] = (
                f"{float(row['difference']):+.1f} ± {half:.1f}{' *' if row['separate'] == 'yes' else ''}"
            )
        within = group.loc[group["benchmark"] == "mean", "well_formed_difference"].iloc[0]
        cells["within"] = f"{float(within):+.1f}" if within else "-"
        names = f"{labels[str(arm)]} minus {labels[str(parent)]}"
        rows.append([names, str(seed), *(cells[name] for name in [*runs.benchmarks, "mean", "within"])])
    return _table(["arms", "seed", *map(title, [*runs.benchmarks, "mean"]), "mean within well-formed answers"], rows)


def _published(path: str | Path, benchmarks: Sequence[str]) -> list[str]:
    """Published numbers, for orientation."""
    values: dict[str, dict[str, str]] = {}
    for row in read_csv(path, ("arm", "benchmark", "value")):
        protocol = f" ({row['protocol']})" if row.get("protocol") else ""
        values.setdefault(row["arm"] + protocol, {})[row["benchmark"]] = row["value"]
    rows = [
        [arm, *(cells.get(name, "-") for name in benchmarks)]
        for arm, cells in values.items()
        if set(cells) & set(benchmarks)
    ]
    return [
        "## Published numbers, for orientation only",
        "",
        "Other weights, other sizes, and in the demo other videos: compare the shape, not the level.",
        "",
        *_table(["arm", *map(title, benchmarks)], rows),
    ]


def plain(text: str) -> str:
    r"""A text on one line and without meaning in Markdown: no cell, formula, link, code or emphasis begins or ends in it.

    Example:
        >>> plain("a|b\\c $x$ *y* my_name 1.0 ± 2.0 *")
        'a\\|b\\\\c \\$x\\$ \\*y\\* my_name 1.0 ± 2.0 *'
    """
    return _MARKUP.sub(r"\\\g<0>", one_line(text).strip())


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns line up in plain text too."""
    cells = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
