"""One HTML page that shows a run: results, figures, real answers with their frames, broken videos, provenance.

The page is one file, works from a folder or a mail, and loads nothing. The templates escape all text of models and data sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json, read_jsonl, write_text
from vidreason.artifacts.integrity import content_digest
from vidreason.data.registry import title_of
from vidreason.evaluation.score_record import headline_metric
from vidreason.evaluation.scored_answers import Scored
from vidreason.evaluation.statistics import mean_of_estimates
from vidreason.records import LETTERS, Question
from vidreason.results.data_tables import broken_clips
from vidreason.results.gallery.links import main_links, reflection_links
from vidreason.results.gallery.thumbnails import EXAMPLES, SIDE, Strip, draw_examples, read_strips
from vidreason.results.main_markdown import summary
from vidreason.results.markdown import Block, Grid
from vidreason.results.number_format import percent
from vidreason.results.page import csv_grid, cut, data_uri, picture_uri, plain_caption, render
from vidreason.results.registry import FIGURES, TABLES, Figure, Table
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import Runs, axis_label, read_in_words
from vidreason.tasks.base import task_of

LONGEST_RAW = 8000
"""Characters shown of a whole completion."""
SECTIONS = ("results", "figures", "details", "examples", "data", "provenance")


def make_report(
    inputs: ResultInputs,
    run: str,
    seed: int,
    out: str | Path,
    sidecars: Sequence[str | Path] = (),
    examples: int = EXAMPLES,
    gallery: str = "",
) -> None:
    """Write the page.

    Args:
        inputs: The run's results; tables and figures that are absent are left out.
        run: Name of the run, for the title.
        seed: Seed by which the examples are drawn.
        out: Where to write the page.
        sidecars: Provenance files of what the results are made from.
        examples: Questions shown per benchmark, drawn at random and independent of the answers.
        gallery: Page of the gallery, relative to this one, that the numbers of the main table lead to; `""` for none.
    """
    runs = inputs.runs
    broken = broken_clips(inputs)
    made = [_read_sidecar(path) for path in sorted(map(str, sidecars))]
    page = render(
        "report.html.j2",
        title=f"{run}: results",
        overview=_overview(runs, len(broken)),
        sections=SECTIONS,
        results=_linked(summary(inputs), runs, gallery),
        gallery=gallery,
        figures=_shown_figures(inputs),
        details=_shown_tables(inputs, "details", gallery),
        data=_shown_tables(inputs, "data"),
        broken=Grid(["data set", "clip", "reason", "what the decoder said"], broken),
        examples=examples,
        seed=seed,
        first_seed=runs.seeds[0],
        cards=_cards(inputs, seed, examples),
        seeds=runs.seeds,
        settings=asdict(runs.of(runs.arms[0].name, runs.seeds[0])[0].score.rules),
        versions=_versions(made),
        digests=_digests(made, inputs),
    )
    write_text(out, page)


def _linked(blocks: Sequence[Block], runs: Runs, gallery: str) -> list[Block]:
    """The results, with the first table's cells leading to the questions that they count; a dash counts none."""
    first = next(place for place, block in enumerate(blocks) if isinstance(block, Grid))
    links = main_links(runs, gallery) if gallery else {}
    return [
        replace(
            block,
            links={(row, column): link for (row, column), link in links.items() if block.rows[row][column] != "-"},
        )
        if place == first and isinstance(block, Grid)
        else block
        for place, block in enumerate(blocks)
    ]


