"""Write one page that shows a run, and beside it the gallery of all answers."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.jobs.write import write_report

write_report(dict(snakemake.input.items()), snakemake.params.settings, snakemake.output.page, snakemake.output.gallery)
