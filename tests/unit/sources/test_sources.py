"""Sources: locked once, fetched and verified, unpacked; every way in which a hub can fail."""

import hashlib
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.hub.repos import Repo, write_repos
from tests.hub.server import Fault, Hub, Reply
from tests.hub.steps import NAME
from vidreason.sources.hub import HubFile

ROOT = Path(__file__).parents[3]
MAIN, OLD = "a1b2c3d" + 33 * "0", "0123456" + 33 * "7"
SIZE = 3_000_000
SETTINGS: dict[str, Any] = {
    "repo": "owner/things",
    "type": "dataset",
    "revision": "main",
    "files": ["table.json", "*.zip"],
    "archives": {"*.zip": {"into": ".", "members": ["data/*"]}},
    "asked_by": None,
    "expected_files": 2,
    "expected_members": 2,
}


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    root = tmp_path / "hub"
    folder = root / "datasets/owner/things"
    folder.mkdir(parents=True)
    (folder / "table.json").write_text('{"a": 1}')
    (folder / "README.md").write_text("not asked for")
    write_archive(folder / "videos.zip", {"data/a.mp4": noise(0, SIZE), "data/b.mp4": noise(1, 999), "extra/c": b"c"})
    old = root / "commits" / OLD
    old.mkdir(parents=True)
    (old / "table.json").write_text('{"a": 0}')
    write_repos(root, [Repo("dataset", "owner/things", folder, {"main": MAIN}, folders={OLD: old})])
    with Hub(root) as served:
        yield served


class Place:
    """A folder in which the steps are run."""

    def __init__(self, root: Path, hub: Hub) -> None:
        self.root, self.hub = root, hub
        root.mkdir()
        self.folder = root / "data" / NAME
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        self.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(root / "hf"), "PYTHONPATH": str(ROOT)}

    def start(self, *options: str, **changes: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.hub.steps", json.dumps(SETTINGS | changes), *options]
        out: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=self.environment, **out)

    def run(self, *options: str, ok: bool = True, **changes: Any) -> str:
        """Run the steps; return what they printed."""
        process = self.start(*options, **changes)
        printed = process.communicate(timeout=120)[0]
        assert (process.returncode == 0) == ok, printed
        return printed

    def check_whole(self) -> None:
        """Everything asked for is there, and is what was published."""
        assert (self.folder / "table.json").read_text() == '{"a": 1}'
        assert (self.folder / "data/a.mp4").read_bytes() == noise(0, SIZE)
        assert (self.folder / "data/b.mp4").read_bytes() == noise(1, 999)
        assert not (self.folder / "extra").exists()
        assert not (self.folder / "README.md").exists()
        assert not (self.folder / ".partial").exists()
        assert json.loads((self.folder / "unpacked.json").read_text())["archives"]["videos.zip"]["files"] == 2

    def check_nothing_is_taken_for_whole(self) -> None:
        """What has its final name is what was published; what is not whole has no final name."""
        published = self.hub.root / "datasets/owner/things"
        for name in ("table.json", "videos.zip"):
            if (self.folder / name).exists():
                assert (self.folder / name).read_bytes() == (published / name).read_bytes()
        assert not (self.folder / "unpacked.json").exists()

    def bodies(self) -> list[str]:
        """Files whose bytes were asked for."""
        return [request.path for request in self.hub.log if request.method == "GET" and "/api/" not in request.path]


@pytest.fixture
def place(tmp_path: Path, hub: Hub) -> Place:
    return Place(tmp_path / "place", hub)


