"""`vidreason card` and `vidreason push`: what a run recorded becomes the card, and nothing is uploaded unasked."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from tests.support import micro, scored_run
from tests.unit.cli.test_cli import ROOT, call, refused
from vidreason.artifacts.integrity import sidecar_of
from vidreason.artifacts.provenance import write_sidecar
from vidreason.results.release.model_card import SYNTHETIC, CardError, model_card
from vidreason.sources.upload import CARD, plan_upload

TOKEN = "hf_secret_of_the_tests"


@pytest.fixture
def checkpoint(tmp_path):
    """The checkpoint of the arm r1 of a small run, with scores on two benchmarks."""
    run = tmp_path / "results/small"
    folder = micro.checkpoint(run / "train_grpo/r1/seed0/checkpoint")
    spec, _ = micro.training("grpo", beta=0.04)
    params = {**spec.model_dump(), "arm": "r1", "parent": "cold*start*", "style": "option"}
    (tmp_path / "given.jsonl").write_text("{}")
    write_sidecar(folder, [tmp_path / "given.jsonl"], params, ["vidreason.training.grpo"])
    for benchmark in scored_run.BENCHMARKS:
        scored_run.score_one(run, "r1", benchmark, scored_run.predictions_of("r1", benchmark))
    return folder


def table(card: str) -> dict[str, str]:
    """First cell -> the rest of every row of a card's tables."""
    rows = [line.strip("| ").split("|") for line in card.splitlines() if line.startswith("| ")]
    return {first.strip(): " ".join(" ".join(rest).split()) for first, *rest in rows}


class TestCard:
    def test_it_says_what_the_run_recorded(self, checkpoint):
        card = model_card(checkpoint, "apache-2.0")
        front = yaml.safe_load(card.split("---")[1])
        assert (front["license"], front["library_name"]) == ("apache-2.0", "vidreason")
        assert "# r1 of the run small" in card
        assert "group relative policy optimization from the weights of the arm cold\\*start\\* on NextQA" in card
        rows = table(card)
        assert rows["Video-MME"].startswith("accuracy 75.00 ")
        assert rows["Video-MME"].endswith(" 25.00 8 8")
        assert rows["MLVU"].startswith("accuracy (mean over categories) 66.67 ")
        assert rows["objective.beta"] == "0.04"
        assert rows["protocol"] == "upstream"
        sidecar = json.loads((checkpoint.parent / "checkpoint.provenance.json").read_text())
        for key in ("commit", "code", "sha256"):
            assert f": {sidecar[key]}\n" in card
        assert sidecar["created"] not in card, "the same training gives the same card"
        assert "docs/deviations.md" in card
        assert "vidreason.load('checkpoint', style='option')" in card

    def test_paths_and_names_of_the_machine_stay_at_home(self, checkpoint, tmp_path):
        sidecar = json.loads((checkpoint.parent / "checkpoint.provenance.json").read_text())
        card = model_card(checkpoint)
        assert "made from given.jsonl, sha256 " in card
        assert str(tmp_path) not in card
        assert sidecar["nodes"] not in card.replace(sidecar["commit"], "")

    def test_a_generated_world_is_called_one(self, checkpoint):
        assert SYNTHETIC in model_card(checkpoint)
        (checkpoint.parents[3] / "make_world").rename(checkpoint.parents[3] / "elsewhere")
        assert SYNTHETIC not in model_card(checkpoint)

    def test_without_a_license_it_says_that_none_is_stated(self, checkpoint):
        assert "Not stated. The licenses of the weights and the data" in model_card(checkpoint)

    def test_scores_are_those_of_the_seed(self, checkpoint):
        predictions = scored_run.predictions_of("base", "mlvu")
        scored_run.score_one(checkpoint.parents[3], "r1", "mlvu", predictions, seed=1, style="option")
        assert table(model_card(checkpoint))["MLVU"].startswith("accuracy (mean over categories) 66.67 ")

    @pytest.mark.parametrize("method", [None, 5, [], {"a": 1}, "magic"])
    def test_a_method_that_is_none_has_no_settings(self, checkpoint, method):
        sidecar = sidecar_of(checkpoint)
        known = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps({**known, "params": {**known["params"], "method": method}}))
        card = model_card(checkpoint)
        assert "without training" in card
        assert "## Training" not in card

    def test_the_sidecar_is_enough(self, checkpoint):
        """Weights are large, and often removed where their answers are kept."""
        card = model_card(checkpoint)
        shutil.rmtree(checkpoint)
        assert model_card(checkpoint) == card
        sidecar_of(checkpoint).unlink()
        with pytest.raises(CardError, match=r"checkpoint: no config.json in it"):
            model_card(checkpoint)

    def test_scores_can_be_named(self, checkpoint):
        """A rule names those of its benchmarks; a score of an earlier configuration that is still there is none of them."""
        (known,) = (checkpoint.parents[3] / "score/r1/seed0").glob("mlvu.score.json")
        rows = table(model_card(checkpoint, scores=[known]))
        assert "MLVU" in rows
        assert "Video-MME" not in rows

    def test_a_checkpoint_of_no_run_has_a_card_that_says_so(self, tmp_path):
        card = model_card(micro.checkpoint(tmp_path / "mine"))
        assert "No run has recorded how this checkpoint was made." in card
        assert "## Scores" not in card
        assert "## Training" not in card

    def test_given_weights_are_called_given(self, tmp_path):
        folder = micro.checkpoint(tmp_path / "results/small/import_weights/base/checkpoint")
        write_sidecar(folder, [], {"weights": "published"}, ["vidreason.records"])
        card = model_card(folder)
        assert "Given weights, checked and stored by vidreason without training." in card
        assert "## Training" not in card

    def test_the_command_prints_it_and_changes_nothing(self, checkpoint, capsys):
        before = sorted(path.name for path in checkpoint.iterdir())
        status, out, _ = call(capsys, "card", checkpoint, "--license", "mit")
        assert (status, out) == (0, model_card(checkpoint, "mit"))
        assert sorted(path.name for path in checkpoint.iterdir()) == before

    def test_what_is_no_checkpoint_or_was_changed_is_refused_in_a_sentence(self, checkpoint, tmp_path, capsys):
        refused(call(capsys, "card", tmp_path), "no config.json in it; allowed: a checkpoint folder")
        (checkpoint / "vocab.json").write_text("{}")
        refused(call(capsys, "card", checkpoint), "checkpoint: changed since it was made")


