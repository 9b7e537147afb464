"""The cache that runs, folders and users share."""

import dataclasses
import json
import os
import platform
import shutil

import pytest

from vidreason.artifacts import cache as shared
from vidreason.artifacts.cache import VARIABLE, get_or_make
from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.files import write_jsonl
from vidreason.artifacts.provenance import write_sidecar
from vidreason.media.extract_frames import FrameSpec, frames_digest
from vidreason.records import ClipRef, Question


class Work:
    """Two files that are made, and how often."""

    def __init__(self, folder, text="pixels"):
        self.files = {"frames": folder / "out" / "a.parquet", "clips": folder / "out" / "a.jsonl"}
        self.text, self.times = text, 0

    def make(self):
        self.times += 1
        for name, path in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{self.text} {name}")

    def go(self, identity="one"):
        return get_or_make("extract_frames", lambda: identity, self.files, self.make)

    @property
    def contents(self):
        return [path.read_text() for path in self.files.values()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def entry_of(folder):
    (entry,) = (folder / "extract_frames").iterdir()
    return entry


def test_the_second_finds_what_the_first_has_made(tmp_path, folder):
    first, second = Work(tmp_path / "first"), Work(tmp_path / "second", "never made")
    assert first.go() is None
    made = second.go()
    assert (first.times, second.times) == (1, 0)
    assert second.contents == first.contents == ["pixels frames", "pixels clips"]
    assert made["nodes"] == platform.node()
    sidecar = json.loads(write_sidecar(second.files["clips"], [], {}, ["vidreason.artifacts.cache"], made).read_text())
    assert sidecar["cached"] is True
    assert sidecar["created"] == made["created"]


def test_another_identity_or_another_version_is_another_entry(tmp_path, folder, monkeypatch):
    Work(tmp_path / "first").go()
    assert Work(tmp_path / "second").go("two") is None
    monkeypatch.setattr(shared, "versions", lambda: {"av": "0"})
    assert Work(tmp_path / "third").go() is None
    assert len(list((folder / "extract_frames").iterdir())) == 3


def test_without_a_cache_nothing_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    work = Work(tmp_path)
    assert get_or_make("extract_frames", lambda: pytest.fail("asked"), work.files, work.make) is None
    assert work.times == 1


@pytest.mark.parametrize("name", ["clips", "frames", "entry.json"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_entry_is_told_of_and_made_anew(tmp_path, folder, capfd, name, damage):
    Work(tmp_path / "first").go()
    file = entry_of(folder) / name
    file.unlink() if damage == "removed" else file.write_bytes(file.read_bytes()[:-3])
    second = Work(tmp_path / "second")
    assert second.go() is None
    assert second.times == 1
    assert "cannot be used, so it is made anew" in capfd.readouterr().err
    assert Work(tmp_path / "third").go() is not None, "the entry is whole again"


@pytest.mark.parametrize("told", ["[]", "{}", '{"files": {"frames": "", "clips": ""}, "made": {}}'])
def test_an_entry_that_tells_too_little_is_made_anew(tmp_path, folder, capfd, told):
    Work(tmp_path / "first").go()
    (entry_of(folder) / "entry.json").write_text(told)
    second = Work(tmp_path / "second")
    assert second.go() is None
    assert second.times == 1
    assert "does not tell of the files" in capfd.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0" * 64},
        {"artifact": "elsewhere"},
        {"cached": False},
        {"params": {}},
        {"versions": []},
        {"versions": {"torch": {}}},
        {"ranks": "1"},
        {"ranks": True},
        {"nodes": None},
        {"created": 0},
    ],
)
def test_an_entry_overrides_nothing_that_a_sidecar_says(tmp_path, folder, capfd, change):
    Work(tmp_path / "first").go()
    path = entry_of(folder) / "entry.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "made": {**told["made"], **change}}))
    second = Work(tmp_path / "second")
    assert second.go() is None
    assert "does not tell of the files" in capfd.readouterr().err
    sidecar = write_sidecar(second.files["clips"], [], {}, ["vidreason.artifacts.cache"], {**told["made"], **change})
    known = json.loads(sidecar.read_text())
    assert known["sha256"] == sha256_of(second.files["clips"])
    assert (known["artifact"], known["cached"]) == (str(second.files["clips"]), True)


def linked(path):
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def piped(path):
    path.unlink()
    os.mkfifo(path)


def to_a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["clips", "frames", "entry.json"])
@pytest.mark.parametrize("kind", [linked, piped, to_a_device, a_folder])
def test_only_files_are_read_from_a_cache(tmp_path, folder, capfd, name, kind):
    Work(tmp_path / "first").go()
    kind(entry_of(folder) / name)
    second = Work(tmp_path / "second")
    assert second.go() is None
    assert second.contents == ["pixels frames", "pixels clips"]
    assert "links, pipes and devices are not read" in capfd.readouterr().err
    assert Work(tmp_path / "third").go() is not None, "the entry is whole again"