def test_only_what_is_needed_is_fetched_once_and_verified(place: Place) -> None:
    printed = place.run()
    place.check_whole()
    assert f"'main' is {MAIN} from now on; commit config/locks/Things.json" in printed
    lock = json.loads((place.root / "config/locks/Things.json").read_text())
    archive = (place.hub.root / "datasets/owner/things/videos.zip").read_bytes()
    assert lock["revision"] == MAIN
    assert lock["files"][1] == {
        "path": "videos.zip",
        "size": len(archive),
        "sha256": hashlib.sha256(archive).hexdigest(),
    }
    assert set(lock["files"][0]) == {"path", "size", "git_sha1"}
    place.hub.log.clear()
    written = (place.folder / "data/a.mp4").stat().st_mtime_ns
    place.run()
    assert place.hub.log == [], "nothing is asked of the hub again"
    assert (place.folder / "data/a.mp4").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "fault",
    [
        Fault("too_many", "*/resolve/*", 1),
        Fault("too_many", "*/api/*", 1),
        Fault("server_error", "*/resolve/*", 1),
        Fault("server_error", "*/api/*", 1),
        Fault("cut_short", "*/videos.zip", 2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.path_glob.strip('*/')}",
)
def test_what_passes_is_waited_for(place: Place, fault: Fault) -> None:
    place.hub.faults.append(fault)
    place.run()
    assert fault.times == 0, "the fault never struck"
    place.check_whole()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Fault("unauthorized", times=None),
            "the hub answered 401; no token is set",
        ),
        (
            Fault("gated", "*/resolve/*", None),
            "access is gated. Accept its conditions at .*/datasets/owner/things .* HF_TOKEN",
        ),
        (Fault("no_revision", times=None), "there is no revision 'main'"),
        (Fault("too_many", "*/api/*", None), "the hub answered 429; also at the last of 1 tries"),
        (Fault("server_error", "*/api/*", None), "the hub answered 500; also at the last of 1 tries"),
        (Fault("cut_short", "*/table.json", None), "table.json: http://127.0.0.1:.* cannot be reached or breaks off"),
        (
            Fault("wrong_checksum", "*/videos.zip", None),
            r"videos.zip was refused: .* not what the hub promises \(3001304 of 3001304 bytes, sha256",
        ),
        (
            Fault("wrong_checksum", "*/table.json", None),
            r"table.json was refused: .* not what the hub promises \(8 of 8 bytes, git sha1",
        ),
        (Fault("web_page", "*/table.json", None), "table.json was refused: .* begins with b'<"),
        (Fault("web_page", "*/videos.zip", None), "videos.zip was refused: .* begins with b'<"),
    ],
    ids=lambda value: f"{value.kind}-{value.path_glob.strip('*/')}" if isinstance(value, Fault) else "",
)
def test_what_stays_is_an_error_that_names_the_source(place: Place, fault: Fault, words: str) -> None:
    place.hub.faults.append(fault)
    printed = place.run("impatient", ok=False)
    assert "source Things (dataset owner/things)" in printed
    assert re.search(words, printed), printed
    assert "Traceback" not in printed
    place.check_nothing_is_taken_for_whole()
    place.hub.faults.clear()
    place.run()
    place.check_whole()


def test_a_killed_download_goes_on_where_it_stopped(place: Place) -> None:
    place.hub.faults.append(Fault("slow", "*/videos.zip", 1))
    process = place.start()
    partial = place.folder / ".partial"
    limit = time.monotonic() + 60
    while not any(file.stat().st_size > 1 << 12 for file in partial.glob("*")) and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    place.check_nothing_is_taken_for_whole()
    there = max(file.stat().st_size for file in partial.glob("*"))
    assert 0 < there < SIZE
    place.hub.log.clear()
    place.environment["HF_TOKEN"] = place.hub.token
    place.run()
    assert any(request.range == f"bytes={there}-" for request in place.hub.log)
    place.check_whole()
    large = [request for request in place.hub.log if request.path.startswith("/cdn/")]
    assert large
    assert not any(request.authorized for request in large), "the second origin never sees the token"


def test_a_gated_source_opens_with_a_token_that_is_written_nowhere(place: Place) -> None:
    place.hub.repos["datasets/owner/things"].gated = True
    printed = place.run(ok=False)
    assert "Accept its conditions at " in printed
    assert "no token is set" in printed
    place.environment["HF_TOKEN"] = "hf_someone_elses"
    other = place.run(ok=False)
    assert "a token is set, but it gives no access" in other
    place.environment["HF_TOKEN"] = place.hub.token
    last = place.run()
    place.check_whole()
    texts = [printed, other, last]
    texts += [file.read_bytes().decode("latin-1") for file in place.root.rglob("*") if file.is_file()]
    assert not any(token in text for text in texts for token in (place.hub.token, "hf_someone_elses"))


def test_a_revision_that_is_not_there_lists_what_is(place: Place) -> None:
    place.hub.repos["datasets/owner/things"].commits["v1"] = OLD
    printed = place.run(ok=False, revision="v2")
    assert "there is no revision 'v2'" in printed
    assert f"main ({MAIN[:12]}), v1 ({OLD[:12]})" in printed


