"""Keep the questions of a training set whose video is readable and short enough; hold some videos out for validation."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.datasets import Filter
from vidreason.data.filter_questions import Decoding, FilterFiles, filter_questions
from vidreason.data.registry import Source
from vidreason.training.registered import modules_with
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.provenance import write_sidecar

params, out, dataset = snakemake.params, snakemake.output, snakemake.wildcards.dataset
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
filter_questions(
    dataset,
    Source(Path(params.root), params.annotations, params.protocol or "paper"),
    Filter(**params.filter),
    FilterFiles(**{name: Path(path) for name, path in out.items()}),
    seed=params.seed,
    expected=params.expected,
    decoding=Decoding(params.frame_count, snakemake.threads),
)
for artifact in out:
    write_sidecar(
        artifact,
        snakemake.input.ready,
        {key: value for key, value in params.items() if key != "expected"},
        modules_with("vidreason.data.filter_questions", dataset),
    )
