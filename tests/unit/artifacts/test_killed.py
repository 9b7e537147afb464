"""Answering that is killed, with a real SIGKILL, and goes on: the same bytes as without."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support.answering import answers, lines, rollouts, samples, world_in
from vidreason.artifacts.journal import Journal

MOMENTS = ("before_a_line", "in_a_line", "before_it_is_on_the_disk", "in_the_results", "after_the_results")
VICTIM = textwrap.dedent(
    """
    import functools, os, pathlib, signal, sys
    import vidreason.artifacts.files as files, vidreason.artifacts.journal as journal
    import vidreason.evaluation.predict, vidreason.evaluation.sample_answers, vidreason.training.sample_rollouts
    from tests.support.answering import answers, rollouts, samples

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def write(real, batch, torn, self, entry):
        if entry.get("batch") == batch:
            if torn:
                self._stream.write(journal.json_line(entry).encode()[:torn])
                self._stream.flush()
            die()
        real(self, entry)

    def set_up(moment):
        write_line = journal.Journal._write
        if moment == "before_a_line":
            journal.Journal._write = lambda self, entry: write(write_line, 1, 0, self, entry)
        elif moment == "in_a_line":
            journal.Journal._write = lambda self, entry: write(write_line, 2, 40, self, entry)
        elif moment == "before_it_is_on_the_disk":
            count = []
            journal.os.fsync = lambda handle: count.append(1) or (len(count) == 2 and die())
        elif moment == "in_the_results":
            def half(path, rows):
                with files.write_aside(path) as aside:
                    aside.write_text(journal.json_line(next(iter(rows)))[:30])
                    die()
            module.write_jsonl = half
        else:
            real = module.write_jsonl
            module.write_jsonl = lambda *parts: real(*parts) and die()

    # One process that has imported everything; each moment dies in a copy of it.
    ask, module = {
        "predict": (answers, vidreason.evaluation.predict),
        "samples": (samples, vidreason.evaluation.sample_answers),
        "rollouts": (rollouts, vidreason.training.sample_rollouts),
    }[sys.argv[1]]
    world = {"weights": pathlib.Path(sys.argv[2]), "questions": pathlib.Path(sys.argv[3]), "frames": [pathlib.Path(sys.argv[4])]}
    for moment in sys.argv[6:]:
        child = os.fork()
        if not child:
            set_up(moment)
            ask(world, pathlib.Path(sys.argv[5]), workers=int(moment == "in_a_line"))
            os._exit(0)
        print(moment, os.waitpid(child, 0)[1], flush=True)
    """
)


@pytest.mark.parametrize(("name", "ask"), [("predict", answers), ("samples", samples), ("rollouts", rollouts)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path, name, ask):
    world = world_in(tmp_path)
    whole = ask(world, tmp_path / "whole")
    out = tmp_path / "out"
    killed = subprocess.run(
        [sys.executable, "-c", VICTIM, name, world["weights"], world["questions"], *world["frames"], out, *MOMENTS],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    assert killed.stdout.split() == [word for moment in MOMENTS for word in (moment, str(int(signal.SIGKILL)))]
    assert "are torn" in killed.stderr
    (path,) = ask(world, out)
    assert path.read_bytes() == whole[0].read_bytes()
    with Journal(out / "state0", "0" * 64) as journal:
        assert len(journal.entries) == 5
    assert len(lines([path])) == len(lines(whole))
