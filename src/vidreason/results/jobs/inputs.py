"""What the rules of the results read, and what they are set to: the workflow and `make tables` both take it from here.

A function of files returns name -> paths; the names are fields of `ResultInputs`. A function of settings returns what the rule's
only parameter is, and what the sidecars of its results record. Imports nothing heavy, because the graph is built from it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vidreason.artifacts.integrity import content_digest
from vidreason.artifacts.provenance import code_digest
from vidreason.config import job_inputs, paths
from vidreason.config.job_inputs import Seed
from vidreason.config.run import Run
from vidreason.results.registry import FIGURES, TABLES, TEMPLATES, Figure, Table, modules_of
from vidreason.training import registered

Inputs = dict[str, str | list[str]]
Files = Mapping[str, str | Sequence[str]]
"""Name of an input -> its file, or its files."""
PAGE, GALLERY, THUMBNAILS = (
    "vidreason.results.report",
    "vidreason.results.gallery.write",
    "vidreason.results.gallery.thumbnails",
)
"""Modules that make the page, the gallery, and the pictures that both show."""
CARD = "vidreason.results.release.model_card"
"""Module that makes a model card."""


def outputs(run: Run, items: tuple[Table, ...] | tuple[Figure, ...]) -> dict[str, str]:
    """Name -> path of some tables or figures."""
    return {item.name: item.path.format(run=run.run) for item in items}


def all_paths(files: Files) -> list[str]:
    """Every file among some inputs."""
    groups = ([value] if isinstance(value, str) else value for value in files.values())
    return [path for group in groups for path in group]


def table_inputs(run: Run) -> Inputs:
    """What the rule `make_tables` reads."""
    return {
        "scores": job_inputs.scored(run, paths.SCORE),
        "scored": job_inputs.scored(run, paths.SCORED),
        "samples": job_inputs.scored_samples(run),
        "histograms": job_inputs.of_arms(run, paths.HISTOGRAM, "grpo"),
        "dropped": job_inputs.of_arms(run, paths.DROPPED, "grpo"),
        "selected": job_inputs.of_arms(run, paths.SELECTED, "grpo"),
        "filtered": job_inputs.set_aside(run),
        "durations": job_inputs.filtered(run, "durations.csv"),
        "clips": job_inputs.all_clips(run),
        "published": job_inputs.published(run),
        "leaks": paths.LEAKS.format(run=run.run),
        "leak_counts": paths.LEAK_COUNTS.format(run=run.run),
    }


def table_settings(run: Run) -> dict[str, Any]:
    """What the rule `make_tables` is set to.

    What trainings cost and measured is used as far as it is there. It is no input: tables are made from answers, and train nothing.
    """
    known = {
        "costs": paths.COSTS.format(run=run.run),
        "curves": job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo"),
        "rollouts": job_inputs.of_arms(run, paths.GRPO_ROLLOUTS, "grpo"),
        "timing": timing_files(run),
    }
    return _shown(run) | known | _code(run, *modules_of(TABLES))


def timing_files(run: Run) -> list[str]:
    """What the steps of the run's trainings cost, as far as they are there."""
    by_method = ((paths.SFT_TIMING, "sft"), (paths.GRPO_TIMING, "grpo"))
    return [path for pattern, method in by_method for path in job_inputs.of_arms(run, pattern, method)]


def figure_inputs(run: Run) -> Inputs:
    """What the rule `make_figures` reads."""
    return {
        "scores": job_inputs.scored(run, paths.SCORE),
        "histograms": job_inputs.of_arms(run, paths.HISTOGRAM, "grpo"),
        "tables": list(outputs(run, TABLES).values()),
        "grpo": job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo"),
        "sft": job_inputs.of_arms(run, paths.SFT_CURVES, "sft"),
        "published": job_inputs.published(run),
    }


def figure_settings(run: Run) -> dict[str, Any]:
    """What the rule `make_figures` is set to."""
    return _shown(run) | _code(run, *modules_of(FIGURES))


def thumbnail_inputs(run: Run) -> Inputs:
    """What the rule `make_thumbnails` reads. Measurements of the trainings are among it because rollouts are as old as they."""
    return {
        "questions": job_inputs.benchmark_questions(run),
        "frames": job_inputs.benchmark_frames(run),
        "selected": job_inputs.of_arms(run, paths.SELECTED, "grpo"),
        "grpo": job_inputs.of_arms(run, paths.GRPO_CURVES, "grpo"),
    }


def thumbnail_settings(run: Run) -> dict[str, Any]:
    """What the rule `make_thumbnails` is set to.

    Rollouts, and frames of training sets, are used as far as they are there. They are no inputs: a run from before rollouts were
    kept trains nothing again.
    """
    return {
        "seed": run.seed,
        "most_clips": run.gallery.clips,
        "rollouts": job_inputs.of_arms(run, paths.GRPO_ROLLOUTS, "grpo"),
        "training_frames": job_inputs.all_training_frames(run),
        "code": code_digest(THUMBNAILS),
    }


def report_inputs(run: Run) -> Inputs:
    """What the rule `report` reads."""
    return {
        "scores": job_inputs.scored(run, paths.SCORE),
        "scored": job_inputs.scored(run, paths.SCORED),
        "samples": job_inputs.scored_samples(run),
        "questions": job_inputs.benchmark_questions(run),
        "clips": job_inputs.all_clips(run),
        "thumbnails": paths.THUMBNAILS.format(run=run.run),
        "checked": job_inputs.filtered(run, "clips.jsonl"),
        "selected": job_inputs.of_arms(run, paths.SELECTED, "grpo"),
        "published": job_inputs.published(run),
        "tables": list(outputs(run, TABLES).values()),
        "figures": list(outputs(run, FIGURES).values()),
        "captions": sorted({f"workflow/report/{item.caption}.rst" for item in (*TABLES, *FIGURES)}),
    }


def report_settings(run: Run) -> dict[str, Any]:
    """What the rule `report` is set to.

    Rollouts are used as far as they are there, as by `make_thumbnails`. Of `traced` artifacts the page shows what their sidecars say.
    """
    answers = job_inputs.all_predictions(run)
    known = {
        "run": run.run,
        "seed": run.seed,
        "rollouts": job_inputs.of_arms(run, paths.GRPO_ROLLOUTS, "grpo"),
        "traced": [*job_inputs.benchmark_questions(run), *job_inputs.benchmark_frames(run), *answers],
        "templates": content_digest(TEMPLATES)[:16],
    }
    return _shown(run) | known | _code(run, PAGE, GALLERY)


def card_inputs(run: Run, arm: str, seed: Seed) -> Inputs:
    """What the rule `write_card` reads."""
    return {"scores": job_inputs.scores_of(run, arm, seed)}


def card_settings(run: Run, arm: str, seed: Seed) -> dict[str, Any]:
    """What the rule `write_card` is set to.

    The weights are no input: a card is made of their sidecar, which may be all that is left of them, and trains nothing.
    """
    known = {"weights": job_inputs.weights(run, arm, seed), "benchmarks": job_inputs.shown_benchmarks(run)}
    return known | _code(run, CARD)


def _shown(run: Run) -> dict[str, Any]:
    return {"arms": job_inputs.shown_arms(run), "benchmarks": job_inputs.shown_benchmarks(run)}


def _code(run: Run, *modules: str) -> dict[str, str]:
    return {"code": registered.results_code(run, modules)}