class TestPush:
    def test_by_default_it_only_says_what_it_would_do(self, checkpoint, capsys, monkeypatch):
        monkeypatch.setattr("vidreason.sources.upload.push", lambda *_: pytest.fail("uploaded"))
        (checkpoint / ".hidden.json").write_text("{}")
        status, out, err = call(capsys, "push", checkpoint, "me/r1")
        assert (status, err) == (0, "")
        size = (checkpoint / "model.safetensors").stat().st_size
        assert f"{size:>15,}  model.safetensors\n" in out
        assert "left out: .hidden.json\n" in out
        assert "Nothing was uploaded." in out
        assert CARD in out

    def test_pickles_and_a_card_of_its_own_are_not_among_the_files(self, tmp_path):
        folder = micro.checkpoint(tmp_path / "mine")
        for name in ("training_args.bin", "notes.py", CARD):
            (folder / name).write_text("x")
        upload = plan_upload(folder, "me/r1", "the card")
        assert upload.left_out == ("notes.py", "training_args.bin")
        assert upload.sizes[CARD] == len("the card")

    @pytest.mark.parametrize("repo", ["r1", "a/b/c", "me/r 1", "me/r1--x", "me/", "../me", "me/r1.git"])
    def test_a_name_that_is_no_repository_is_refused_in_a_sentence(self, checkpoint, capsys, repo):
        refused(call(capsys, "push", checkpoint, repo), f"repository '{repo}' is not allowed")

    def test_a_folder_without_weights_is_refused_in_a_sentence(self, tmp_path, capsys):
        (tmp_path / "config.json").write_text("{}")
        refused(call(capsys, "push", tmp_path, "me/r1"), r"no weights \(\*.safetensors\) in it")

    def test_a_card_of_ones_own_is_taken(self, checkpoint, hub, tmp_path):
        own = tmp_path / "card.md"
        own.write_text(model_card(checkpoint) + "\nBy me, for you.\n")
        done = push(hub, checkpoint, "me/r1", "--yes", "--card", own)
        assert (done.returncode, done.stderr) == (0, "")
        files = {line["value"]["path"]: line["value"]["content"] for line in hub.commits[0] if line["key"] == "file"}
        assert base64.b64decode(files[CARD]) == own.read_bytes()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, r"card.md: no such file or directory; allowed: a model card"),
            (b"\xff\xfe", r"card.md: not a text in UTF-8; allowed: a model card"),
            (b"# R1\n", r"card.md: no keys in YAML between two lines of --- at its beginning"),
            (b"---\nlicense: [\n---\n", r"card.md: no keys in YAML"),
            (b"---\nlicense\n---\n", r"card.md: no keys in YAML"),
            (b"---\nlicense: mit\n", r"card.md: no keys in YAML"),
            (b"x\n---\nlicense: mit\n---\n", r"card.md: no keys in YAML"),
            (b"---\nlicense: mit\n---\n" + b"x" * 2**20, r"card.md: more than 1,048,576 bytes"),
        ],
    )
    def test_a_file_that_is_no_card_is_refused_in_a_sentence(self, checkpoint, tmp_path, capsys, content, message):
        if content is not None:
            (tmp_path / "card.md").write_bytes(content)
        refused(call(capsys, "push", checkpoint, "me/r1", "--card", tmp_path / "card.md"), message)

    def test_a_license_goes_into_the_card_that_is_made(self, checkpoint, tmp_path, capsys):
        arguments = ("--card", tmp_path / "card.md", "--license", "mit")
        refused(call(capsys, "push", checkpoint, "me/r1", *arguments), "states its license itself")

    def test_with_yes_everything_is_one_commit(self, checkpoint, hub):
        done = push(hub, checkpoint, "me/r1", "--yes", "--private")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].endswith("/me/r1/commit/c0ffee")
        assert hub.made == [{"name": "r1", "organization": "me", "visibility": "private"}]
        assert hub.tokens == {f"Bearer {TOKEN}"}
        (commit,) = hub.commits
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in commit
            if line["key"] == "file"
        }
        assert files.pop(CARD).decode() == model_card(checkpoint, repo="me/r1")
        assert files == {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    @pytest.mark.parametrize("status", [401, 403, 500])
    def test_a_hub_that_refuses_ends_with_a_sentence_without_the_token(self, checkpoint, hub, status):
        hub.status = status
        done = push(hub, checkpoint, "me/r1", "--yes")
        assert done.returncode == 2
        assert done.stderr.startswith(
            f"vidreason: me/r1: the hub answered {status}; a token is set, which needs the right"
        )
        assert done.stderr.count("\n") == 1
        assert TOKEN not in done.stderr + done.stdout
        assert not hub.commits

    def test_no_hub_ends_with_a_sentence(self, checkpoint, hub):
        hub.shutdown()
        hub.server_close()
        done = push(hub, checkpoint, "me/r1", "--yes")
        assert done.returncode == 2
        assert "me/r1: the hub cannot be reached or breaks off" in done.stderr
        assert done.stderr.count("\n") == 1


def push(hub, *arguments):
    """The command in a process of its own, because huggingface_hub reads its address once."""
    address = f"http://127.0.0.1:{hub.server_port}"
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "PYTHONPATH": str(ROOT / "src")}
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "vidreason.cli", "push", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class Hub(ThreadingHTTPServer):
    """A hub that takes commits, as far as an upload of small files asks it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.made, self.commits, self.tokens = 200, [], [], set()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.status != 200:
            return self._answer(self.server.status, {"error": "refused"})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            self.server.made.append({key: wanted.get(key) for key in ("name", "organization", "visibility")})
            return self._answer(200, {"url": f"http://{self.headers['Host']}/me/r1"})
        if self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in names]
            return self._answer(200, {"files": files})
        if self.path.endswith("/commit/main"):
            self.server.commits.append([json.loads(line) for line in body.splitlines()])
            address = f"http://{self.headers['Host']}/me/r1/commit/c0ffee"
            return self._answer(200, {"commitUrl": address, "commitOid": "c0ffee", "hookOutput": ""})
        return self._answer(404, {"error": f"nothing at {self.path}"})

    def do_GET(self) -> None:
        self._answer(404, {"error": f"nothing at {self.path}"})

    def _answer(self, status, value) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        """Tests print nothing."""


@pytest.fixture
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