def _overview(runs: Runs, broken: int) -> str:
    """The result in one paragraph."""
    words = []
    for arm, seed in runs.pairs(controls=False):
        mean = mean_of_estimates(run.estimate for run in runs.of(arm.name, seed))
        which = f" (seed {seed})" if len(runs.seeds) > 1 else ""
        words.append(f"{arm.label}{which} {percent(mean.mean, 1)}% [{percent(mean.low, 1)}, {percent(mean.high, 1)}]")
    members = runs.of(runs.arms[0].name, runs.seeds[0])
    levels = [level for run in members if (level := run.score.chance) is not None]
    chance = f" Chance is {percent(sum(levels) / len(levels), 1)}%." if len(levels) == len(members) else ""
    return (
        f"Mean {axis_label(runs.benchmarks).removesuffix(' (%)')} over {', '.join(title_of(name) for name in runs.benchmarks)}: "
        f"{'; '.join(words)}.{chance} {broken} {'video' if broken == 1 else 'videos'} could not be used; "
        "the names and reasons are below."
    )


def _caption(inputs: ResultInputs, item: Table | Figure) -> str:
    """Caption of a table or figure, `""` if its file is not among the inputs."""
    path = next((path for path in inputs.captions if Path(path).stem == item.caption), None)
    return "" if path is None else plain_caption(path)


def _shown_figures(inputs: ResultInputs) -> list[dict[str, str]]:
    """Picture and caption of every figure that is there."""
    files = {Path(path).name: path for path in inputs.figures}
    return [
        {"uri": picture_uri(files[figure.file]), "caption": _caption(inputs, figure) or figure.title}
        for figure in FIGURES
        if figure.file in files
    ]


def _grid(table: Table, path: str | Path, gallery: str) -> Grid:
    grid = csv_grid(path)
    if table.name != "reflection" or not gallery or not grid.rows:
        return grid
    return replace(grid, links=reflection_links(grid.rows, grid.header, gallery))


def _shown_tables(inputs: ResultInputs, section: str, gallery: str = "") -> list[dict[str, Any]]:
    """Title, caption and content of every table of a section that is there; counts of reflection lead to the gallery."""
    found = [(table, inputs.table(table.name)) for table in TABLES if table.section == section]
    return [
        {"title": table.title, "caption": _caption(inputs, table), "grid": _grid(table, path, gallery)}
        for table, path in found
        if path is not None
    ]


@dataclass(frozen=True)
class Answer:
    """One arm's answer as the page shows it."""

    arm: str
    shown: str
    truth: str
    read: str
    verdict: str
    value: str
    completion: str


@dataclass(frozen=True)
class Picture:
    """The frames of a clip side by side; width and height of one of them in pixels of the page."""

    uri: str
    count: int
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One question with its clip and all answers; `missing` says why there are no frames."""

    where: str
    name: str
    clip: str
    text: str
    gold: str
    letter: str
    options: Sequence[tuple[str, str]]
    answers: Sequence[Answer]
    picture: Picture | None
    missing: str


def _cards(inputs: ResultInputs, seed: int, count: int) -> list[Card]:
    """Questions drawn at random, with the answers of all arms of the first seed."""
    runs = inputs.runs
    questions = {
        (question.dataset, question.id): question
        for path in inputs.questions
        for question in read_jsonl(path, Question)
    }
    strips = read_strips(inputs.thumbnails) if inputs.thumbnails else {}
    answers = {
        benchmark: {
            arm.name: {row.question.id: row for row in runs.by_key[arm.name, runs.seeds[0], benchmark].rows}
            for arm in runs.arms
        }
        for benchmark in runs.benchmarks
    }
    drawn = draw_examples({benchmark: next(iter(own.values())) for benchmark, own in answers.items()}, seed, count)
    cards = []
    for benchmark, names in drawn.items():
        for name in names:
            question = questions.get((benchmark, name))
            if question is None:
                raise ValueError(
                    f"report: question {name!r} of {benchmark} was scored but is in none of the question files"
                )
            shown = [_answer(arm.label, answers[benchmark][arm.name][name], question) for arm in runs.arms]
            strip = strips.get((benchmark, question.clip.key))
            cards.append(_card(question, shown, *_shown_strip(strip, inputs.thumbnails)))
    return cards


def _answer(label: str, row: Scored, question: Question) -> Answer:
    """One arm's answer, and how it was read."""
    words = row.think or row.prediction.completion.text
    return Answer(
        arm=label,
        shown=cut(words),
        truth="" if row.think_true is None or not row.think else ("true" if row.think_true else "not true"),
        read=cut(_read(row, question)),
        verdict="right" if row.correct else "wrong",
        value=_value(row),
        completion=cut(row.prediction.completion.text, LONGEST_RAW),
    )


