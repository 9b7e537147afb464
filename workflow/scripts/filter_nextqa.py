"""Keep the training questions whose video is readable and short enough; hold some videos out for validation."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.data.nextqa import filter_nextqa
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.provenance import write_sidecar

params, out = snakemake.params, snakemake.output
for path in snakemake.input.ready:  # what the graph made has a sidecar, and what is a user's own has none
    check_unchanged(path)
filter_nextqa(
    root=params.root,
    annotations=params.annotations,
    max_seconds=params.max_seconds,
    validation_fraction=params.validation_fraction,
    limit=params.questions_limit,
    seed=params.seed,
    train_path=out.train,
    validation_path=out.validation,
    dropped_path=out.dropped,
    clips_path=out.clips,
    threads=snakemake.threads,
    expected=params.expected,
    duration=params.duration,
    frame_count=params.frame_count,
    durations_path=out.durations,
)
for artefact in out:
    write_sidecar(
        artefact,
        snakemake.input.ready,
        {key: value for key, value in params.items() if key != "expected"},
        ["vidreason.data.nextqa"],
    )