def test_the_beginning_of_a_commit_is_enough(place: Place) -> None:
    place.run(revision=MAIN[:7])
    assert json.loads((place.root / "config/locks/Things.json").read_text())["revision"] == MAIN


def test_a_lock_holds_where_the_branch_moves(place: Place) -> None:
    place.run()
    shutil.rmtree(place.folder)
    place.hub.repos["datasets/owner/things"].commits["main"] = OLD
    place.hub.repos["datasets/owner/things"].commits["first"] = MAIN
    place.run()
    place.check_whole()


def test_a_lock_of_something_else_is_refused(place: Place) -> None:
    place.run()
    printed = place.run(ok=False, files=["table.json"])
    assert "config/locks/Things.json: made for files ['table.json', '*.zip'], but sources.Things.files is" in printed
    printed = place.run(ok=False, revision="dev")
    assert "made for revision 'main', but sources.Things.revision is 'dev'" in printed


def test_numbers_other_than_expected_stop_it(place: Place) -> None:
    printed = place.run(ok=False, expected_files=3)
    assert "2 files are needed of owner/things" in printed
    assert "set sources.Things.expected_files to 2" in printed
    assert place.bodies() == [], "said before anything is downloaded"
    printed = place.run(ok=False, expected_members=900)
    assert "2 files were unpacked, expected are 900" in printed
    assert not (place.folder / "unpacked.json").exists()


def test_a_file_that_is_named_must_be_there(place: Place) -> None:
    printed = place.run(ok=False, files=["table.json", "tables/*.json", "absent.json"])
    assert (
        f"source Things: nothing in {place.hub.url}/datasets/owner/things/tree/{MAIN} is called or matches" in printed
    )
    assert "['tables/*.json', 'absent.json']" in printed


def test_archives_can_be_removed_once_they_are_unpacked(place: Place) -> None:
    place.run("delete_archives")
    place.check_whole()
    assert not (place.folder / "videos.zip").exists()
    for name in ("fetched.json", "unpacked.json"):
        (place.folder / name).unlink()
    place.hub.log.clear()
    place.run("delete_archives")
    place.check_whole()
    assert place.bodies() == [], "what is unpacked and removed is not fetched again"
    (place.folder / "data/b.mp4").write_bytes(b"cut")
    place.run("delete_archives")
    assert any("videos.zip" in path for path in place.bodies()), "what is no longer whole is"
    place.check_whole()


def test_archives_stay_until_everything_is_counted(place: Place) -> None:
    place.run("delete_archives", ok=False, expected_members=3)
    assert (place.folder / "videos.zip").exists()


def test_another_archive_of_the_same_sizes_is_unpacked_anew(place: Place) -> None:
    place.run()
    repo = place.hub.repos["datasets/owner/things"]
    write_archive(
        repo.root / "videos.zip", {"data/a.mp4": noise(2, SIZE), "data/c.mp4": noise(1, 999), "extra/c": b"c"}
    )
    (place.root / "config/locks/Things.json").unlink()
    place.run()
    assert (place.folder / "data/a.mp4").read_bytes() == noise(2, SIZE)
    assert not (place.folder / "data/b.mp4").exists(), "what the new archive does not hold is gone"
    assert (place.folder / "data/c.mp4").exists()


def test_files_of_the_same_bytes_do_not_get_in_each_others_way(place: Place) -> None:
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        (place.hub.root / "datasets/owner/things" / name).write_bytes(noise(5, 50_000))
    place.run(files=["*.mp4", "table.json", "*.zip"], expected_files=5)
    assert {(place.folder / name).read_bytes() for name in ("one.mp4", "two.mp4", "three.mp4")} == {noise(5, 50_000)}


@pytest.mark.parametrize("kind", ["too_long", "endless"])
def test_a_download_stops_one_byte_after_what_is_promised(place: Place, kind: str) -> None:
    place.hub.faults.append(Fault(kind, "*/videos.zip", None))
    size = (place.hub.root / "datasets/owner/things/videos.zip").stat().st_size
    process = place.start("impatient")
    assert "videos.zip was refused: " in (printed := process.communicate(timeout=60)[0])
    assert f"more than the {size} bytes" in printed
    assert place.hub.poured < size + (32 << 20), "the rest fills no more than what networks buffer"
    place.check_nothing_is_taken_for_whole()
    assert not list((place.folder / ".partial").iterdir())


