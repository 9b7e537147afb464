"""Which files of a user's own decide a result, and whether a change of them shows."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.worlds import world_settings
from vidreason.data.registry import read_questions
from vidreason.models.tinyllava.checkpoint_files import CONFIG, INDEX, WEIGHTS
from vidreason.sources import own_files
from vidreason.sources.own_files import annotation_files, checkpoint_files, fingerprint, video_digest
from vidreason.world.write import write_world

GOLDEN = Path(__file__).parents[2] / "golden/checkpoint"
TABLES = {".json", ".jsonl", ".parquet"}
VIDEOS = {"nextqa": 2, "coldstart": 1, "video_mme": 3, "mvbench": 11, "mlvu": 7, "mmvu": 2}
SETTINGS = {"videos": VIDEOS, "questions_per_video": dict.fromkeys(VIDEOS, 1)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All data sets in their published layouts."""
    root = tmp_path_factory.mktemp("world")
    write_world(root, world_settings(SETTINGS), 0, threads=1)
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed, as another process finds it."""
    another_process()
    return Path(shutil.copytree(made, tmp_path / "world"))


def another_process() -> None:
    own_files._fingerprint.cache_clear()
    video_digest.cache_clear()


@pytest.mark.parametrize("dataset", sorted(VIDEOS))
def test_the_files_that_are_named_are_those_that_are_read(world: Path, dataset: str) -> None:
    root = world / dataset
    before = read_questions(dataset, root)
    named = annotation_files(dataset, root)
    assert named
    for file in root.rglob("*"):
        if file.suffix in TABLES and file not in named:
            file.write_text("nobody reads this")
    assert read_questions(dataset, root) == before
    for file in named:
        content = file.read_bytes()
        file.write_text("[")
        with pytest.raises(ValueError, match=file.name):
            read_questions(dataset, root)
        file.write_bytes(content)


def test_an_annotation_file_of_ones_own_is_found_as_the_reader_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bucket = tmp_path / "root/0_30_s_nextqa"
    bucket.mkdir(parents=True)
    assert annotation_files("nextqa", "root", "mine.json") == []
    for place in (Path("mine.json"), Path("root/0_30_s_nextqa/mine.json"), Path("root/mine.json")):
        place.touch()
        assert annotation_files("nextqa", "root", "mine.json") == [place]
    assert annotation_files("nextqa", "root", str(bucket / "mine.json")) == [bucket / "mine.json"]


def test_an_edit_shows_in_the_fingerprint_whatever_the_time_says(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("a", "b")]
    for file in files:
        Path(file).write_text("1")
    seen = [_fresh(files)]
    for change in (lambda: Path(files[0]).write_text("2"), lambda: Path(files[1]).unlink()):
        change()
        if Path(files[0]).exists():
            os.utime(files[0], (1, 1))
        seen.append(_fresh(files))
    assert len(set(seen)) == 3
    os.utime(files[0], (2, 2))
    assert _fresh(files) == seen[-1], "a file that was only touched is the same"
    assert _fresh(files[::-1]) == seen[-1]


def test_large_files_show_by_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "LARGE", 2)
    file = tmp_path / "weights"
    file.write_text("1234")
    os.utime(file, (9, 9))
    before = _fresh([str(file)])
    file.write_text("5678")
    os.utime(file, (1, 1))  # as `mv` puts an older file there
    assert _fresh([str(file)]) != before


def _fresh(files: list[str]) -> str:
    another_process()
    return fingerprint(files)


def test_the_files_of_given_weights(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "weights"))
    (folder / "README.md").touch()
    (folder / INDEX).write_text("{}")
    (folder / "model-00001-of-00002.safetensors").touch()
    names = {path.name for path in checkpoint_files(folder, "weights")}
    assert {CONFIG, INDEX, WEIGHTS, "model-00001-of-00002.safetensors", "vocab.json", "merges.txt"} <= names
    assert "README.md" not in names
    assert {path.name for path in checkpoint_files(folder, "tokenizer")} >= {"vocab.json", "merges.txt"}
    assert CONFIG not in {path.name for path in checkpoint_files(folder, "tokenizer")}
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    assert checkpoint_files(folder, "processor") == []


def test_videos_show_by_name_and_size(world: Path) -> None:
    root = world / "mvbench"

    def digest() -> str:
        another_process()
        return video_digest(str(root))

    seen = [digest()]
    (root / "json/notes.json").write_text("no video")
    (root / ".DS_Store").touch()
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
    assert digest() == seen[0]
    picture = next(root.rglob("*.jpg"))
    for change in (
        lambda: (root / "video/new.mp4").write_bytes(b"1"),
        lambda: (root / "video/new.mp4").write_bytes(b"12"),
        lambda: picture.unlink(),
        lambda: (root / "video/new.mp4").rename(root / "video/newer.mp4"),
        lambda: (root / "video/gone.mp4").symlink_to("nowhere"),
    ):
        change()
        seen.append(digest())
    assert len(set(seen)) == len(seen)
    (root / "video/circle").symlink_to(root)
    assert digest() == seen[-1]
