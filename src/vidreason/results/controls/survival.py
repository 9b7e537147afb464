"""How much of the gain of every arm of GRPO survives when the questions are asked in another way: a table, and one page to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidreason.artifacts.csv_files import read_csv
from vidreason.data.registry import title_of
from vidreason.evaluation.ratios import UNBOUNDED, share_of
from vidreason.evaluation.statistics import Estimate, mean_of_estimates
from vidreason.results.controls.gains import Compared, clipped, compared
from vidreason.results.markdown import Block, Bullets, Grid, Heading, Paragraph, to_markdown
from vidreason.results.number_format import Row, interval_cells, percent
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import CONTROL, Arm, Runs, headline_name
from vidreason.tasks.option_edits import PUBLISHED

MEAN = "mean"
NO_LEAKS = "clips=without_leaks"
KEYS = ("options", "view", "style")
"""What a control changes, in the order of the rows."""


@dataclass(frozen=True)
class Words:
    """How a condition is named, and what a gain depends on that does not survive it."""

    name: str
    needs: str


CONDITIONS: Mapping[str, Words] = {
    PUBLISHED: Words("as published", ""),
    "options=permuted": Words("options permuted", "the letters and the places of the options"),
    "options=without_gold": Words("gold option replaced", "having the right option's words among the options"),
    "view=shuffled": Words("frames shuffled", "the order of the frames"),
    "view=times_shuffled": Words("times shuffled", "the times of the frames"),
    "view=gray": Words("gray frames", "what the frames show"),
    "view=none": Words("no video", "the video"),
    "style=option": Words("asked without thinking", "writing a thought first"),
    "style=reason": Words("asked to think", "answering without a thought"),
    NO_LEAKS: Words("clips that leak left out", "questions about clips that were found among the training clips"),
}
"""Condition, in the order of the rows -> its words."""


@dataclass(frozen=True)
class Survived:
    """One row: a gain under a condition, on one benchmark or in the mean over all.

    Attributes:
        arm: An arm of GRPO.
        parent: The arm that it was trained from.
        condition: A key of `CONDITIONS`, or several joined by `+`.
        benchmark: The benchmark, or `MEAN`.
        level: Headline number of the arm, asked so, with its interval.
        other: That of its parent, asked so.
        chance: Expected value of guessing; None where there is no sensible guess.
        gain: The arm minus its parent.
        share: The gain as a share of that without the condition; None where the latter is not shown to be above 0.
        changed: Questions whose options were changed; None where the condition changes none.
    """

    arm: Arm
    parent: Arm
    condition: str
    benchmark: str
    level: Estimate
    other: float
    chance: float | None
    gain: Estimate
    share: Estimate | None
    changed: int | None


def survival_table(inputs: ResultInputs) -> list[Row]:
    """Every arm of GRPO minus its parent, asked as published and in every other way that both were asked."""
    rows: list[Row] = []
    for one in survived(inputs):
        benchmarks = inputs.runs.benchmarks if one.benchmark == MEAN else [one.benchmark]
        rows.append(
            {"arm": one.arm.name, "compared_to": one.parent.name, "condition": one.condition}
            | {"benchmark": one.benchmark, "metric": headline_name(benchmarks), "seeds": len(inputs.runs.seeds)}
            | {"n": one.gain.n, "videos": one.gain.clusters}
            | {"unchanged": "" if one.changed is None else one.gain.n - one.changed}
            | {"chance": percent(one.chance), "compared_value": percent(one.other), "value": percent(one.level.mean)}
            | interval_cells(one.gain, ("difference", "ci_low", "ci_high"))
            | interval_cells(one.share, ("survives", "survives_low", "survives_high"))
        )
    return rows


def survived(inputs: ResultInputs) -> list[Survived]:
    """The rows, by arm, condition and benchmark; the mean over the benchmarks last."""
    runs = inputs.runs
    found: list[Survived] = []
    for arm in runs.arms:
        parent = runs.parent_of(arm)
        if arm.method != "grpo" or parent is None:
            continue
        wholes = _over_benchmarks(runs, (arm, parent))
        for condition, parts in _conditions(inputs, arm, parent, wholes).items():
            found += _rows(arm, parent, condition, parts, wholes)
    return found


def _conditions(
    inputs: ResultInputs, arm: Arm, parent: Arm, wholes: Mapping[str, Compared]
) -> dict[str, dict[str, Compared]]:
    """Condition -> the comparison on every benchmark; first as published."""
    runs = inputs.runs
    ours, theirs = (_controls_of(runs, one) for one in (arm, parent))
    both = {name: (ours[name], theirs[name]) for name in ours if name in theirs}
    order = [name for name in CONDITIONS if name in both] + [name for name in both if name not in CONDITIONS]
    found = {PUBLISHED: dict(wholes)}
    found |= {name: _over_benchmarks(runs, both[name], published=arm) for name in order}
    leaks = inputs.leaks or inputs.table("leaks")  # the page is made from tables
    if leaks is not None:
        leaking: dict[str, set[str]] = {}
        for row in read_csv(leaks, ("benchmark", "clip")):
            leaking.setdefault(row["benchmark"], set()).add(row["clip"])
        found[NO_LEAKS] = _over_benchmarks(runs, (arm, parent), leaking)
    return found


def _controls_of(runs: Runs, arm: Arm) -> dict[str, Arm]:
    """What a control changes of an arm, `view=gray` -> the control."""
    found: dict[str, Arm] = {}
    for control in runs.arms:
        if control.method == CONTROL and control.parent == arm.name:
            changed = [f"{key}={getattr(control, key)}" for key in KEYS if getattr(control, key) != getattr(arm, key)]
            found.setdefault("+".join(changed), control)
    found.pop("", None)
    return found


def _over_benchmarks(
    runs: Runs,
    pair: tuple[Arm, Arm],
    left_out: Mapping[str, set[str]] | None = None,
    published: Arm | None = None,
) -> dict[str, Compared]:
    """Benchmark -> the comparison of two arms, where a question is left."""
    of_all = {name: compared(runs, *pair, name, (left_out or {}).get(name, ()), published) for name in runs.benchmarks}
    return {name: one for name, one in of_all.items() if one is not None}


def _rows(
    arm: Arm, parent: Arm, condition: str, parts: Mapping[str, Compared], wholes: Mapping[str, Compared]
) -> list[Survived]:
    """A row for every benchmark, and the mean where no benchmark is without a question."""
    edits = "options=" in condition
    rows = [
        Survived(
            *(arm, parent, condition, name, one.level, one.other, one.chance, one.difference),
            share_of([one.gain], [wholes[name].gain]),
            one.changed if edits else None,
        )
        for name, one in parts.items()
    ]
    if len(parts) < len(wholes):
        return rows
    members, before = list(parts.values()), [wholes[name].gain for name in parts]
    low, high = (sum(one.bounds[side] for one in members) / len(members) for side in (0, 1))
    chances = [one.chance for one in members if one.chance is not None]
    mean = Survived(
        *(arm, parent, condition, MEAN),
        level=mean_of_estimates(one.level for one in members),
        other=sum(one.other for one in members) / len(members),
        chance=sum(chances) / len(chances) if len(chances) == len(members) else None,
        gain=clipped(mean_of_estimates((one.gain.estimate for one in members), UNBOUNDED), (low, high)),
        share=share_of([one.gain for one in members], before),
        changed=sum(one.changed for one in members) if edits else None,
    )
    return [*rows, mean]


def survival_markdown(inputs: ResultInputs) -> str:
    """The page: for every arm of GRPO a table of the mean over the benchmarks, and what it says in sentences."""
    blocks: list[Block] = [Heading("How much of the gain survives", level=1)]
    by_arm = _means_by_arm(inputs)
    if not by_arm:
        blocks.append(Paragraph("No arm of this run is trained by GRPO, so there is no gain."))
    for rows in by_arm:
        arm, parent = rows[0].arm, rows[0].parent
        blocks += [Heading(f"{arm.label} minus {parent.label}"), survival_grid(rows), Bullets(said(inputs, rows))]
    blocks += [Heading("How to read it"), Bullets(READING)]
    return to_markdown(blocks)


def survival_summary(inputs: ResultInputs) -> list[Block]:
    """The same tables as a section of the results; nothing where there was no control and no leak."""
    blocks: list[Block] = []
    for rows in _means_by_arm(inputs):
        if len(rows) > 1:
            title = f"How much of the gain of {rows[0].arm.label} over {rows[0].parent.label} survives"
            blocks += [Heading(title), survival_grid(rows), Bullets(said(inputs, rows))]
    return blocks


def _means_by_arm(inputs: ResultInputs) -> list[list[Survived]]:
    by_arm: dict[str, list[Survived]] = {}
    for one in survived(inputs):
        if one.benchmark == MEAN:
            by_arm.setdefault(one.arm.name, []).append(one)
    return list(by_arm.values())


def survival_grid(rows: Sequence[Survived]) -> Grid:
    """A line for every condition."""
    header = ["condition", rows[0].parent.label, rows[0].arm.label, "gain in points", "survives", "chance", "questions"]
    return Grid(header, [_line(one) for one in rows])


def _line(one: Survived) -> list[str]:
    changed = "" if one.changed is None else f" ({one.changed} changed)"
    return [
        name_of(one.condition),
        percent(one.other, 1),
        percent(one.level.mean, 1),
        f"{percent(one.gain.mean, 1)} ({_interval(one.gain)})",
        _share(one),
        percent(one.chance, 1) or "-",
        f"{one.gain.n}{changed}",
    ]


def _share(one: Survived) -> str:
    if one.share is None:
        return "-"
    share = f"{percent(one.share.mean, 0)}%"
    return share if one.share.low == one.share.high else f"{share} ({_interval(one.share, 0)}%)"


def name_of(condition: str) -> str:
    """A condition in words."""
    return ", ".join(CONDITIONS[part].name if part in CONDITIONS else part for part in condition.split("+"))


def _interval(estimate: Estimate, digits: int = 1) -> str:
    return f"{percent(estimate.low, digits)} to {percent(estimate.high, digits)}"


def sentences(rows: Sequence[Survived]) -> list[str]:
    """What the rows of an arm say, one sentence a condition; the first row is that without a condition."""
    whole = rows[0]
    worse, size = whole.gain.mean < 0, percent(abs(whole.gain.mean), 1)
    first = (
        f"As published, {whole.arm.label} is {size} points {'worse' if worse else 'better'} than {whole.parent.label} in the mean over "
        f"the benchmarks (95% interval of the difference {_interval(whole.gain)})."
    )
    if whole.share is None:
        return [first, "A gain is not shown on these questions, so no share of it can be given."]
    return [first, *(_sentence(one, whole) for one in rows[1:])]


def said(inputs: ResultInputs, rows: Sequence[Survived]) -> list[str]:
    """`sentences`, and the benchmarks of which leaks leave no question, so that there is no mean."""
    arm = rows[0].arm.name
    kept = [one.benchmark for one in survived(inputs) if one.arm.name == arm and one.condition == NO_LEAKS]
    lost = [title_of(name) for name in inputs.runs.benchmarks if name not in kept]
    if not kept and inputs.leaks is None and inputs.table("leaks") is None:
        return sentences(rows)
    text = f"{name_of(NO_LEAKS).capitalize()}: no question of {', '.join(lost)} is left, so there is no mean over the benchmarks."
    return sentences(rows) + ([text] if lost else [])


def _sentence(one: Survived, whole: Survived) -> str:
    """What one condition says about the gain."""
    name = name_of(one.condition).capitalize()
    if one.condition == NO_LEAKS and one.gain.n == whole.gain.n:
        return f"{name}: no clip of a benchmark was found among the training clips, so nothing is left out."
    share = one.share
    left = f"{name}: {percent(one.gain.mean, 1)} points are left ({_interval(one.gain)})"
    if share is not None:
        left += f", {percent(share.mean, 0)}% of the gain ({_interval(share, 0)}%)"
    parts = [CONDITIONS[part].needs for part in one.condition.split("+") if part in CONDITIONS]
    needs = " and on ".join(parts) or "what was changed"
    return f"{left}. {_verdict(one, share, needs)}"


def _verdict(one: Survived, share: Estimate | None, needs: str) -> str:
    """What the two intervals allow to say: that of what is left, and that of its share."""
    less = share is not None and share.high < 1
    if one.chance is not None and one.level.low <= one.chance:
        return f"Asked so, {one.arm.label} is not above chance: its answers, and with them the gain, depend on {needs}."
    if one.gain.high < 0:
        return f"Asked so, {one.arm.label} is worse than {one.parent.label}: the gain depends on {needs}."
    if one.gain.low <= 0:
        if less:
            return f"The gain depends on {needs}; that any of it is left is not shown."
        return "These questions are too few to say how much of it is left."
    if less:
        return f"Part of the gain depends on {needs}, part does not."
    if share is not None and share.low > 1:
        return "Asked so, the gain is larger."
    return f"The gain is not seen to depend on {needs}."


READING = (
    "A gain that is about the videos survives permuted options and leaking clips left out, and does not survive gray frames or a "
    "missing video. What survives those was learned about questions and options.",
    "Shuffled frames can only cost something on questions that need the order of the frames; many benchmarks have few. "
    "controls.csv splits them where the data say which they are.",
    "A replaced gold option makes the task another one: both arms have to choose None of the above. A gain that is lost there may "
    "have been recognition of the right words, or an aversion to that option.",
    "Without thinking, an arm that was trained to think is asked in a way that it was not trained for.",
    "Where an arm is not above chance, a difference to its parent is no gain in answering. An answer without a letter counts as "
    "wrong, so an arm that loses its format can be far below chance.",
    "Intervals are clustered by video and paired by question; that of the share is Fieller's, with the covariance of the two gains. "
    "There is no share where the gain as published is not shown to be above 0.",
)
"""What the page says about its own limits."""