def test_bytes_are_asked_for_as_they_are(place: Place) -> None:
    place.run()
    bodies = [request for request in place.hub.log if request.method == "GET" and "/api/" not in request.path]
    assert {request.encoding for request in bodies} == {"identity"}


def test_a_server_that_compresses_nevertheless(place: Place) -> None:
    place.hub.faults += [Fault("compressed", "*/videos.zip", None), Fault("compressed", "*/table.json", None)]
    place.run()
    place.check_whole()


def test_a_part_of_a_compressed_whole_is_begun_anew(place: Place) -> None:
    """The first try is cut short, the second asks for the rest and gets compressed bytes from the middle."""
    place.hub.faults += [Fault("cut_short", "*/videos.zip", 1), Fault("compressed", "*/videos.zip", None)]
    place.run()
    place.check_whole()


def json_reply(value: Any, **headers: str) -> Reply:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Reply(200, {"Content-Type": "application/json", **headers}, content)


LISTED = {"type": "file", "path": "table.json", "oid": 40 * "a", "size": 8}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>Sign in</html>", "the answer is not JSON; it begins with b'<html>"),
        (b"", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        ([], "the answer is of type list, expected dict"),
        (None, "the answer is of type NoneType, expected dict"),
        ({}, "the commit is 'None', which is not 40 hex digits"),
        ({"sha": "main"}, "the commit is 'main', which is not 40 hex digits"),
        ({"sha": "../../../../etc"}, "which is not 40 hex digits"),
        ({"sha": 39 * "a"}, "which is not 40 hex digits"),
        ({"sha": 40 * "A"}, "which is not 40 hex digits"),
        ({"sha": 40 * "a" + "\n"}, "which is not 40 hex digits"),
        ({"sha": {"a": 1}}, "which is not 40 hex digits"),
    ],
)
def test_a_commit_that_is_none(place: Place, answer: Any, words: str) -> None:
    place.hub.forged["/api/datasets/owner/things/revision/*"] = lambda _: json_reply(answer)
    printed = place.run("impatient", ok=False)
    assert f"source Things (dataset owner/things): {place.hub.url}/api/datasets/owner/things/revision/main: " in printed
    assert words in printed
    assert "Traceback" not in printed
    assert not (place.root / "config/locks/Things.json").exists()


def test_a_commit_that_is_named_is_the_one_that_is_locked(place: Place) -> None:
    place.hub.forged["/api/datasets/owner/things/revision/*"] = lambda _: json_reply({"sha": 40 * "b"})
    assert f"the answer is about another commit, {40 * 'b'}" in place.run("impatient", ok=False, revision=MAIN)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "busy"}, "the answer is of type dict, expected list"),
        (["table.json"], "an entry that describes no file"),
        ([None], "an entry that describes no file"),
        ([{"type": "file", "path": "a"}], "an entry that describes no file ('size')"),
        ([{**LISTED, "size": -1}], "has a size of -1; allowed: 0 to"),
        ([{**LISTED, "size": 10**30}], "has a size of 1000000000000000000000000000000; allowed"),
        ([{**LISTED, "size": "8"}], "has a size of 8; allowed"),
        ([{**LISTED, "size": 8.5}], "has a size of 8.5; allowed"),
        ([{**LISTED, "size": True}], "has a size of True; allowed"),
        ([{**LISTED, "oid": "main"}], "has the digest 'main'; allowed: 64"),
        ([{**LISTED, "oid": None}], "has the digest 'None'; allowed"),
        ([{**LISTED, "lfs": {"oid": 40 * "a", "size": 8}}], "; allowed: 64"),
        ([{**LISTED, "lfs": []}], "an entry that describes no file"),
        ([{**LISTED, "path": "../../table.json"}], "is called '../../table.json'; allowed are relative paths"),
        ([{**LISTED, "path": "/etc/passwd"}], "is called '/etc/passwd'"),
        ([{**LISTED, "path": "a/./b.zip"}], "is called 'a/./b.zip'"),
        ([{**LISTED, "path": "a//b.zip"}], "is called 'a//b.zip'"),
        ([{**LISTED, "path": "a\rb.zip"}], "is called 'a\\rb.zip'"),
        ([{**LISTED, "path": "a\ud800.zip"}], "is called 'a\\ud800.zip'"),
        ([{**LISTED, "path": ".partial/x"}], "is called '.partial/x'"),
        ([{**LISTED, "path": 7}], "is called '7'"),
        ([LISTED, LISTED], "'table.json' is listed twice"),
    ],
)
def test_a_list_that_is_none(place: Place, answer: Any, words: str) -> None:
    place.hub.forged["/api/datasets/owner/things/tree/*"] = lambda _: json_reply(answer)
    printed = place.run("impatient", ok=False)
    assert f"source Things (dataset owner/things): {place.hub.url}/api/datasets/owner/things/tree/{MAIN}" in printed
    assert words in printed
    assert "Traceback" not in printed
    assert not (place.root / "config/locks/Things.json").exists()


