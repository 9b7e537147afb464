"""Draw the figures of a run."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.figures import make_figures
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.registry import FIGURES, modules_of
from vidreason.results.scored_runs import read_arms
from vidreason.training.registered import definitions
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
inputs = ResultInputs(read_arms(params.arms), list(params.benchmarks), **dict(given.items()))
make_figures(inputs, dict(out.items()))
modules = [*modules_of(FIGURES), *definitions(*params.benchmarks)]
for figure in out:
    write_sidecar(figure, list(given), dict(params.items()), modules)
