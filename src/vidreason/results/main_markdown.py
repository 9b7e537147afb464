"""The results of a run as a document to read: arms by benchmarks, with everything needed to judge the numbers."""

from collections.abc import Sequence

from vidreason.artifacts.csv_files import read_csv
from vidreason.data.registry import dataset_of
from vidreason.evaluation.statistics import mean_of_estimates
from vidreason.records import PROMPT_TOO_LONG
from vidreason.results.ablations import MEAN, ROLLOUTS, ablations_table, rivals
from vidreason.results.comparisons import gains_table
from vidreason.results.controls.survival import survival_summary
from vidreason.results.controls.thinking import thinking_summary
from vidreason.results.markdown import Block, Bullets, Grid, Heading, Paragraph, to_markdown
from vidreason.results.number_format import Row, plus_minus
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.sampled.section import sampled_section
from vidreason.results.scored_runs import Arm, Run, Runs, axis_label, title, title_with_metric
from vidreason.tasks.base import task_of

PARSERS = {
    "strict": "the last answer block, also where the format is broken",
    "upstream": "the first character of the first answer block",
    "video_r1": "the whole first answer block, or the whole text without one",
    "temporal_r1": "what Temporal-R1's evaluation reads",
}
"""Value of `evaluation.scoring.parser` -> how an answer is read."""


def main_markdown(inputs: ResultInputs) -> str:
    """The results in Markdown."""
    return to_markdown(summary(inputs))


def summary(inputs: ResultInputs) -> list[Block]:
    """The results: headline metrics, others, seeds, gains, ablations and published numbers, a table each."""
    runs, gains = inputs.runs, gains_table(inputs)
    columns = ["arm", "style", "seed", *_titles(runs), "format followed", "unparsed"]
    metrics = axis_label(runs.benchmarks).removesuffix(" (%)")
    blocks: list[Block] = [
        Heading(f"{metrics[0].upper()}{metrics[1:]} in percent, with 95% intervals clustered by video", level=1),
        Grid(columns, _arm_rows(runs)),
        Bullets(_notes(runs)),
    ]
    further = _further_metrics(runs)
    if further:
        blocks += [Heading("Further metrics of these benchmarks in percent"), further]
    if len(runs.seeds) > 1:
        blocks += [Heading(f"Over {len(runs.seeds)} seeds: mean (lowest to highest)"), _over_seeds(runs)]
    if len(gains):
        blocks += [Heading("Gain over the parent arm in points, paired by question"), _gains(runs, gains)]
        blocks.append(Paragraph(": the two arms' own intervals do not overlap.", sign="*"))
    blocks += [*thinking_summary(inputs), *survival_summary(inputs)]
    reference = runs.reference
    if reference and any(inputs.arms[name].method == "grpo" for name in rivals(runs, reference)):
        blocks += [
            Heading(f"Every trained arm minus {reference.label}, over {len(runs.seeds)} seeds"),
            _ablations(inputs),
        ]
        blocks.append(Paragraph(_HOLM))
    blocks += sampled_section(inputs)
    if inputs.published:
        blocks += _published(inputs)
    return blocks


_HOLM = (
    "Mean over the benchmarks in points, paired by question, with 95% intervals clustered by video; p by flipping signs of whole "
    "videos, and after Holm's correction for all rows that have one. Rollouts are those of training and, after the plus sign, of "
    "selecting its questions, in the mean over the seeds; a dash is not known. `ablations.csv` has the seconds too."
)


def _titles(runs: Runs) -> list[str]:
    """Headings of the benchmarks, with the metric where not all measure accuracy, and of the mean."""
    return [*(title_with_metric(name, runs.benchmarks) for name in runs.benchmarks), title("mean")]


def _further_metrics(runs: Runs) -> Grid | None:
    """Metrics beside the headline of each benchmark, for all arms; None where no benchmark has one."""
    plain = {
        run.benchmark: [
            metric
            for metric in task_of(dataset_of(run.benchmark).tasks[0]).metrics[1:]
            if metric.name in run.score.metrics
        ]
        for run in _any_runs(runs)
    }
    if not any(plain.values()):
        return None
    header = [f"{title(benchmark)} ({metric.title})" for benchmark, metrics in plain.items() for metric in metrics]
    rows = []
    for arm, seed in runs.pairs(controls=True):
        cells = [
            plus_minus(runs.by_key[arm.name, seed, benchmark].score.metrics[metric.name])
            for benchmark, metrics in plain.items()
            for metric in metrics
        ]
        rows.append([arm.label, str(seed), *cells])
    return Grid(["arm", "seed", *header], rows)


