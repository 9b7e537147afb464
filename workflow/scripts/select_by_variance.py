"""Select the training questions of a GRPO arm by the variance of repeated answers."""

import _log

_log.open_log(snakemake.log[0])

from vidreason.artifacts.provenance import write_sidecar
from vidreason.config.settings import ArmSelection
from vidreason.training.select_by_variance import SelectionFiles, select_by_variance

given, params, out = snakemake.input, snakemake.params, snakemake.output
files = SelectionFiles(given.rollouts, given.questions, given.clips, **dict(out.items()))
select_by_variance(files, ArmSelection.model_validate(params.rule), int(snakemake.wildcards.seed), params.rollouts)
for artifact in out:
    write_sidecar(artifact, list(given), dict(params.items()), ["vidreason.training.select_by_variance"])