def test_an_entry_that_is_a_link_is_made_anew(tmp_path, folder):
    Work(tmp_path / "first").go()
    entry = entry_of(folder)
    entry.rename(tmp_path / "moved")
    entry.symlink_to(tmp_path / "moved")
    assert Work(tmp_path / "second").go() is None
    assert entry.is_dir()
    assert not entry.is_symlink()
    assert (tmp_path / "moved" / "clips").exists(), "what the link led to is left alone"


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_sharing(tmp_path, folder, capfd):
    folder.write_text("a file where a folder should be")
    work = Work(tmp_path / "first")
    assert work.go() is None
    assert work.contents == ["pixels frames", "pixels clips"]
    assert "cannot be written, so it is not shared" in capfd.readouterr().err


def test_what_changed_while_it_was_used_is_not_shared(tmp_path, folder):
    work, identities = Work(tmp_path), iter(("before", "after"))
    assert get_or_make("extract_frames", lambda: next(identities), work.files, work.make) is None
    assert work.times == 1
    assert not folder.exists()


def test_an_input_that_cannot_be_read_is_told_of_and_left_to_the_work(tmp_path, folder, capfd):
    def broken():
        raise OSError(5, "Input/output error")

    work = Work(tmp_path)
    assert get_or_make("extract_frames", broken, work.files, work.make) is None
    assert work.times == 1
    assert "not shared, because an input cannot be read" in capfd.readouterr().err
    assert not folder.exists()


def test_a_failure_leaves_no_entry(tmp_path, folder):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        get_or_make("extract_frames", lambda: "one", {}, fail)
    assert not folder.exists()


def test_the_identity_of_frames_is_what_is_in_the_videos(tmp_path):
    """Where they are does not count, nor how many shards give a shard its clips."""
    given = FrameSpec(count=2, size=8)
    videos = tmp_path / "here"
    videos.mkdir()
    for name in "ab":
        (videos / f"{name}.mp4").write_bytes(name.encode())
    questions = tmp_path / "questions.jsonl"
    write_jsonl(
        questions, (Question(n, "mlvu", "multiple_choice", "?", ClipRef(f"{n}.mp4"), ("x", "y"), "A") for n in "abc")
    )
    whole = frames_digest([questions], videos, given)
    shutil.copytree(videos, tmp_path / "there")
    assert frames_digest([questions], tmp_path / "there", given) == whole
    (tmp_path / "there" / "b.mp4").write_bytes(b"B")
    other = frames_digest([questions], tmp_path / "there", given)
    (tmp_path / "there" / "b.mp4").unlink()
    lost = frames_digest([questions], tmp_path / "there", given)
    os.mkfifo(tmp_path / "there" / "b.mp4")  # from which nobody would ever read to the end
    assert frames_digest([questions], tmp_path / "there", given) == lost
    shard = frames_digest([questions], videos, dataclasses.replace(given, shards=2))
    sizes = [frames_digest([questions], videos, dataclasses.replace(given, **{key: 4})) for key in ("count", "size")]
    assert len({whole, other, lost, shard, *sizes}) == 6
