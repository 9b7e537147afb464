"""Grade the sampled answers of one arm to one benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.provenance import write_sidecar
from vidreason.config.settings import Scoring
from vidreason.evaluation.score import Subject
from vidreason.evaluation.score_samples import score_samples
from vidreason.training.registered import modules_with

given, out = snakemake.input, snakemake.output
names, params = snakemake.wildcards, snakemake.params
score_samples(
    Subject(names.benchmark, names.arm, params.style, int(names.seed)),
    Path(given.questions),
    list(map(Path, given.samples)),
    Path(out.scored),
    Scoring.model_validate(dict(params.settings)),
    params.limit,
)
modules = modules_with("vidreason.evaluation.score_samples", names.benchmark)
write_sidecar(out.scored, list(given), dict(params.items()), modules)
