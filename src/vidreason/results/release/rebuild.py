"""Scores, tables, figures, page, gallery and model cards of a finished run, made again from its answers.

No weights, videos, GPU or network are needed, and no record of Snakemake's: the answers and what was counted beside them are enough.
Inputs and settings are those of the rules (`vidreason.results.jobs.inputs`), and so are the sidecars. Paths are relative to the
current folder, as everywhere in the workflow.

Differs from the rules: without thumbnails, and without the frames that they are made from, page and gallery have no pictures.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.evaluation.score_samples import score_samples
from vidreason.results.gallery.thumbnails import INDEX
from vidreason.results.jobs import inputs as jobs
from vidreason.results.jobs.write import write_card, write_figures, write_report, write_tables, write_thumbnails
from vidreason.results.registry import FIGURES, TABLES
from vidreason.tasks.option_edits import OptionEdit
from vidreason.training import registered

COSTED = ("train_sft", "train_grpo", "sample_rollouts", "select_by_variance")
"""Rules whose cost is in a table."""
_SCORING, _SAMPLES = "vidreason.evaluation.score", "vidreason.evaluation.score_samples"


class NotFinishedError(ValueError):
    """Something that a run's results are made from is not there."""


def required_files(run: Run) -> list[str]:
    """Everything of a finished run that `rebuild` reads and cannot do without, answers first."""
    answers = job_inputs.all_predictions(run)
    answers += [
        path
        for arm in run.sampled_arms()
        for seed in run.seeds
        for benchmark in run.evaluation.benchmarks
        for path in job_inputs.samples(run, arm, seed, benchmark)
    ]
    given = (jobs.table_inputs(run), jobs.figure_inputs(run), {**jobs.report_inputs(run), "thumbnails": []})
    others = [path for inputs in given for path in jobs.all_paths(inputs) if not _is_made_here(run, path)]
    truth = job_inputs.truth(run)
    return list(dict.fromkeys([*answers, *([truth] if isinstance(truth, str) else []), *others]))


def optional_files(run: Run) -> list[str]:
    """What the trainings and selections of a run cost, kept rollouts, and thumbnails, as far as they are there."""
    kept = job_inputs.of_arms(run, paths.GRPO_ROLLOUTS, "grpo")
    thumbnails = Path(paths.THUMBNAILS.format(run=run.run)).glob("[!.]*")
    kept += [path.as_posix() for path in thumbnails]
    found = {path for path in (*jobs.timing_files(run), *kept) if Path(path).is_file()}
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
    """Score the answers again, and make tables, figures, page, gallery and model cards.

    Args:
        run: A finished run. Results that are there are replaced.

    Returns:
        The paths of what was made: scores, tables, figures, page, gallery, cards.

    Raises:
        NotFinishedError: As `check_finished`.
        ValueError: An input was changed after it was made, or is malformed.
    """
    check_finished(run)
    scores = [path for benchmark in run.evaluation.benchmarks for path in _score(run, benchmark)]
    scores += [path for benchmark in run.evaluation.benchmarks for path in _score_samples(run, benchmark)]
    return [*scores, *_tables(run), *_figures(run), *_thumbnails(run), *_report(run), *_cards(run)]


def results_of(run: Run) -> list[str]:
    """Scores and tables of a run: what `rebuild` makes to the same bytes wherever it runs."""
    scored = [path for pattern in (paths.SCORE, paths.SCORED) for path in job_inputs.scored(run, pattern)]
    return [*scored, *job_inputs.scored_samples(run), *jobs.outputs(run, TABLES).values()]


