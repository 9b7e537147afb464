"""The miniature hub answers huggingface-hub as the real one does, and its replicas are what the readers expect."""

import codecs
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import build_hf_headers, http_backoff

from tests.hub import replicas as made
from tests.hub.repos import Repo, UnknownRevisionError, git_blob_sha1
from tests.hub.server import BODY_FAULTS, PAGE, SLOW_BYTES, SLOW_SECONDS, STATUS_FAULTS, Fault, Hub
from tests.support.filtering import filter_rules
from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.files import read_json, read_json_lines
from vidreason.data import coldstart, mmvu, mvbench, nextqa
from vidreason.data.filter_questions import FilterFiles, filter_questions
from vidreason.data.registry import Source, read_questions
from vidreason.engine.generation import Decoding, generate
from vidreason.engine.prompts import prompts_of
from vidreason.media.extract_frames import take_frames
from vidreason.media.probe import probe
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.checkpoint_files import INDEX, WEIGHTS
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.models.tinyllava.weights import TIED, CheckpointError, read_weights
from vidreason.records import NO_OPTION, OK
from vidreason.sources.archives import unpack

ROOT = Path(__file__).parents[2]
ARCHIVE, TABLE = "NextQA.zip", "nextqa_0-30s.jsonl"


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=hub.token)


@pytest.fixture
def download(hub, tmp_path):
    """hf_hub_download from the hub, into a folder and a cache of the test's own."""

    def call(repo=made.R1_DATA, file=ARCHIVE, token=False, folder="local", **options):
        given = {"repo_type": "dataset", "cache_dir": tmp_path / "cache", **options}
        return Path(hf_hub_download(repo, file, endpoint=hub.url, token=token, local_dir=tmp_path / folder, **given))

    return call


@pytest.fixture(scope="module")
def counts(replicas):
    return read_json(replicas / made.COUNTS)


@pytest.fixture(scope="module")
def unpacked(replicas, tmp_path_factory):
    """The data sets as a run would leave them, unpacked with nothing but the standard library."""
    places = {
        "nextqa": (made.LLAVA, ("0_30_s_nextqa/0_30_s_nextqa_videos_1.tar.gz",), "."),
        "coldstart": (made.R1_DATA, (ARCHIVE,), "."),
        "video_mme": (made.VIDEO_MME, tuple(f"videos_chunked_{chunk:02d}.zip" for chunk in (1, 2, 3)), "."),
        "mvbench": (made.MVBENCH, tuple(f"video/{name}.zip" for name in made.MVBENCH_ARCHIVES), "video"),
        "mlvu": (made.MLVU, (), "."),
        "mmvu": (made.MMVU, (), "."),
    }
    base = tmp_path_factory.mktemp("unpacked")
    for name, (repo, archives, into) in places.items():
        shutil.copytree(replicas / "datasets" / repo, base / name)
        for archive in archives:
            unpack(base / name / archive, base / name / into)
    return base


def requests_of(hub, *, since=0, path=""):
    return [request for request in hub.log[since:] if path in request.path]


# --- Information about repositories ----------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [None, "main", made.PUBLISHED[made.VIDEO_MME], made.PUBLISHED[made.VIDEO_MME][:7]])
def test_a_branch_a_commit_and_its_beginning_are_resolved(api, revision):
    found = api.repo_info(made.VIDEO_MME, repo_type="dataset", revision=revision)
    assert (found.id, found.sha, found.gated) == (made.VIDEO_MME, made.PUBLISHED[made.VIDEO_MME], False)
    assert "videomme/test-00000-of-00001.parquet" in [file.rfilename for file in found.siblings]


def test_what_is_not_there_is_said_in_the_librarys_words(api, download):
    with pytest.raises(RevisionNotFoundError):
        api.repo_info(made.MMVU, repo_type="dataset", revision="nowhere")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(made.R1, revision="0123456789")
    with pytest.raises(RevisionNotFoundError):
        download(revision="nowhere")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(made.MMVU)  # a data set
    with pytest.raises(RemoteEntryNotFoundError):
        download(file="nothing.json")
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(made.R1_DATA, "nothing", repo_type="dataset"))
    assert not api.repo_exists("nobody/nothing")
    assert not api.file_exists(made.R1, "nothing.json")
    assert api.file_exists(made.R1, "config.json")


