"""The fixture `cuda`: a pretended CUDA device for a test, in a process of its own.

PyTorch cannot forget a backend that was registered, so the tests of a module that ask for the fixture run together in
another process, and the tests of the same names here say what came of them there.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPORTS = "PRETENDED_CUDA_REPORTS"
"""Names the file that the other process writes its reports to; set in that process alone."""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The pretended device (`tests.support.cuda.Device`)."""
    if REPORTS not in os.environ:
        yield None  # the test itself runs elsewhere
        return
    from tests.support.cuda import DEVICE, pretend

    pretend(monkeypatch)
    with DEVICE:
        yield DEVICE


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Take over tests with the fixture `cuda`."""
    if REPORTS in os.environ or "cuda" not in pyfuncitem.fixturenames:
        return None
    named = [item.nodeid for item in pyfuncitem.session.items if "cuda" in getattr(item, "fixturenames", ())]
    reports, output = _run_apart(
        tuple(name for name in named if name.split("::")[0] == pyfuncitem.nodeid.split("::")[0]),
        pyfuncitem.config.rootpath,
    )
    own = reports.get(pyfuncitem.nodeid, [("failed", f"the process ended without a report of this test:\n{output}")])
    for outcome, text in own:
        if outcome == "failed":
            pytest.fail(text, pytrace=False)
        if outcome == "skipped":
            pytest.skip(text)
    return True


@functools.cache
def _run_apart(tests: tuple[str, ...], root: Path) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """Run tests in a process of their own: test -> outcome and words of its parts, and what the process printed."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as file:
        environment = {**os.environ, REPORTS: file.name}
        environment.pop("PYTEST_XDIST_WORKER", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
            cwd=root,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        found: dict[str, list[tuple[str, str]]] = {}
        for line in file:
            name, outcome, text = json.loads(line)
            found.setdefault(name, []).append((outcome, text))
    return found, done.stdout


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell the process that started this one what came of a test."""
    if path := os.environ.get(REPORTS):
        with Path(path).open("a", encoding="utf-8") as stream:
            print(json.dumps((report.nodeid, report.outcome, report.longreprtext)), file=stream)
