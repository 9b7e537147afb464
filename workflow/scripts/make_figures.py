"""Draw the figures of a run."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.jobs.write import write_figures

write_figures(dict(snakemake.input.items()), snakemake.params.settings, dict(snakemake.output.items()))
