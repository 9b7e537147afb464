"""Estimates what a run will cost before it starts: downloads, disk, GPU-hours; and which results exist already.

Nothing is downloaded, and no hub is contacted. Sizes come from the locks, else from the configuration; a size that neither
knows is shown as unknown. Times are estimates from `COSTS` for the paper's model on one A100, each with its basis.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json
from vidreason.config import job_inputs, paths
from vidreason.config.datasets import SourceEntry
from vidreason.config.run import Run
from vidreason.config.selection import is_sampled
from vidreason.config.settings import Grpo
from vidreason.sources.lock import Lock, Source, SourceError

CONTROL, OF_CONTROLS = "control", "predict (controls)"
GPU, CPU = "GPU", "CPU core"
FETCHED = "fetched"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of one unit of a step.

    Attributes:
        seconds: Seconds per unit.
        of: `GPU` or `CPU core`.
        unit: Name of the unit.
        basis: Where the number comes from.
    """

    seconds: float
    of: str
    unit: str
    basis: str


COSTS: Mapping[str, Cost] = {
    "filter_questions": Cost(
        1.0, CPU, "question", "a 30 s video decoded whole takes about 0.9 s; questions share videos"
    ),
    "extract_frames": Cost(
        0.5, CPU, "question", "16 frames of a 30 s or 10 min video take 0.3 to 0.45 s; MLVU goes to 9 h"
    ),
    "train_sft": Cost(1.0, GPU, "question", "own estimate: 3e13 FLOPs forward and back, a tenth of an A100's peak"),
    "generate": Cost(1 / 25, GPU, "token of a batch", "own estimate: 25 tokens a second for every answer of a batch"),
    "train_grpo": Cost(
        157.0 / 8, GPU, "rollout", "arXiv 2504.09641: 687 steps of 8 questions, 8 rollouts each, in 30 h on 8 A100"
    ),
}
"""Step -> cost. The decoding times were measured on 2 cores; the other times are estimates."""

ANSWER_TOKENS = {"reason": 300, "option": 4}
"""Tokens of an answer by style: about 300 is TinyLLaVA-Video-R1's mean; an option is a letter and the end token. A batch takes as
long as its longest answer."""


@dataclasses.dataclass(frozen=True)
class SourcePlan:
    """A source that a run needs.

    Attributes:
        name: Its name.
        repo: `owner/name`.
        state: `fetched`, `locked` or `not asked for yet`.
        gated: Whether its conditions must be accepted first.
        licence: As its page states it.
        bytes: Size of the download; None where it is not known.
        packed: Bytes of it that are archives, and take their room a second time once unpacked.
    """

    name: str
    repo: str
    state: str
    gated: bool
    licence: str
    bytes: float | None
    packed: float | None


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """A step of a run.

    Attributes:
        rule: Its rule.
        jobs: Number of jobs.
        units: What is worked on, in words.
        seconds: In all; None where the number of units is not known.
        most_seconds: The same at worst; more than `seconds` only where the number of units depends on the model (`resample`).
        of: `GPU`, `CPU core` or `""`.
        done: Jobs whose result is there.
    """

    rule: str
    jobs: int
    units: str
    seconds: float | None
    most_seconds: float | None
    of: str
    done: int


def plan_sources(run: Run) -> list[SourcePlan]:
    """The sources that a run reads, in the order of the configuration."""
    return [_plan_source(name, run.sources[name]) for name in run.used_sources()]


def _plan_source(name: str, entry: SourceEntry) -> SourcePlan:
    """One source; its size comes from the fetched files, else the lock, else the configuration."""
    lock, fetched = (Path(pattern.format(source=name)) for pattern in (paths.LOCK, paths.FETCHED))
    source = Source.of(name, entry.model_dump(mode="json"))
    state = "not asked for yet"
    sizes: dict[str, int] | None = None
    if fetched.is_file():
        state, sizes = FETCHED, {file["path"]: file["size"] for file in read_json(fetched)["files"]}
    elif lock.is_file():
        state, sizes = "locked", {file.path: file.size for file in Lock.load(lock).files}
    if lock.is_file():
        try:
            Lock.load(lock).check(source, lock)
        except SourceError:
            state = "locked as something else: see snakemake -n"
    known = entry.gigabytes
    total = float(sum(sizes.values())) if sizes is not None else None if known is None else 1e9 * known
    if not entry.archives:
        packed: float | None = 0.0
    elif sizes is None:
        packed = total
    else:
        packed = float(sum(size for path, size in sizes.items() if source.archive_rule(path)))
    return SourcePlan(name, entry.repo, state, entry.gated, entry.licence, total, packed)


