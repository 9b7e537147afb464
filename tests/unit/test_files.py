"""Files: whole or not there, and errors that say where."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys

import pytest

from vidreason.files import (
    read_json,
    read_json_lines,
    read_jsonl,
    remove_leftovers,
    sha256_of,
    sha256_text,
    write_aside,
    write_json,
    write_jsonl,
    write_text,
)
from vidreason.records import Clip, Question

ASK = Question("1", "nextqa", "a.mp4", "Was ist das – ein Ball?", ("ja", "nein"), "A")


class StoppedError(Exception):
    """What interrupts a writer."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def stop_writing(target, folder=False):
    """Write half of a file or of a folder."""
    with write_aside(target) as aside:
        if folder:
            aside.mkdir()
            (aside / "new").write_text("new")
        else:
            aside.write_text("half")
        raise StoppedError


class TestWriteAside:
    def test_a_file_appears_at_the_end_only(self, tmp_path):
        target = tmp_path / "deep" / "file.txt"
        with write_aside(target) as aside:
            aside.write_text("half")
            assert not target.exists()
            assert aside.parent == target.parent
        assert target.read_text() == "half"
        assert names(target.parent) == ["file.txt"]

    @pytest.mark.parametrize("before", [None, "old"])
    def test_an_interrupted_file_leaves_what_was_there(self, tmp_path, before):
        target = tmp_path / "file.txt"
        if before:
            target.write_text(before)
        with pytest.raises(StoppedError):
            stop_writing(target)
        assert names(tmp_path) == (["file.txt"] if before else [])
        assert not before or target.read_text() == before

    def test_a_folder_replaces_a_folder(self, tmp_path):
        target = tmp_path / "folder"
        for name in ("first", "second"):
            with write_aside(target) as aside:
                aside.mkdir()
                (aside / name).write_text(name)
        assert names(target) == ["second"]
        assert names(tmp_path) == ["folder"]

    def test_an_interrupted_folder_leaves_the_old_one(self, tmp_path):
        target = tmp_path / "folder"
        target.mkdir()
        (target / "old").write_text("old")
        with pytest.raises(StoppedError):
            stop_writing(target, folder=True)
        assert names(target) == ["old"]
        assert names(tmp_path) == ["folder"]

    def test_the_rest_of_a_killed_writer_is_no_obstacle(self, tmp_path):
        with write_aside(tmp_path / "file.txt") as aside:
            aside.write_text("first")
        aside.mkdir()
        (aside / "rest").write_text("rest")
        write_text(tmp_path / "file.txt", "whole")
        assert names(tmp_path) == ["file.txt"]

    def test_the_rest_of_dead_writers_of_this_machine_is_removed(self, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        rests = {
            f".a.parquet.{platform.node()}.{child.pid}.tmp": True,
            f".b.{platform.node()}.{child.pid}.tmp": True,
            f".c.parquet.{platform.node()}.{os.getpid()}.tmp": False,
            f".d.parquet.elsewhere.{child.pid}.tmp": False,
            ".e.tmp": False,
            f"f.{platform.node()}.{child.pid}.tmp": False,
        }
        deep = tmp_path / "deep"
        for name in rests:
            (deep / name).mkdir(parents=True) if name.startswith(".b") else write_text(deep / name, "half")
        removed = remove_leftovers(tmp_path)
        assert sorted(path.name for path in removed) == sorted(name for name, goes in rests.items() if goes)
        assert names(deep) == sorted(name for name, goes in rests.items() if not goes)

    def test_nothing_written_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError), write_aside(tmp_path / "file.txt"):
            pass


class TestJson:
    def test_round_trip_keeps_order_and_letters(self, tmp_path):
        value = {"b": [1, 2.5, None], "a": "Übung"}
        write_json(tmp_path / "value.json", value)
        assert read_json(tmp_path / "value.json") == value
        assert list(read_json(tmp_path / "value.json")) == ["b", "a"]
        assert "Übung" in (tmp_path / "value.json").read_text(encoding="utf-8")

    @pytest.mark.parametrize("content", [b'{"a": 1', b"<html>", b"", b"\xff\xfe{}"])
    def test_what_is_no_json_is_named(self, tmp_path, content):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.json: not a JSON file"):
            read_json(tmp_path / "bad.json")


class TestJsonLines:
    def test_records_come_back_as_they_were(self, tmp_path):
        records = [ASK, dataclasses.replace(ASK, id="2", start=1.5, end=2.0)]
        assert write_jsonl(tmp_path / "q.jsonl", records) == 2
        found = read_jsonl(tmp_path / "q.jsonl", Question)
        assert found == records
        assert isinstance(found[0].options, tuple)

    def test_empty_lines_and_absent_defaults_are_fine(self, tmp_path):
        (tmp_path / "c.jsonl").write_text('{"clip": "a", "status": "ok"}\n\n{"clip": "b", "status": "missing"}\n')
        assert read_jsonl(tmp_path / "c.jsonl", Clip) == [Clip("a", "ok"), Clip("b", "missing")]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"clip": "a", "state": "ok"}', r"record 2: unknown fields \['state'\]; Clip has \['clip', 'codec'"),
            ('{"clip": "a"}', r"record 2: .*status"),
            ('{"clip": "a", ', r":2: not JSON .* begins '\{\"clip\": \"a\", "),
            ("[1]", r":2: expected a JSON object, found list"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path, line, message):
        path = tmp_path / "c.jsonl"
        path.write_text(f'{{"clip": "z", "status": "ok"}}\n{line}\n')
        with pytest.raises(ValueError, match=message) as caught:
            read_jsonl(path, Clip)
        assert str(path) in str(caught.value)

    def test_an_error_on_the_way_writes_nothing(self, tmp_path):
        def records():
            yield {"a": 1}
            raise StoppedError

        with pytest.raises(StoppedError):
            write_jsonl(tmp_path / "r.jsonl", records())
        assert names(tmp_path) == []

    def test_plain_objects(self, tmp_path):
        write_jsonl(tmp_path / "r.jsonl", [{"a": "ä"}, {"a": 2}])
        assert read_json_lines(tmp_path / "r.jsonl") == [{"a": "ä"}, {"a": 2}]
        assert [json.loads(line)["a"] for line in (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()] == [
            "ä",
            2,
        ]


def test_digests(tmp_path):
    write_text(tmp_path / "t", "häuser")
    wanted = hashlib.sha256("häuser".encode()).hexdigest()
    assert sha256_of(tmp_path / "t") == sha256_text("häuser") == wanted