@pytest.mark.parametrize(
    ("following", "fresh", "words"),
    [
        ("?recursive=true", True, "a page leads back to one before it"),
        ("?recursive=true&cursor={}", False, "'table.json' is listed twice"),
        ("?recursive=true&cursor={}", None, "an empty page with another one after it"),
        ("?recursive=true&cursor={}", True, "a list of more than 2000 pages"),
    ],
)
def test_pages_without_end(place: Place, following: str, fresh: bool | None, words: str) -> None:
    pages = itertools.count(1)

    def page(_: Mapping[str, str]) -> Reply:
        number = next(pages)
        entries = [] if fresh is None else [{**LISTED, "path": f"{number}.zip" if fresh else "table.json"}]
        url = f"{place.hub.url}/api/datasets/owner/things/tree/{MAIN}{following.format(number)}"
        return json_reply(entries, Link=f'<{url}>; rel="next"')

    place.hub.forged["/api/datasets/owner/things/tree/*"] = page
    printed = place.run("impatient", ok=False)
    assert words in printed
    assert f"{place.hub.url}/api/datasets/owner/things/tree/" in printed
    assert next(pages) <= 2002


@pytest.mark.parametrize(
    "address", ["{cdn}/elsewhere", "http://localhost:1/elsewhere", "//127.0.0.1:1/x", "file:///etc/x"]
)
def test_no_page_of_another_host_is_asked_for(place: Place, address: str) -> None:
    place.environment["HF_TOKEN"] = place.hub.token
    url = address.format(cdn=place.hub.cdn_url)
    forged = json_reply([LISTED], Link=f'<{url}>; rel="next"')
    place.hub.forged["/api/datasets/owner/things/tree/*"] = lambda _: forged
    printed = place.run("impatient", ok=False)
    assert "the next page would be on another host" in printed
    assert not any("elsewhere" in request.path for request in place.hub.log)
    assert place.hub.token not in printed


def test_a_page_by_its_path_alone_is_of_the_same_host(place: Place) -> None:
    path = f"/api/datasets/owner/things/tree/{MAIN}"

    def page(query: Mapping[str, str]) -> Reply:
        if query.get("cursor"):
            return json_reply([{**LISTED, "path": "second.json"}])
        return json_reply([LISTED], Link=f'<{path}?cursor=2>; rel="next"')

    place.hub.forged[f"{path}*"] = page
    place.run("impatient", ok=False, files=["*.json"], archives={}, expected_members=None)
    lock = json.loads((place.root / "config/locks/Things.json").read_text())
    assert [file["path"] for file in lock["files"]] == ["second.json", "table.json"]


@pytest.mark.parametrize(
    "path", ["/api/datasets/owner/things/revision/*", "/datasets/owner/things/resolve/*/table.json"]
)
def test_a_redirect_to_another_host_does_not_carry_the_token(place: Place, path: str) -> None:
    place.environment["HF_TOKEN"] = place.hub.token
    place.hub.forged["/elsewhere"] = lambda _: json_reply({"sha": MAIN})
    place.hub.forged[path] = lambda _: Reply(302, {"Location": f"{place.hub.cdn_url}/elsewhere"})
    place.run("impatient", ok="revision" in path)
    followed = [request for request in place.hub.log if request.path == "/elsewhere"]
    assert followed
    assert not any(request.authorized for request in followed)


def test_an_error_whose_body_is_of_another_shape(place: Place) -> None:
    place.hub.forged["/api/datasets/owner/things/revision/*"] = lambda _: Reply(
        500, {"Content-Type": "application/json"}, b"[]"
    )
    printed = place.run("impatient", ok=False)
    assert "the hub answered 500" in printed
    assert "Traceback" not in printed


