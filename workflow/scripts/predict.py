"""Generate the answers of an arm to one shard of a benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.engine.shard_jobs import ShardJob

from vidreason.evaluation.coverage import read_coverage, refuse_missing
from vidreason.config.settings import EvaluationGeneration
from vidreason.evaluation.predict import predict
from vidreason.training.registered import modules_with
from vidreason.tasks.option_edits import OptionEdit

params, out, benchmark = snakemake.params, snakemake.output, snakemake.wildcards.benchmark
# Checked before a model is loaded rather than after a week of answers; rule score checks it again.
refuse_missing(benchmark, read_coverage(snakemake.input.missing), **params.missing)
job = ShardJob.of(snakemake, modules_with("vidreason.evaluation.predict", benchmark))
generation = EvaluationGeneration.model_validate(dict(params.settings))
files = Path(out.predictions), Path(out.timing)
job.run(
    "predict", lambda: predict(job.shard, generation, params.style, params.view, *files, OptionEdit(**params.options))
)
