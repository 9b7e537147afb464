"""Generate the demo's videos, questions and annotations in the published layouts."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.provenance import write_sidecar
from vidreason.config.world import VideoCounts, World
from vidreason.training.registered import modules_with
from vidreason.world.write import write_world

modules = modules_with("vidreason.world.write", *VideoCounts.model_fields)
root = Path(snakemake.output.summary).parent
write_world(root, World.model_validate(snakemake.params.settings), snakemake.params.seed, snakemake.threads)
for artifact in snakemake.output:
    write_sidecar(artifact, [], dict(snakemake.params.items()), modules)