def test_a_lock_without_a_commit_is_refused(place: Place) -> None:
    place.run()
    path = place.root / "config/locks/Things.json"
    path.write_text(path.read_text().replace(MAIN, "main"))
    printed = place.run(ok=False)
    assert "config/locks/Things.json: not a lock (the revision 'main' is not 40 hex digits)" in printed


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "a\\b", "", "fetched.json", ".partial/x", ".unpacked/x"]
)
def test_names_that_would_be_written_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a file of a repository is called"):
        HubFile(path, 1, "0")


def test_a_lock_with_such_a_name_is_refused(place: Place) -> None:
    place.run()
    lock = place.root / "config/locks/Things.json"
    lock.write_text(lock.read_text().replace('"path": "table.json"', '"path": "../../table.json"'))
    (place.folder / "fetched.json").unlink()
    assert "config/locks/Things.json: not a lock" in place.run(ok=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": 0}, "no file matches"),
        ({"files": 1}, "no file matches"),
        ({"revision": None}, "must be texts"),
        ({"files": "twice"}, "a file stands in it twice"),
        ({"patterns": ["table.json"]}, "no pattern matches"),
    ],
)
def test_a_lock_that_was_cut_or_edited_is_refused(place: Place, change: dict[str, Any], words: str) -> None:
    place.run()
    path = place.root / "config/locks/Things.json"
    lock = json.loads(path.read_text())
    if "files" in change:
        count = change["files"]
        lock["files"] = lock["files"] * 2 if count == "twice" else lock["files"][:count]
    path.write_text(json.dumps({**lock, **{key: value for key, value in change.items() if key != "files"}}))
    printed = place.run(ok=False)
    assert "config/locks/Things.json: not a lock" in printed
    assert words in printed


@pytest.mark.parametrize("name", ["table.json", "fetched.json", ".unpacked/other.json"])
def test_an_archive_replaces_nothing_but_its_own(place: Place, name: str) -> None:
    write_archive(place.hub.root / "datasets/owner/things/videos.zip", {"data/a.mp4": noise(0, 9), name: b"[666]"})
    printed = place.run(ok=False, archives={"*.zip": {"into": ".", "members": ["*"]}})
    assert f"{name!r}: would replace" in printed
    assert (place.folder / "table.json").read_text() == '{"a": 1}'
    assert json.loads((place.folder / "fetched.json").read_text())["revision"] == MAIN


@pytest.mark.parametrize("members", [{}, ["a"], {"../../victim.txt": 1}, 5])
def test_a_damaged_list_of_an_archives_files_is_made_again(place: Place, members: Any) -> None:
    place.run()
    victim = place.root / "victim.txt"
    victim.write_text("x")
    path = place.folder / ".unpacked/videos.zip.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "0", "members": members}))
    (place.folder / "data/a.mp4").unlink()
    place.run()
    place.check_whole()
    assert victim.exists()


