"""What tables, figures and the report are made from: one object with the paths of a run's results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vidreason.results.registry import TABLES
from vidreason.results.scored_runs import Arm, Runs, load_runs

Files = Sequence[str | Path]


@dataclass(frozen=True)
class ResultInputs:
    """Files of one run. The inputs of the rules have the names of these fields; what a maker does not need may be absent.

    Attributes:
        arms: Arm name -> arm, in the order of rows and bars.
        benchmarks: In the order of columns and groups.
        scores: All `score.json` files.
        scored: The `*.scored.jsonl` of each score, in the same order.
        histograms: `histogram.csv` of the selections, in folders `.../{arm}/seed{seed}/`.
        dropped: `dropped.csv` of the selections, in folders `.../{arm}/seed{seed}/`.
        selected: `selected.jsonl` of the selections, in folders `.../{arm}/seed{seed}/`.
        filtered: `dropped.csv` of readers and filters, in folders `.../{data set}/`.
        durations: How many training videos last how long, `durations.csv` in folders `.../{data set}/`.
        checked: `ClipStatus` of training clips before the filter, JSON lines in folders `.../{data set}/`.
        samples: Grades of sampled answers, JSON lines of `ScoredSamples` in folders `.../{arm}/seed{seed}/`.
        clips: JSON lines of `ClipStatus`, in folders `.../{data set}/`.
        leaks: What `check_leaks` found, a row for every pair of clips.
        leak_counts: What it counted, a row for every benchmark and training set.
        published: Published numbers (columns arm, benchmark, value, protocol, source).
        grpo: `metrics.jsonl` of the GRPO arms as far as they are there, in folders `.../{arm}/seed{seed}/`.
        rollouts: `rollouts.jsonl` of the GRPO arms as far as they are there, in folders `.../{arm}/seed{seed}/`.
        sft: `metrics.jsonl` of the SFT arms, in folders `.../{arm}/seed{seed}/`.
        timing: `timing.jsonl` of the trainings as far as they are there, in folders `.../{arm}/seed{seed}/`.
        costs: Folder in which Snakemake writes what each job cost; what is not there is unknown.
        tables: Finished tables, under the file names of the registry.
        figures: Finished figures, under the file names of the registry.
        captions: Captions of tables and figures, `{name}.rst`.
        questions: JSON lines of `Question` of the benchmarks; others may be among them.
        thumbnails: Folder with the frames of the shown clips (`vidreason.results.gallery.thumbnails`).
    """

    arms: Mapping[str, Arm]
    benchmarks: Sequence[str]
    scores: Files = ()
    scored: Files = ()
    histograms: Files = ()
    dropped: Files = ()
    selected: Files = ()
    filtered: Files = ()
    durations: Files = ()
    checked: Files = ()
    clips: Files = ()
    leaks: str | Path | None = None
    leak_counts: str | Path | None = None
    published: str | Path | None = None
    grpo: Files = ()
    rollouts: Files = ()
    sft: Files = ()
    timing: Files = ()
    samples: Files = ()
    costs: str | Path | None = None
    tables: Files = ()
    figures: Files = ()
    captions: Files = ()
    questions: Files = ()
    thumbnails: str | Path | None = None

    @cached_property
    def runs(self) -> Runs:
        """The scored runs, read at the first use."""
        return load_runs(self.scores, self.scored, self.arms, self.benchmarks)

    def table(self, name: str) -> Path | None:
        """The file of a finished table, None if it is not among the inputs."""
        file = next(table.file for table in TABLES if table.name == name)
        return next((Path(path) for path in self.tables if Path(path).name == file), None)

    def label(self, arm: str) -> str:
        """Label of an arm; its name if it has no entry."""
        return self.arms[arm].label if arm in self.arms else arm
