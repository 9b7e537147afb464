"""What must be there before a job can read data, weights and sources."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.configs import demo, paper
from vidreason.config.yaml_layers import ConfigError
from vidreason.sources import own_files, prerequisites
from vidreason.sources.lock import SourceError

GOLDEN = Path(__file__).parents[2] / "golden/checkpoint"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that a run is started in."""
    monkeypatch.chdir(tmp_path)
    another_process()
    return tmp_path


def another_process() -> None:
    own_files._fingerprint.cache_clear()
    own_files.video_digest.cache_clear()


def test_what_is_fetched_is_ready_when_its_source_is(here: Path) -> None:
    run = paper()
    assert prerequisites.questions_ready(run, "mvbench") == ["data/MVBench/unpacked.json"]
    assert prerequisites.root_ready(run, "mmvu") == ["data/MMVU/fetched.json"]
    assert prerequisites.weights_ready(run, "base") == [
        "data/TinyLLaVA-Video-Qwen2.5-3B-Group-16-512/fetched.json",
        "data/Qwen2.5-3B/fetched.json",
        "data/siglip-so400m-patch14-384/fetched.json",
    ]
    assert prerequisites.own_weights(run, "base") is None
    assert prerequisites.own_annotations(run, "nextqa") is None
    assert prerequisites.own_videos(run, "nextqa") is None


def test_what_the_run_makes_is_ready_when_its_folder_is(here: Path) -> None:
    assert prerequisites.questions_ready(demo(), "mlvu") == ["results/demo/make_world/mlvu"]
    away = demo(arms={"base": {"weights": "results/{run}/pretrain_base/checkpoint"}})
    assert prerequisites.weights_ready(away, "base") == ["results/demo/pretrain_base/checkpoint"]


def test_an_annotation_file_from_another_source_waits_for_it(here: Path) -> None:
    other = "data/TinyLLaVA-Video-R1-training-data/nextqa-coldstart-16.json"
    run = paper(datasets={"coldstart": {"root": "data/LLaVA-Video-178K", "annotations": other}})
    assert prerequisites.questions_ready(run, "coldstart") == [
        "data/LLaVA-Video-178K/unpacked.json",
        "data/TinyLLaVA-Video-R1-training-data/unpacked.json",
    ]


def test_files_of_the_users_own_are_inputs_and_their_content_counts(here: Path) -> None:
    (here / "mine").mkdir()
    file = here / "mine/questions.json"
    file.write_text("[1]")
    run = paper(datasets={"coldstart": {"root": "mine", "annotations": "questions.json"}})
    assert prerequisites.root_ready(run, "coldstart") == []
    assert prerequisites.questions_ready(run, "coldstart") == ["mine/questions.json"]
    before = prerequisites.own_annotations(run, "coldstart"), prerequisites.own_videos(run, "coldstart")
    file.write_text("[2]")
    another_process()
    assert prerequisites.own_annotations(run, "coldstart") not in (None, before[0])
    assert prerequisites.own_videos(run, "coldstart") == before[1]
    (here / "mine/a.mp4").write_bytes(b"1")
    another_process()
    assert prerequisites.own_videos(run, "coldstart") != before[1]


def test_weights_of_the_users_own(here: Path) -> None:
    shutil.copytree(GOLDEN, here / "weights")
    run = demo(arms={"base": {"weights": "weights", "tokenizer": "weights"}})
    files = prerequisites.weights_ready(run, "base")
    assert "weights/model.safetensors" in files
    assert len(set(files)) == len(files), "a file that is given twice is read once"
    assert prerequisites.own_weights(run, "base")
    with pytest.raises(ConfigError, match="results/demo: nobody is no arm of this run"):
        prerequisites.weights_ready(run, "nobody")


def test_a_lock_must_be_of_the_source_as_it_is_configured(here: Path) -> None:
    run = paper()
    assert prerequisites.checked_lock(run, "MVBench") == "config/locks/MVBench.json"
    assert not prerequisites.is_locked("MVBench")
    entry = run.sources["MVBench"]
    head = {"repo": entry.repo, "type": entry.type, "requested": entry.revision, "patterns": entry.files}
    files = [{"path": f"{pattern.replace('*', 'x')}", "size": 1, "sha256": 64 * "0"} for pattern in entry.files]
    (here / "config/locks").mkdir(parents=True)
    lock = {**head, "revision": 40 * "c", "origin": "hub", "files": files}
    (here / "config/locks/MVBench.json").write_text(json.dumps(lock))
    assert prerequisites.is_locked("MVBench")
    assert prerequisites.checked_lock(run, "MVBench") == "config/locks/MVBench.json"
    with pytest.raises(SourceError, match=r"config/locks/MVBench.json: made for revision .* is 'other'"):
        prerequisites.checked_lock(paper(sources={"MVBench": {"revision": "other"}}), "MVBench")


def test_counts_decide_neither_what_is_fetched_nor_what_is_unpacked() -> None:
    run, other = paper(), paper(sources={"MMVU": {"expected_files": 3, "gigabytes": 1.0}})
    for decisive in (prerequisites.fetched_by, prerequisites.unpacked_by):
        assert decisive(run, "MMVU") == decisive(other, "MMVU")
    assert json.loads(prerequisites.source_json(other, "MMVU"))["expected_files"] == 3
    assert json.loads(prerequisites.delete_archives(paper(delete_archives=True))) is True
