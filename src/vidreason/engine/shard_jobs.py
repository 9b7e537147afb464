"""One job of a rule that answers questions: its shard, what decides the answers, and their sidecar."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidreason.artifacts.cache import get_or_make
from vidreason.artifacts.journal import discard_journals
from vidreason.artifacts.provenance import digest, write_sidecar
from vidreason.engine.batch_inference import Shard
from vidreason.media.frame_store import clips_path_of
from vidreason.models.families import compute_device

NOT_DECISIVE = ("missing", "state", "gpus")
"""Parameters of these rules that change no answer."""


@dataclass(frozen=True)
class ShardJob:
    """A job that answers one shard.

    Attributes:
        shard: The questions and the checkpoint.
        inputs: Files that decide the answers.
        decisive: Parameters that do.
        modules: Modules whose code does.
        outputs: Name -> file to write; the first is that of the answers.
    """

    shard: Shard
    inputs: Sequence[str | Path]
    decisive: Mapping[str, object]
    modules: Sequence[str]
    outputs: Mapping[str, str]

    @classmethod
    def of(cls, snakemake: Any, modules: Sequence[str]) -> "ShardJob":
        """The job that the object `snakemake` of a script describes."""
        given, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
        tables = [Path(table) for table in given.frames]
        inputs = [given.weights, given.questions, *tables, *map(clips_path_of, tables)]
        decisive = {key: value for key, value in params.items() if key not in NOT_DECISIVE}
        names = {"seed": wildcards.seed, "shard": wildcards.shard}
        shard = Shard(
            weights=Path(given.weights),
            questions=Path(given.questions),
            frames=tables,
            seed=int(wildcards.seed),
            number=int(wildcards.shard),
            count=params.shards,
            state=Path(params.state),
            identity=digest(decisive | names, inputs, modules),
            # On a CPU all threads compute, so none is left to read ahead.
            workers=snakemake.threads - 1 if compute_device().type == "cuda" else 0,
        )
        return cls(shard, inputs, decisive, modules, dict(snakemake.output.items()))

    def run(self, rule: str, make: Callable[[], None]) -> None:
        """Write the outputs, or take them from the cache; then remove the journal."""
        made = get_or_make(rule, lambda: self.shard.identity, self.outputs, make)
        write_sidecar(next(iter(self.outputs.values())), self.inputs, self.decisive, self.modules, made)
        discard_journals(self.shard.state)
