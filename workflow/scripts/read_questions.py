"""Read the questions of the cold start or of a benchmark."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from vidreason.artifacts.integrity import check_unchanged
from vidreason.data.registry import write_questions
from vidreason.artifacts.provenance import write_sidecar

params, questions = snakemake.params, snakemake.output.questions
for path in snakemake.input.ready:  # what the graph made has a sidecar, and what is a user's own has none
    check_unchanged(path)
write_questions(
    dataset=snakemake.wildcards.dataset,
    root=params.root,
    out=questions,
    annotations=params.annotations,
    protocol=params.protocol,
    expected=params.expected,
)
write_sidecar(
    questions,
    snakemake.input.ready,
    {key: value for key, value in params.items() if key != "expected"},
    ["vidreason.data.registry"],
)
