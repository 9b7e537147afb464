"""The journal of a shard: what a kill can do to it, whose it is, who may write it."""

import json
import os
import subprocess
import sys

import pytest

from vidreason.artifacts.files import json_line
from vidreason.artifacts.journal import DIGITS, Journal, JournalInUseError, discard_journals

MINE, OTHER = "a" * 64, "b" * 64
ENTRIES = [{"batch": 0, "rows": ["naïve\n\u2028\r"]}, {"batch": 1, "rows": []}, {"batch": 2, "rows": [1, 2]}]


@pytest.fixture
def folder(tmp_path):
    with Journal(tmp_path / "state", MINE) as journal:
        for entry in ENTRIES:
            journal.append(entry)
    return tmp_path / "state"


def entries(folder, identity=MINE):
    with Journal(folder, identity) as journal:
        return journal.entries


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_what_was_appended_is_there_again(folder, capsys):
    assert entries(folder) == ENTRIES
    assert capsys.readouterr().err == ""
    with Journal(folder, MINE) as journal:
        journal.append({"batch": 3})
        assert journal.entries == [*ENTRIES, {"batch": 3}]
    assert entries(folder) == [*ENTRIES, {"batch": 3}]


def test_an_entry_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    with Journal(tmp_path, MINE) as journal:
        synced, before = [], journal.path.stat().st_size
        monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
        journal.append(ENTRIES[0])
        assert synced == [before + DIGITS + 1 + len(json_line(ENTRIES[0]).encode())]


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(folder, capsys):
    path = only_file(folder)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    assert json.loads(whole[last + DIGITS :]) == ENTRIES[-1]
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        with Journal(folder, MINE) as journal:
            assert journal.entries == ENTRIES[:-1]
            told = capsys.readouterr().err
            assert (f"{path}: 1 lines from line 4 on are torn" in told) == (size > last)
            journal.append(ENTRIES[-1])
        assert path.read_bytes() == whole


def test_a_torn_first_line_is_written_again(folder, capsys):
    path = only_file(folder)
    head = path.read_bytes().splitlines(keepends=True)[0]
    for size in range(len(head)):
        path.write_bytes(head[:size])
        assert entries(folder) == []
        assert path.read_bytes() == head
    assert "from line 1 on are torn" in capsys.readouterr().err


def test_a_changed_line_is_not_believed(folder, capsys):
    path = only_file(folder)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[:last] + whole[last:].replace(b'"batch"', b'"Batch"'))
    assert entries(folder) == ENTRIES[:-1]
    assert f"{path}: 1 lines from line 4 on are torn or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b"[1]\n", b"\xff\n", b"{\n"])
def test_nothing_after_a_damaged_line_is_believed(folder, capsys, damage):
    path = only_file(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], damage, lines[3]]))
    assert entries(folder) == ENTRIES[:1]
    assert f"{path}: 2 lines from line 3 on are torn or damaged" in capsys.readouterr().err


def test_a_journal_of_other_settings_is_set_aside_loudly_and_comes_back_with_them(folder, capsys):
    assert entries(folder, OTHER) == []
    told = capsys.readouterr().err
    assert f"{folder / MINE[:16]}.jsonl: 3 batches were answered under other settings, inputs or code" in told
    with Journal(folder, OTHER) as journal:
        journal.append({"batch": 0})
    assert entries(folder) == ENTRIES
    assert entries(folder, OTHER) == [{"batch": 0}]


def test_a_name_alone_is_not_believed(folder, capsys):
    (folder / f"{MINE[:16]}.jsonl").rename(folder / f"{OTHER[:16]}.jsonl")
    assert entries(folder, OTHER) == []
    assert "4 lines from line 1 on" in capsys.readouterr().err


def test_two_processes_do_not_write_the_same_journal(folder):
    script = f"""
from vidreason.artifacts.journal import Journal, JournalInUseError
try:
    Journal({str(folder)!r}, {MINE!r})
except JournalInUseError as error:
    print(error)
"""

    def other():
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    with Journal(folder, MINE):
        assert "another process is writing it" in other().stdout
    assert other().stdout == ""


def test_a_child_that_outlives_the_writer_locks_nobody_out(folder):
    """As a process that reads frames ahead does for some seconds after its parent was killed."""
    read, write = os.pipe()
    journal = Journal(folder, MINE)
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    journal._stream.close()
    try:
        test_two_processes_do_not_write_the_same_journal(folder)
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_all_journals_are_removed_at_the_end(folder):
    entries(folder, OTHER)
    discard_journals(folder)
    assert not folder.exists()
    discard_journals(folder)


def test_the_error_names_the_file(folder, monkeypatch):
    def refuse(*_):
        raise BlockingIOError

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(JournalInUseError, match=str(folder)):
        Journal(folder, MINE)


def test_a_file_system_without_locks_is_told_of(folder, monkeypatch, capsys):
    def refuse(*_):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    assert entries(folder) == ENTRIES
    assert "cannot be locked here (No locks available)" in capsys.readouterr().err