def _read(row: Scored, question: Question) -> str:
    """What was read in an answer, or why nothing was."""
    if row.grade.parsed:
        return read_in_words(row, question) or ""
    if row.guess:
        return f"{row.guess} (drawn at random)"
    return f"none ({', '.join(row.grade.unread)})" if row.grade.unread else "none"


def _value(row: Scored) -> str:
    """The value of an answer that is neither fully right nor fully wrong."""
    value = headline_metric(row.question.dataset).value(row.grade)
    return "" if value in (0.0, 1.0) else f", {percent(value, 1)}%"


def _gold(question: Question) -> str:
    """The right answer as a model should write it, and all gold segments where there are several."""
    answer = task_of(question.task).answer(question)
    if len(question.segments) < 2:
        return answer
    return f"{answer} (gold: {'; '.join(f'{start:g} to {end:g}' for start, end in question.segments)})"


def _card(question: Question, answers: Sequence[Answer], picture: Picture | None, missing: str) -> Card:
    """One question, its frames, and the arms' answers."""
    return Card(
        where=cut(" / ".join(filter(None, (title_of(question.dataset), question.category, question.group)))),
        name=cut(question.id),
        clip=cut(question.clip.key),
        text=cut(question.text),
        gold=cut(_gold(question)),
        letter=question.gold,
        options=list(zip(LETTERS, map(cut, question.options), strict=False)),
        answers=answers,
        picture=picture,
        missing=missing,
    )


def _shown_strip(strip: Strip | None, thumbnails: str | Path | None) -> tuple[Picture | None, str]:
    """The frames of a clip as a picture of its natural proportions, or why there is none."""
    if strip is None or not thumbnails:
        return None, ""
    if not strip.file:
        return None, strip.why
    uri = data_uri(Path(thumbnails, strip.file).read_bytes(), "webp")
    width, height = SIDE * min(1.0, strip.ratio), SIDE / max(1.0, strip.ratio)
    return Picture(uri, strip.count, max(1, round(width)), max(1, round(height))), ""


@dataclass(frozen=True)
class Provenance:
    """What the page shows of a result's provenance file."""

    artifact: str
    sha256: str
    code: str
    created: str
    versions: Mapping[str, str]


def _read_sidecar(path: str | Path) -> Provenance:
    """Read a provenance file; what an older one lacks is shown as unknown."""
    record = read_json(path)
    versions = {"python": record.get("python"), "commit": record.get("commit")} | record.get("versions", {})
    artifact, sha256, code, created = (str(record.get(key, "")) for key in ("artifact", "sha256", "code", "created"))
    return Provenance(artifact, sha256, code, created, {name: str(known or "") for name, known in versions.items()})


def _versions(made: Sequence[Provenance]) -> Grid:
    """Versions of the packages and the commit behind the results."""
    versions: dict[str, set[str]] = {}
    for one in made:
        for name, version in one.versions.items():
            versions.setdefault(name, set()).add(version)
    rows = [(name, ", ".join(sorted(known - {""})) or "unknown") for name, known in sorted(versions.items())]
    return Grid(["what", "version"], rows)


def _digests(made: Sequence[Provenance], inputs: ResultInputs) -> Grid:
    """Digests of what the results are made from, with code and time, and of the results.

    Results that are made again have a time of their own and are the same, so theirs is not stated.
    """
    rows = [[one.artifact, one.sha256[:16], one.code, one.created] for one in made]
    results = [str(path) for path in (*inputs.scores, *filter(None, [inputs.table("main")]))]
    rows += [[path, content_digest(path)[:16], "", ""] for path in results]
    return Grid(["artifact", "sha256 (first 16)", "code", "made"], rows)
