"""Generate the demo's videos, questions and annotations in the published layouts."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.artifacts.provenance import write_sidecar
from vidreason.world.layouts import write_world

root = Path(snakemake.output.summary).parent
write_world(root, {**snakemake.params.settings, "threads": snakemake.threads}, snakemake.params.seed)
for artefact in snakemake.output:
    write_sidecar(artefact, [], dict(snakemake.params.items()), ["vidreason.world.layouts"])
