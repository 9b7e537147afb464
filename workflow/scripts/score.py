"""Grade the answers of one arm to one benchmark, or its sampled answers (rule score_samples)."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.settings import Scoring
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.evaluation.score_samples import score_samples
from vidreason.training.registered import modules_with
from vidreason.artifacts.provenance import write_sidecar
from vidreason.tasks.option_edits import OptionEdit

given, out = snakemake.input, snakemake.output
names, params = snakemake.wildcards, snakemake.params
subject = Subject(names.benchmark, names.arm, params.style, int(names.seed))
settings = Scoring.model_validate(dict(params.settings))
if snakemake.rule == "score_samples":
    shards = list(map(Path, given.samples))
    score_samples(subject, Path(given.questions), shards, Path(out.scored), settings, params.limit)
else:
    files = ScoreFiles(
        Path(given.questions),
        list(map(Path, given.predictions)),
        Path(out.scored),
        Path(out.score),
        Path(given.truth) if given.truth else None,
    )
    score(subject, files, settings, params.known_missing, OptionEdit(**params.options))
modules = modules_with(f"vidreason.evaluation.{snakemake.rule}", names.benchmark)
for artifact in out:
    write_sidecar(artifact, list(given), dict(params.items()), modules)
