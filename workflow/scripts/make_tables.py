"""Gather all scores of a run in tables."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.results.tables import make_tables
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
make_tables(
    scores=given.scores,
    judged=given.judged,
    arms=params.arms,
    benchmarks=list(params.benchmarks),
    histograms=given.histograms,
    dropped=given.dropped,
    filtered=given.filtered,
    durations=given.durations,
    clips=given.clips,
    published=given.published or None,
    out=dict(out.items()),
)
for table in out:
    write_sidecar(table, given.scores, dict(params.items()), ["vidreason.results.tables"])
