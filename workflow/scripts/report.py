"""Write one page that shows a run."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.result_inputs import ResultInputs
from vidreason.results.report import make_report
from vidreason.results.scored_runs import read_arms
from vidreason.training.registered import definitions
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
inputs = ResultInputs(read_arms(params.arms), list(params.benchmarks), **dict(given.items()))
traced = [*given.questions, *given.frames, *given.scores, inputs.table("main")]
make_report(inputs, snakemake.wildcards.run, params.seed, out.page, sidecars=[sidecar_of(path) for path in traced])
write_sidecar(
    out.page, list(given), dict(params.items()), ["vidreason.results.report", *definitions(*params.benchmarks)]
)
