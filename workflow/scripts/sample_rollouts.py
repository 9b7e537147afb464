"""Let a model answer one shard of the training questions several times."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.evaluation.predict import sample_rollouts
from vidreason.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
sample_rollouts(
    weights=Path(given.weights),
    questions=Path(given.questions),
    frames=[Path(table) for table in given.frames],
    settings=params.settings,
    protocol=params.protocol,
    answer=params.answer,
    seed=int(snakemake.wildcards.seed),
    shard=int(snakemake.wildcards.shard),
    shards=params.shards,
    out=Path(out.rollouts),
)
inputs = [given.weights, given.questions, *given.frames]
write_sidecar(out.rollouts, inputs, dict(params.items()), ["vidreason.evaluation.predict"])
