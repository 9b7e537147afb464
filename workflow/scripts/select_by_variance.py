"""Select the training questions of a GRPO arm by the variance of repeated answers."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.artifacts.provenance import write_sidecar
from vidreason.config.selection import SelectionRule
from vidreason.training.registered import modules_with
from vidreason.training.select_by_variance import SelectionFiles, select_by_variance

given, params, out = snakemake.input, snakemake.params, snakemake.output
files = SelectionFiles(given.rollouts, given.questions, given.clips, **dict(out.items()))
rule = SelectionRule.model_validate(params.rule)
select_by_variance(files, rule, int(snakemake.wildcards.seed), params.rollouts, params.reading, params.style)
for artifact in out:
    write_sidecar(
        artifact, list(given), dict(params.items()), modules_with("vidreason.training.select_by_variance", params.data)
    )
