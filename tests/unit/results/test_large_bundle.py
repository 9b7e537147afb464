"""A bundle with 10,000 answers: its results are made again to the same bytes, and it is said how long that takes."""

import random
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.configs import ROOT
from tests.support.finished_run import small_run, write_finished
from tests.support.scored_run import BENCHMARKS, CAPTION, completion_of, questions_of
from vidreason.artifacts.files import read_json_lines, write_jsonl
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.records import ClipRef, Completion, Prediction, Question
from vidreason.results.release import bundle as bundles
from vidreason.results.release.rebuild import rebuild, results_of

QUESTIONS = 1250
"""Of each of two benchmarks, asked to four arms."""


def many(benchmark: str) -> list[Question]:
    """The hand-written questions, repeated under other ids and about other clips, two a clip."""
    own = questions_of(benchmark)
    return [
        replace(own[number % len(own)], id=f"{benchmark}-{number}", clip=ClipRef(f"clips/{number // 2}.mp4"))
        for number in range(QUESTIONS)
    ]


def write_large(run: Run) -> None:
    """A finished run whose benchmarks have many questions, with think texts of some hundred words."""
    write_finished(run)
    values = {"run": run.run, "seed": 0}
    draw, truth = random.Random(0), []
    for benchmark in run.evaluation.benchmarks:
        questions = many(benchmark)
        write_jsonl(paths.QUESTIONS.format(dataset=benchmark, **values), questions)
        truth += [
            {"dataset": benchmark, "question": one.id, "temporal": number % 2 == 0, "caption": CAPTION, "task": "first"}
            for number, one in enumerate(questions)
        ]
        for arm in run.arms:
            answers = []
            for one in questions:
                words = " ".join(draw.choices(["then", "the", "ball", "goes", "left", "of", "it"], k=150))
                text = completion_of(arm, one, draw.random() < 0.6).replace("</think>", f" {words}</think>")
                answers.append(Prediction(one.id, "ok", "0" * 64, Completion(text, 170, True), one.sha256))
            shards = job_inputs.predictions(run, arm, 0, benchmark)
            for number, shard in enumerate(shards):
                write_jsonl(shard, answers[number :: len(shards)])
    write_jsonl(paths.TRUTH.format(**values), truth)


@pytest.mark.slow
def test_ten_thousand_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    places = [tmp_path / name for name in ("first", "other")]
    for place in places:
        (place / "config").mkdir(parents=True)
        for name in ("workflow", "CITATION.cff", "config/published.tsv", "config/demo_base"):
            (place / name).symlink_to(ROOT / name)
    monkeypatch.chdir(places[0])
    run = small_run(evaluation={"benchmarks": list(BENCHMARKS), "sampling": None})
    write_large(run)
    answers = [
        path
        for arm in run.arms
        for name in run.evaluation.benchmarks
        for path in job_inputs.predictions(run, arm, 0, name)
    ]
    assert sum(len(read_json_lines(path)) for path in answers) == 10_000
    rebuild(run)
    bundles.pack(run, "large.zip")
    monkeypatch.chdir(places[1])
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "workflow/rebuild.py", "tables", "--bundle", str(places[0] / "large.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    assert done.returncode == 0, done.stderr
    for path in results_of(run):
        assert Path(path).read_bytes() == (places[0] / path).read_bytes(), path
    with capsys.disabled():
        print(f"\nmake tables BUNDLE=... of 10,000 answers: {seconds:.1f} s, of which {busy:.1f} s on a processor")
