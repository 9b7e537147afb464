"""Draw the figures of a run."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.results.figures import make_figures
from vidreason.results.inputs import ResultInputs
from vidreason.results.registry import FIGURES, modules_of
from vidreason.results.runs import read_arms
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
inputs = ResultInputs(read_arms(params.arms), list(params.benchmarks), **dict(given.items()))
make_figures(inputs, dict(out.items()))
for figure in out:
    write_sidecar(figure, given.scores, dict(params.items()), modules_of(FIGURES))
