"""Make the tables of a run from its scores."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.jobs.write import write_tables

write_tables(dict(snakemake.input.items()), snakemake.params.settings, dict(snakemake.output.items()))
