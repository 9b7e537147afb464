"""Logs of inspect_ai: one for every arm, seed and benchmark, with the same bytes for the same answers."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.support import scored_run
from tests.unit.cli.test_cli import call, refused
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.records import Completion
from vidreason.results.release.judges.inspect_log import ExportError, export_logs


def scored(run: Path, arm: str, benchmark: str, answers: list, seed: int = 0, **changes: object) -> None:
    for path in scored_run.score_one(run, arm, benchmark, answers, seed, **changes):
        write_sidecar(path, [], {}, ["vidreason.records"])


@pytest.fixture
def run(tmp_path) -> Path:
    for arm in ("base", "r1"):
        for benchmark in scored_run.BENCHMARKS:
            scored(tmp_path / "small", arm, benchmark, scored_run.predictions_of(arm, benchmark))
    return tmp_path / "small"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


class TestExport:
    def test_one_log_for_every_arm_and_benchmark(self, run, tmp_path) -> None:
        logs = [read(path) for path in export_logs(run, tmp_path / "out")]
        tasks = [log["eval"]["task"] for log in logs]
        assert tasks == ["mlvu-base-seed0", "mlvu-r1-seed0", "video-mme-base-seed0", "video-mme-r1-seed0"]
        assert len({log["eval"]["task_id"] for log in logs}) == 4
        assert {log["eval"]["run_id"] for log in logs} == {logs[0]["eval"]["run_id"]}

    def test_the_same_answers_give_the_same_bytes(self, run, tmp_path) -> None:
        first = {path.name: path.read_bytes() for path in export_logs(run, tmp_path / "a")}
        assert {path.name: path.read_bytes() for path in export_logs(run, tmp_path / "b")} == first

    def test_another_export_replaces_the_log(self, run, tmp_path) -> None:
        (former,) = export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])
        scored_path = run / "score/r1/seed0/mlvu.scored.jsonl"
        sidecar = read(sidecar_of(scored_path))
        sidecar_of(scored_path).write_text(json.dumps({**sidecar, "created": "2031-02-03T04:05:06+00:00"}))
        (later,) = export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])
        assert later.name.startswith("2031-02-03T04-05-06-00-00_mlvu-r1-seed0_")
        assert not former.exists()

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("created", value) for value in (None, 5, "", "yesterday", "../../2031", "2031-02-03/04:05:06", "\0")),
            *(("versions", value) for value in (None, 5, ["torch"], "torch")),
        ],
    )
    def test_a_sidecar_of_another_form_is_named_with_its_key(self, run, tmp_path, key, value) -> None:
        sidecar = sidecar_of(run / "score/r1/seed0/mlvu.scored.jsonl")
        sidecar.write_text(json.dumps({**read(sidecar), key: value}))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ExportError, match=rf"mlvu\.scored\.jsonl\.provenance\.json: {key} is .*; allowed: "):
            export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("text", ["[]", "null", '"x"'])
    def test_a_sidecar_without_keys_is_named(self, run, tmp_path, text) -> None:
        sidecar_of(run / "score/r1/seed0/mlvu.scored.jsonl").write_text(text)
        with pytest.raises(
            ValueError, match=r"mlvu\.scored\.jsonl\.provenance\.json: no sha256 of mlvu\.scored\.jsonl in it"
        ):
            export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])

    @pytest.mark.parametrize("kept", [0, 3])
    def test_answers_that_were_cut_are_not_exported(self, run, tmp_path, kept) -> None:
        path = run / "score/r1/seed0/mlvu.scored.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
        write_sidecar(path, [], {}, ["vidreason.records"])
        with pytest.raises(
            ExportError, match=rf"mlvu\.score\.json: counts .*, 8 answers, where .* has .*, {kept} answers"
        ):
            export_logs(run, tmp_path / "out")

    def test_a_score_of_another_arm_is_not_exported(self, run, tmp_path) -> None:
        path = run / "score/r1/seed0/mlvu.score.json"
        path.write_text(json.dumps({**read(path), "arm": "../../r1"}))
        write_sidecar(path, [], {}, ["vidreason.records"])
        with pytest.raises(ExportError, match=r"counts arm '\.\./\.\./r1', seed0, .*, where .* has arm 'r1', seed0, "):
            export_logs(run, tmp_path / "out", ["r1"])
        assert not list(tmp_path.rglob("*_mlvu*"))

    def test_metrics_have_their_intervals_and_other_readings_stand_beside(self, run, tmp_path) -> None:
        (path,) = export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])
        score = read(run / "score/r1/seed0/mlvu.score.json")
        counted, other = read(path)["results"]["scores"]
        values = {name: metric["value"] for name, metric in counted["metrics"].items()}
        assert counted["name"] == "tagged"
        assert next(iter(values)) == score["headline"] == "accuracy_macro", "the first is what viewers show"
        assert values["accuracy_macro"] == score["metrics"]["accuracy_macro"]["mean"]
        assert values["accuracy"] == 6 / 8
        assert values["ci_low"] == score["metrics"]["accuracy_macro"]["low"] < values["ci_high"]
        assert (other["name"], other["metrics"]["accuracy"]["value"]) == ("first_block", 6 / 8)

    def test_a_sample_has_question_thought_answer_and_verdict(self, run, tmp_path) -> None:
        (path,) = export_logs(run, tmp_path / "out", ["r1"], ["video_mme"])
        sample = read(path)["samples"][6]
        assert sample["input"].startswith(
            "Which thing comes <first>?\nOptions:\nA. ball\nB. box\nC. kite & string\nD. ring\nOutput"
        )
        assert (sample["target"], sample["choices"]) == ("C", ["ball", "box", "kite & string", "ring"])
        reasoning, text = sample["messages"][1]["content"]
        assert reasoning == {"type": "reasoning", "reasoning": f"{scored_run.CAPTION}. so the answer is <b>it</b>"}
        assert "D" in text["text"]
        assert sample["output"]["metadata"]["text"].endswith(text["text"])
        assert (sample["scores"]["tagged"]["value"], sample["scores"]["tagged"]["answer"]) == ("I", "D")
        assert sample["metadata"]["think_true"] is True
        assert sample["metadata"]["video"] == "clips/3.mp4"

    def test_an_unanswered_question_counts_as_wrong(self, tmp_path) -> None:
        answers = scored_run.predictions_of("r1", "mlvu")
        answers[0] = dataclasses.replace(answers[0], status="missing", completion=Completion())
        settings = {**scored_run.SETTINGS, "max_missing_fraction": 0.5}
        scored(tmp_path / "small", "r1", "mlvu", answers, settings=settings)
        (path,) = export_logs(tmp_path / "small", tmp_path / "out")
        sample = read(path)["samples"][0]
        assert (sample["output"]["choices"], sample["output"]["completion"]) == ([], "")
        assert sample["scores"]["tagged"]["value"] == "I"
        assert sample["scores"]["tagged"]["explanation"] == "not answered (missing); counts as wrong"

    def test_a_letter_that_was_drawn_and_a_cut_answer_are_told(self, tmp_path) -> None:
        answers = scored_run.predictions_of("r1", "mlvu")
        answers[0] = dataclasses.replace(answers[0], completion=Completion("so it is", 72, False))
        scored(tmp_path / "small", "r1", "mlvu", answers, settings={**scored_run.SETTINGS, "unparsed": "random"})
        (path,) = export_logs(tmp_path / "small", tmp_path / "out")
        sample = read(path)["samples"][0]
        assert sample["output"]["choices"][0]["stop_reason"] == "max_tokens"
        assert "nothing could be read; the letter " in sample["scores"]["tagged"]["explanation"]
        assert sample["messages"][1]["content"] == [{"type": "text", "text": "so it is"}]


class TestMistakes:
    def test_what_is_not_there(self, run, tmp_path) -> None:
        with pytest.raises(ExportError, match="score: no scored answers; allowed: the folder of a run"):
            export_logs(tmp_path / "absent", tmp_path / "out")
        with pytest.raises(
            ExportError, match=r"no scored answers of arm 'r1x'; allowed: base, r1 \(did you mean r1\?\)"
        ):
            export_logs(run, tmp_path / "out", ["r1x"])
        with pytest.raises(ExportError, match="no scored answers of benchmark 'mmvu'; allowed: mlvu, video_mme"):
            export_logs(run, tmp_path / "out", [], ["mmvu"])
        assert not (tmp_path / "out").exists()

    def test_answers_that_were_changed_or_have_no_sidecar(self, run, tmp_path) -> None:
        path = run / "score/r1/seed0/mlvu.scored.jsonl"
        path.write_text(path.read_text().replace("ring stays", "ring flies"))
        with pytest.raises(ValueError, match=r"mlvu\.scored\.jsonl"):
            export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])
        sidecar_of(path).unlink()
        with pytest.raises(ExportError, match=r"mlvu.scored.jsonl: it has no .*; score again"):
            export_logs(run, tmp_path / "out", ["r1"], ["mlvu"])


class TestCommand:
    def test_it_says_where_the_logs_are(self, run, capsys) -> None:
        status, out, _ = call(capsys, "export", run, "--arm", "r1")
        assert status == 0
        assert out == f"2 logs in {run}/inspect; to look at them: inspect view --log-dir {run}/inspect\n"
        assert len(list((run / "inspect").iterdir())) == 2

    def test_bad_input_is_one_sentence(self, run, capsys) -> None:
        refused(call(capsys, "export", run, "--arm", "r11"), "did you mean r1")
