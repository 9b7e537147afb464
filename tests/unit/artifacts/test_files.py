"""Files: whole or not there, and errors that say where."""

import dataclasses
import errno
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import save_file

from vidreason.artifacts.digests import sha256_of, sha256_text
from vidreason.artifacts.disk import DiskFullError
from vidreason.artifacts.files import (
    read_json,
    read_json_lines,
    read_jsonl,
    remove_leftovers,
    write_aside,
    write_json,
    write_jsonl,
    write_text,
)
from vidreason.artifacts.integrity import content_digest
from vidreason.artifacts.journal import Journal
from vidreason.artifacts.typed_records import row_of
from vidreason.evaluation.scored_answers import Scored, Truth
from vidreason.records import ClipRef, ClipStatus, Completion, Grade, Prediction, Question, Rollout
from vidreason.training.metrics import MetricsLog

ASK = Question("1", "nextqa", "multiple_choice", "Was ist das – ein Ball?", ClipRef("a.mp4"), ("ja", "nein"), "A")


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


def fill(folder, kind):
    """Write more than 256 kB in one of the project's ways."""
    noise = np.random.default_rng(0).integers(0, 256, 400_000, dtype=np.uint8)
    if kind == "bytes":
        write_text(folder / "x.txt", "x" * 400_000)
    elif kind == "tensors":
        with write_aside(folder / "x.safetensors") as aside:
            save_file({"x": noise}, aside)
    elif kind == "table":
        with write_aside(folder / "x.parquet") as aside:
            pq.write_table(pa.table({"x": noise}), aside)
    elif kind == "picture":
        with write_aside(folder / "x.png") as aside:
            Image.fromarray(noise.reshape(500, 800)).save(aside, format="png")
    elif kind == "journal":
        with Journal(folder, "one") as journal:
            for _ in range(100):
                journal.append({"text": "x" * 10_000})
    else:
        with MetricsLog(folder / "metrics.jsonl", folder / "state", 0, "") as log:
            for step in range(100):
                log.write("train", step, {"x" * 5_000: 0.0})
                log.rows()


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
        machine, dead, alive = sha256_text(platform.node())[:8], f"{child.pid:010d}", f"{os.getpid():010d}"
        rests = {
            f".00000000000a-{machine}-{dead}.tmp": True,
            f".00000000000b-{machine}-{dead}.tmp": True,
            f".00000000000c-{machine}-{alive}.tmp": False,
            f".00000000000d-00000000-{dead}.tmp": False,
            ".e.tmp": False,
            f"00000000000f-{machine}-{dead}.tmp": False,
        }
        deep = tmp_path / "deep"
        for name in rests:
            (deep / name).mkdir(parents=True) if "b-" in name else write_text(deep / name, "half")
        removed = remove_leftovers(tmp_path)
        assert sorted(path.name for path in removed) == sorted(name for name, goes in rests.items() if goes)
        assert names(deep) == sorted(name for name, goes in rests.items() if not goes)

    def test_what_a_killed_writer_leaves_is_removed(self, tmp_path):
        """By the names that writers really take."""
        code = (
            "import os, sys; from vidreason.artifacts.files import write_aside\n"
            "with write_aside(sys.argv[1]) as aside: aside.write_text('half'); os._exit(9)"
        )
        for name in ("a.parquet", "b" * 250):
            assert subprocess.run([sys.executable, "-c", code, tmp_path / name], check=False).returncode == 9
        assert len(remove_leftovers(tmp_path)) == 2
        assert names(tmp_path) == []

    @pytest.mark.parametrize("name", ["x", "x" * 205, "x" * 255, "é" * 127, "\udcff" * 200])
    @pytest.mark.parametrize("host", ["h", "h" * 64])
    def test_the_longest_names_can_be_written(self, tmp_path, monkeypatch, name, host):
        """255 bytes are a name's limit; a temporary one must not be longer than its target's."""
        monkeypatch.setattr(platform, "node", lambda: host)
        with write_aside(tmp_path / name) as aside:
            assert len(aside.name) == 37
            assert aside.name.startswith(".")
            aside.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
        assert content_digest(tmp_path / name) == sha256_text("whole")

    def test_two_targets_have_two_temporary_names(self, tmp_path):
        with write_aside(tmp_path / "a") as first, write_aside(tmp_path / "b") as second:
            assert first != second
            first.write_text("a")
            second.write_text("b")

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ],
    )
    def test_a_full_disk_is_said_with_the_file_and_what_to_do(self, tmp_path, error):
        target = tmp_path / "weights.safetensors"
        with pytest.raises(DiskFullError) as caught, write_aside(target):
            raise error
        assert caught.value.errno == errno.ENOSPC
        assert f" {target}: the disk is full (" in str(caught.value)
        assert "Make room there" in str(caught.value)
        assert caught.value.__cause__ is error

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
    @pytest.mark.parametrize("kind", ["bytes", "tensors", "table", "picture", "journal", "metrics"])
    def test_a_disk_that_is_really_full(self, tmp_path, kind):
        """Every library says it in its own way."""
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
        if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no small disk can be mounted here")
        try:
            with pytest.raises(DiskFullError, match=rf"{tmp_path}/.*: the disk is full .*Make room there"):
                fill(tmp_path, kind)
        finally:
            subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)

    def test_another_error_stays_what_it_is(self, tmp_path):
        with pytest.raises(OSError, match="Input/output") as caught, write_aside(tmp_path / "a"):
            raise OSError(errno.EIO, "Input/output error")
        assert not isinstance(caught.value, DiskFullError)

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


