"""Scores, tables, figures and the page of a finished run, made again from its answers.

No weights, videos, GPU or network are needed, and no record of Snakemake's: the answers and what was counted beside them are enough.
Inputs and settings are those of the rules `score`, `make_tables`, `make_figures` and `report`, and so are the sidecars. Paths are
relative to the current folder, as everywhere in the workflow.

Differs from the rules: frames are shown where they are there; without them the page has no pictures.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidreason.artifacts.integrity import content_digest, sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.results.figures import make_figures
from vidreason.results.registry import FIGURES, TABLES, TEMPLATES, Figure, Table, modules_of
from vidreason.results.report import make_report
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables
from vidreason.training import registered

COSTED = ("train_sft", "train_grpo", "sample_rollouts", "select_by_variance")
"""Rules whose cost is in a table."""
_SCORING, _REPORT = "vidreason.evaluation.score", "vidreason.results.report"


class NotFinishedError(ValueError):
    """Something that a run's results are made from is not there."""


def required_files(run: Run) -> list[str]:
    """Everything of a finished run that `rebuild` reads and cannot do without, answers first."""
    answers = [
        path
        for arm in run.arms
        for seed in run.seeds
        for benchmark in run.evaluation.benchmarks
        for path in job_inputs.predictions(run, arm, seed, benchmark)
    ]
    given = (_for_tables(run), _for_figures(run), _for_page(run))
    others = [path for inputs in given for path in _read_by(inputs) if not _is_made_here(run, path)]
    truth = job_inputs.truth(run)
    return list(dict.fromkeys([*answers, *([truth] if isinstance(truth, str) else []), *others]))


def cost_files(run: Run) -> list[str]:
    """What the trainings and selections of a run cost, as far as Snakemake has recorded it."""
    found: set[str] = set()
    for rule in COSTED:
        for arm in run.arms:
            values = {"run": run.run, "arm": arm, "dataset": "*", "shard": "*"}
            for seed in run.seeds:
                found |= {path.as_posix() for path in Path().glob(paths.cost(rule).format(seed=seed, **values))}
    return sorted(found)


def check_finished(run: Run) -> None:
    """Refuse a run of which something that its results are made from is not there.

    Raises:
        NotFinishedError: The message names the files.
    """
    absent = [path for path in required_files(run) if not Path(path).is_file()]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise NotFinishedError(
            f"results/{run.run}: {', '.join(absent[:3])}{more}: no such file. Results are made again from answers that are there; "
            f"run snakemake with the configuration of this run first, or name its configuration if it is another one"
        )


def rebuild(run: Run) -> list[str]:
    """Score the answers again, and make tables, figures and the page.

    Args:
        run: A finished run. Results that are there are replaced.

    Returns:
        The paths of what was made: scores, tables, figures, page.

    Raises:
        NotFinishedError: As `check_finished`.
        ValueError: An input was changed after it was made, or is malformed.
    """
    check_finished(run)
    scores = [path for benchmark in run.evaluation.benchmarks for path in _score(run, benchmark)]
    return [*scores, *_tables(run), *_figures(run), _page(run)]


def results_of(run: Run) -> list[str]:
    """Scores and tables of a run: what `rebuild` makes to the same bytes wherever it runs."""
    scored = [path for pattern in (paths.SCORE, paths.SCORED) for path in job_inputs.scored(run, pattern)]
    return [*scored, *_paths(run, TABLES)]


def frames_at_hand(run: Run) -> list[str]:
    """Frame tables of the benchmarks that have all of theirs."""
    tables = (job_inputs.frames(run, benchmark) for benchmark in run.evaluation.benchmarks)
    return [path for of_one in tables if all(Path(path).is_file() for path in of_one) for path in of_one]


def _score(run: Run, benchmark: str) -> Iterator[str]:
    """Score every arm and seed on one benchmark."""
    settings, known_missing = run.evaluation.scoring, job_inputs.known_missing(run, benchmark)
    modules = registered.modules_with(_SCORING, benchmark)
    questions, truth = paths.QUESTIONS.format(run=run.run, dataset=benchmark), job_inputs.truth(run)
    truths = [truth] if isinstance(truth, str) else []
    for arm in run.arms:
        style = run.arms[arm].style
        params = {
            "settings": settings.model_dump(mode="json"),
            "known_missing": known_missing,
            "style": style,
            "code": registered.code(run, benchmark, _SCORING),
        }
        for seed in run.seeds:
            shards = job_inputs.predictions(run, arm, seed, benchmark)
            values = {"run": run.run, "arm": arm, "seed": seed, "benchmark": benchmark}
            files = ScoreFiles(
                Path(questions),
                list(map(Path, shards)),
                Path(paths.SCORED.format(**values)),
                Path(paths.SCORE.format(**values)),
                Path(truths[0]) if truths else None,
            )
            score(Subject(benchmark, arm, style, seed), files, settings, known_missing)
            for artifact in (files.scored, files.score):
                write_sidecar(artifact, [questions, *shards, *truths], params, modules)
                yield str(artifact)


