"""Write one page that shows a run, and beside it the gallery of all answers."""

import _log

_log.open_log(snakemake.log[0])

from pathlib import Path

from vidreason.results.gallery.write import make_gallery
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.report import make_report
from vidreason.results.scored_runs import read_arms
from vidreason.training.registered import definitions
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar

given, params, out = snakemake.input, snakemake.params, snakemake.output
rollouts = [path for path in params.rollouts if Path(path).is_file()]
frames = [*given.frames, *(path for path in params.training_frames if rollouts and Path(path).is_file())]
files = {**dict(given.items()), "frames": frames, "rollouts": rollouts}
inputs = ResultInputs(read_arms(params.arms), list(params.benchmarks), **files)
traced = [*given.questions, *given.frames, *given.scores, inputs.table("main")]
page = Path(out.gallery, "index.html").relative_to(Path(out.page).parent).as_posix()
make_report(inputs, snakemake.wildcards.run, params.seed, out.page, [sidecar_of(path) for path in traced], gallery=page)
make_gallery(inputs, snakemake.wildcards.run, out.gallery, params.most_clips)
modules = definitions(*params.benchmarks)
write_sidecar(out.page, list(given), dict(params.items()), ["vidreason.results.report", *modules])
made_from = list(dict.fromkeys([*given, *frames, *rollouts]))
write_sidecar(out.gallery, made_from, dict(params.items()), ["vidreason.results.gallery.write", *modules])
