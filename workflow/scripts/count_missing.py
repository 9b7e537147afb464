"""Count the questions of a benchmark that have no frames, by task."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.evaluation.coverage import count_missing
from vidreason.artifacts.provenance import write_sidecar

given, table = snakemake.input, snakemake.output.table
count_missing(given.questions, given.clips, table)
write_sidecar(table, [given.questions, *given.clips], dict(snakemake.params.items()), ["vidreason.evaluation.coverage"])