def test_the_mirrors_own_folder_is_not_written_to(place: Place, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(place.hub.root / "datasets", mirror)
    place.environment["VIDREASON_MIRROR"] = str(mirror)
    (place.root / "data").mkdir()
    place.folder.symlink_to(mirror / "owner/things")
    assert "is the mirror's own folder, which is never written to" in place.run("delete_archives", ok=False)
    assert sorted(path.name for path in (mirror / "owner/things").iterdir()) == [
        "README.md",
        "table.json",
        "videos.zip",
    ]


def test_a_folder_on_a_disk_that_is_not_there(place: Place) -> None:
    (place.root / "data").symlink_to("/nowhere/at/all")
    assert "Is data a link to a disk that is not there?" in place.run(ok=False)


def test_a_disk_that_cannot_be_written_is_not_taken_for_the_network(place: Place) -> None:
    place.folder.mkdir(parents=True)
    (place.folder / ".partial").write_text("in the way")
    printed = place.run(ok=False)
    assert ".partial cannot be read or written: File exists" in printed
    assert "cannot be reached" not in printed


def test_two_archives_must_not_hold_the_same_file(place: Place) -> None:
    write_archive(place.hub.root / "datasets/owner/things/more.zip", {"data/a.mp4": b"another"})
    printed = place.run(ok=False, expected_files=None)
    assert "videos.zip and more.zip both hold data/a.mp4" in printed
    assert not (place.folder / "unpacked.json").exists()


def test_without_a_network(place: Place) -> None:
    place.environment["HF_HUB_OFFLINE"] = "1"
    assert "HF_HUB_OFFLINE forbids to ask the hub" in place.run(ok=False)
    del place.environment["HF_HUB_OFFLINE"]
    place.run()
    place.environment["HF_HUB_OFFLINE"] = "1"
    place.run()
    (place.folder / "table.json").unlink()
    printed = place.run(ok=False)
    assert "table.json is not in data/Things, and HF_HUB_OFFLINE forbids to download it" in printed
    place.environment |= {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert "http://127.0.0.1:9 cannot be reached" in place.run("impatient", ok=False)


def test_a_mirror_stands_for_the_hub(place: Place, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    shutil.copytree(place.hub.root / "datasets", mirror)
    (mirror / "owner/things/.cache").mkdir()
    (mirror / "owner/things/.cache/record.zip").write_text("a download tool's own")
    place.environment["VIDREASON_MIRROR"] = str(mirror)
    place.run("delete_archives")
    place.check_whole()
    assert place.hub.log == []
    assert (mirror / "owner/things/videos.zip").exists(), "the mirror itself is never touched"
    lock = json.loads((place.root / "config/locks/Things.json").read_text())
    assert (lock["origin"], lock["revision"]) == ("mirror", "main")


def test_a_mirror_must_be_what_was_locked(place: Place, tmp_path: Path) -> None:
    place.run()
    shutil.rmtree(place.folder)
    mirror = tmp_path / "mirror"
    shutil.copytree(place.hub.root / "datasets", mirror)
    (mirror / "owner/things/table.json").write_text('{"a": 2}')
    place.environment["VIDREASON_MIRROR"] = str(mirror)
    printed = place.run(ok=False)
    assert "mirror/owner/things/table.json was refused" in printed
    (mirror / "owner/things/table.json").unlink()
    assert f"table.json is missing; hf download owner/things --repo-type dataset --revision {MAIN}" in place.run(
        ok=False
    )
    place.environment["VIDREASON_MIRROR"] = str(tmp_path / "nowhere")
    assert "nowhere/owner/things is no folder, and VIDREASON_MIRROR is set" in place.run(ok=False)


def test_what_the_hub_cache_has_is_not_downloaded(place: Place) -> None:
    code = (
        "from huggingface_hub import hf_hub_download as get; "
        f"get('owner/things', 'videos.zip', repo_type='dataset', revision='{MAIN}')"
    )
    subprocess.run([sys.executable, "-c", code], env=place.environment, check=True, capture_output=True)
    place.hub.log.clear()
    place.run()
    assert not any("videos.zip" in path for path in place.bodies())
    place.check_whole()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize(
    ("option", "words"),
    [("impatient", "are still to be fetched, 0.00 GB are free in"), ("unchecked", "the disk is full")],
)
def test_a_full_disk_leaves_nothing_half_written(place: Place, option: str, words: str) -> None:
    (place.root / "data").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place.root / "data")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        printed = place.run(option, ok=False)
        assert words in printed
        assert "source Things" in printed
        place.check_nothing_is_taken_for_whole()
    finally:
        subprocess.run(["umount", str(place.root / "data")], check=True)
    place.run()
    place.check_whole()


def test_a_folder_where_a_file_should_be(place: Place) -> None:
    (place.folder / "table.json").mkdir(parents=True)
    assert "data/Things/table.json is a folder where a file should be" in place.run(ok=False)


def test_an_archive_that_is_none(place: Place) -> None:
    (place.hub.root / "datasets/owner/things/videos.zip").write_bytes(b"<!DOCTYPE html><html>")
    printed = place.run(ok=False)
    assert "ArchiveError: source Things: " in printed
    assert "videos.zip" in printed
    place.check_nothing_is_taken_for_whole()


def test_a_truncated_archive_gives_nothing(place: Place) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("data/a.mp4", noise(0, SIZE))
    (place.hub.root / "datasets/owner/things/videos.zip").write_bytes(whole.getvalue()[: SIZE // 2])
    assert "ArchiveError: source Things: " in place.run(ok=False)
    assert not (place.folder / "data").exists()
    place.check_nothing_is_taken_for_whole()
