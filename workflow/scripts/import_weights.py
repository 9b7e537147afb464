"""Make a checked checkpoint folder of given weights, tokenizer and processor."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.integrity import check_unchanged
from vidreason.models.tinyllava.import_published import import_weights
from vidreason.artifacts.provenance import write_sidecar

params, checkpoint = snakemake.params, snakemake.output.checkpoint
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
import_weights(
    weights=Path(params.weights),
    out=Path(checkpoint),
    frame_size=params.frame_size,
    tokenizer=Path(params.tokenizer) if params.tokenizer else None,
    processor=Path(params.processor) if params.processor else None,
)
write_sidecar(checkpoint, list(snakemake.input), dict(params.items()), ["vidreason.models.tinyllava.import_published"])
