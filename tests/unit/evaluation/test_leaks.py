"""Benchmark videos among training videos: planted ones are found, and none is found in the demo's world."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support import micro
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.evaluation.leaks import (
    ALIKE,
    COUNTS,
    LEAKS,
    Fingerprints,
    Leak,
    check_leaks,
    compare,
    distances_to,
    fingerprints,
)
from vidreason.media.extract_frames import FrameSpec, extract_frames
from vidreason.media.frame_rules import uniform_indices
from vidreason.media.perceptual_hash import difference_hashes
from vidreason.media.resize import resize_frames
from vidreason.records import OK, ClipRef, Question
from vidreason.results.registry import TABLES
from vidreason.world.encode import encode, ffmpeg_binary, picture_sequence, timing
from vidreason.world.scenes import make_scene

COUNT, SIZE = 16, 32


def extract(root: Path, dataset: str, videos: list[ClipRef]) -> Path:
    """The frame table of some videos."""
    folder = root / "extract_frames" / dataset
    folder.mkdir(parents=True)
    asked = [Question(f"{n}", dataset, "multiple_choice", "?", clip, ("x", "y"), "A") for n, clip in enumerate(videos)]
    write_jsonl(folder / "questions.jsonl", asked)
    table = folder / "shard0.parquet"
    extract_frames([folder / "questions.jsonl"], root, table, folder / "shard0.clips.jsonl", FrameSpec(COUNT, SIZE))
    return table


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of both tables: four training videos; of the benchmark one is re-encoded, one copied, one has a training video's name."""
    root = tmp_path_factory.mktemp("leaks")
    (root / "train").mkdir()
    (root / "bench").mkdir()
    for seed, name in ((21, "a"), (22, "b"), (23, "c")):
        encode(make_scene(seed), root / f"train/{name}.mp4", timing(8, "mp4"), "mp4")
    (root / "train/empty.mp4").write_bytes(b"")
    command = [
        ffmpeg_binary(),
        "-loglevel",
        "error",
        "-i",
        f"{root}/train/a.mp4",
        "-vf",
        "scale=iw*3/2:ih*3/2",
        "-crf",
        "38",
    ]
    subprocess.run([*command, "-r", "10", f"{root}/bench/again.mp4"], check=True)
    shutil.copy(root / "train/b.mp4", root / "bench/copy.mp4")
    encode(make_scene(31), root / "bench/c.mp4", timing(8, "mp4"), "mp4")
    encode(make_scene(32), root / "bench/own.mp4", timing(8, "mp4"), "mp4")
    (root / "bench/empty.mp4").write_bytes(b"")
    trained = extract(root, "nextqa", [ClipRef(f"train/{name}.mp4") for name in ("a", "b", "c", "empty")])
    videos = [ClipRef(f"bench/{name}.mp4") for name in ("again", "copy", "own", "empty")]
    asked = extract(root, "mlvu", [*videos, ClipRef("bench/c.mp4", start=1.0, end=5.5)])
    leaks, counts = root / "leaks.csv", root / "counts.csv"
    check_leaks({"mlvu": [asked]}, {"nextqa": [trained]}, leaks, counts)
    return read_csv(leaks, LEAKS), read_csv(counts, COUNTS)


def test_planted_videos_are_found_by_what_they_share(found: tuple[list[dict[str, str]], list[dict[str, str]]]) -> None:
    """A clip that is part of a file has the file's name; a video without frames is compared by its name alone."""
    rows = {row["clip"]: row for row in found[0]}
    assert list(rows) == ["bench/again.mp4", "bench/c.mp4#1-5.5", "bench/copy.mp4", "bench/empty.mp4"]
    assert len(found[0]) == 4
    assert {row["benchmark"] for row in found[0]} == {"mlvu"}
    assert {row["data"] for row in found[0]} == {"nextqa"}
    again, part, copy, empty = rows.values()
    assert (again["training_clip"], again["found_by"]) == ("train/a.mp4", "hash")
    assert 0 < float(again["distance"]) <= ALIKE
    assert (copy["training_clip"], copy["found_by"], copy["distance"]) == ("train/b.mp4", "frames+hash", "0.00")
    assert (part["training_clip"], part["found_by"]) == ("train/c.mp4", "name")
    assert float(part["distance"]) > ALIKE
    assert (empty["training_clip"], empty["found_by"], empty["distance"]) == ("train/empty.mp4", "name", "")


