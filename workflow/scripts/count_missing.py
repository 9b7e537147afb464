"""Count the questions of a benchmark that have no frames, by category."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.evaluation.coverage import count_missing
from vidreason.artifacts.provenance import write_sidecar

given, table = snakemake.input, snakemake.output.table
count_missing(given.questions, given.clips, table)
write_sidecar(table, [given.questions, *given.clips], dict(snakemake.params.items()), ["vidreason.evaluation.coverage"])