CLIP = ClipStatus("a", "ok")
ROLLOUT = Rollout("q", 0, Completion("A", 3, True), Grade(1.0, True, "A", {"well_formed": 0.0}), "0" * 64)


def changed(record: Any, key: str, value: Any) -> str:
    """The line of a record in which one value, perhaps of a record within it, is another."""
    row = row_of(record)
    *outer, last = key.split(".")
    place = row
    for name in outer:
        place = place[name]
    place[last] = value
    return json.dumps(row)


class TestTypes:
    """JSON that a program would add up or compare without a word."""

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("grade.correct", 7, "grade.correct is 7; Rollout needs true or false there"),
            ("grade.correct", "false", "grade.correct is 'false'; Rollout needs true or false there"),
            ("completion.finished", None, "completion.finished is null; Rollout needs true or false there"),
            ("index", True, "index is True; Rollout needs a whole number there"),
            ("index", 1.0, "index is 1.0; Rollout needs a whole number there"),
            ("completion.tokens", -3, "completion.tokens is -3; Rollout counts from 0"),
            ("completion.tokens", "3", "completion.tokens is '3'; Rollout needs a whole number there"),
            ("question_id", 7, "question_id is 7; Rollout needs a text there"),
            ("completion", None, "completion is null; Rollout needs an object there"),
            ("grade.parts.well_formed", "no", "grade.parts.well_formed is 'no'; Rollout needs a number there"),
            ("status", ["ok"], r"status is \['ok'\]; Rollout needs a text there"),
        ],
    )
    def test_a_field_of_another_type_is_named_with_its_line(self, tmp_path, key, value, words):
        path = tmp_path / "rollouts.jsonl"
        path.write_text(f"{json.dumps(row_of(ROLLOUT))}\n\n{changed(ROLLOUT, key, value)}\n")
        with pytest.raises(ValueError, match=rf"^{path}:3: {words}$"):
            read_jsonl(path, Rollout)

    @pytest.mark.parametrize(
        ("record_type", "record", "words"),
        [
            (
                ClipStatus,
                changed(CLIP, "duration", math.nan),
                "duration is nan; ClipStatus needs a number or null",
            ),
            (
                ClipStatus,
                changed(CLIP, "fps", math.inf),
                "fps is inf; ClipStatus needs a number or null",
            ),
            (
                ClipStatus,
                changed(CLIP, "fps", 10**400),
                "fps is 10+; ClipStatus needs a number or null",
            ),
            (
                ClipStatus,
                changed(CLIP, "frames", 2.5),
                "frames is 2.5; ClipStatus needs a whole number or null",
            ),
            (Question, changed(ASK, "options", ["ja", 1]), "needs a list, each item a text"),
            (Question, changed(ASK, "options", "ja"), "options is 'ja'"),
            (Question, changed(ASK, "options", None), "options is null"),
            (Question, changed(ASK, "clip.start", "0"), "clip.start is '0'"),
            (Question, changed(ASK, "clip.start", 1.5), "start is 1.5, end is None; allowed: both or neither"),
            (Question, changed(ASK, "segments", [[1, 2], [3]]), "needs a list, each item a list of 2 items"),
            (Question, changed(ASK, "segments", [[1, 2, 3]]), r"list of 2 items \(a number, a number\) there"),
        ],
    )
    def test_numbers_and_lists(self, tmp_path, record_type, record, words):
        path = tmp_path / "records.jsonl"
        path.write_text(f"{record}\n")
        with pytest.raises(ValueError, match=rf"^{path}:1: .*{words}"):
            read_jsonl(path, record_type)

    def test_what_a_field_allows_is_read(self, tmp_path):
        path = tmp_path / "clips.jsonl"
        path.write_text('{"format": "clip/2", "key": "a", "status": "ok", "duration": 30, "fps": null}\n')
        assert read_jsonl(path, ClipStatus) == [ClipStatus("a", "ok", duration=30)]

    def test_every_record_of_the_project_is_read_as_it_was_written(self, tmp_path):
        prediction = Prediction("q", "ok", "0" * 64, Completion("text", 3, True), "0" * 64)
        grades = {"tagged": ROLLOUT.grade, "first_block": Grade(0.0, False)}
        scored = Scored(ASK, prediction, "tagged", grades, None, Truth("x", True, "k"))
        for record in (
            ASK,
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, start=0.0, end=1.5)),
            dataclasses.replace(ASK, segments=((0.0, 1.5), (2.0, 3.0))),
            ROLLOUT,
            prediction,
            scored,
        ):
            write_jsonl(tmp_path / "one.jsonl", [record])
            assert read_jsonl(tmp_path / "one.jsonl", type(record)) == [record]


