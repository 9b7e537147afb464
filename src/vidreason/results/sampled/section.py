"""The section about sampled answers in the results to read: a table, and what it says in words."""

from collections.abc import Sequence

from vidreason.results.markdown import Block, Bullets, Grid, Heading, Paragraph
from vidreason.results.number_format import Row, shorter
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.sampled.answers import SampledRun, load_sampled
from vidreason.results.sampled.tables import MEAN, sampled_table, sharpening_table

Cells = dict[tuple[str, str, str, int], dict[str, str]]
"""(arm, seed, measure, k) -> cells of the row for the mean over the benchmarks."""

NOTE = (
    "Pass@k counts a question as answered if one of k answers is right. With options to choose from that rises by guessing alone, "
    "so it shows an ability only where it is above the row of guessing. By majority: the most frequent answer counts; ties "
    "count in part, unparsed answers never win. sampled.csv has every benchmark, sharpening.csv the paired differences."
)


def sampled_section(inputs: ResultInputs) -> list[Block]:
    """What several answers to each question show; empty where none were sampled."""
    loaded = load_sampled(inputs)
    if not loaded:
        return []
    first = next(iter(loaded.values()))
    cells: Cells = {
        (str(row["arm"]), str(row["seed"]), str(row["measure"]), int(str(row["k"]))): _texts(row)
        for row in sampled_table(inputs)
        if row["benchmark"] == MEAN
    }
    title = f"{first.count} sampled answers to each question: mean over the benchmarks in percent"
    blocks: list[Block] = [Heading(title), _grid(list(loaded.values()), cells), Paragraph(NOTE)]
    sentences = _sentences(inputs, loaded, cells)
    return [*blocks, Bullets(sentences)] if sentences else blocks


def _texts(row: Row) -> dict[str, str]:
    return {column: str(cell) for column, cell in row.items()}


def _grid(runs: Sequence[SampledRun], cells: Cells) -> Grid:
    """A row for every arm and seed, and one for guessing."""
    first = runs[0]
    most, sizes = first.count, first.sizes
    columns = [("greedy", 1), ("mean", 1), ("majority", most), *(("pass", k) for k in sizes[1:])]
    if most == 1:
        columns.remove(("majority", 1))
    titles = {"greedy": "greedy", "mean": "one draw", "majority": f"majority of {most}"}
    rows = [
        [
            run.arm.label,
            str(run.seed),
            *(_plus_minus(cells[run.arm.name, str(run.seed), *column]) for column in columns),
        ]
        for run in runs
    ]
    levels = [cells[first.arm.name, str(first.seed), *column]["chance"] for column in columns]
    if any(levels):
        rows.append(["guessing", "", *(shorter(level) if level else "-" for level in levels)])
    return Grid(["arm", "seed", *(titles.get(name, f"pass@{k}") for name, k in columns)], rows)


def _plus_minus(cells: dict[str, str]) -> str:
    """`52.3 ± 4.0`; a dash where there is no number."""
    if not cells["value"]:
        return "-"
    value, low, high = (float(cells[name]) for name in ("value", "ci_low", "ci_high"))
    return f"{shorter(cells['value'])} ± {max(value - low, high - value):.1f}"


def _sentences(inputs: ResultInputs, loaded: dict[tuple[str, int], SampledRun], cells: Cells) -> list[str]:
    """What the first arm of GRPO that is sampled from answers that its ancestors do not, a sentence or two for each ancestor."""
    subject = next((run for run in loaded.values() if run.arm.method == "grpo"), None)
    if subject is None:
        return []
    rows: dict[tuple[str, str], dict[str, str]] = {
        (str(row["compared_to"]), str(row["measure"])): _texts(row)
        for row in sharpening_table(inputs)
        if (row["arm"], row["seed"], row["benchmark"]) == (subject.arm.name, subject.seed, MEAN)
    }
    ancestors = [arm for arm in inputs.runs.ancestors_of(subject.arm) if (arm.name, subject.seed) in loaded]
    return [
        _sentence(
            subject,
            loaded[arm.name, subject.seed],
            {name: row for (to, name), row in rows.items() if to == arm.name},
            cells,
        )
        for arm in ancestors
    ]


def _sentence(subject: SampledRun, other: SampledRun, rows: dict[str, dict[str, str]], cells: Cells) -> str:
    """One arm against one ancestor, in words that follow from the numbers."""
    most, label, ancestor = subject.count, subject.arm.label, other.arm.label

    def number(run: SampledRun, measure: str, k: int, column: str = "value") -> str:
        return f"{shorter(cells[run.arm.name, str(run.seed), measure, k][column])}%"

    sampled = cells[other.arm.name, str(other.seed), "pass", most]
    which = f" (seed {subject.seed})" if subject.seed else ""
    words = [
        f"{label}{which} answers {shorter(rows['greedy_pass']['value'])}% of the questions right with its greedy answer."
    ]
    voted = f", by the majority of {most} in {number(other, 'majority', most)}" if "greedy_majority" in rows else ""
    words.append(
        f"{ancestor} is right in {number(other, 'pass', 1)} of single draws{voted}, and at least once in {most} draws for "
        f"{number(other, 'pass', most)} of the questions"
    )
    if sampled["chance"]:
        above = float(sampled["ci_low"]) > float(sampled["chance"])
        words[-1] += f" (guessing: {shorter(sampled['chance'])}%" + (
            ")" if above else ", which it is not shown to exceed, so that this says nothing about what it can answer)"
        )
    words[-1] += "."
    if "greedy_majority" in rows:
        words.append(_against_majority(rows["greedy_majority"], label, ancestor))
    total = rows["gained"]["n"]
    words.append(
        f"Of {total} questions {label} answers {rows['gained']['count']} right that {ancestor} never does in {most} draws; "
        f"{rows['lost']['count']} that {ancestor} answers right at least once, {label} never does in {most}."
    )
    return " ".join(words)


def _against_majority(row: dict[str, str], label: str, ancestor: str) -> str:
    """Whether an arm's greedy answers are better than the vote of an ancestor's."""
    low, high, difference = (float(row[name]) for name in ("ci_low", "ci_high", "difference"))
    side = "above" if difference >= 0 else "below"
    words = (
        f"{label}'s greedy answers are {abs(difference):.1f} points {side} that majority ({low:+.1f} to {high:+.1f})"
    )
    if low > 0:
        return f"{words}: more than a vote among {ancestor}'s own answers gives."
    if high < 0:
        return f"{words}: less than a vote among {ancestor}'s own answers gives."
    return f"{words}: no clear difference from a vote among {ancestor}'s own answers."
