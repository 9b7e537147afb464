"""Every table and figure of a run, registered once: the workflow's rules and the report read these lists.

This module imports nothing heavy, because the graph is built from it. To add a table or a figure, write a function that
takes `ResultInputs` and returns it, add an entry here, and put its caption in `workflow/report/<name>.rst`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).with_name("templates")
"""Folder of the page's templates."""


@dataclass(frozen=True)
class Table:
    """A table of a run.

    Attributes:
        name: Name of the output in the rule `make_tables`.
        title: Heading in the report.
        maker: Dotted name of the function that makes it: `ResultInputs` to rows, or to the text of a `.md` file.
        columns: Names of the columns; none for a `.md` file.
        file: File name in `results/{run}/tables/`; `<name>.csv` unless given.
        caption: Stem of the caption in `workflow/report/`; the name unless given.
        section: Section of the report that shows it; `""` if the report shows its content in another form.
    """

    name: str
    title: str
    maker: str
    columns: tuple[str, ...] = ()
    file: str = ""
    caption: str = ""
    section: str = "details"

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", self.file or f"{self.name}.csv")
        object.__setattr__(self, "caption", self.caption or self.name)

    @property
    def path(self) -> str:
        """Path with the wildcard `run`."""
        return f"results/{{run}}/tables/{self.file}"


@dataclass(frozen=True)
class Figure:
    """A figure of a run.

    Attributes:
        name: Name of the output in the rule `make_figures`, and stem of its caption in `workflow/report/`.
        title: What it shows, in a few words.
        maker: Dotted name of the function that draws it: `ResultInputs` to a matplotlib figure.
    """

    name: str
    title: str
    maker: str

    @property
    def file(self) -> str:
        """File name in `results/{run}/figures/`."""
        return f"{self.name}.png"

    @property
    def path(self) -> str:
        """Path with the wildcard `run`."""
        return f"results/{{run}}/figures/{self.file}"

    @property
    def caption(self) -> str:
        """Stem of the caption in `workflow/report/`."""
        return self.name


_ROOM = "vidreason.results"


def _columns(names: str) -> tuple[str, ...]:
    """Names between spaces."""
    return tuple(names.split())