def _tables(run: Run) -> list[str]:
    inputs, out = _for_tables(run), _outputs(run, TABLES)
    params = {"costs": inputs.costs, "curves": job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo")}
    make_tables(inputs, out)
    return _with_sidecars(run, out.values(), _read_by(replace(inputs, grpo=())), params, modules_of(TABLES))


def _figures(run: Run) -> list[str]:
    inputs, out = _for_figures(run), _outputs(run, FIGURES)
    make_figures(inputs, out)
    return _with_sidecars(run, out.values(), _read_by(inputs), {}, modules_of(FIGURES))


def _page(run: Run) -> str:
    inputs = replace(_for_page(run), frames=frames_at_hand(run))
    page = paths.REPORT.format(run=run.run)
    traced = [*inputs.questions, *job_inputs.benchmark_frames(run), *inputs.scores, str(inputs.table("main"))]
    sidecars = [path for path in map(sidecar_of, traced) if path.is_file()]
    make_report(inputs, run.run, run.seed, page, sidecars)
    params = {"seed": run.seed, "templates": content_digest(TEMPLATES)[:16]}
    return _with_sidecars(run, [page], _read_by(inputs), params, [_REPORT])[0]


def _with_sidecars(
    run: Run, made: Iterable[str], read: list[str], params: Mapping[str, object], modules: list[str]
) -> list[str]:
    """Write the sidecars of what was made of scores; return what was made."""
    benchmarks = job_inputs.shown_benchmarks(run)
    shown = {"arms": job_inputs.shown_arms(run), "benchmarks": benchmarks}
    code = {"code": registered.results_code(run, modules)}
    made = list(made)
    for path in made:
        write_sidecar(path, read, {**shown, **params, **code}, [*modules, *registered.definitions(*benchmarks)])
    return made


def _inputs(run: Run, **files: Any) -> ResultInputs:
    scores = job_inputs.scored(run, paths.SCORE)
    return ResultInputs(read_arms(job_inputs.shown_arms(run)), job_inputs.shown_benchmarks(run), scores=scores, **files)


def _for_tables(run: Run) -> ResultInputs:
    """What the rule `make_tables` reads."""
    return _inputs(
        run,
        scored=job_inputs.scored(run, paths.SCORED),
        histograms=job_inputs.of_arms(run, paths.HISTOGRAM, "grpo"),
        dropped=job_inputs.of_arms(run, paths.DROPPED, "grpo"),
        selected=job_inputs.of_arms(run, paths.SELECTED, "grpo"),
        filtered=job_inputs.set_aside(run),
        durations=job_inputs.filtered(run, "durations.csv"),
        clips=job_inputs.all_clips(run),
        published=job_inputs.published(run) or None,
        grpo=job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo"),
        costs=paths.COSTS.format(run=run.run),
    )


def _for_figures(run: Run) -> ResultInputs:
    """What the rule `make_figures` reads."""
    return _inputs(
        run,
        histograms=job_inputs.of_arms(run, paths.HISTOGRAM, "grpo"),
        tables=_paths(run, TABLES),
        grpo=job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo"),
        sft=job_inputs.of_arms(run, paths.SFT_CURVES, "sft"),
    )


def _for_page(run: Run) -> ResultInputs:
    """What the rule `report` reads, without the frames."""
    return _inputs(
        run,
        scored=job_inputs.scored(run, paths.SCORED),
        questions=job_inputs.benchmark_questions(run),
        clips=job_inputs.all_clips(run),
        checked=job_inputs.filtered(run, "clips.jsonl"),
        published=job_inputs.published(run) or None,
        tables=_paths(run, TABLES),
        figures=_paths(run, FIGURES),
        captions=sorted({f"workflow/report/{item.caption}.rst" for item in (*TABLES, *FIGURES)}),
    )


_FILES = (
    *("scores", "scored", "histograms", "dropped", "selected", "filtered", "durations", "checked", "clips"),
    *("grpo", "sft", "tables", "figures", "captions", "questions", "frames"),
)
"""Fields of `ResultInputs` that are lists of files."""


def _read_by(inputs: ResultInputs) -> list[str]:
    """Every file among some inputs."""
    published = [str(inputs.published)] if inputs.published else []
    return [*(str(path) for name in _FILES for path in getattr(inputs, name)), *published]


def _is_made_here(run: Run, path: str) -> bool:
    """Whether `rebuild` makes a file, or it comes with the code."""
    return path in {*results_of(run), *_paths(run, FIGURES)} or path.startswith("workflow/")


def _paths(run: Run, items: tuple[Table, ...] | tuple[Figure, ...]) -> list[str]:
    return list(_outputs(run, items).values())


def _outputs(run: Run, items: tuple[Table, ...] | tuple[Figure, ...]) -> dict[str, str]:
    return {item.name: item.path.format(run=run.run) for item in items}
