"""Make the tables of a run from its scores."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.results.result_inputs import ResultInputs
from vidreason.results.registry import TABLES, modules_of
from vidreason.results.scored_runs import read_arms
from vidreason.results.tables import make_tables
from vidreason.training.registered import definitions
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
curves = [path for path in params.curves if Path(path).is_file()]
arms = read_arms(params.arms)
inputs = ResultInputs(arms, list(params.benchmarks), grpo=curves, costs=params.costs, **dict(given.items()))
make_tables(inputs, dict(out.items()))
modules = [*modules_of(TABLES), *definitions(*params.benchmarks)]
for table in out:
    write_sidecar(table, list(given), dict(params.items()), modules)
