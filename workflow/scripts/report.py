"""Write one page that shows a run."""

import os

# The log is opened before the imports, so that a failing import is logged too.
os.dup2(os.open(snakemake.log[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
os.dup2(2, 1)

from pathlib import Path

from vidreason.results.report import make_report
from vidreason.results.tables import TABLES
from vidreason.artifacts.files import sidecar_of
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
traced = [*given.questions, *given.frames, *given.scores, given.main]
make_report(
    run=snakemake.wildcards.run,
    tables={name: given[name] for name in TABLES},
    figures={Path(path).stem: path for path in given.figures},
    captions={Path(path).stem: path for path in given.captions},
    scores=given.scores,
    judged=given.judged,
    questions=given.questions,
    clips=given.clips,
    frames=given.frames,
    filtered=given.filtered,
    arms=params.arms,
    benchmarks=list(params.benchmarks),
    seed=params.seed,
    provenance=[sidecar_of(path) for path in traced],
    out=out.page,
)
write_sidecar(out.page, given.scores, dict(params.items()), ["vidreason.results.report"])