def pages_of(run: Run) -> list[str]:
    """Figures, page and the files of the gallery, as far as there is one. The versions that draw and shrink pictures count too."""
    gallery = Path(paths.GALLERY.format(run=run.run))
    shown = sorted(path.as_posix() for path in gallery.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [*jobs.outputs(run, FIGURES).values(), paths.REPORT.format(run=run.run), *shown]


def _score(run: Run, benchmark: str) -> Iterator[str]:
    """Score every arm and seed on one benchmark."""
    settings, known_missing = run.evaluation.scoring, job_inputs.known_missing(run, benchmark)
    modules = registered.modules_with(_SCORING, benchmark)
    questions, truth = paths.QUESTIONS.format(run=run.run, dataset=benchmark), job_inputs.truth(run)
    truths = [truth] if isinstance(truth, str) else []
    for arm in run.arms:
        style, options = run.arms[arm].style, job_inputs.option_edit(run, arm)
        params = {
            "settings": settings.model_dump(mode="json"),
            "known_missing": known_missing,
            "style": style,
            "options": options,
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
            score(Subject(benchmark, arm, style, seed), files, settings, known_missing, OptionEdit(**options))
            for artifact in (files.scored, files.score):
                write_sidecar(artifact, [questions, *shards, *truths], params, modules)
                yield str(artifact)


def _score_samples(run: Run, benchmark: str) -> Iterator[str]:
    """Grade the sampled answers of every arm and seed to one benchmark."""
    questions = paths.QUESTIONS.format(run=run.run, dataset=benchmark)
    for arm, seed in itertools.product(run.sampled_arms(), run.seeds):
        style, limit = run.arms[arm].style, job_inputs.sampled_questions(run)
        params = {
            "settings": run.evaluation.scoring.model_dump(mode="json"),
            "limit": limit,
            "style": style,
            "code": registered.code(run, benchmark, _SAMPLES),
        }
        shards = job_inputs.samples(run, arm, seed, benchmark)
        out = Path(paths.SCORED_SAMPLES.format(run=run.run, arm=arm, seed=seed, benchmark=benchmark))
        subject = Subject(benchmark, arm, style, seed)
        score_samples(subject, Path(questions), list(map(Path, shards)), out, run.evaluation.scoring, limit)
        write_sidecar(out, [questions, *shards], params, registered.modules_with(_SAMPLES, benchmark))
        yield str(out)


def _tables(run: Run) -> list[str]:
    out = jobs.outputs(run, TABLES)
    write_tables(jobs.table_inputs(run), jobs.table_settings(run), out)
    return list(out.values())


def _figures(run: Run) -> list[str]:
    out = jobs.outputs(run, FIGURES)
    write_figures(jobs.figure_inputs(run), jobs.figure_settings(run), out)
    return list(out.values())


def _has_thumbnails(run: Run) -> bool:
    return Path(paths.THUMBNAILS.format(run=run.run), INDEX).is_file()


def _thumbnails(run: Run) -> list[str]:
    """The folder of thumbnails, made where there is none and the frames are there. One that is there stays: it is as good as answers."""
    folder, inputs = paths.THUMBNAILS.format(run=run.run), jobs.thumbnail_inputs(run)
    if _has_thumbnails(run) or not all(Path(path).is_file() for path in jobs.all_paths(inputs)):
        return []
    write_thumbnails(inputs, jobs.thumbnail_settings(run), folder)
    return [folder]


def _report(run: Run) -> list[str]:
    page, gallery = paths.REPORT.format(run=run.run), paths.GALLERY.format(run=run.run)
    inputs = jobs.report_inputs(run)
    if not _has_thumbnails(run):
        del inputs["thumbnails"]
    write_report(inputs, jobs.report_settings(run), page, gallery)
    return [page, gallery]


def _cards(run: Run) -> Iterator[str]:
    """The cards of all trained arms whose weights have a sidecar; the weights need not be there."""
    for arm in run.arms_by("sft", "grpo"):
        for seed in run.seeds:
            if sidecar_of(job_inputs.weights(run, arm, seed)).is_file():
                card = paths.CARD.format(run=run.run, arm=arm, seed=seed)
                write_card(jobs.card_inputs(run, arm, seed), jobs.card_settings(run, arm, seed), card)
                yield card


def _is_made_here(run: Run, path: str) -> bool:
    """Whether `rebuild` makes a file, or it comes with the code."""
    return path in {*results_of(run), *jobs.outputs(run, FIGURES).values()} or path.startswith("workflow/")