def _ablations(inputs: ResultInputs) -> Grid:
    """The rows of the table of ablations for the mean over the benchmarks, without seconds: equal scores give equal bytes."""
    rows = []
    for row in ablations_table(inputs):
        if row["benchmark"] != MEAN:
            continue
        cells = {column: str(cell) for column, cell in row.items()}
        gap = (
            f"{float(cells['difference']):+.1f} ({cells['ci_low']} to {cells['ci_high']})"
            if cells["difference"]
            else "-"
        )
        rollouts = " + ".join(cells[name] or "-" for name in ROLLOUTS)
        rows.append(
            [
                *(cells["label"], f"{float(cells['value']):.1f}", gap, cells["p"] or "-", cells["p_holm"] or "-"),
                rollouts,
            ]
        )
    return Grid(["arm", "mean", "difference", "p", "p (Holm)", "rollouts"], rows)


def _arm_rows(runs: Runs) -> list[list[str]]:
    """One row per arm and seed, then two baselines that need no model."""
    rows = []
    for arm, seed in runs.pairs(controls=False):
        members = runs.of(arm.name, seed)
        estimates = [run.estimate for run in members]
        cells = [plus_minus(estimate) for estimate in (*estimates, mean_of_estimates(estimates))]
        unparsed = sum(run.score.unparsed for run in members)
        rows.append([arm.label, arm.style, str(seed), *cells, _format_share(arm, members), str(unparsed)])
    for label, values in _baselines(_any_runs(runs)).items():
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == len(values) else None
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in (*values, mean)]
        rows.append([label, "", "", *cells, "", ""])
    return rows


def _any_runs(runs: Runs) -> list[Run]:
    """One run per benchmark: what depends on the questions alone is the same for every arm."""
    return runs.of(runs.arms[0].name, runs.seeds[0])


def _baselines(members: Sequence[Run]) -> dict[str, list[float | None]]:
    """Guessing where that makes sense, and always answering the most frequent gold letter where all answers are letters."""
    baselines: dict[str, list[float | None]] = {}
    if any(run.score.chance is not None for run in members):
        baselines["chance (1/options)"] = [run.score.chance for run in members]
    majorities: list[float | None] = [run.score.majority.accuracy for run in members if run.score.majority]
    if len(majorities) == len(members):
        baselines["most frequent letter"] = majorities
    return baselines


def _format_share(arm: Arm, members: Sequence[Run]) -> str:
    """Share of well-formed answers; a dash for arms of the style `option`."""
    shares = [(run.score.format_followed, run.score.with_frames) for run in members]
    total = sum(count for share, count in shares if share is not None)
    if arm.style != "reason" or not total:
        return "-"
    return f"{100 * sum(share * count for share, count in shares if share is not None) / total:.1f}%"


def _notes(runs: Runs) -> list[str]:
    """What the numbers depend on: questions, missing frames, averages and the reading of answers."""
    members = _any_runs(runs)
    questions = ", ".join(f"{title(run.benchmark)} {run.score.n} ({run.estimate.clusters} videos)" for run in members)
    notes = [
        f"Questions: {questions}. An answer that cannot be read, and a question whose video cannot, count as wrong."
    ]
    short = [
        f"{title(run.benchmark)} {run.score.n - lost}/{run.score.n}"
        for run in members
        if (lost := sum(count for reason, count in run.score.missing.items() if reason != PROMPT_TOO_LONG))
    ]
    notes.append(
        "Frames: "
        + (f"missing for some questions: {', '.join(short)} have them." if short else "there for every question.")
    )
    too_long = [
        f"{arm.label} (seed {seed}) {title(run.benchmark)} {run.score.missing[PROMPT_TOO_LONG]}"
        for arm, seed in runs.pairs(controls=False)
        for run in runs.of(arm.name, seed)
        if PROMPT_TOO_LONG in run.score.missing
    ]
    if too_long:
        notes.append(
            f"Questions whose prompt is too long for the model are not answered and count as wrong: {', '.join(too_long)}."
        )
    unread = [
        f"{arm.label} (seed {seed}) {title(run.benchmark)} "
        + ", ".join(f"{kind} {count}" for kind, count in run.score.unread.items())
        for arm, seed in runs.pairs(controls=False)
        for run in runs.of(arm.name, seed)
        if run.score.unread
    ]
    if unread:
        notes.append(f"Answers, or parts of them, that could not be read, by kind: {'; '.join(unread)}.")
    for run in members:
        if run.score.is_macro:
            both = "; ".join(
                f"{arm.label} (seed {seed}) {100 * runs.by_key[arm.name, seed, run.benchmark].score.over_questions.mean:.1f}"
                for arm, seed in runs.pairs(controls=False)
            )
            notes.append(
                f"{title(run.benchmark)} is the mean over its categories, as published; over all its questions: {both}."
            )
    settings = members[0].score.rules
    notes.append(f"Parser: {settings.parser} ({PARSERS[settings.parser]}); unparsable answers: {settings.unparsed}.")
    notes.append("The mean weighs the benchmarks equally; its interval takes their videos to be independent.")
    return notes


