"""Sample several answers of an arm to each question of one shard of a benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.gpus import take_gpus

take_gpus(snakemake.params.gpus)  # before torch looks for GPUs

from vidreason.engine.shard_jobs import ShardJob

from vidreason.evaluation.coverage import read_coverage, refuse_missing
from vidreason.config.settings import AnswerSampling
from vidreason.evaluation.sample_answers import sample_answers
from vidreason.training.registered import modules_with

params, out, benchmark = snakemake.params, snakemake.output, snakemake.wildcards.benchmark
# Checked before a model is loaded rather than after a week of answers.
refuse_missing(benchmark, read_coverage(snakemake.input.missing), **params.missing)
job = ShardJob.of(snakemake, modules_with("vidreason.evaluation.sample_answers", benchmark))
values = dict(params.settings)
precision = values.pop("precision")
settings = AnswerSampling.model_validate(values | {"arms": None})
files = Path(out.samples), Path(out.timing)
job.run(
    "sample_answers",
    lambda: sample_answers(job.shard, settings, precision, params.style, params.view, *files),
)
