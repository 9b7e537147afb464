"""Print what a run will cost (downloads, disk, hours) and which results exist already."""

from pathlib import Path

from vidreason.config.run import Run
from vidreason.plan import describe

text = describe(Run.of(snakemake.params.settings, []))
Path(snakemake.log[0]).write_text(text + "\n", encoding="utf-8")
print(text, flush=True)
