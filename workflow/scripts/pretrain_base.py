"""Pre-train the small model that stands in for published weights."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.artifacts.provenance import fingerprint, write_sidecar
from vidreason.config.base_model import Base
from vidreason.world.pretraining import pretrain
from vidreason.training.state import discard_states

MODULES = ("vidreason.world.pretraining",)

params, out = snakemake.params, snakemake.output
decisive = {"settings": params.settings, "image_size": params.image_size, "seed": params.seed}
pretrain(
    out=Path(out.checkpoint),
    metrics=Path(out.metrics),
    state=Path(params.state),
    origin=fingerprint(decisive, [], MODULES),
    settings=Base.model_validate(params.settings),
    image_size=params.image_size,
    seed=params.seed,
)
for artifact in out:
    write_sidecar(artifact, [], decisive, MODULES)
discard_states(Path(params.state))
