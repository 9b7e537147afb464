"""Generate the answers of an arm to one shard of a benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.evaluation.coverage import read_coverage, refuse_missing
from vidreason.artifacts.journal import discard_journals
from vidreason.engine.batch_inference import Shard
from vidreason.config.settings import EvaluationGeneration
from vidreason.evaluation.predict import predict
from vidreason.training.registered import modules_with
from vidreason.media.frame_store import clips_path_of
from vidreason.models.families import compute_device
from vidreason.artifacts.provenance import digest, write_sidecar
from vidreason.artifacts.cache import get_or_make

given, params, out, wildcards = snakemake.input, snakemake.params, snakemake.output, snakemake.wildcards
MODULES = modules_with("vidreason.evaluation.predict", wildcards.benchmark)
# Checked before a model is loaded rather than after a week of answers; rule score checks it again.
refuse_missing(wildcards.benchmark, read_coverage(given.missing), **params.missing)
tables = [Path(table) for table in given.frames]
inputs = [given.weights, given.questions, *tables, *map(clips_path_of, tables)]
decisive = {key: value for key, value in params.items() if key not in ("missing", "state", "gpus")}
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
generation = EvaluationGeneration.model_validate(dict(params.settings))
made = get_or_make(
    "predict",
    lambda: shard.identity,
    dict(out.items()),
    lambda: predict(shard, generation, params.style, params.view, Path(out.predictions), Path(out.timing)),
)
write_sidecar(out.predictions, inputs, decisive, MODULES, made)
discard_journals(params.state)
