"""Make the tables of a run from its scores."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.results.inputs import ResultInputs
from vidreason.results.registry import TABLES, modules_of
from vidreason.results.runs import read_arms
from vidreason.results.tables import make_tables
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
inputs = ResultInputs(read_arms(params.arms), list(params.benchmarks), **dict(given.items()))
make_tables(inputs, dict(out.items()))
for table in out:
    write_sidecar(table, given.scores, dict(params.items()), modules_of(TABLES))