def test_a_beginning_that_several_commits_share_is_unknown(tmp_path):
    repo = Repo("model", "a/b", tmp_path, {"main": "a" * 40, "other": "a" * 39 + "b"})
    assert repo.resolve("a" * 40) == "a" * 40
    for revision in ("a" * 12, "aaaaaa", "refs/heads/none", "A" * 40):
        with pytest.raises(UnknownRevisionError):
            repo.resolve(revision)


def test_files_have_the_digests_of_git_and_lfs(api, replicas):
    assert git_blob_sha1(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    found = {
        file.rfilename: file for file in api.dataset_info(made.R1_DATA, revision="main", files_metadata=True).siblings
    }
    folder = replicas / "datasets" / made.R1_DATA
    small, large = found[TABLE], found[ARCHIVE]
    assert (small.size, small.blob_id) == (
        (folder / TABLE).stat().st_size,
        git_blob_sha1((folder / TABLE).read_bytes()),
    )
    assert small.lfs is None
    assert (large.lfs.sha256, large.lfs.size) == (sha256_of(folder / ARCHIVE), large.size)
    assert 120 < large.lfs.pointer_size < 140
    assert large.blob_id != git_blob_sha1((folder / ARCHIVE).read_bytes())


def test_the_tree_comes_in_pages_and_whole(api, hub):
    for repo in hub.repos.values():
        since = len(hub.log)
        listed = list(api.list_repo_tree(repo.id, repo_type=repo.type, recursive=True))
        files = {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}
        on_disk = {path.relative_to(repo.root).as_posix(): path for path in repo.root.rglob("*") if path.is_file()}
        assert sorted(files) == sorted(on_disk)
        for path, source in on_disk.items():
            lfs = files[path].lfs
            assert files[path].size == source.stat().st_size
            assert lfs.sha256 == sha256_of(source) if lfs else git_blob_sha1(source.read_bytes()) == files[path].blob_id
        assert len(requests_of(hub, since=since, path="/tree/")) == -(-len(listed) // PAGE)
    assert max(len(repo.files(repo.commits["main"])) for repo in hub.repos.values()) > 2 * PAGE


def test_a_folder_of_the_tree_alone(api):
    top = list(api.list_repo_tree(made.MVBENCH, repo_type="dataset"))
    assert sorted(entry.path for entry in top if isinstance(entry, RepoFolder)) == ["json", "video"]
    video = list(api.list_repo_tree(made.MVBENCH, "video", repo_type="dataset", expand=True))
    assert len(video) == len(made.MVBENCH_ARCHIVES) + 1
    assert all(entry.path.startswith("video/") for entry in video)
    assert {entry.last_commit.oid for entry in video} == {made.commit_of(made.MVBENCH)}


def test_paths_refs_and_the_token(api, hub):
    found = api.get_paths_info(made.MMVU, ["validation.json", "videos", "nothing"], repo_type="dataset")
    assert [(type(entry), entry.path) for entry in found] == [(RepoFile, "validation.json"), (RepoFolder, "videos")]
    refs = api.list_repo_refs(made.MVBENCH, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {
        name: made.commit_of(made.MVBENCH, name) for name in ("main", made.PRE_CUT)
    }
    assert api.whoami()["name"] == "reader"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url).whoami(token="hf_another")


# --- Files -----------------------------------------------------------------------------------------------------------


def test_a_snapshot_holds_what_was_asked_for_and_no_more(hub, replicas, tmp_path):
    patterns = ["0_30_s_nextqa/*_mc_qa_processed.json", "0_30_s_nextqa/*.tar.gz"]
    given = {"endpoint": hub.url, "token": False, "cache_dir": tmp_path / "cache"}
    for revision in ("main", made.commit_of(made.LLAVA)):
        folder = Path(
            snapshot_download(
                made.LLAVA, repo_type="dataset", revision=revision, allow_patterns=patterns,
                local_dir=tmp_path / revision, **given,
            )
        )  # fmt: skip
        files = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
        assert len(files) == 2
        for path in files:
            source = replicas / "datasets" / made.LLAVA / path.relative_to(folder)
            assert path.read_bytes() == source.read_bytes()
    assert requests_of(hub, path="/resolve/")
    assert not requests_of(hub, path="30_60_s")


def test_the_other_origin_serves_large_files_and_never_sees_the_token(hub, download, replicas):
    path = download(made.MVBENCH, "video/star.zip", token=hub.token)
    assert path.read_bytes() == (replicas / "datasets" / made.MVBENCH / "video/star.zip").read_bytes()
    assert [(request.method, request.status, request.authorized) for request in hub.log] == [
        ("HEAD", 302, True),
        ("GET", 200, False),
    ]
    assert hub.log[1].path.startswith("/cdn/datasets/OpenGVLab/MVBench/resolve/")
    download(made.MVBENCH, "json/action_sequence.json", token=hub.token)
    assert [(request.method, request.status) for request in hub.log[2:]] == [("HEAD", 200), ("GET", 200)]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{hub.cdn_url}{hub.log[1].path}?signature=0")
    assert hub.token not in str(hub.log)


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=3-999999999", 206, slice(3, None)),
        ("bytes=999999999-", 416, slice(0, 0)),
        ("bytes=2-1", 416, slice(0, 0)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
def test_ranges(hub, replicas, asked, status, part):
    content = (replicas / "datasets" / made.R1_DATA / TABLE).read_bytes()
    address = f"{hub.url}/datasets/{made.R1_DATA}/resolve/main/{TABLE}"
    request = urllib.request.Request(address, headers={"Range": asked})
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert (answer.status, answer.read()) == (status, content[part])
        assert answer.headers["Accept-Ranges"] == "bytes"
        if status != 200:
            assert answer.headers["Content-Range"].endswith(f"/{len(content)}")


def test_a_branch_and_a_commit_without_branch_have_files_of_their_own(api, download):
    sizes = [
        download(made.LLAVA, f"{made.BUCKET}/{made.BUCKET}_mc_qa_processed.json", folder=name, revision=revision)
        .stat()
        .st_size
        for name, revision in (("new", "main"), ("old", made.commit_of(made.LLAVA, made.OLDER)[:10]))
    ]
    assert sizes[0] < sizes[1]
    refs = api.list_repo_refs(made.LLAVA, repo_type="dataset")
    assert [ref.target_commit for ref in refs.branches] == [made.commit_of(made.LLAVA)]
    cut = {entry.path for entry in api.list_repo_tree(made.MVBENCH, "json", repo_type="dataset", revision=made.PRE_CUT)}
    assert cut == {f"json/{task}.json" for task, kind in mvbench.CATEGORIES.items() if kind.bounded}


def test_many_at_a_time(hub, replicas, tmp_path):
    given = {"repo_type": "dataset", "endpoint": hub.url, "token": hub.token, "cache_dir": tmp_path / "cache"}
    folder = snapshot_download(made.MLVU, local_dir=tmp_path / "local", max_workers=8, **given)
    source = replicas / "datasets" / made.MLVU
    for path in source.rglob("*"):
        if path.is_file():
            assert (Path(folder) / path.relative_to(source)).read_bytes() == path.read_bytes()


# --- Access ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("token", "status"), [(False, 401), ("hf_another", 403)])
def test_of_a_gated_repository_only_the_information_is_open(hub, download, tmp_path, token, status):
    api = HfApi(endpoint=hub.url, token=token)
    for repo in (made.MVBENCH, made.MLVU):
        assert api.dataset_info(repo).gated == "auto"
        assert list(api.list_repo_tree(repo, repo_type="dataset", recursive=True))
        with pytest.raises(GatedRepoError, match="is restricted"):
            api.auth_check(repo, repo_type="dataset")
    for file in ("json/action_sequence.json", "video/star.zip"):
        with pytest.raises(GatedRepoError, match="is restricted") as caught:
            download(made.MVBENCH, file, token=token)
        assert caught.value.response.status_code == status
    with pytest.raises(GatedRepoError):
        snapshot_download(
            made.MLVU, repo_type="dataset", endpoint=hub.url, token=token, local_dir=tmp_path / "s", cache_dir=tmp_path
        )
    HfApi(endpoint=hub.url, token=hub.token).auth_check(made.MLVU, repo_type="dataset")
    download(made.MVBENCH, token=hub.token, file="json/action_sequence.json")


# --- Faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("unauthorized", HfHubHTTPError, 401),
        ("gated", GatedRepoError, 403),
        ("no_revision", RevisionNotFoundError, 404),
        ("too_many", HfHubHTTPError, 429),
        ("server_error", HfHubHTTPError, 500),
    ],
)
def test_faults_of_the_status_befall_any_request(api, hub, kind, error, status):
    hub.faults.append(Fault(kind, "/api/datasets/*"))
    with pytest.raises(error) as caught:
        api.dataset_info(made.MMVU)
    assert caught.value.response.status_code == status
    assert (caught.value.response.headers.get("Retry-After") == "1") == (kind == "too_many")
    assert api.dataset_info(made.MMVU).id == made.MMVU
    assert hub.faults[0].times == 0


@pytest.mark.parametrize(("kind", "seconds"), [("too_many", 2.0), ("server_error", 1.0)])
def test_the_library_waits_and_tries_again(api, hub, kind, seconds):
    hub.faults.append(Fault(kind, "*/tree/*"))
    began = time.monotonic()
    assert list(api.list_repo_tree(made.MMVU, repo_type="dataset"))
    assert time.monotonic() - began >= seconds
    assert [request.status for request in hub.log[:2]] == [STATUS_FAULTS[kind].status, 200]


@pytest.mark.parametrize("kind", ["too_many", "server_error"])
def test_the_library_asks_twice_for_the_head_of_a_file(hub, download, kind):
    hub.faults.append(Fault(kind, "*/resolve/*"))
    assert download().is_file()
    assert [request.status for request in hub.log] == [STATUS_FAULTS[kind].status, 302, 200]


def test_a_body_cut_short_is_gone_on_with(hub, download, replicas, monkeypatch):
    # The library keeps whole pieces only, of 10 MiB; here they must be smaller than the file.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    whole = (replicas / "datasets" / made.R1_DATA / ARCHIVE).read_bytes()
    hub.faults.append(Fault("cut_short", f"*/resolve/*/{ARCHIVE}"))
    assert download().read_bytes() == whole
    first, second = requests_of(hub, path="/cdn/")
    assert (first.status, first.range, second.status) == (200, "", 206)
    assert 0 < int(second.range.removeprefix("bytes=").removesuffix("-")) <= len(whole) // 2


def test_a_body_that_is_always_cut_short_comes_to_an_end(hub, download, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.faults.append(Fault("cut_short", times=None))
    with pytest.raises(Exception, match="peer closed connection"):
        download()
    assert hub.faults[0].times is None


@pytest.mark.parametrize("file", [ARCHIVE, TABLE])
def test_changed_bytes_pass_the_library_unnoticed(hub, download, replicas, file):
    """Which is why the project compares digests itself."""
    hub.faults.append(Fault("wrong_checksum", f"*/{file}"))
    got, right = download(file=file), replicas / "datasets" / made.R1_DATA / file
    assert got.stat().st_size == right.stat().st_size
    assert sha256_of(got) != sha256_of(right)


def test_a_web_page_in_place_of_a_file(hub, download):
    hub.faults.append(Fault("web_page", f"*/{ARCHIVE}"))
    with pytest.raises(OSError, match="Consistency check failed"):
        download()
    with urllib.request.urlopen(f"{hub.url}/datasets/{made.R1_DATA}/resolve/main/{ARCHIVE}") as answer:
        assert answer.read(4) == b"PK\3\4"
    hub.faults.append(Fault("web_page", f"*/{TABLE}"))
    with urllib.request.urlopen(f"{hub.url}/datasets/{made.R1_DATA}/resolve/main/{TABLE}") as answer:
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/html")
        assert answer.read().startswith(b"<!doctype html>")


def test_a_slow_body_comes_whole(hub, download, replicas):
    file = replicas / "datasets" / made.R1_DATA / TABLE
    hub.faults.append(Fault("slow"))
    began = time.monotonic()
    assert download(file=TABLE).read_bytes() == file.read_bytes()
    assert time.monotonic() - began >= SLOW_SECONDS * (file.stat().st_size // SLOW_BYTES)


def test_a_slow_body_does_not_hold_up_the_end_of_the_hub(replicas):
    with Hub(replicas) as hub:
        hub.faults.append(Fault("slow"))
        answer = urllib.request.urlopen(f"{hub.url}/datasets/{made.R1_DATA}/resolve/main/{ARCHIVE}")
        assert len(answer.read(1024)) == 1024
        began = time.monotonic()
    assert time.monotonic() - began < 10  # all of it would take some 20 s
    answer.close()


def test_faults_count_down_and_know_their_names(hub, download):
    hub.faults += [Fault("server_error", "*/other/*", None), Fault("gated", "*/resolve/*", 2), Fault("slow", times=0)]
    for _ in range(2):
        with pytest.raises(GatedRepoError):
            download()
    assert download().is_file()
    assert [fault.times for fault in hub.faults] == [None, 0, 0]
    with pytest.raises(ValueError, match="fault 'fire'; allowed: unauthorized, gated"):
        Fault("fire")
    assert set(BODY_FAULTS).isdisjoint(STATUS_FAULTS)


# --- The server itself -----------------------------------------------------------------------------------------------


def test_a_connection_ends_with_its_hub(online, replicas):
    with Hub(replicas) as first:
        headers = build_hf_headers(token=False)
        assert http_backoff("GET", f"{first.url}/api/models/{made.R1}", headers=headers).status_code == 200
        port = int(first.url.rsplit(":")[-1])
    # The library still holds the connection; the next hub may get the same port.
    with Hub(replicas, port=port) as second:
        assert http_backoff("GET", f"{second.url}/api/models/{made.R1}", headers=headers).status_code == 200
        assert len(second.log) == 1
        assert len(first.log) == 1
    with pytest.raises(RuntimeError, match="before it is entered"):
        _ = first.url


def test_connections_are_kept_and_what_is_unknown_is_refused(hub):
    threads = threading.active_count()
    for _ in range(5):
        assert http_backoff("GET", f"{hub.url}/api/models/{made.R1}").status_code == 200
        assert http_backoff("GET", f"{hub.url}/somewhere/else").status_code == 404
        assert http_backoff("POST", f"{hub.url}/api/models/{made.R1}/commit/main", json={}).status_code == 404
    assert threading.active_count() <= threads + 1


def test_served_by_hand(online, replicas):
    command = [sys.executable, "-m", "tests.hub.server", str(replicas)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said = dict(word.split("=") for word in process.stdout.readline().removeprefix("export ").split())
        api = HfApi(endpoint=said["HF_ENDPOINT"], token=said["HF_TOKEN"])
        assert api.dataset_info(made.MVBENCH).sha == made.commit_of(made.MVBENCH)
        assert said["HF_ENDPOINT"].startswith("http://127.0.0.1:")
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "GET /api/datasets/OpenGVLab/MVBench" in errors


# --- The replicas ----------------------------------------------------------------------------------------------------


def test_another_build_gives_the_same_bytes_and_another_seed_others(replicas, tmp_path, counts):
    files = sorted(path.relative_to(replicas) for path in replicas.rglob("*") if path.is_file())
    other = tmp_path / "other"
    for seed in (1, 0):  # the second replaces the first
        told = made.build(other, seed)
        assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
        changed = [path for path in files if (replicas / path).read_bytes() != (other / path).read_bytes()]
        assert (changed == []) == (seed == 0), changed
    assert json.loads(json.dumps(told)) == counts


def test_a_folder_of_somebody_elses_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="no miniature hub"):
        made.build(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_archives_hold_as_many_files_as_was_counted(replicas, counts):
    for key, commits in counts["repos"].items():
        folder = replicas / key
        (told,) = [row for commit, row in commits.items() if commit == made.commit_of(key.split("/", 1)[1])]
        assert told["files"] == sum(path.is_file() for path in folder.rglob("*"))
        for name, members in told["members"].items():
            if name.endswith(".zip"):
                with zipfile.ZipFile(folder / name) as archive:
                    names = [name for name in archive.namelist() if not name.endswith("/")]
            else:
                with tarfile.open(folder / name) as archive:
                    names = [member.name for member in archive if member.isfile()]
            assert len([name for name in names if not name.startswith("__MACOSX/")]) == members
    with zipfile.ZipFile(replicas / "datasets" / made.R1_DATA / ARCHIVE) as archive:
        assert any(name.startswith("__MACOSX/") for name in archive.namelist())


def test_nextqa_is_the_same_in_its_two_forms(unpacked, counts):
    told = counts["nextqa"]
    source, again = Source(unpacked / "nextqa"), Source(unpacked / "coldstart", TABLE)
    one, other = nextqa.read(source), nextqa.read(again)
    assert one == other
    assert [(row.id, row.reason) for row in source.dropped] == [(row.id, row.reason) for row in again.dropped]
    assert [row.reason for row in source.dropped] == [nextqa.DUPLICATE, nextqa.NO_GOLD]
    assert (len(one), len(source.dropped)) == (told["questions"], told["repeated"] + told["without_gold"]) == (16, 2)
    clips = {video: probe(unpacked / "nextqa" / video) for video in {question.clip.path for question in one}}
    assert len(clips) == told["videos"]
    assert collections.Counter(clip.status for clip in clips.values()) == {OK: 11, "empty_file": told["empty_files"]}
    assert sum((clip.duration or 0) > 30 for clip in clips.values()) == told["too_long"]


@pytest.mark.parametrize("form", ["nextqa", "coldstart"])
def test_nextqa_is_filtered_as_was_counted(unpacked, counts, tmp_path, form):
    annotations = {"nextqa": None, "coldstart": TABLE}[form]
    written = [tmp_path / name for name in ("train", "validation", "dropped", "clips")]
    kept = filter_questions(
        "nextqa",
        Source(unpacked / form, annotations),
        filter_rules(validation_fraction=0.2),
        FilterFiles(*written),
        seed=0,
    )
    told = counts["nextqa"]
    assert kept.read == told["records"]
    assert kept.train + kept.validation == told["usable_questions"]
    assert set(kept.dropped) == {"empty_file", "too_long", "duplicate", "no_gold"}
    assert kept.train > kept.validation > 0


def test_traps_of_nextqa(unpacked, replicas, counts):
    with pytest.raises(ValueError, match=r"no line begins with 'A\. '"):
        nextqa.read(Source(unpacked / "nextqa", "0_30_s_nextqa_oe_qa_processed.json"))
    older = replicas / "commits" / made.commit_of(made.LLAVA, made.OLDER)
    source = Source(older)
    assert (
        len(nextqa.read(source)) + len(source.dropped)
        == counts["nextqa"]["older_records"]
        > counts["nextqa"]["records"]
    )


def test_the_cold_start_is_read(unpacked, counts):
    questions = coldstart.read(unpacked / "coldstart")
    assert len(questions) == counts["coldstart"]["questions"] == 16
    assert {probe(unpacked / "coldstart" / question.clip.path).status for question in questions} == {OK}
    training = {question.clip.path for question in nextqa.read(Source(unpacked / "coldstart", TABLE))}
    assert not training & {question.clip.path for question in questions}


@pytest.mark.parametrize("name", ["video_mme", "mvbench", "mlvu", "mmvu"])
def test_benchmarks_are_read_and_their_clips_decoded(unpacked, counts, name):
    told = counts[name]
    questions = read_questions(name, unpacked / name)
    assert len(questions) == told["questions"]
    assert len({question.clip.path for question in questions}) == told["videos"]
    for key, field in (("tasks", "category"), ("groups", "group")):
        if key in told:
            found = collections.Counter(getattr(question, field) for question in questions)
            assert dict(found) == told[key]
    status = collections.Counter(take_frames(question, unpacked / name, 16, 32).clip.status for question in questions)
    assert status == {OK: told["questions"] - told.get("missing", 0)} | (
        {"missing": told["missing"]} if "missing" in told else {}
    )


def test_mvbench_has_all_tasks_replaced_clips_and_missing_ones(unpacked, counts):
    questions = read_questions("mvbench", unpacked / "mvbench")
    assert tuple(counts["mvbench"]["tasks"]) == tuple(mvbench.CATEGORIES)
    lone = [question for question in questions if len(question.options) == 1]
    assert [(question.category, question.gold) for question in lone] == [(made.ONE_CANDIDATE, "A")]
    assert (unpacked / f"mvbench/json/{made.MARKED}.json").read_bytes().startswith(codecs.BOM_UTF8)
    replaced = [question for question in questions if question.clip.path.startswith("video/data0613/")]
    assert len(replaced) == counts["mvbench"]["replaced"]
    assert {question.category for question in replaced} == set(made.REPLACED_TASKS)
    missing = [question.clip.path for question in questions if not (unpacked / "mvbench" / question.clip.path).exists()]
    listed = (unpacked / "mvbench/video/MVBench_videos_ntu.txt").read_text().split()
    assert [Path(video).name for video in missing] == listed
    bounded = {question.category for question in questions if question.clip.start is not None}
    assert bounded == {task for task, kind in mvbench.CATEGORIES.items() if kind.bounded}
    folders = [unpacked / "mvbench" / question.clip.path for question in questions if "/tvqa/" in question.clip.path]
    assert len(folders) == made.PER_TASK
    assert all((folder / "00001.jpg").is_file() and not (folder / "00000.jpg").exists() for folder in folders)


def test_video_mme_has_every_suffix_over_several_archives(unpacked):
    questions = read_questions("video_mme", unpacked / "video_mme")
    assert {Path(question.clip.path).suffix for question in questions} == {".mp4", ".MP4", ".mkv"}


def test_mlvu_has_the_published_defects(unpacked, counts):
    folder = unpacked / "mlvu/MLVU/json"
    questions = read_questions("mlvu", unpacked / "mlvu")
    outside = [question for question in questions if question.gold == NO_OPTION]
    assert [question.category for question in outside] == ["needle"] * counts["mlvu"]["no_option"]
    assert {len(question.options) for question in questions} == {4}
    empty = [question for question in questions if not question.text]
    assert [(question.category, question.options, question.gold) for question in empty] == [
        ("topic_reasoning", ("", "", "", ""), "D")
    ]
    holed = [question for question in questions if question.text and "" in question.options]
    assert [question.category for question in holed] == ["plotQA", "ego"]
    assert [question.options["ABCD".index(question.gold)] == "" for question in holed] == [False, True]
    assert counts["mlvu"]["empty_candidates"] == 2
    twice = [question for question in questions if question.text and len(set(question.options)) < 4]
    assert len(twice) == counts["mlvu"]["duplicate_candidates"]
    golds = [question.options.count(question.options["ABCD".index(question.gold)]) for question in twice]
    assert golds == [1, 2]
    assert {record["question_type"] for record in read_json(folder / "2_needle.json")} == {"findNeedle"}
    for name in ("8_sub_scene", "9_summary"):
        assert all("candidates" not in record for record in read_json(folder / f"{name}.json"))


def test_mmvu_has_open_questions_empty_choices_and_names_that_collide(unpacked, counts):
    told = counts["mmvu"]
    records = read_json(unpacked / "mmvu/validation.json")
    questions = mmvu.read(unpacked / "mmvu")
    assert len(records) == told["records"] > len(questions)
    assert sum("" in question.options for question in questions) == told["empty_choices"] > 0
    videos = {path.relative_to(unpacked / "mmvu").as_posix() for path in (unpacked / "mmvu/videos").rglob("*.mp4")}
    asked = {question.clip.path for question in questions}
    assert asked < videos
    assert len(videos - asked) == told["unneeded_videos"]
    assert len({Path(video).name for video in asked}) < len(asked)


def test_the_base_model_has_shards_in_bf16_and_no_tokenizer(replicas):
    folder = replicas / "models" / made.BASE
    index = read_json(folder / INDEX)
    assert len(set(index["weight_map"].values())) >= 2
    assert not (folder / WEIGHTS).exists()
    assert TIED not in index["weight_map"]
    assert {tensor.dtype for tensor in read_weights(folder).values()} == {torch.bfloat16}
    with pytest.raises(CheckpointError, match="no tokenizer"):
        load_tokenizer(folder)


@pytest.mark.parametrize("repo", [made.BASE, made.COLDSTART, made.R1])
def test_the_models_take_a_question_and_its_frames(replicas, unpacked, tmp_path, repo):
    folder = tmp_path / "model"
    shutil.copytree(replicas / "models" / repo, folder)
    if repo == made.BASE:
        for file in (*made.TOKENIZER, "tokenizer.json"):
            shutil.copy(replicas / "models" / made.QWEN / file, folder)
    model = load_checkpoint(folder)
    tokenizer = model.tokenizer
    assert (model.config.group, model.config.queries, model.config.image_size) == (16, 32, made.SIZE)
    assert len(tokenizer) == model.config.text().vocab_size == 512
    question = mmvu.read(unpacked / "mmvu")[0]
    pixels = normalize_frames(take_frames(question, unpacked / "mmvu", 16, made.SIZE).pixels)
    videos = model.encode_videos(pixels[None])
    assert videos.shape == (1, 32, 16)
    prompts = prompts_of(model, [question], "reason", training=False)
    completions = generate(model, prompts, videos, Decoding(4, temperature=0), tokenizer.eos_token_id)
    assert 1 <= int(completions.lengths) <= 4


def test_the_two_tokenizers_agree(replicas):
    text = "USER: Which thing comes first?<|endoftext|> <think> ünïcode </think>"
    ids = [load_tokenizer(replicas / "models" / repo)(text)["input_ids"] for repo in (made.QWEN, made.R1)]
    assert ids[0] == ids[1]
    assert 509 in ids[0]


def test_pictures_are_prepared_in_the_models_size(replicas):
    settings = read_json(replicas / "models" / made.SIGLIP / "preprocessor_config.json")
    config = read_json(replicas / "models" / made.BASE / "config.json")
    assert settings["size"] == {"height": 32, "width": 32}
    assert config["vision_config"]["image_size"] == 32
    assert config["torch_dtype"] == "bfloat16"
    assert "rms_norm_eps" not in config["text_config"]


def test_lines_of_the_training_data(replicas):
    rows = read_json_lines(replicas / "datasets" / made.R1_DATA / TABLE)
    assert all(row["video_filename"].removeprefix("./").startswith("NextQA/NExTVideo/") for row in rows)
    assert (
        {row["video_filename"].startswith("./") for row in rows}
        == {"problem_id" in row for row in rows}
        == {True, False}
    )
    assert all("\nOptions:\nA. " in row["problem"] for row in rows)
