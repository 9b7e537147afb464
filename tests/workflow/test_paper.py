"""The paper's own configuration, numbers alone changed, against a miniature hub: from the first byte to the table."""

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hub.conftest import replicas  # noqa: F401 (a fixture)
from tests.hub.replicas import LLAVA, MMVU, MVBENCH, R1_DATA, SIGLIP, VIDEO_MME, commit_of
from tests.hub.server import Fault, Hub
from tests.workflow.conftest import ROOT, Workplace, new_workplace
from vidreason.artifacts.files import read_jsonl
from vidreason.data import mlvu, mvbench, video_mme
from vidreason.evaluation.scored_answers import read_scored
from vidreason.records import Question

pytestmark = pytest.mark.workflow
NUMBERS = ("tests/workflow/paper.yaml", "tests/workflow/short.yaml")
NOWHERE = "http://127.0.0.1:9"
"""An address where nothing answers: whatever leaves the machine would have to go through it."""
FETCHED = 9
PERMANENT = (
    Fault("unauthorized", "*/Qwen/Qwen2.5-3B/*", None),
    Fault("no_revision", "*/api/datasets/yale-nlp/MMVU/*", None),
    Fault("wrong_checksum", "*/videomme/test-00000-of-00001.parquet", None),
    Fault("web_page", "*/0_30_s_nextqa_mc_qa_processed.json", None),
)
"""Faults that stay; MVBench and MLVU are gated besides, and there is no token."""
PASSING = (
    Fault("too_many", "*/resolve/*/NextQA.zip"),
    Fault("server_error", "*/api/models/Zhang199/*"),
    Fault("cut_short", "*/TinyLLaVA-Video-Qwen2.5-3B-Group-16-512/*.safetensors"),
    Fault("slow", "*/preprocessor_config.json"),
)


@dataclasses.dataclass(frozen=True)
class HubWorkplace(Workplace):
    """A workplace whose only hub is the miniature one; the rest of the network is closed."""

    hub: Hub
    settings: dict[str, str]

    def environment(self) -> dict[str, str]:
        """Environment of every call."""
        kept = {key: value for key, value in super().environment().items() if not key.startswith("HF_")}
        closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
        own = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HOME": str(self.root / "hf")}
        return {**kept, **closed, **own, **self.settings}


@dataclasses.dataclass(frozen=True)
class Told:
    """Where the hub was, and what the calls of the whole run printed."""

    url: str
    failed: str
    fetched: str
    made: str


@pytest.fixture(scope="session")
def paper(replicas: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[HubWorkplace, Told]:  # noqa: F811
    """The whole run: a first try in which much goes wrong, a second that fetches the rest, and all else without a network."""
    root = tmp_path_factory.mktemp("paper") / "place"
    new_workplace(root)
    shutil.rmtree(root / "config/locks", ignore_errors=True)  # of real sources, if any
    for overlay in NUMBERS:
        shutil.copy2(ROOT / overlay, root / overlay)
    with Hub(replicas) as hub:
        url = hub.url
        place = HubWorkplace(root, hub, {"HF_ENDPOINT": url})
        hub.faults.extend(dataclasses.replace(fault) for fault in (*PERMANENT, *PASSING))
        failed = place.run("fetch_sources", configs=NUMBERS, ok=False)
        assert [fault.kind for fault in hub.faults if fault.times] == [], "these faults never struck"
        check_what_is_there(place)
        hub.faults.clear()
        place.settings["HF_TOKEN"] = hub.token
        fetched = place.run("fetch_sources", configs=NUMBERS)
    check_what_is_there(place)
    del place.settings["HF_TOKEN"]
    place.settings.update({"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": NOWHERE})
    made = place.run(configs=NUMBERS)
    return place, Told(url, failed, fetched, made)


def check_what_is_there(place: HubWorkplace) -> None:
    """Whatever has the name of a published file is that file, byte for byte."""
    settings = yaml.safe_load((place.root / "config/sources.yaml").read_text())["sources"]
    for folder in (place.root / "data").glob("*"):
        entry = settings[folder.name]
        repo = place.hub.repos[f"{entry['type']}s/{entry['repo']}"]
        published = repo.files(repo.resolve(entry["revision"]))
        for file in folder.rglob("*"):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and name in published:
                assert file.read_bytes() == published[name].source.read_bytes(), name


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for value in node.values():
            yield from leaves(value)
    else:
        yield node


def test_the_overlay_changes_numbers_alone() -> None:
    overlay = yaml.safe_load((ROOT / NUMBERS[0]).read_text())
    assert {type(leaf) for leaf in leaves(overlay)} <= {int, float}
    shipped = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("sources", "config")]

    def check(part: dict[str, Any], whole: dict[str, Any], path: str) -> None:
        for key, value in part.items():
            assert key in whole, f"{path}{key} is not in the paper's configuration"
            if isinstance(value, dict):
                check(value, whole[key], f"{path}{key}.")
            else:
                assert isinstance(whole[key], int | float | None), f"{path}{key} is no number there"

    merged = {**shipped[0], **shipped[1]}
    methods = merged["methods"]["sft"]
    merged["arms"]["sft"] = {**methods, **merged["arms"]["sft"]}
    check(overlay, merged, "")


