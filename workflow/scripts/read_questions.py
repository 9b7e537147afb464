"""Read the questions of the cold start or of a benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.integrity import check_unchanged
from vidreason.data.registry import Source, write_questions
from vidreason.training.registered import modules_with
from vidreason.artifacts.provenance import write_sidecar

params, questions = snakemake.params, snakemake.output.questions
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
write_questions(
    snakemake.wildcards.dataset,
    Source(Path(params.root), params.annotations, params.protocol or "paper"),
    questions,
    params.expected,
)
write_sidecar(
    questions,
    snakemake.input.ready,
    {key: value for key, value in params.items() if key != "expected"},
    modules_with("vidreason.data.registry", snakemake.wildcards.dataset),
)
