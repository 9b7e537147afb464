"""Decode the clips of one shard and store the pixels the model will see."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.artifacts.integrity import check_unchanged
from vidreason.media.frames import extract_frames
from vidreason.artifacts.provenance import write_sidecar
from vidreason.media.frames import frames_identity
from vidreason.artifacts.cache import get_or_make

given, params, out = snakemake.input, snakemake.params, snakemake.output
for path in snakemake.input.ready:  # what the graph made has a sidecar, and what is a user's own has none
    check_unchanged(path)
shard = {
    "count": params.frame_count,
    "size": params.frame_size,
    "shard": int(snakemake.wildcards.shard),
    "shards": params.shards,
    "threads": snakemake.threads,
}
made = get_or_make(
    "extract_frames",
    lambda: frames_identity(list(given.questions), params.root, **shard),
    dict(out.items()),
    lambda: extract_frames(list(given.questions), params.root, out.frames, out.clips, **shard),
)
for artefact in out:
    write_sidecar(artefact, given.questions, dict(params.items()), ["vidreason.media.frames"], made)