def plan_steps(run: Run) -> list[StepPlan]:
    """The steps of a run, in the order in which they are taken."""
    counts = _question_counts(run)
    imported = [paths.IMPORTED.format(run=run.run, arm=arm) for arm in run.arms_by("given")]
    used = run.used_datasets()
    decoded = [path for dataset in used for path in job_inputs.frames(run, dataset)]
    filtered = {name: counts[name] for name in used if run.is_filtered(name)}
    questions = [paths.QUESTIONS.format(run=run.run, dataset=name) for name in filtered]
    controls = run.arms_by(CONTROL)
    return [
        _step("import_weights", imported, "weights", None),
        _step("filter_questions", questions, "question", _sum(filtered.values())),
        _step("extract_frames", decoded, "question", _sum(counts[name] for name in used)),
        _training(run, "sft", counts),
        _sampling(run, counts),
        _training(run, "grpo", counts),
        _predicting("predict", run, counts, [name for name in run.arms if run.arms[name].method != CONTROL]),
        *([_predicting(OF_CONTROLS, run, counts, controls)] if controls else []),
        _sampling_answers(run, counts),
    ]


def _question_counts(run: Run) -> dict[str, float | None]:
    """Questions of every data set, as far as they are configured."""
    counts = {name: _count(entry.questions) for name, entry in run.datasets.items()}
    if run.world:
        videos, questions = run.world.videos.model_dump(), run.world.questions_per_video.model_dump()
        counts |= {name: float(videos[name] * questions[name]) for name in videos}
    return counts


def _training(run: Run, method: str, counts: Mapping[str, float | None]) -> StepPlan:
    """The trainings of one method: questions of supervised fine-tuning, rollouts of GRPO."""
    units = []
    for name in run.arms_by(method):
        spec = run.spec(name, 0)
        count = _times(counts[spec.data], spec.settings.epochs)
        least, most = _rollouts(spec.settings, count) if isinstance(spec.settings, Grpo) else (count, count)
        units.append((_times(least, len(run.seeds)), _times(most, len(run.seeds))))
    folders = job_inputs.of_arms(run, {"sft": paths.SFT, "grpo": paths.GRPO}[method], method)
    unit = "rollout" if method == "grpo" else "question"
    least, most = (_sum(pair[place] for pair in units) for place in (0, 1))
    return _step(f"train_{method}", folders, unit, least, most=most)


def _rollouts(settings: Grpo, questions: float | None) -> tuple[float | None, float | None]:
    """Fewest and most rollouts of a GRPO training on `questions` questions, shuffled rollouts included, up to its limit.

    How many groups are replaced by those of fresh questions (`resample`) depends on the model: from none to all of them in every
    round.
    """
    limit, count = settings.rollout_limit, _times(questions, settings.views.ordered + settings.views.shuffled)
    bounds = (count, _times(count, 1 + settings.resample))
    least, most = bounds if limit is None else (float(limit) if n is None else min(n, limit) for n in bounds)
    return least, most


def _sampling(run: Run, counts: Mapping[str, float | None]) -> StepPlan:
    """The repeated answers for the selections: each parent's, to each data set that questions are selected from."""
    generation, arms = run.selection.generation, run.arms_by("grpo")
    files = [path for arm in arms for seed in run.seeds for path in job_inputs.rollouts(run, arm, seed)]
    sampled = {(run.parent(arm), run.data_of(arm)) for arm in arms if job_inputs.rollouts(run, arm, 0)}
    tokens = []
    for parent, dataset in sorted(sampled):
        count, most = counts[dataset], _tokens(run.arms[parent].style, generation.sampling.max_new_tokens)
        tokens.append(None if count is None else math.ceil(count / generation.batch_size) * len(run.seeds) * most)
    return _step("sample_rollouts", list(dict.fromkeys(files)), "token of a batch", _sum(tokens), "generate")


