"""Keep the training questions that are sometimes answered right and sometimes wrong."""

import _log

_log.open_log(snakemake.log[0])

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
    **{key: value for key, value in params.rule.items() if key != "strategy"},
)
for artefact in out:
    write_sidecar(artefact, [*given.rollouts, given.questions], dict(params.items()), ["vidreason.training.selection"])
