"""One HTML page that shows a run: results, figures, real answers with their frames, broken videos, provenance.

Entry point (keyword-only): `make_report(run=, tables=, figures=, scores=, judged=, questions=, clips=, arms=, benchmarks=,
seed=, out=, filtered=None, captions={}, frames=(), provenance=(), examples=2)`.

The page is one file, works from a folder or a mail, and loads nothing. All text from models and data sets is escaped.
"""

import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidreason.results.data_tables import broken_clips
from vidreason.evaluation.judged import Judged
from vidreason.results.page import csv_table, data_uri, escape, figure, fold, from_markdown, page, plain_caption, table
from vidreason.results.runs import TITLES, Runs, load_runs, percent
from vidreason.evaluation.statistics import mean_of_estimates
from vidreason.artifacts.files import read_json, read_jsonl, read_text, write_text
from vidreason.records import LETTERS, Question

if TYPE_CHECKING:
    from vidreason.media.frame_store import FrameStore

STRIP = 6
"""Frames shown of a clip."""
SIDE = 96
"""Greatest height and width of a shown frame in pixels."""
LONGEST = 1200
"""Characters shown of a think text."""

DETAILS = {
    "controls": "What the order of the frames is worth: all arms, and the controls compared to the arm whose weights they use",
    "thinking": "How the arms reason: format, truth and length of the think texts",
    "gains": "Every arm minus its parent, paired by question",
    "by_task": "Every arm by task",
    "by_group": "Every arm by duration or subject",
    "main": "The main table, long",
    "selection": "Questions by their number of right answers",
}


def make_report(
    *,
    run: str,
    tables: Mapping[str, str | Path],
    figures: Mapping[str, str | Path],
    scores: Sequence[str | Path],
    judged: Sequence[str | Path],
    questions: Sequence[str | Path],
    clips: Sequence[str | Path],
    arms: Mapping[str, Mapping[str, Any]],
    benchmarks: Sequence[str],
    seed: int,
    out: str | Path,
    filtered: str | Path | None = None,
    captions: Mapping[str, str | Path] | None = None,
    frames: Sequence[str | Path] = (),
    provenance: Sequence[str | Path] = (),
    examples: int = 2,
) -> None:
    """Write the page.

    Args:
        run: Name of the run, for the title.
        tables: Table name -> path, the names of `vidreason.results.tables.TABLES`; what is absent is left out.
        figures: Figure name -> path, in the order shown.
        scores: All `score.json`.
        judged: The `judged.jsonl` of each score, in the same order.
        questions: JSON lines of `Question` of the benchmarks (others may be among them).
        clips: JSON lines of `Clip`, in folders `.../{data set}/`.
        arms: The config's arms.
        benchmarks: In the order of the tables.
        seed: Seed of the draw of the examples.
        out: Where to write the page.
        filtered: Table of the questions that the filter of the training data dropped, or None.
        captions: Figure name -> file with its caption.
        frames: Frame tables (parquet), in folders `.../{data set}/`; without them examples have no pictures.
        provenance: Sidecars of the artefacts.
        examples: Questions shown per benchmark, drawn at random, whatever the arms answered.
    """
    runs = load_runs(scores, judged, arms, benchmarks)
    captions = captions or {}
    broken = broken_clips(clips, filtered)
    body = [f"<h1>{escape(run)}: results</h1>", _summary(runs, len(broken)), _contents()]
    body += [
        '<section id="results">',
        from_markdown(read_text(tables["markdown"])) if "markdown" in tables else "",
    ]
    body += ["</section>", '<section id="figures"><h2>Figures</h2>']
    for name, path in figures.items():
        body.append(figure(path, plain_caption(captions[name]) if name in captions else name))
    body += ["</section>", '<section id="details"><h2>Details</h2>']
    body += [fold(words, csv_table(tables[name])) for name, words in DETAILS.items() if name in tables]
    body += [
        "</section>",
        '<section id="examples"><h2>Answers</h2>',
        _examples(runs, questions, frames, seed, examples),
    ]
    body += ["</section>", '<section id="data"><h2>Data</h2>']
    if "data" in tables:
        body += ["<p>What every stage did with the questions and clips it was given.</p>", csv_table(tables["data"])]
    body.append(f"<h3>Videos that could not be used ({len(broken)})</h3>")
    body.append(
        table(
            ["data set", "clip", "reason", "what the decoder said"],
            broken.to_numpy().tolist(),
            "Every clip could be read.",
        )
    )
    body += ["</section>", '<section id="provenance"><h2>Provenance</h2>', _provenance(runs, provenance), "</section>"]
    write_text(out, page(f"{run}: results", body))


def _contents() -> str:
    """Links to the sections."""
    names = ("results", "figures", "details", "examples", "data", "provenance")
    return "<nav>" + "".join(f'<a href="#{name}">{name}</a>' for name in names) + "</nav>"


def _summary(runs: Runs, broken: int) -> str:
    """What the run found, in one paragraph."""
    words = []
    for arm, seed in runs.pairs(controls=False):
        mean = mean_of_estimates(run.estimate for run in runs.of(arm.name, seed))
        which = f" (seed {seed})" if len(runs.seeds) > 1 else ""
        words.append(f"{arm.label}{which} {percent(mean.mean, 1)}% [{percent(mean.low, 1)}, {percent(mean.high, 1)}]")
    members = runs.of(runs.arms[0].name, runs.seeds[0])
    chance = sum(run.score["chance"] for run in members) / len(members)
    return (
        f"<p>Mean accuracy over {', '.join(escape(TITLES.get(name, name)) for name in runs.benchmarks)}: "
        f"{escape('; '.join(words))}. Chance is {percent(chance, 1)}%. "
        f"{broken} {'video' if broken == 1 else 'videos'} could not be used; the names and reasons are below.</p>"
    )


