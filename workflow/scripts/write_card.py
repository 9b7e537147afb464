"""Write the model card of a trained arm."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.jobs.write import write_card

write_card(dict(snakemake.input.items()), snakemake.params.settings, snakemake.output.card)