def test_every_fault_that_stays_is_an_error_that_names_its_source(paper: tuple[HubWorkplace, Told]) -> None:
    _, told = paper
    for words in (
        "source Qwen2.5-3B (model Qwen/Qwen2.5-3B): the hub answered 401",
        "source MMVU (dataset yale-nlp/MMVU): there is no revision 'b937f41'",
        "source Video-MME (dataset lmms-lab/Video-MME): videomme/test-00000-of-00001.parquet was refused",
        "source LLaVA-Video-178K (dataset lmms-lab/LLaVA-Video-178K)",
        f"Accept its conditions at {told.url}/datasets/OpenGVLab/MVBench with your account, then set HF_TOKEN",
        f"Accept its conditions at {told.url}/datasets/MLVU/MVLU with your account, then set HF_TOKEN",
    ):
        assert words in told.failed


def test_faults_that_pass_stop_nothing(paper: tuple[HubWorkplace, Told]) -> None:
    _, told = paper
    failed = {words.split()[0] for words in told.failed.split("source ")[1:]}
    touched = {
        "TinyLLaVA-Video-R1-training-data",
        "TinyLLaVA-Video-Qwen2.5-3B-Group-16-512",
        "siglip-so400m-patch14-384",
    }
    assert not failed & touched
    for source in touched:
        assert f"output: data/{source}/fetched.json" not in told.fetched, "it was whole at the first try"