def test_what_is_found_is_counted_by_clip(found: tuple[list[dict[str, str]], list[dict[str, str]]]) -> None:
    (row,) = found[1]
    numbers = {"clips": "5", "training_clips": "4", "by_name": "2", "by_frames": "1", "by_hash": "2", "found": "4"}
    assert row == {"benchmark": "mlvu", "data": "nextqa", "nearest": "0.00"} | numbers


def scenes(name: str, seeds: range) -> Fingerprints:
    """Clips of the demo's world without their encoding."""
    hashes = []
    for seed in seeds:
        pictures = picture_sequence(make_scene(seed), timing(16, "mp4"))
        hashes.append(difference_hashes(resize_frames(pictures[uniform_indices(len(pictures), COUNT)], SIZE)))
    keys = tuple(f"{name}{seed}.mp4" for seed in seeds)
    return Fingerprints(name, keys, tuple(key[:-4] for key in keys), keys, np.arange(len(keys)), np.array(hashes))


def test_none_is_found_in_the_demo_world() -> None:
    """Different scenes of the world are farther apart than two encodings of one, although they are drawn alike."""
    leaks, nearest = compare(scenes("bench", range(40)), scenes("train", range(1000, 1080)))
    assert leaks == []
    assert ALIKE < nearest < 10


def made(name: str, hashes: list[list[int]]) -> Fingerprints:
    keys = tuple(f"{name}/{number}{name}.mp4" for number in range(len(hashes)))
    stems = tuple(Path(key).stem for key in keys)
    return Fingerprints(name, keys, stems, keys, np.arange(len(keys)), np.array(hashes, np.uint64))


def test_distances_by_hand() -> None:
    """Frames without any edge in both clips do not count; clips of nothing else are never alike."""
    others = np.array([[0b1111, 0, 0b1], [0b1000, 0, 0], [0, 0b11, 0]], np.uint64)
    assert distances_to(np.array([0b1111, 0, 0b0], np.uint64), others).tolist() == [0.5, 3.0, 3.0]
    flat = np.zeros((2, 3), np.uint64)
    assert np.isinf(distances_to(flat[0], flat)).all()
    assert compare(made("x", [[0, 0]]), made("y", [[0, 0]])) == ([], np.inf)


def test_the_limit_counts_as_alike() -> None:
    leaks, nearest = compare(made("x", [[0b111, 0b111]]), made("y", [[0b111000, 0b111], [0b1111000, 0b111]]))
    assert leaks == [Leak("x/0x.mp4", "y/0y.mp4", ("hash",), 3.0)]
    assert nearest == 3.0


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    """It has the same hash at all its places, and nothing to be compared with where there is no clip."""
    from PIL import Image

    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    table = extract(tmp_path, "video_r1", [ClipRef("p.png", kind="image")])
    own = fingerprints("video_r1", [table])
    assert own.hashes.shape == (1, COUNT)
    assert len(set(own.hashes[0].tolist())) == 1
    assert own.digests[0]


def test_runs_without_training_or_without_frames(tmp_path: Path) -> None:
    leaks, counts = tmp_path / "leaks.csv", tmp_path / "counts.csv"
    table = micro.write_frames(tmp_path / "shard0.parquet", {"a": "missing"})
    check_leaks({"mlvu": [table]}, {}, leaks, counts)
    assert read_csv(leaks, LEAKS) == read_csv(counts, COUNTS) == []
    check_leaks({"mlvu": [table]}, {"nextqa": [table]}, leaks, counts)
    assert [(row["found_by"], row["distance"]) for row in read_csv(leaks, LEAKS)] == [("name", "")]
    assert read_csv(counts, COUNTS)[0]["nearest"] == ""


def test_tables_of_different_lengths_are_refused(tmp_path: Path) -> None:
    words = "x has 2 frames a clip, y has 1; allowed: the same number. Extract the frames of both again"
    with pytest.raises(ValueError, match=re.escape(words)):
        compare(made("x", [[1, 2]]), made("y", [[1]]))
    table = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK})
    (tmp_path / "shard0.clips.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"shard0\.parquet: its clips and shard0\.clips\.jsonl disagree"):
        fingerprints("nextqa", [table])


def test_the_registered_tables_have_the_columns_that_are_written() -> None:
    columns = {table.name: table.columns for table in TABLES}
    assert (columns["leaks"], columns["leak_counts"]) == (LEAKS, COUNTS)
