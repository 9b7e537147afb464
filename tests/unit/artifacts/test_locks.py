"""One lock and one digest for the whole project, and a lock that goes with its holder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vidreason.artifacts.locks import LockedError, exclusive, lock_file

SRC = Path(__file__).parents[3] / "src/vidreason"
HOLD = "import sys\nfrom vidreason.artifacts.locks import exclusive\nwith exclusive(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"


@pytest.mark.parametrize(("module", "room"), [("fcntl", "locks.py"), ("hashlib", "digests.py")])
def test_one_module_locks_and_one_makes_digests(module, room):
    users = [path for path in SRC.rglob("*.py") if re.search(rf"^import {module}$", path.read_text("utf-8"), re.M)]
    assert users == [SRC / "artifacts" / room]


def test_the_holder_is_named_and_its_end_frees_the_lock(tmp_path):
    path = tmp_path / "folder" / "owner.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=rf"owner.lock: locked by process {holder.pid} on .+"), exclusive(path):
        pass
    holder.kill()
    holder.wait()
    with exclusive(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    holder.stdin.close()
    holder.stdout.close()


def test_a_file_system_without_locks_is_reported_and_used(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError("No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (tmp_path / "file").open("wb") as stream:
        lock_file(stream, tmp_path / "file")
    assert "file: cannot be locked here (No locks available)" in capsys.readouterr().err
