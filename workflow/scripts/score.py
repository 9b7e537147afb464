"""Judge the answers of one arm to one benchmark."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.evaluation.score import score
from vidreason.artifacts.provenance import write_sidecar

given, out = snakemake.input, snakemake.output
score(
    questions=given.questions,
    predictions=given.predictions,
    settings=snakemake.params.settings,
    benchmark=snakemake.wildcards.benchmark,
    arm=snakemake.wildcards.arm,
    answer=snakemake.params.answer,
    seed=int(snakemake.wildcards.seed),
    truth=given.truth or None,
    scored=out.scored,
    out=out.score,
    known_missing=snakemake.params.known_missing,
)
inputs = [given.questions, *given.predictions]
for artefact in out:
    write_sidecar(artefact, inputs, dict(snakemake.params.items()), ["vidreason.evaluation.score"])
