"""Generate the demo's videos, questions and annotations in the published layouts."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.provenance import write_sidecar
from vidreason.world.layouts import write_world

root = Path(snakemake.output.summary).parent
write_world(root, {**snakemake.params.settings, "threads": snakemake.threads}, snakemake.params.seed)
for artefact in snakemake.output:
    write_sidecar(artefact, [], dict(snakemake.params.items()), ["vidreason.world.layouts"])