TABLES = (
    Table(
        "main",
        "Every arm on every benchmark, one row for every number",
        f"{_ROOM}.tables.main_table",
        _columns("arm label style benchmark metric n coverage value ci_low ci_high unparsed seed"),
    ),
    Table(
        "markdown",
        "The results to read",
        f"{_ROOM}.main_markdown.main_markdown",
        file="main.md",
        caption="main",
        section="",
    ),
    Table(
        "metrics",
        "Every metric of every arm, controls included, on every benchmark",
        f"{_ROOM}.tables.metrics_table",
        _columns("arm label view benchmark metric headline n value ci_low ci_high seed"),
    ),
    Table(
        "ablations",
        "Every arm against the first arm of GRPO, over all seeds, with what each cost",
        f"{_ROOM}.ablations.ablations_table",
        _columns(
            "arm label compared_to benchmark metric seeds n value difference ci_low ci_high p p_holm "
            "difference_lowest_seed difference_highest_seed rollouts_training rollouts_selection seconds_training "
            "seconds_selection"
        ),
    ),
    Table(
        "pairs",
        "Any two arms compared, controls included, over all seeds",
        f"{_ROOM}.pairs.pairs_table",
        _columns(
            "arm compared_to benchmark metric seeds n videos difference ci_low ci_high p p_holm won lost p_mcnemar "
            "smallest_difference"
        ),
    ),
    Table(
        "controls",
        "What the video, its order, the options and thinking are worth: all arms and controls",
        f"{_ROOM}.comparisons.controls_table",
        _columns(
            "arm label style view options questions metric n unchanged value ci_low ci_high chance compared_to difference "
            "difference_low difference_high seed"
        ),
    ),
    Table(
        "thinking",
        "How the arms reason: format, truth and length of the think texts",
        f"{_ROOM}.tables.thinking_table",
        _columns(
            "arm label benchmark metric n format_followed value value_within_well_formed ci_low ci_high think_true "
            "value_think_true value_think_false think_chars tokens unfinished seed"
        ),
    ),
    Table(
        "reflection",
        "Words of reflection and option switches in the thoughts",
        f"{_ROOM}.counts.reflection.reflection_table",
        _columns("arm label marker answers with_marker share per_1k_tokens right_with right_without seed"),
    ),
    Table(
        "reflection_steps",
        "Words of reflection and option switches over the training",
        f"{_ROOM}.counts.reflection.reflection_steps_table",
        _columns("arm label seed step answers with_marker per_1k_tokens option_switches"),
        section="",
    ),
    Table(
        "lengths",
        "What an answer costs: the headline metric beside the tokens of the answers",
        f"{_ROOM}.counts.answer_lengths.lengths_table",
        _columns(
            "arm label style benchmark metric n value ci_low ci_high tokens tokens_low tokens_high unfinished_share seed"
        ),
    ),
    Table(
        "with_and_without_thinking",
        "The same weights asked with and without thinking",
        f"{_ROOM}.controls.thinking.with_and_without_thinking_table",
        _columns(
            "weights label arm compared_to benchmark metric seeds n videos compared_value value difference ci_low ci_high "
            "format_followed compared_tokens tokens"
        ),
    ),
    Table(
        "survival",
        "How much of the gain of GRPO survives when the questions are asked in another way",
        f"{_ROOM}.controls.survival.survival_table",
        _columns(
            "arm compared_to condition benchmark metric seeds n videos unchanged chance compared_value value difference ci_low "
            "ci_high survives survives_low survives_high"
        ),
    ),
    Table(
        "survival_page",
        "The same to read",
        f"{_ROOM}.controls.survival.survival_markdown",
        file="survival.md",
        caption="survival",
        section="",
    ),
    Table(
        "sampled",
        "Several sampled answers to each question: pass@k, the majority's answer, a single draw",
        f"{_ROOM}.sampled.tables.sampled_table",
        _columns("arm label benchmark measure k n value ci_low ci_high chance seed"),
    ),
    Table(
        "sharpening",
        "What an arm answers that its ancestors answer in none of several draws, and the other way round",
        f"{_ROOM}.sampled.tables.sharpening_table",
        _columns("arm compared_to benchmark measure k n compared_value value difference ci_low ci_high count seed"),
        caption="sampled",
    ),
    Table(
        "gains",
        "Every arm minus its parent, paired by question",
        f"{_ROOM}.comparisons.gains_table",
        _columns("arm compared_to benchmark n difference ci_low ci_high separate well_formed_difference seed"),
    ),
    Table(
        "by_task",
        "Every arm by category of question",
        f"{_ROOM}.tables.by_task_table",
        _columns("arm label benchmark metric category temporal n coverage value ci_low ci_high chance unparsed seed"),
    ),
    Table(
        "by_group",
        "Every arm by duration or subject",
        f"{_ROOM}.tables.by_group_table",
        _columns("arm label benchmark metric group n coverage value ci_low ci_high chance seed"),
    ),
    Table(
        "selection",
        "Questions by their right answers, or by the spread of their answers",
        f"{_ROOM}.data_tables.selection_table",
        _columns("arm seed task measure low high rollouts questions kept"),
    ),
    Table(
        "data",
        "What every stage kept and dropped",
        f"{_ROOM}.data_tables.data_table",
        _columns("stage data arm seed unit reason count"),
        section="data",
    ),
    Table(
        "timing",
        "What a step of every training costs, by phase",
        f"{_ROOM}.counts.training_times.timing_table",
        _columns("arm label seed phase steps seconds share tokens_per_second peak_memory peak_share"),
    ),
    Table(
        "leak_counts",
        "Benchmark videos among the training videos",
        f"{_ROOM}.data_tables.leak_counts_table",
        _columns("benchmark data clips training_clips by_name by_frames by_hash found nearest"),
        section="data",
    ),
    Table(
        "leaks",
        "Which benchmark videos were found among the training videos",
        f"{_ROOM}.data_tables.leaks_table",
        _columns("benchmark clip data training_clip found_by distance"),
        section="",
    ),
)
"""In the order in which the report shows them."""

FIGURES = (
    Figure("accuracy", "Headline metric of the arms on the benchmarks", f"{_ROOM}.plots.accuracy.draw_accuracy"),
    Figure("published", "The arms beside published numbers", f"{_ROOM}.plots.accuracy.draw_published"),
    Figure("lengths", "Headline metric against the tokens of an answer", f"{_ROOM}.plots.lengths.draw_lengths"),
    Figure("sampled", "Right at least once in k sampled answers", f"{_ROOM}.sampled.figure.draw_pass_at_k"),
    Figure("selection", "How training questions were answered", f"{_ROOM}.figures.draw_selection"),
    Figure("grpo", "Training curves of GRPO", f"{_ROOM}.plots.curves.draw_grpo"),
    Figure("sft", "Training curves of supervised fine-tuning", f"{_ROOM}.plots.curves.draw_sft"),
    Figure("reflection", "Words of reflection over the training", f"{_ROOM}.plots.reflection.draw_reflection"),
    Figure("temporal", "Headline metric with ordered, shuffled and gray frames", f"{_ROOM}.figures.draw_temporal"),
)
"""In the order in which the report shows them."""


def maker_of(item: Table | Figure) -> Callable[..., Any]:
    """Import the function that makes a table or draws a figure."""
    module, _, name = item.maker.rpartition(".")
    maker: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return maker


def chosen(items: tuple[Any, ...], names: Any, kind: str) -> list[Any]:
    """The registered tables or figures with these names, in the order of the names.

    Raises:
        ValueError: A name that is not registered.
    """
    by_name = {item.name: item for item in items}
    unknown = sorted(set(names) - set(by_name))
    if unknown:
        raise ValueError(f"{kind}: unknown names {unknown}; allowed are {list(by_name)}")
    return [by_name[name] for name in names]


def modules_of(items: tuple[Table, ...] | tuple[Figure, ...]) -> list[str]:
    """Modules with the makers of some tables or figures, for digests of their code."""
    return sorted({item.maker.rpartition(".")[0] for item in items})