class TestJsonLines:
    def test_records_come_back_as_they_were(self, tmp_path):
        records = [ASK, dataclasses.replace(ASK, id="2", clip=dataclasses.replace(ASK.clip, start=1.5, end=2.0))]
        assert write_jsonl(tmp_path / "q.jsonl", records) == 2
        found = read_jsonl(tmp_path / "q.jsonl", Question)
        assert found == records
        assert isinstance(found[0].options, tuple)

    def test_empty_lines_and_absent_defaults_are_fine(self, tmp_path):
        (tmp_path / "c.jsonl").write_text(
            '{"format": "clip/2", "key": "a", "status": "ok"}\n\n{"format": "clip/2", "key": "b", "status": "missing"}\n'
        )
        assert read_jsonl(tmp_path / "c.jsonl", ClipStatus) == [ClipStatus("a", "ok"), ClipStatus("b", "missing")]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (
                '{"format": "clip/2", "key": "a", "state": "ok"}',
                r":2: unknown fields \['state'\]; ClipStatus has \['codec', 'detail'",
            ),
            ('{"format": "clip/2", "key": "a"}', r":2: .*status"),
            (
                '{"clip": "a", "status": "ok"}',
                ":2: no format is given, and this version of vidreason reads 'clip/2': remove the file and run again",
            ),
            ('{"format": "clip/1", "clip": "a"}', ":2: the format is 'clip/1', and this version"),
            ('{"clip": "a", ', r":2: not JSON .* begins '\{\"clip\": \"a\", "),
            ("[1]", r":2: expected a JSON object, found list"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path, line, message):
        path = tmp_path / "c.jsonl"
        path.write_text(f'{{"format": "clip/2", "key": "z", "status": "ok"}}\n{line}\n')
        with pytest.raises(ValueError, match=message) as caught:
            read_jsonl(path, ClipStatus)
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
