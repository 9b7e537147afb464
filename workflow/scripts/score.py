"""Grade the answers of one arm to one benchmark."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.evaluation.score import score
from vidreason.training.registered import modules_with
from vidreason.artifacts.provenance import write_sidecar

given, out = snakemake.input, snakemake.output
score(
    questions=given.questions,
    predictions=given.predictions,
    settings=snakemake.params.settings,
    benchmark=snakemake.wildcards.benchmark,
    arm=snakemake.wildcards.arm,
    answer=snakemake.params.style,
    seed=int(snakemake.wildcards.seed),
    truth=given.truth or None,
    scored=out.scored,
    out=out.score,
    known_missing=snakemake.params.known_missing,
)
modules = modules_with("vidreason.evaluation.score", snakemake.wildcards.benchmark)
inputs = [given.questions, *given.predictions]
for artifact in out:
    write_sidecar(artifact, inputs, dict(snakemake.params.items()), modules)
