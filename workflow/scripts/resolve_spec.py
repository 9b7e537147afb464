"""Write everything that decides the weights of one arm."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.artifacts.files import write_json
from vidreason.artifacts.provenance import write_sidecar

write_json(snakemake.output.spec, snakemake.params.spec)
write_sidecar(snakemake.output.spec, [], {}, ["vidreason.config.runs"])
