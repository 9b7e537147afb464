"""Decode the clips of one shard and store their frames at the model's resolution."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.artifacts.integrity import check_unchanged
from vidreason.media.extract_frames import FrameSpec, extract_frames, frames_digest
from vidreason.artifacts.provenance import write_sidecar
from vidreason.artifacts.cache import get_or_make

given, params, out = snakemake.input, snakemake.params, snakemake.output
for path in snakemake.input.ready:  # files that the graph made have sidecars; a user's own have none
    check_unchanged(path)
spec = FrameSpec(params.frame_count, params.frame_size, int(snakemake.wildcards.shard), params.shards)
made = get_or_make(
    "extract_frames",
    lambda: frames_digest(list(given.questions), params.root, spec, snakemake.threads),
    dict(out.items()),
    lambda: extract_frames(list(given.questions), params.root, out.frames, out.clips, spec, snakemake.threads),
)
for artifact in out:
    write_sidecar(artifact, list(given), dict(params.items()), ["vidreason.media.extract_frames"], made)