def _predicting(title: str, run: Run, counts: Mapping[str, float | None], arms: Sequence[str]) -> StepPlan:
    """The answers of some arms to every benchmark."""
    generation = run.evaluation.generation
    files, total = [], 0.0
    for arm in arms:
        tokens = _tokens(run.arms[arm].style, generation.max_new_tokens)
        for name in run.evaluation.benchmarks:
            files += [path for seed in run.seeds for path in job_inputs.predictions(run, arm, seed, name)]
            questions = counts[name]
            total += (
                math.inf
                if questions is None
                else math.ceil(questions / generation.batch_size) * tokens * len(run.seeds)
            )
    return _step(title, files, "token of a batch", total if math.isfinite(total) else None, "generate")


def _sampling_answers(run: Run, counts: Mapping[str, float | None]) -> StepPlan:
    """Several answers to every question, of the arms that are sampled from."""
    arms, benchmarks, sampling = run.sampled_arms(), run.evaluation.benchmarks, run.evaluation.sampling
    files = [
        path
        for arm in arms
        for seed in run.seeds
        for name in benchmarks
        for path in job_inputs.samples(run, arm, seed, name)
    ]
    tokens = []
    if sampling is not None:
        for arm, name in itertools.product(arms, benchmarks):
            count, limit = counts[name], sampling.questions
            count = count if count is None or limit is None else min(count, limit)
            most = _tokens(run.arms[arm].style, sampling.sampling.max_new_tokens)
            tokens.append(None if count is None else math.ceil(count / sampling.batch_size) * len(run.seeds) * most)
    return _step("sample_answers", files, "token of a batch", _sum(tokens), "generate")


def _tokens(style: str, most: int) -> int:
    return min(most, ANSWER_TOKENS[style])


def _sum(counts: Iterable[float | None]) -> float | None:
    """The sum; None where a count is not known."""
    counts = list(counts)
    return None if None in counts else float(sum(count for count in counts if count is not None))


def _times(count: float | None, factor: float) -> float | None:
    return None if count is None else count * factor


def _step(
    rule: str, results: Sequence[str], unit: str, units: float | None, cost: str = "", most: float | None = None
) -> StepPlan:
    """One step: its number of units, or the fewest and the most of them, times the cost of one."""
    price = COSTS.get(cost or rule)
    most = units if most is None else most
    plural = "" if unit.endswith("batch") else "s"
    words = "" if units is None else f"{_range(units, most or units, ',.0f')} {unit}{plural}"
    seconds, most_seconds = (_times(count, price.seconds) if price else None for count in (units, most))
    done = sum(Path(path).exists() for path in results)
    return StepPlan(rule, len(results), words, seconds, most_seconds, price.of if price else "", done)


def _range(least: float, most: float, form: str) -> str:
    """Two numbers as a range, or the one that both are written as."""
    low, high = format(least, form), format(most, form)
    return low if low == high else f"{low} to {high}"


def _count(expected: Any) -> float | None:
    """Questions of a data set, as far as they are configured."""
    if isinstance(expected, Mapping):
        return float(sum(expected.values()))
    return None if expected is None else float(expected)


