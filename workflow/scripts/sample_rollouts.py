"""Sample several answers of a model to each question of one shard of a training set."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.artifacts.journal import discard_journals
from vidreason.config.settings import SelectionGeneration
from vidreason.engine.batch_inference import Shard
from vidreason.training.registered import modules_with
from vidreason.training.sample_rollouts import sample_rollouts
from vidreason.media.frame_store import clips_path_of
from vidreason.models.families import compute_device
from vidreason.artifacts.provenance import digest, write_sidecar
from vidreason.artifacts.cache import get_or_make

MODULES = modules_with("vidreason.training.sample_rollouts", snakemake.wildcards.dataset)

given, params, out, wildcards = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards
tables = [Path(table) for table in given.frames]
inputs = [given.weights, given.questions, *tables, *map(clips_path_of, tables)]
decisive = {key: value for key, value in params.items() if key not in ("state", "gpus")}
shard = Shard(
    weights=Path(given.weights),
    questions=Path(given.questions),
    frames=tables,
    seed=int(wildcards.seed),
    number=int(wildcards.shard),
    count=params.shards,
    state=Path(params.state),
    identity=digest(decisive | {"seed": wildcards.seed, "shard": wildcards.shard}, inputs, MODULES),
    # On a CPU all threads compute, so none is left to read ahead.
    workers=snakemake.threads - 1 if compute_device().type == "cuda" else 0,
)
generation = SelectionGeneration.model_validate(params.settings)
made = get_or_make(
    "sample_rollouts",
    lambda: shard.identity,
    dict(out.items()),
    lambda: sample_rollouts(shard, generation, params.protocol, params.style, Path(out.rollouts)),
)
write_sidecar(out.rollouts, inputs, decisive, MODULES, made)
discard_journals(params.state)
