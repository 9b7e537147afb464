"""Grade the answers of one arm to one benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.settings import Scoring
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.training.registered import modules_with
from vidreason.artifacts.provenance import write_sidecar
from vidreason.tasks.option_edits import OptionEdit

given, out = snakemake.input, snakemake.output
names, params = snakemake.wildcards, snakemake.params
score(
    Subject(names.benchmark, names.arm, params.style, int(names.seed)),
    ScoreFiles(
        Path(given.questions),
        list(map(Path, given.predictions)),
        Path(out.scored),
        Path(out.score),
        Path(given.truth) if given.truth else None,
    ),
    Scoring.model_validate(dict(params.settings)),
    params.known_missing,
    OptionEdit(**params.options),
)
modules = modules_with("vidreason.evaluation.score", snakemake.wildcards.benchmark)
for artifact in out:
    write_sidecar(artifact, list(given), dict(params.items()), modules)