def describe(run: Run) -> str:
    """The whole plan as text.

    Args:
        run: The run.

    Returns:
        Tables of the sources and of the steps, sums, and the basis of every estimate.
    """
    title = f"Plan of the run {run.run} (nothing is downloaded, nothing is started)"
    parts = [
        [title],
        _describe_sources(run, plan_sources(run)),
        _describe_steps(run, plan_steps(run)),
        _describe_basis(),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _describe_sources(run: Run, sources: Sequence[SourcePlan]) -> list[str]:
    """Lines about the sources: sizes, and conditions that must be accepted first."""
    if not sources:
        return ["Nothing is fetched: the run makes its own videos and weights."]
    rows = [("source", "download", "on disk", "state", "gated", "license")]
    for source in sources:
        unpacked = 0 if run.delete_archives else source.packed
        disk = None if source.bytes is None or unpacked is None else source.bytes + unpacked
        gated = "yes" if source.gated else ""
        sizes = (_gigabytes(source.bytes), _gigabytes(disk))
        rows.append((source.name, *sizes, source.state, gated, source.licence))
    waiting = [source.bytes for source in sources if source.state != FETCHED and source.bytes is not None]
    left = _gigabytes(sum(waiting)) if waiting else "0 GB"
    unknown = [source.name for source in sources if source.bytes is None]
    more = f" and {len(unknown)} sources of unknown size" if unknown else ""
    lines = [*_table(rows), "", f"Still to download: {left}{more}."]
    if unknown:
        lines.append("Sizes are known once a source is locked, which downloads nothing:")
        lines.append("  snakemake " + " ".join(paths.LOCK.format(source=name) for name in unknown))
    lines += [
        f"Gated: accept the conditions of {source.repo} on its page and set HF_TOKEN."
        for source in sources
        if source.gated and source.state != FETCHED
    ]
    lines.append("On disk: the download, plus what comes out of its archives (taken as once their size); with")
    lines.append("delete_archives: true the archives go.")
    return lines


def _describe_steps(run: Run, steps: Sequence[StepPlan]) -> list[str]:
    """Lines about the steps: jobs, and the hours that they take."""
    rows = [("step", "jobs", "done", "units", "GPU-hours", "core-hours")]
    for step in steps:
        hours = ""
        if step.seconds is not None and step.most_seconds is not None:
            hours = _range(step.seconds / 3600, step.most_seconds / 3600, ".1f")
        gpu, cpu = (hours if step.of == kind else "" for kind in (GPU, CPU))
        rows.append((step.rule, str(step.jobs), str(step.done), step.units, gpu, cpu))
    lines = [*_table(rows), ""]
    if run.world:
        lines.append("The hours are those of the paper's model; this run's own is a thousand times smaller.")
    on_gpu = [step for step in steps if step.of == GPU]
    total, eighth = _hours(on_gpu), _hours(on_gpu, devices=8)
    training = _hours([step for step in on_gpu if step.rule.startswith("train_")])
    lines.append(f"GPU-hours: {total} in all. Walltime: {total} h on one GPU; on 8, {eighth} h, where trainings")
    lines.append(f"({training} GPU-hours) use all of them at once; sampling and answering are split into shards.")
    if any(step.seconds != step.most_seconds for step in steps):
        lines.append("The range is that of resample: from no group that is replaced to all of them in every round,")
        lines.append("each rollout at the price of one that is learned from. A rollout_limit bounds both ends.")
    if any(step.rule == OF_CONTROLS for step in steps):
        lines.append("Controls ask finished weights in other ways (docs/controls.md); controls: null leaves them out.")
    if unknown := [step.rule for step in steps if step.jobs and step.of and step.seconds is None]:
        lines.append(
            f"Not counted: {', '.join(unknown)}, because the number of questions is not known before they are read."
        )
    if any(arm.selection and is_sampled(arm.selection.strategy) for arm in run.arms.values()):
        lines.append("Selection keeps fewer questions than all, so train_grpo will take less than this.")
    return lines


def _hours(steps: Sequence[StepPlan], devices: int = 1) -> str:
    """Hours of some steps on a number of devices; a range where the steps have one."""
    least, most = sum(step.seconds or 0 for step in steps), sum(step.most_seconds or 0 for step in steps)
    return _range(least / 3600 / devices, most / 3600 / devices, ".0f")


def _describe_basis() -> list[str]:
    """Lines about the basis of the estimates."""
    lines = ["Basis of the estimates"]
    lines += [
        f"  {name}: {cost.seconds:g} s of a {cost.of} per {cost.unit} ({cost.basis})" for name, cost in COSTS.items()
    ]
    return [
        *lines,
        f"  answers: {', '.join(f'{count} tokens in {style} style' for style, count in ANSWER_TOKENS.items())}",
    ]


def _gigabytes(size: float | None) -> str:
    """A size in words. No source is empty, so a tiny one is not given as 0.00."""
    if size is None:
        return "unknown"
    return "< 0.01 GB" if size < 1e7 else f"{size / 1e9:.2f} GB"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns, with a line below the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
