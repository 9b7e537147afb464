"""Unpack what is needed of a source's archives."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.sources import Source, unpack_source

unpack_source(
    source=Source.of(snakemake.wildcards.source, snakemake.params.source),
    fetched=snakemake.input.fetched,
    folder=Path(snakemake.output.unpacked).parent,
    out=snakemake.output.unpacked,
    delete_archives=snakemake.params.delete_archives,
)
