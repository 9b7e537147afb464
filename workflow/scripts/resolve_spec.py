"""Write the settings that decide the weights of one arm."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.artifacts.files import write_json
from vidreason.artifacts.provenance import write_sidecar

write_json(snakemake.output.spec, snakemake.params.spec)
write_sidecar(snakemake.output.spec, [], {}, ["vidreason.config.load_runs"])
