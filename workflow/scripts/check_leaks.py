"""Look for videos of the benchmarks among the training videos."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.artifacts.provenance import write_sidecar
from vidreason.evaluation.leaks import check_leaks

given, out = snakemake.input, snakemake.output


def by_dataset(tables):
    """Data set -> its frame tables, in the order of the configuration."""
    found = {}
    for path in map(Path, tables):
        found.setdefault(path.parent.name, []).append(path)
    return found


check_leaks(by_dataset(given.benchmarks), by_dataset(given.training), out.leaks, out.counts)
for artifact in out:
    write_sidecar(artifact, list(given), dict(snakemake.params.items()), ["vidreason.evaluation.leaks"])
