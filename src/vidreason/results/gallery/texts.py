"""The texts of the gallery, in chunks: questions with their clips, answers, and lower-case texts to search in."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from vidreason.artifacts.control_characters import visible
from vidreason.data.registry import question_prompt
from vidreason.evaluation.score_record import headline_metric, rounded
from vidreason.evaluation.scored_answers import Scored
from vidreason.records import OK, UNREAD, VIDEO, Completion, Grade, Question
from vidreason.results.gallery.answers import Answers
from vidreason.results.gallery.thumbnails import Strip, Strips
from vidreason.results.page import cut
from vidreason.results.scored_runs import read_in_words
from vidreason.tasks.base import task_of
from vidreason.tasks.intervals import read_tail
from vidreason.tasks.markup import split_think
from vidreason.tasks.prompt_templates import time_line

LONGEST = 20_000
"""Characters shown, and searched, of one text."""
CHUNK = 200
"""Questions of one file."""
PICTURES = "frames"
"""Folder of the clips' pictures in the gallery."""
SEARCHED = 2_000
"""Questions whose searched texts are in one file."""


def chunks(answers: Answers, strips: Strips) -> Iterator[tuple[str, Any]]:
    """Name and content of every file of texts."""
    for number, start in enumerate(range(0, len(answers.questions), CHUNK)):
        part = slice(start, start + CHUNK)
        yield f"questions_{number:04d}", _questions(answers.questions[part], strips)
        for seed in {seed: None for _, seed in answers.rows}:
            own = [rows[part] for (_, other), rows in answers.rows.items() if other == seed]
            yield f"answers_{seed}_{number:04d}", [list(map(_answer, rows, answers.questions[part])) for rows in own]
    for number, start in enumerate(range(0, len(answers.questions), SEARCHED)):
        for seed in {seed: None for _, seed in answers.rows}:
            own = [rows for (_, other), rows in answers.rows.items() if other == seed]
            places = range(start, min(start + SEARCHED, len(answers.questions)))
            yield (
                f"search_{seed}_{number:04d}",
                [searched(answers.questions[place], [rows[place] for rows in own]) for place in places],
            )


def _questions(questions: Sequence[Question], strips: Strips) -> dict[str, Any]:
    """The questions of one file, and the clips that they are about."""
    keys = list(dict.fromkeys((question.dataset, question.clip.key) for question in questions))
    places = {key: place for place, key in enumerate(keys)}
    return {
        "clips": [clip_entry(key, strips.get((dataset, key))) for dataset, key in keys],
        "questions": [
            question_entry(question, strips.get((question.dataset, question.clip.key)))
            | {"clip": places[question.dataset, question.clip.key]}
            for question in questions
        ],
    }


def clip_entry(key: str, strip: Strip | None) -> dict[str, Any]:
    """A clip: the picture with its frames, when they were taken, or why there are none."""
    if strip is None:
        return {"key": cut(key), "why": "the gallery was made without frames"}
    times = list(map(rounded, strip.times))
    ratio = rounded(strip.ratio)
    file = f"{PICTURES}/{strip.file}" if strip.file else ""
    return {"key": cut(key), "file": file, "count": strip.count, "ratio": ratio, "times": times, "why": strip.why}


def question_entry(question: Question, strip: Strip | None) -> dict[str, Any]:
    """A question and its gold answer; `prompt` is what stands before the instruction."""
    task = task_of(question.task)
    times = [max(time - (question.clip.start or 0.0), 0.0) for time in strip.times] if strip else []
    timed = [time_line(times)] if task.timed and times and question.clip.kind == VIDEO else []
    return {
        "id": cut(question.id),
        "text": _shown(question.text),
        "options": list(map(_shown, question.options)),
        "gold": question.gold if question.options else "",
        "answer": _shown(task.answer(question)),
        "prompt": _shown("\n".join([question_prompt(question), *timed])),
        "group": cut(question.group),
        "segments": [[rounded(start), rounded(end)] for start, end in question.segments],
        "duration": None if question.duration is None else rounded(question.duration),
    }


def _answer(row: Scored, question: Question) -> dict[str, Any]:
    """One arm's answer to a question, which a control may have asked with other options."""
    entry = completion_entry(row.prediction.completion, row.grade, row.question)
    read = read_in_words(row, question)
    entry["read"] = None if read is None else _shown(read)
    if row.question.options != question.options:
        entry["asked"] = _shown(question_prompt(row.question))
    if row.prediction.status != OK:
        entry["status"] = row.prediction.status
    if row.guess:
        entry["guess"] = row.guess
    value = headline_metric(row.question.dataset).value(row.grade)
    if value not in (0.0, 1.0):
        entry["value"] = rounded(value)
    if row.truth is not None:
        entry["truth"] = cut(row.truth.caption)
    return entry


def completion_entry(completion: Completion, grade: Grade, question: Question) -> dict[str, Any]:
    """What was written, with the thought set apart, and what was read in it."""
    before, think, after = split_think(completion.text)
    entry: dict[str, Any] = {
        "before": _shown(before),
        "think": _shown(think),
        "after": _shown(after),
        "read": None if grade.parsed is None else _shown(grade.parsed),
        "unread": list(grade.unread),
        "tokens": completion.tokens,
        "parts": {name: rounded(part) for name, part in grade.parts.items() if not name.startswith(UNREAD)},
    }
    if question.segments and grade.parsed:
        interval = read_tail(grade.parsed, None)[1].interval
        if interval:
            entry["span"] = list(map(rounded, interval))
    return entry


def searched(question: Question, rows: Sequence[Scored]) -> str:
    """Everything about a question that can be searched, in lower case and composed letters."""
    texts = [question.id, question.clip.key, question.category, question.group, question.text, *question.options]
    texts += dict.fromkeys(row.prediction.completion.text for row in rows)
    joined = "\n".join(visible(text[:LONGEST]) for text in texts if text)
    return unicodedata.normalize("NFC", joined).lower()


def _shown(text: str) -> str:
    return cut(text, LONGEST)
