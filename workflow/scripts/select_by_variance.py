"""Keep the training questions that are sometimes answered right and sometimes wrong."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.artifacts.provenance import write_sidecar
from vidreason.training.selection import select_by_variance

given, params, out = snakemake.input, snakemake.params, snakemake.output
select_by_variance(
    rollouts=given.rollouts,
    questions=given.questions,
    clips=given.clips,
    group_size=params.rollouts,
    seed=int(snakemake.wildcards.seed),
    selected=out.selected,
    dropped=out.dropped,
    histogram=out.histogram,
    **params.rule,
)
for artefact in out:
    write_sidecar(artefact, [*given.rollouts, given.questions], dict(params.items()), ["vidreason.training.selection"])