def _examples(runs: Runs, questions: Sequence[str | Path], frames: Sequence[str | Path], seed: int, count: int) -> str:
    """Questions drawn at random with the answer of every arm, and the clip's frames."""
    asked = {(question.dataset, question.id): question for path in questions for question in read_jsonl(path, Question)}
    draw = random.Random(seed)
    cards = [
        f"<p>{count} questions of each benchmark, drawn at random with seed {seed} and not by what the arms answered; "
        f"answers of the arms of seed {runs.seeds[0]}.</p>"
    ]
    for benchmark in runs.benchmarks:
        store = _frame_store(frames, benchmark)
        answers = {
            arm.name: {row.question: row for row in runs.by_key[arm.name, runs.seeds[0], benchmark].rows}
            for arm in runs.arms
        }
        names = sorted(next(iter(answers.values())))
        parser = runs.by_key[runs.arms[0].name, runs.seeds[0], benchmark].score["settings"]["parser"]
        for name in sorted(draw.sample(names, min(count, len(names)))):
            question = asked.get((benchmark, name))
            if question is None:
                raise ValueError(
                    f"report: question {name!r} of {benchmark} was judged but is in none of the question files"
                )
            cards.append(_card(question, [(arm.label, answers[arm.name][name]) for arm in runs.arms], parser, store))
    return "\n".join(cards)


def _card(question: Question, answers: Sequence[tuple[str, Judged]], parser: str, store: "FrameStore | None") -> str:
    """One question, its frames, and what each arm made of it."""
    options = "".join(
        f"<li{' class=' + chr(34) + 'right' + chr(34) if letter == question.answer else ''}>{letter}. {escape(text)}</li>"
        for letter, text in zip(LETTERS, question.options, strict=False)
    )
    rows = []
    for label, row in answers:
        verdict = '<span class="right">right</span>' if row.correct else '<span class="wrong">wrong</span>'
        letter = row.letter(parser) or (f"{row.guess} (drawn at random)" if row.guess else "none")
        truth = "" if row.think_true is None or not row.think else ("true" if row.think_true else "not true")
        words = row.think or row.completion
        shown = words[:LONGEST] + (" ..." if len(words) > LONGEST else "")
        rows.append(
            f"<tr><td>{escape(label)}</td><td>{escape(shown)}</td><td>{truth}</td><td>{escape(letter)}</td><td>{verdict}</td>"
            f"<td>{fold('raw', '<pre>' + escape(row.completion) + '</pre>')}</td></tr>"
        )
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("arm", "think, or answer", "think", "read as", "verdict", "")
    )
    where = " / ".join(filter(None, (TITLES.get(question.dataset, question.dataset), question.task, question.group)))
    return (
        f'<div class="card"><p class="dim">{escape(where)}: {escape(question.id)} on {escape(question.clip)}</p>'
        f"{_strip(question.clip, store)}<p><strong>{escape(question.question)}</strong></p><ul>{options}</ul>"
        f'<p class="dim">Right is {escape(question.answer)}.</p><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>'
        + "".join(rows)
        + "</tbody></table></div></div>"
    )


def _frame_store(frames: Sequence[str | Path], data: str) -> "FrameStore | None":
    """The frames of one data set, if the report was given them."""
    paths = [Path(path) for path in frames if Path(path).parent.name == data]
    if not paths:
        return None
    from vidreason.media.frame_store import FrameStore  # A report without pictures needs no frame reader.

    return FrameStore(paths)


def _strip(clip: str, store: "FrameStore | None") -> str:
    """A few frames of a clip, evenly spread, first and last included."""
    if store is None:
        return ""
    status = store.status(clip)
    if status != "ok":
        return f'<p class="wrong">No frames: {escape(status)}</p>'
    pixels = store.pixels(clip)
    last = len(pixels) - 1
    picked = sorted({round(place * last / (STRIP - 1)) for place in range(STRIP)})
    pictures = [f'<img alt="frame {index + 1} of {last + 1}" src="{_thumbnail(pixels[index])}">' for index in picked]
    return f'<div class="strip">{"".join(pictures)}</div>'


def _thumbnail(pixels: Any) -> str:
    """One frame, uint8 [S, S, 3], as a small PNG inside the page."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return data_uri(stream.getvalue(), "png")


def _provenance(runs: Runs, sidecars: Sequence[str | Path]) -> str:
    """Seeds, settings, versions and the commit behind the numbers."""
    settings = runs.of(runs.arms[0].name, runs.seeds[0])[0].score["settings"]
    parts = [
        f"<p>Seeds: {escape(', '.join(map(str, runs.seeds)))}. Scoring: {escape(', '.join(f'{k} = {v}' for k, v in settings.items()))}.</p>"
    ]
    records = [read_json(path) for path in sorted(map(str, sidecars))]
    if not records:
        return parts[0]
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, version in (
            {"python": record.get("python", ""), "commit": record.get("commit", "")} | record.get("versions", {})
        ).items():
            versions.setdefault(name, set()).add(str(version))
    parts.append(
        table(
            ["what", "version"],
            [(name, ", ".join(sorted(found - {""})) or "unknown") for name, found in sorted(versions.items())],
        )
    )
    rows = [
        (
            record.get("artefact", ""),
            str(record.get("sha256", ""))[:16],
            record.get("code", ""),
            record.get("created", ""),
        )
        for record in records
    ]
    parts.append(fold("Digests of the artefacts", table(["artefact", "sha256 (first 16)", "code", "made"], rows)))
    return "\n".join(parts)
