"""The line of progress of `make demo`: a real Snakemake, whole and broken."""

import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("progress", Path(__file__).parents[3] / "workflow/progress.py")
progress = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(progress)

RULER = "=" * 20
SNAKEFILE = """
rule all:
    input: expand("{arm}.txt", arm=["r1", "sft"])

rule predict:
    output: "{arm}.txt"
    log: "{arm}.log"
    shell: "COMMAND"
"""


def shown(folder: Path, command: str, *options: str) -> tuple[str, str]:
    """What stands on the screen and in the log after a run."""
    (folder / "Snakefile").write_text(SNAKEFILE.replace("COMMAND", command))
    call = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "--quiet",
        "host",
        "reason",
        "--show-failed-logs",
        *options,
    ]
    printed = subprocess.run(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    screen, log = io.StringIO(), io.StringIO()
    progress.follow(io.StringIO(printed), log, screen, Path("logs/x.log"))
    assert log.getvalue() == printed
    return screen.getvalue(), printed


def test_a_run_is_lines_of_progress_and_nothing_else(tmp_path):
    screen, _ = shown(tmp_path, "echo done > {output} 2> {log}")
    assert screen
    assert all(line.startswith("[#") for line in screen.splitlines()), screen
    assert "3 of 3 jobs" in screen.splitlines()[-1]


def test_that_there_is_nothing_to_do_is_said(tmp_path):
    shown(tmp_path, "echo done > {output} 2> {log}")
    assert "Nothing to be done" in shown(tmp_path, "echo done > {output} 2> {log}")[0]


def test_an_error_is_shown_whole_with_the_log_of_the_job(tmp_path):
    screen, printed = shown(tmp_path, "echo the weights are gone > {log}; false")
    block = re.split("={10,}", printed[printed.index("Error in rule predict") :])
    assert block[0] in screen  # what the job is
    assert "the weights are gone" in block[1]
    assert block[1] in screen
    assert re.search(r"^Failed: predict (r1|sft); .*run the same command to resume", screen, re.MULTILINE)


def test_after_an_error_the_other_jobs_are_a_line_of_progress_again():
    """Lines as Snakemake 9.27 prints them with `--keep-going --show-failed-logs`."""
    run = progress.Progress()
    before = [
        "predict 2",
        "total 2",
        "rule predict:",
        "    jobid: 1",
        "    wildcards: arm=r1",
        "rule predict:",
        "    jobid: 2",
        "    wildcards: arm=sft",
    ]
    error = [
        "RuleException:",
        "Error in rule predict:",
        "    message: None",
        "    jobid: 1",
        "Logfile r1.log:",
        RULER,
        "Finished jobid: 2 (Rule: predict)",
        RULER,
    ]
    after = [
        "Select jobs to execute...",
        "[Sat Nov 28 22:00:28 2026]",
        "Finished jobid: 2 (Rule: predict)",
        "1 of 2 steps (50%) done",
    ]
    assert [run.take(line) for line in before] == [False] * len(before)
    assert list(run.running) == ["1", "2"]
    assert [run.take(line) for line in error] == [True] * len(error)
    assert [name for name, _ in run.running.values()] == ["predict sft"]  # what a log says is no news
    assert [run.take(line) for line in after] == [False] * len(after)
    assert run.failed == ["predict r1"]


def test_a_stop_is_no_error():
    run = progress.Progress()
    assert [
        run.take(line) for line in ("Terminating processes on user request", "RuleException:", "KeyboardInterrupt")
    ] == [False] * 3
    assert "run the same command to resume" in run.ending(Path("logs/demo/snakemake.log"))


def test_a_mistake_in_the_workflow_is_shown(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: [")
    screen, printed = shown(tmp_path, "true", "--configfile", "mine.yaml")
    assert screen == printed
    assert "not valid JSON or YAML" in screen


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (200, "3 min")])
def test_durations(seconds, text):
    assert progress._duration(seconds) == text


def test_time_left_follows_what_jobs_usually_take(monkeypatch):
    """A training that is left weighs more than ten scores that are done."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    run = progress.Progress()
    for line in (
        "score 10",
        "train_grpo 1",
        "total 11",
        "rule train_grpo:",
        "    jobid: 1",
        "    wildcards: run=demo, arm=r1, seed=0",
    ):
        run.take(line)
    for job in range(10):
        run.take(f"Finished jobid: {job + 2} (Rule: score)")
    done, left = 10 * progress._seconds("score"), progress.SECONDS["train_grpo"]
    assert run.share() == pytest.approx(done / (done + left))
    now[0] = 60.0  # of a training that usually takes longer
    assert run.share() == pytest.approx((done + 60) / (done + left))
    assert "10 of 11 jobs" in run.text(200)
    assert "train_grpo r1" in run.text(200)
    now[0] = 10 * left  # it takes longer than usual: no more is promised than that it is not done
    assert run.share() < 1
