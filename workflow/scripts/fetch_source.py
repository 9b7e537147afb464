"""Have every file of a source that is needed, verified."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.sources import Source, fetch_source

fetch_source(
    source=Source.of(snakemake.wildcards.source, snakemake.params.source),
    lock_path=snakemake.input.lock,
    folder=Path(snakemake.output.fetched).parent,
    out=snakemake.output.fetched,
)