def test_the_table_has_every_arm_and_benchmark(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    main = {(row["arm"], row["benchmark"]): row for row in rows(place.root / "results/paper/tables/main.csv")}
    counts = {"video_mme": "12", "mvbench": "40", "mlvu": "16", "mmvu": "12"}
    for arm in ("base", "sft", "coldstart", "r1"):
        assert {name: main[arm, name]["n"] for name in counts} == counts
        assert main[arm, "mvbench"]["coverage"] == "0.9500", "NTU's clips are not distributed"
        assert {main[arm, name]["coverage"] for name in counts if name != "mvbench"} == {"1.0000"}


def test_every_task_of_every_benchmark_is_there(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    by_task = [row for row in rows(place.root / "results/paper/tables/by_task.csv") if row["arm"] == "r1"]
    tasks = {name: {row["category"] for row in by_task if row["benchmark"] == name} for name in ("mvbench", "mlvu")}
    assert tasks == {"mvbench": set(mvbench.CATEGORIES), "mlvu": set(mlvu.CATEGORIES)}
    covered = {row["category"]: row["coverage"] for row in by_task if row["benchmark"] == "mvbench"}
    assert covered.pop("fine_grained_pose") == "0.0000"
    assert set(covered.values()) == {"1.0000"}
    groups = [row for row in rows(place.root / "results/paper/tables/by_group.csv") if row["arm"] == "r1"]
    assert {row["group"] for row in groups if row["benchmark"] == "video_mme"} == set(video_mme.DURATIONS)
    missing = rows(place.root / "results/paper/count_missing/mvbench.csv")
    assert [row["reasons"] for row in missing if row["category"] == "fine_grained_pose"] == ["missing 2"]


def test_published_defects_are_asked_and_counted(paper: tuple[HubWorkplace, Told]) -> None:
    """One candidate alone, and a record that is empty throughout: rows like any other, to the last table."""
    place, _ = paper
    lone = [row for row in questions(place, "mvbench") if len(row.options) == 1]
    assert [(row.id, row.gold) for row in lone] == [("counterfactual_inference-0", "A")]
    empty = [row for row in questions(place, "mlvu") if not row.text]
    assert [(row.id, row.options, row.gold) for row in empty] == [("topic_reasoning-1", ("",) * 4, "D")]
    for arm in ("base", "r1"):
        for benchmark, name, options in (("mvbench", lone[0].id, 1), ("mlvu", empty[0].id, 4)):
            file = place.root / f"results/paper/score/{arm}/seed0/{benchmark}.scored.jsonl"
            (row,) = [row for row in read_scored(file) if row.question.id == name]
            assert (row.prediction.status, len(row.question.options)) == ("ok", options)
    told = (place.root / "logs/paper/read_questions/mlvu.log").read_text()
    assert "mlvu: 16 questions; 1 without a text, 3 with an empty option" in told


def test_what_the_filter_dropped_is_counted(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    data = rows(place.root / "results/paper/tables/data.csv")
    lost = {row["reason"]: int(row["count"]) for row in data if (row["stage"], row["unit"]) == ("filter", "question")}
    assert lost["duplicate"] == 1
    assert lost["no_gold"] == 1
    assert lost["empty_file"] >= 1
    assert lost["too_long"] >= 2
    kept = len(questions(place, "nextqa")) + len(validation(place))
    assert kept + sum(lost.values()) == 18


def questions(place: Workplace, name: str, run: str = "paper") -> list[Question]:
    return read_jsonl(place.root / f"results/{run}/questions/{name}.jsonl", Question)


def validation(place: Workplace, run: str = "paper") -> list[Question]:
    return read_jsonl(place.root / f"results/{run}/filter_questions/nextqa/validation.jsonl", Question)


def test_both_published_forms_of_nextqa_give_the_same_questions(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    change = "run: jsonl\ndatasets: {nextqa: {root: data/TinyLLaVA-Video-R1-training-data, annotations: nextqa_0-30s.jsonl}}\n"
    (place.root / "jsonl.yaml").write_text(change)
    place.run("results/jsonl/questions/nextqa.jsonl", configs=(*NUMBERS, "jsonl.yaml"))
    read = (questions(place, "nextqa"), questions(place, "nextqa", "jsonl"))
    for conversations, problems in (read, (validation(place), validation(place, "jsonl"))):
        assert len(conversations) >= 2
        for one, two in zip(conversations, problems, strict=True):
            assert one == replace(two, clip=replace(two.clip, path=f"0_30_s_nextqa/{two.clip.path}"))
        assert all(row.gold in "ABCDE" for row in conversations)


def test_sources_are_pinned_and_fetched_once(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    locks = {path.stem: json.loads(path.read_text()) for path in (place.root / "config/locks").glob("*.json")}
    assert len(locks) == FETCHED
    assert locks["Video-MME"]["revision"] == commit_of(VIDEO_MME) == "ead1408f75b618502df9a1d8e0950166bf0a2a0b"
    for name, repo in (("MVBench", MVBENCH), ("MMVU", MMVU), ("LLaVA-Video-178K", LLAVA)):
        assert locks[name]["revision"] == commit_of(repo)
    for name, repo in (("TinyLLaVA-Video-R1-training-data", R1_DATA), ("siglip-so400m-patch14-384", SIGLIP)):
        assert locks[name]["revision"] == commit_of(repo)
    paths = [request.path for request in place.hub.log if request.method == "GET" and request.status in (200, 206)]
    for unwanted in ("subtitle.zip", "README.md", "30_60_s", "8_sub_scene", "oe_qa", "00001-of-00002.safetensors"):
        assert not any(unwanted in path for path in paths), f"{unwanted} was not asked for"
    assert "lock_source" not in place.run("--dry-run", "--forceall", configs=NUMBERS), "a lock is never made again"
    assert place.jobs(configs=NUMBERS) == {}


def test_edited_code_fetches_nothing_again(paper: tuple[HubWorkplace, Told]) -> None:
    """Nor do entries that only describe or check; and the words of an error about missing videos answer nothing again."""
    place, _ = paper
    edited = [f"workflow/scripts/{name}_source.py" for name in ("lock", "fetch", "unpack")]
    edited += [
        f"src/vidreason/{name}.py"
        for name in ("sources/hub", "sources/archives", "sources/lock", "sources/fetch", "plan")
    ]
    kept = {path: (place.root / path).read_text() for path in edited}
    for path, text in kept.items():
        (place.root / path).write_text(f"{text}\nEDITED = True\n")
    described = (
        "sources: {MMVU: {licence: another, gated: true, gigabytes: 3, expected_files: null, expected_members: 9}}"
    )
    checked = "delete_archives: true\ndatasets: {nextqa: {questions: null}, mmvu: {questions: null}}"
    (place.root / "described.yaml").write_text(f"{described}\n{checked}\n")
    try:
        assert place.jobs(configs=(*NUMBERS, "described.yaml")) == {}
    finally:
        for path, text in kept.items():
            (place.root / path).write_text(text)


def test_another_table_of_missing_videos_answers_nothing_again(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    module = place.root / "src/vidreason/evaluation/coverage.py"
    text = module.read_text()
    module.write_text(f"{text}\nEDITED = True\n")
    try:
        jobs = place.jobs(configs=NUMBERS)
    finally:
        module.write_text(text)
    assert jobs["count_missing"] == 4
    assert "predict" not in jobs
    assert "train_sft" not in jobs


def test_only_videos_that_are_asked_about_are_fetched(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    asked = {row.clip.path for row in questions(place, "mmvu")}
    there = {
        str(path.relative_to(place.root / "data/MMVU")) for path in (place.root / "data/MMVU/videos").rglob("*.mp4")
    }
    assert there == asked


def test_the_token_is_written_nowhere(paper: tuple[HubWorkplace, Told]) -> None:
    place, told = paper
    token = place.hub.token.encode()
    assert not any(token.decode() in text for text in (told.failed, told.fetched, told.made))
    for folder, _, names in os.walk(place.root):
        for name in names:
            path = Path(folder) / name
            assert token not in path.read_bytes() if path.is_file() and "src" not in path.parts else True, path


def test_missing_videos_stop_an_arm_before_it_is_asked(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    (place.root / "strict.yaml").write_text("datasets: {mvbench: {known_missing: null}}\n")
    target = "results/paper/predict/base/seed0/mvbench/shard0.jsonl"
    kept = place.root / f"{target}.kept"
    (place.root / target).rename(kept)
    try:
        configs = (*NUMBERS, "strict.yaml")
        printed = place.run(target, configs=configs, ok=False)
        assert "mvbench: 2 of 40 questions (0.0500) have no frames, allowed is 0." in printed
        assert "fine_grained_pose | 2 | 2 | 0 | missing 2" in printed
        assert "set evaluation.scoring.max_missing_fraction in the config to 0.0500 or more" in printed
    finally:
        kept.rename(place.root / target)


def test_a_changed_source_does_not_pass_for_the_locked_one(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    (place.root / "moved.yaml").write_text("sources: {MMVU: {revision: main}}\n")
    printed = place.run("-n", "data/MMVU/fetched.json", configs=(*NUMBERS, "moved.yaml"), ok=False)
    assert "config/locks/MMVU.json: made for revision 'b937f41', but sources.MMVU.revision is 'main'" in printed


def test_the_plan_knows_what_is_there(paper: tuple[HubWorkplace, Told]) -> None:
    place, _ = paper
    printed = place.run("plan", "--quiet", "all", configs=NUMBERS)
    assert "Still to download: 0 GB." in printed
    assert "Gated: accept" not in printed
    assert "predict" in printed
