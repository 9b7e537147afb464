"""Keep the training questions whose video is readable and short enough; hold some videos out for validation."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.data.nextqa import filter_nextqa
from vidreason.artifacts.integrity import check_unchanged
from vidreason.artifacts.provenance import write_sidecar

params, out = snakemake.params, snakemake.output
for path in snakemake.input.ready:  # what the graph made has a sidecar, and what is a user's own has none
    check_unchanged(path)
filter_nextqa(
    root=params.root,
    annotations=params.annotations,
    max_seconds=params.filter["max_seconds"],
    validation_fraction=params.filter["validation_fraction"],
    limit=params.filter["questions_limit"],
    seed=params.seed,
    train_path=out.train,
    validation_path=out.validation,
    dropped_path=out.dropped,
    clips_path=out.clips,
    threads=snakemake.threads,
    expected=params.expected,
    duration=params.filter["duration"],
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
