"""The jobs of the results: what the scripts of the rules do, and `make tables` does without Snakemake.

Files and settings are those of `vidreason.results.jobs.inputs`. Every result gets its sidecar.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import write_text
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.results.figures import make_figures
from vidreason.results.gallery.thumbnails import Sources, make_thumbnails
from vidreason.results.gallery.write import make_gallery
from vidreason.results.jobs.inputs import CARD, GALLERY, PAGE, THUMBNAILS, Files, all_paths
from vidreason.results.registry import FIGURES, TABLES, modules_of
from vidreason.results.release.model_card import model_card
from vidreason.results.report import make_report
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables
from vidreason.training.registered import definitions

Settings = Mapping[str, Any]


def write_tables(files: Files, settings: Settings, out: Mapping[str, str]) -> None:
    """Write tables; `out` is table name -> path."""
    known = {"grpo": "curves", "rollouts": "rollouts", "timing": "timing"}
    there = {name: _there(settings[key]) for name, key in known.items()}
    make_tables(_inputs(files, settings, costs=settings["costs"], **there), out)
    _write_sidecars(out.values(), all_paths(files), settings, modules_of(TABLES))


def write_figures(files: Files, settings: Settings, out: Mapping[str, str]) -> None:
    """Write figures; `out` is figure name -> path."""
    make_figures(_inputs(files, settings), out)
    _write_sidecars(out.values(), all_paths(files), settings, modules_of(FIGURES))


def write_thumbnails(files: Files, settings: Settings, out: str) -> None:
    """Write the pictures of the clips that page and gallery show."""
    rollouts = _there(settings["rollouts"])
    frames = [*files["frames"], *(_there(settings["training_frames"]) if rollouts else [])]
    sources = Sources(files["questions"], frames, files["selected"], rollouts)
    make_thumbnails(sources, out, settings["seed"], settings["most_clips"])
    write_sidecar(out, dict.fromkeys([*all_paths(files), *frames, *rollouts]), settings, [THUMBNAILS])


def write_report(files: Files, settings: Settings, page: str, gallery: str) -> None:
    """Write the page, and beside it the gallery, whose groups are shown as far as there are rollouts."""
    rollouts = _there(settings["rollouts"])
    inputs = _inputs(files, settings, rollouts=rollouts)
    entry = Path(gallery, "index.html").relative_to(Path(page).parent).as_posix()
    sidecars = _there(str(sidecar_of(path)) for path in settings["traced"])
    make_report(inputs, settings["run"], settings["seed"], page, sidecars, gallery=entry)
    make_gallery(inputs, settings["run"], gallery)
    _write_sidecars([page], all_paths(files), settings, [PAGE])
    _write_sidecars([gallery], [*all_paths(files), *rollouts], settings, [GALLERY])


def write_card(files: Files, settings: Settings, card: str) -> None:
    """Write the model card of a trained arm."""
    write_text(card, model_card(settings["weights"], scores=all_paths(files)))
    _write_sidecars([card], all_paths(files), settings, [CARD])


def _inputs(files: Files, settings: Settings, **others: Any) -> ResultInputs:
    return ResultInputs(read_arms(settings["arms"]), list(settings["benchmarks"]), **{**files, **others})


def _there(candidates: Iterable[str]) -> list[str]:
    return [path for path in candidates if Path(path).is_file()]


def _write_sidecars(made: Iterable[str], read: list[str], settings: Settings, modules: list[str]) -> None:
    for path in made:
        write_sidecar(path, read, settings, [*modules, *definitions(*settings["benchmarks"])])
