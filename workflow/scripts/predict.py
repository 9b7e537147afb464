"""Let an arm answer one shard of a benchmark."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.evaluation.coverage import read_coverage, refuse_missing
from vidreason.evaluation.predict import predict
from vidreason.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
# Said before a model is loaded, not after a week of answers; the rule score refuses it again.
refuse_missing(snakemake.wildcards.benchmark, read_coverage(given.missing), **params.missing)
predict(
    weights=Path(given.weights),
    questions=Path(given.questions),
    frames=[Path(table) for table in given.frames],
    settings=params.settings,
    answer=params.answer,
    view=params.view,
    seed=int(snakemake.wildcards.seed),
    shard=int(snakemake.wildcards.shard),
    shards=params.shards,
    out=Path(out.predictions),
    timing=Path(out.timing),
)
inputs = [given.weights, given.questions, *given.frames]
decisive = {key: value for key, value in params.items() if key != "missing"}
write_sidecar(out.predictions, inputs, decisive, ["vidreason.evaluation.predict"])
