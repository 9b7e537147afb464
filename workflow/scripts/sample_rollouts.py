"""Sample several answers of a model to each question of one shard of a training set."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.engine.shard_jobs import ShardJob

from vidreason.config.settings import SelectionGeneration
from vidreason.training.registered import modules_with
from vidreason.training.sample_rollouts import sample_rollouts

params, rollouts = snakemake.params, Path(snakemake.output.rollouts)
job = ShardJob.of(snakemake, modules_with("vidreason.training.sample_rollouts", snakemake.wildcards.dataset))
generation = SelectionGeneration.model_validate(params.settings)
job.run(
    "sample_rollouts",
    lambda: sample_rollouts(job.shard, generation, params.protocol, params.style, rollouts),
)
