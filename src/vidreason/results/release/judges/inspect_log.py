"""Scored answers as logs of inspect_ai, one for every arm, seed and benchmark, for its viewer and its data frames.

The logs are written without that package; the extra `inspect` installs the version whose reader is tested. The bytes depend on the
scored answers and their sidecars alone: ids come from digests, times from the provenance.

Source: the classes `EvalLog`, `EvalSpec`, `EvalSample` and `Score` of UKGovernmentBEIS/inspect_ai, version 0.3.285:
src/inspect_ai/log/_log.py, src/inspect_ai/scorer/_metric.py, src/inspect_ai/model/_chat_message.py.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import read_json, write_text
from vidreason.artifacts.integrity import sidecar_of
from vidreason.config.messages import show, unknown
from vidreason.data.registry import question_prompt
from vidreason.evaluation.score_record import Score, read_score
from vidreason.evaluation.scored_answers import Scored, read_scored
from vidreason.records import OK
from vidreason.tasks.base import task_of
from vidreason.tasks.markup import split_think
from vidreason.tasks.metrics import ACCURACY

VERSION = 2
"""Version of inspect_ai's log format."""
RIGHT, WRONG = "C", "I"
"""How inspect_ai writes correct and incorrect."""
SCORED = ".scored.jsonl"
TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{8,15}(Z|[+-]\d\d:\d\d)?", re.ASCII)

Sidecar = Mapping[str, Any]


class ExportError(ValueError):
    """Scored answers that cannot be exported."""


def export_logs(
    run: str | Path, out: str | Path, arms: Collection[str] = (), benchmarks: Collection[str] = ()
) -> list[Path]:
    """Write the logs of a run's scored answers.

    Args:
        run: Folder of a run, `results/demo`.
        out: Folder to write into. Logs of the same arm, seed and benchmark are replaced.
        arms: Names of arms; all by default.
        benchmarks: Names of benchmarks; all by default.

    Returns:
        The logs, sorted by benchmark, arm and seed.

    Raises:
        ExportError: There are no such scored answers, they have no sidecar, or scores and sidecar are of others.
        ChangedError: A file is not what its sidecar describes.
    """
    run, out = Path(run), Path(out)
    found = sorted(run.glob(f"score/*/seed*/*{SCORED}"), key=lambda path: (path.name, str(path)))
    if not found:
        raise ExportError(
            f"{run / 'score'}: no scored answers; allowed: the folder of a run that has been scored, results/demo"
        )
    for kind, wanted, names in (
        ("arm", arms, {path.parts[-3] for path in found}),
        ("benchmark", benchmarks, {_benchmark(path) for path in found}),
    ):
        for name in wanted:
            if name not in names:
                raise ExportError(f"{run}: no scored answers of {kind} {name!r}; {unknown(name, sorted(names))}")
    chosen = [
        path
        for path in found
        if (not arms or path.parts[-3] in arms) and (not benchmarks or _benchmark(path) in benchmarks)
    ]
    return [_export(path, run.absolute().name, out) for path in chosen]


def _benchmark(path: Path) -> str:
    return path.name.removesuffix(SCORED)


def _export(path: Path, run: str, out: Path) -> Path:
    """Write one log. Its name begins with a time, for the reader takes no other file for a log."""
    rows, sidecar = read_scored(path), _read_sidecar(path)
    beside = path.with_name(f"{_benchmark(path)}.score.json")
    score = read_score(beside)
    named = (path.parts[-3], path.parts[-2], _benchmark(path), len(rows))
    if (found := (score.arm, f"seed{score.seed}", score.benchmark, score.n)) != named or not rows:
        counts = [
            f"arm {arm!r}, {seed}, benchmark {benchmark!r}, {n} answers" for arm, seed, benchmark, n in (found, named)
        ]
        raise ExportError(f"{beside}: counts {counts[0]}, where {path} has {counts[1]}; score again")
    log = inspect_log(run, score, rows, sidecar)
    task, number = log["eval"]["task"], log["eval"]["task_id"]
    out.mkdir(parents=True, exist_ok=True)
    for former in out.glob(f"*_{task}_{number}.json"):
        former.unlink()
    target = out / f"{sidecar['created'].replace(':', '-').replace('+', '-')}_{task}_{number}.json"
    write_text(target, json.dumps(log, indent=1, ensure_ascii=False) + "\n")
    return target


