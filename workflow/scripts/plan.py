"""Print what a run will cost: downloads, disk, hours, and what is there already."""

from vidreason.plan import describe

print(describe(snakemake.params.settings), flush=True)
