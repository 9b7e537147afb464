"""Draw the figures of a run."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.results.figures import make_figures
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
make_figures(
    scores=given.scores,
    controls=given.controls,
    histograms=given.histograms,
    grpo=given.grpo,
    sft=given.sft,
    arms=params.arms,
    benchmarks=list(params.benchmarks),
    keep_min=params.keep_min,
    keep_max=params.keep_max,
    out=dict(out.items()),
)
for figure in out:
    write_sidecar(figure, given.scores, dict(params.items()), ["vidreason.results.figures"])