def _read_sidecar(path: Path) -> Sidecar:
    """The sidecar of scored answers, as far as a log is made from it: its time becomes part of a file's name."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        raise ExportError(
            f"{path}: it has no {sidecar.name}, which says when and by which code it was made; score again"
        )
    known = read_json(sidecar)
    created, versions = known.get("created"), known.get("versions", {})
    if not isinstance(created, str) or not TIME.fullmatch(created):
        raise ExportError(
            f"{sidecar}: created is {show(created)}; allowed: a time such as 2026-01-31T12:00:00+00:00. Score again"
        )
    if not isinstance(versions, dict):
        raise ExportError(
            f"{sidecar}: versions is {show(versions)}; allowed: names and versions of packages. Score again"
        )
    return cast("Sidecar", known)


def inspect_log(run: str, score: Score, rows: Sequence[Scored], sidecar: Sidecar) -> dict[str, Any]:
    """One log.

    Args:
        run: Name of the run.
        score: The score of an arm on a benchmark.
        rows: Its scored answers.
        sidecar: Provenance of the answers.
    """
    model = f"vidreason/{run}-{score.arm}-seed{score.seed}"
    task = f"{score.benchmark}-{score.arm}-seed{score.seed}".replace("_", "-")
    tokens = sum(row.prediction.completion.tokens for row in rows)
    usage = {model: {"output_tokens": tokens, "total_tokens": tokens}}
    created = sidecar["created"]
    samples = [_sample(row, model, score, sidecar["sha256"]) for row in rows]
    return {
        "version": VERSION,
        "status": "success",
        "eval": {
            "eval_id": _id(run, task, sidecar["sha256"]),
            "run_id": _id(run),
            "created": created,
            "task": task,
            "task_id": _id(run, task),
            "dataset": {
                "name": score.benchmark,
                "samples": len(rows),
                "sample_ids": [row.question.id for row in rows],
                "shuffled": False,
            },
            "model": model,
            "config": {},
            "revision": {"type": "git", "origin": "", "commit": sidecar["commit"]} if sidecar.get("commit") else None,
            "packages": dict(sidecar.get("versions", {})),
            "metadata": {
                "run": run,
                "arm": score.arm,
                "seed": score.seed,
                "style": score.style,
                "benchmark": score.benchmark,
                "sha256": sidecar["sha256"],
                "coverage": score.coverage,
                "chance": score.chance,
            },
        },
        "plan": {"steps": [{"solver": "vidreason", "params": {"style": score.style}}]},
        "results": {
            "total_samples": score.n,
            "completed_samples": score.n,
            "scores": _results(score, rows),
        },
        "stats": {"started_at": created, "completed_at": created, "model_usage": usage},
        "samples": samples,
    }


def _results(score: Score, rows: Sequence[Scored]) -> list[dict[str, Any]]:
    """The rule that counts with its metrics and intervals, then what the other rules make of the answers."""
    counted = rows[0].rule
    metrics = {name: estimate.mean for name, estimate in score.metrics.items()}
    metrics |= {"stderr": score.estimate.se, "ci_low": score.estimate.low, "ci_high": score.estimate.high}
    metrics = {score.headline: score.estimate.mean} | metrics
    others = {rule: {"accuracy": reading.accuracy} for rule, reading in score.readings.items() if rule != counted}
    return [
        {
            "name": rule,
            "scorer": rule,
            "scored_samples": score.n,
            "unscored_samples": 0,
            "metrics": {name: {"name": name, "value": value} for name, value in values.items()},
        }
        for rule, values in {counted: metrics, **others}.items()
    ]


def _sample(row: Scored, model: str, score: Score, digest: str) -> dict[str, Any]:
    """One question with its answer. A question that was not answered has no output and counts as wrong, as in the score."""
    question, prediction = row.question, row.prediction
    prompt = "\n".join((question_prompt(question), task_of(question.task).instruction(score.style)))
    name = _id(digest, question.id)
    user = {"id": f"{name}-user", "role": "user", "source": "input", "content": prompt}
    messages: list[dict[str, Any]] = [user]
    choices: list[dict[str, Any]] = []
    completion = ""
    if prediction.status == OK:
        before, thought, after = split_think(prediction.completion.text)
        completion = " ".join(filter(None, (before, after)))
        content: list[dict[str, Any]] = [{"type": "reasoning", "reasoning": thought}] if thought else []
        content.append({"type": "text", "text": completion})
        said = {
            "id": f"{name}-assistant",
            "role": "assistant",
            "source": "generate",
            "model": model,
            "content": content,
        }
        messages.append(said)
        choices.append({"message": said, "stop_reason": "stop" if prediction.completion.finished else "max_tokens"})
    tokens = prediction.completion.tokens
    usage = {"output_tokens": tokens, "total_tokens": tokens}
    return {
        "id": question.id,
        "epoch": 1,
        "uuid": name,
        "input": prompt,
        "choices": list(question.options) or None,
        "target": task_of(question.task).answer(question),
        "messages": messages,
        "output": {
            "model": model,
            "choices": choices,
            "completion": completion,
            "usage": usage,
            "metadata": {"text": prediction.completion.text},
        },
        "scores": {rule: _score(row, rule) for rule in dict.fromkeys((row.rule, *row.grades))},
        "metadata": {
            "dataset": question.dataset,
            "task": question.task,
            "category": question.category,
            "group": question.group,
            "video": question.clip.path,
            "start": question.clip.start,
            "end": question.clip.end,
            "status": prediction.status,
            "think_true": row.think_true,
            "temporal": row.temporal,
        },
        "model_usage": {model: usage},
    }


def _score(row: Scored, rule: str) -> dict[str, Any]:
    """A grade: correct or incorrect where the answer type is measured by its accuracy, else its value."""
    grade, first = row.grades[rule], task_of(row.question.task).metrics[0]
    value = (RIGHT if grade.correct else WRONG) if first is ACCURACY else first.value(grade)
    explanation = None
    if row.prediction.status != OK:
        explanation = f"not answered ({row.prediction.status}); counts as wrong"
    elif rule == row.rule and row.guess is not None:
        explanation = f"nothing could be read; the letter {row.guess} was drawn"
    return {"value": value, "answer": grade.parsed, "explanation": explanation, "metadata": dict(grade.parts)}


def _id(*parts: str) -> str:
    """An id of 22 digits, as many as those of inspect_ai have."""
    return sha256_text("\n".join(parts))[:22]
