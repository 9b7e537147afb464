"""The miniature hub as fixtures, also for tests in other folders: `from tests.hub.conftest import hub, replicas`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.hub.replicas import build
from tests.hub.repos import INDEX
from tests.hub.server import Hub


@pytest.fixture(scope="session")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all replicas of seed 0. Tests must leave it as it is."""
    root = tmp_path_factory.getbasetemp() / "hub-replicas"
    # Imported into another folder's tests the fixture is another one to pytest; the files are the same.
    if not (root / INDEX).is_file():
        build(root)
    return root


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a proxy nor the settings of the caller, or of a test before, stand between a client and the hub."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    yield
    close_session()


@pytest.fixture
def hub(replicas: Path, online: None) -> Iterator[Hub]:
    """A hub over the replicas, without faults."""
    with Hub(replicas) as running:
        yield running
