"""Keep the training questions whose video is readable and short enough; hold some videos out for validation."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.config.datasets import Filter
from vidreason.data.filter_nextqa import FilterFiles, filter_nextqa
from vidreason.data.registry import Source
from vidreason.training.registered import modules_with
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.provenance import write_sidecar

params, out = snakemake.params, snakemake.output
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
filter_nextqa(
    Source(Path(params.root), params.annotations),
    Filter(**params.filter),
    FilterFiles(**{name: Path(path) for name, path in out.items()}),
    seed=params.seed,
    frame_count=params.frame_count,
    expected=params.expected,
    threads=snakemake.threads,
)
for artifact in out:
    write_sidecar(
        artifact,
        snakemake.input.ready,
        {key: value for key, value in params.items() if key != "expected"},
        modules_with("vidreason.data.filter_nextqa", "nextqa"),
    )
