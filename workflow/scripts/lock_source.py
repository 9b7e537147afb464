"""Ask the hub once what a source is, and write it down."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.sources import Source, lock_source

lock_source(Source.of(snakemake.wildcards.source, snakemake.params.source), snakemake.output.lock)
