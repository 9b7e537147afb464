"""Decode the clips of one shard and store the pixels the model will see."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.frames import extract_frames
from vidreason.provenance import write_sidecar

params, out = snakemake.params, snakemake.output
extract_frames(
    questions=list(snakemake.input.questions),
    root=params.root,
    frames_path=out.frames,
    clips_path=out.clips,
    count=params.frame_count,
    size=params.frame_size,
    shard=int(snakemake.wildcards.shard),
    shards=params.shards,
    threads=snakemake.threads,
)
for artefact in out:
    write_sidecar(artefact, snakemake.input.questions, dict(params.items()), ["vidreason.frames"])
