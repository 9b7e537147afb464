"""inspect_ai's own reader opens the logs of `vidreason export`. The logs' content is tested in tests/unit/results/test_inspect_log.py."""

import dataclasses
from pathlib import Path

import pytest

from tests.support import scored_run
from vidreason.artifacts.provenance import write_sidecar
from vidreason.records import Completion
from vidreason.results.release.judges.inspect_log import export_logs

inspect_ai = pytest.importorskip("inspect_ai", reason="in the environment of `make judge`")


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("results") / "small"
    for arm in ("base", "r1"):
        answers = scored_run.predictions_of(arm, "video_mme")
        answers[7] = dataclasses.replace(answers[7], status="missing", completion=Completion())
        settings = {**scored_run.SETTINGS, "max_missing_fraction": 0.5}
        for path in scored_run.score_one(run, arm, "video_mme", answers, settings=settings):
            write_sidecar(path, [], {}, ["vidreason.records"])
    export_logs(run, run / "inspect")
    return run / "inspect"


def test_every_log_is_listed_and_read(logs) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_samples

    listed = list_eval_logs(str(logs))
    assert sorted(info.task for info in listed) == ["video-mme-base-seed0", "video-mme-r1-seed0"]
    for info in listed:
        log = read_eval_log(info)
        assert (log.version, log.status) == (2, "success")
        assert read_eval_log(info, header_only=True).eval == log.eval
        assert len(list(read_eval_log_samples(info))) == len(log.samples) == 8


def test_the_reader_finds_answers_thoughts_and_verdicts(logs) -> None:
    from inspect_ai.log import read_eval_log

    (path,) = logs.glob("*r1-seed0*")
    log = read_eval_log(str(path))
    assert log.eval.model == "vidreason/small-r1-seed0"
    assert log.results.scores[0].metrics["accuracy"].value == 6 / 8
    assert next(iter(log.stats.model_usage.values())).output_tokens == 7 * 20
    first, last = log.samples[0], log.samples[-1]
    assert (first.id, first.target, first.choices[0]) == ("video_mme-0", "A", "ball")
    assert first.scores["tagged"].value == "C"
    reasoning, text = first.output.message.content
    assert reasoning.reasoning == f"{scored_run.CAPTION}. so the answer is <b>it</b>"
    assert text.text == first.output.completion
    assert (last.output.empty, last.scores["tagged"].value) == (True, "I")
    assert "not answered (missing)" in last.scores["tagged"].explanation


def test_its_own_writer_keeps_what_is_read(logs, tmp_path) -> None:
    """Converted into the compressed format and back, nothing is lost."""
    from inspect_ai.log import read_eval_log, write_eval_log

    (path,) = logs.glob("*r1-seed0*")
    log = read_eval_log(str(path))
    write_eval_log(log, str(tmp_path / "log.eval"))
    again = read_eval_log(str(tmp_path / "log.eval"))
    assert again.samples == log.samples
    assert again.results.scores == log.results.scores
