"""Write the frames of the clips that page and gallery show, one small picture a clip."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.results.jobs.write import write_thumbnails

write_thumbnails(dict(snakemake.input.items()), snakemake.params.settings, snakemake.output.thumbnails)