def _over_seeds(runs: Runs) -> Grid:
    """Mean and range over the seeds, of the arms and columns of the main table."""
    rows = []
    for arm in dict.fromkeys(arm for arm, _ in runs.pairs(controls=False)):
        by_seed = [[100 * run.estimate.mean for run in runs.of(arm.name, seed)] for seed in runs.seeds]
        columns = list(zip(*[[*values, sum(values) / len(values)] for values in by_seed], strict=True))
        rows.append([arm.label, *(f"{sum(c) / len(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in columns)])
    return Grid(["arm", *_titles(runs)], rows)


def _gains(runs: Runs, gains: Sequence[Row]) -> Grid:
    """The gains, a row for every arm and seed."""
    labels = {arm.name: arm.label for arm in runs.arms}
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in gains:
        cells = {column: str(cell) for column, cell in row.items()}
        half = (float(cells["ci_high"]) - float(cells["ci_low"])) / 2
        sign = " *" if cells["separate"] == "yes" else ""
        group = groups.setdefault((cells["arm"], cells["compared_to"], cells["seed"]), {})
        group[cells["benchmark"]] = f"{float(cells['difference']):+.1f} ± {half:.1f}{sign}"
        if cells["benchmark"] == "mean":
            within = cells["well_formed_difference"]
            group["within"] = f"{float(within):+.1f}" if within else "-"
    columns = [*runs.benchmarks, "mean"]
    rows = [
        [f"{labels[arm]} minus {labels[parent]}", seed, *(group[name] for name in (*columns, "within"))]
        for (arm, parent, seed), group in groups.items()
    ]
    return Grid(["arms", "seed", *_titles(runs), "mean within well-formed answers"], rows)


def _published(inputs: ResultInputs) -> list[Block]:
    """Published numbers with their sources and, below the row of an arm of this run, its own numbers."""
    runs = inputs.runs
    published: dict[tuple[str, str], dict[str, str]] = {}
    sources: dict[tuple[str, str], str] = {}
    for row in read_csv(inputs.published or "", ("arm", "benchmark", "value")):
        key = row["arm"], row.get("protocol") or ""
        published.setdefault(key, {})[row["benchmark"]] = row["value"]
        sources[key] = row.get("source") or ""
    rows = []
    for (name, protocol), values in published.items():
        if not set(values) & set(runs.benchmarks):
            continue
        arm = inputs.arms.get(name)
        ours = [seed for seed in runs.seeds if arm in runs.arms and arm.style == (protocol or arm.style)]
        label = arm.label if arm else name
        cells = [values.get(benchmark, "-") for benchmark in runs.benchmarks]
        rows.append([label, protocol, *cells, sources[name, protocol]])
        for seed in ours:
            cells = [plus_minus(run.estimate) for run in runs.of(name, seed)]
            rows.append([label, protocol, *cells, f"this run, seed {seed}"])
    return [
        Heading("Published numbers and this run's"),
        Paragraph(
            "Published numbers come without intervals. A difference smaller than this run's interval shows nothing."
        ),
        Grid(["arm", "style", *_titles(runs)[:-1], "source"], rows),
    ]
