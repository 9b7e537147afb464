"""Read the questions of demonstrations or of a benchmark."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.integrity import check_unchanged
from vidreason.data.registry import Source, write_questions
from vidreason.training.registered import modules_with
from vidreason.artifacts.provenance import write_sidecar

params, out, dataset = snakemake.params, snakemake.output, snakemake.wildcards.dataset
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
write_questions(
    dataset,
    Source(Path(params.root), params.annotations, params.protocol or "paper"),
    out.questions,
    params.expected,
    out.dropped,
)
for artifact in out:
    write_sidecar(
        artifact,
        snakemake.input.ready,
        {key: value for key, value in params.items() if key != "expected"},
        modules_with("vidreason.data.registry", dataset),
    )
