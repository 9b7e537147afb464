"""Pictures beside videos: what a record may say, how a picture is read, stored and shown to the model."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from tests.support import micro
from vidreason.artifacts.files import write_jsonl
from vidreason.engine.features import read_clips
from vidreason.media.containers import VideoError, read_picture
from vidreason.media.extract_frames import FrameSpec, check_clip, extract_frames, take_frames, unique_clips
from vidreason.media.frame_store import FrameStore
from vidreason.media.pictures import read_still
from vidreason.media.probe import STATUSES
from vidreason.media.views import view_frames
from vidreason.models.tinyllava.preprocessing import normalize_frames
from vidreason.records import ClipRef, Question


def test_kinds_of_clips() -> None:
    """A clip is a video or an image, and a part of an image in time does not exist."""
    assert ClipRef("a.png", "image").kind == "image"
    assert ClipRef("a.mp4", "video", 1.0, 2.0).key == "a.mp4#1-2"
    with pytest.raises(ValueError, match=r"'a\.gif'.*kind is 'picture'; allowed: video, image"):
        ClipRef("a.gif", "picture")
    with pytest.raises(ValueError, match=r"'a\.png'.*start is 0\.0, end is 1\.0; allowed for an image: neither"):
        ClipRef("a.png", "image", 0.0, 1.0)


ORIENTATIONS = range(1, 9)
GRADIENT = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 5, np.arange(60) * 4, 90), axis=-1).astype(np.uint8)
"""Every pixel of these 40 rows and 60 columns is different."""


def saved(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def image(name: str, number: int = 0) -> Question:
    return Question(f"q{number}", "video_r1_260k", "multiple_choice", "What?", ClipRef(name, "image"), ("x", "y"), "A")


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "gif", "jpg"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    """Formats without loss give the pixels back; the name of the file does not matter."""
    options = {"lossless": True} if suffix == "webp" else {}
    picture = Image.fromarray(GRADIENT)
    if suffix == "gif":
        picture = picture.quantize(8)
    path = saved(tmp_path / f"a.{suffix}", picture, **options).rename(tmp_path / "a.dat")
    difference = np.abs(read_still(path).astype(int) - np.asarray(picture.convert("RGB")))
    assert difference.max() <= (30 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation(tmp_path: Path, orientation: int) -> None:
    """A camera's orientation is applied, as Pillow's own function does."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(GRADIENT), exif=exif)
    with Image.open(path) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(read_still(path), upright)
    assert (upright.shape[:2] == (60, 40)) is (orientation >= 5)


def test_damaged_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GRADIENT), exif=b"Exif\0\0XX\0*nonsense")
    np.testing.assert_array_equal(read_still(path), GRADIENT)


def test_modes(tmp_path: Path) -> None:
    """Transparency is white, 16 bits are scaled and not cut off, palettes, one bit, gray and CMYK become RGB."""
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 255))
    shown = read_still(saved(tmp_path / "clear.png", clear))
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[0, 1].tolist() == [200, 0, 0]
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    assert read_still(saved(tmp_path / "deep.png", Image.fromarray(deep)))[0, :, 1].tolist() == [0, 1, 128, 255]
    assert read_picture(tmp_path / "deep.png")[0, :, 1].tolist() == [0, 1, 128, 255], "as a frame of a folder"
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert read_still(saved(tmp_path / "p.png", palette))[0, 0].tolist() == [10, 20, 30]
    assert read_still(saved(tmp_path / "p2.png", palette, transparency=1))[0, 0].tolist() == [255, 255, 255]
    assert read_still(saved(tmp_path / "one.png", Image.new("1", (2, 2), 1)))[0, 0].tolist() == [255, 255, 255]
    assert read_still(saved(tmp_path / "la.png", Image.new("LA", (2, 2), (9, 255))))[0, 0].tolist() == [9, 9, 9]
    ink = Image.new("CMYK", (16, 16), (255, 0, 255, 0))
    red, green, blue = read_still(saved(tmp_path / "ink.jpg", ink, quality=95))[8, 8].tolist()
    assert green > 200 > 60 > max(red, blue)


def with_header(png: bytes, width: int, height: int, kind: int) -> bytes:
    """The bytes of a PNG with another header: its size, and the kind of its colors (2: RGB, 3: of a palette)."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def bad_pictures(folder: Path) -> dict[str, str]:
    """File -> the status that it must get."""
    whole = saved(folder / "whole.jpg", Image.fromarray(np.tile(GRADIENT, (8, 8, 1)))).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    png = saved(folder / "whole.png", Image.effect_noise((300, 300), 80)).read_bytes()
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_text("<!DOCTYPE html><title>403</title>")
    (folder / "video.png").write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.png")
    start = png.index(b"IDAT") + 4
    (folder / "broken.png").write_bytes(png[:start] + b"\xff\xff" + png[start + 2 :])
    (folder / "bomb.png").write_bytes(with_header(png, 60_000, 60_000, 2))
    (folder / "palette.png").write_bytes(with_header(png, 300, 300, 3))
    return {
        "cut.jpg": "truncated", "cut.png": "truncated", "empty.png": "empty_file", "page.jpg": "not_an_image",
        "video.png": "not_an_image", "folder.png": "not_an_image", "link.png": "missing", "absent.png": "missing",
        "pipe.png": "not_an_image", "broken.png": "unreadable", "bomb.png": "unreadable",
        "palette.png": "unreadable",
    }  # fmt: skip


def test_bad_pictures_get_a_status(tmp_path: Path) -> None:
    """No file ends a run; the check and the extraction agree, and the detail says something."""
    for name, status in bad_pictures(tmp_path).items():
        checked = check_clip(image(name), tmp_path, 4)
        assert (name, checked.status) == (name, status), checked.detail
        assert checked.detail
        assert take_frames(image(name), tmp_path, 4, 8).clip == checked
        assert status in STATUSES


def test_a_bad_picture_of_a_frame_folder_is_named(tmp_path: Path) -> None:
    for name, status in bad_pictures(tmp_path).items():
        if status in ("unreadable", "truncated") and name != "palette.png":  # which Pillow reads without colors
            with pytest.raises(VideoError, match=rf"unreadable: {name}: "):
                read_picture(tmp_path / name)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif"])
def test_random_damage_never_crashes(tmp_path: Path, kind: str) -> None:
    whole = saved(tmp_path / f"a.{kind}", Image.fromarray(GRADIENT)).read_bytes()
    random = np.random.default_rng(0)
    statuses = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 6):
            damaged[place] = random.integers(256)
        (tmp_path / "b").write_bytes(bytes(damaged[: random.integers(1, len(whole) + 1)]))
        statuses.add(check_clip(image("b"), tmp_path, 4).status)
    assert {"not_an_image"} < statuses <= set(STATUSES)


def stored(folder: Path, count: int = micro.FRAMES) -> FrameStore:
    """Frame table of a still picture, a video of F equal pictures in a folder, and a moving one."""
    pictures = [Image.fromarray(picture).resize((24, 24)) for picture in micro.picture(7)]
    saved(folder / "still.png", pictures[0])
    for name in ("equal", "moving"):
        (folder / name).mkdir()
        for number in range(micro.FRAMES):
            picture = pictures[number if name == "moving" else 0]
            saved(folder / name / f"{number + 1:05d}.jpg", picture, format="PNG")
    questions = [image("still.png"), image("gone.png", 1)]
    videos = [Question(name, "mvbench", "multiple_choice", "?", ClipRef(name)) for name in ("equal", "moving")]
    write_jsonl(folder / "questions.jsonl", [*questions, *videos])
    table = folder / "shard0.parquet"
    spec = FrameSpec(count, micro.SIZE)
    extract_frames([folder / "questions.jsonl"], folder, table, folder / "shard0.clips.jsonl", spec)
    return FrameStore([table])


def test_a_picture_is_stored_once_and_shown_f_times(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert store.status("gone.png") == "missing"
    assert store.pixels("still.png").shape == (micro.FRAMES, micro.SIZE, micro.SIZE, 3)
    np.testing.assert_array_equal(store.pixels("still.png"), store.pixels("equal"))
    rows = pq.read_table(tmp_path / "shard0.parquet", columns=["clip"])["clip"].to_pylist()
    assert [rows.count(name) for name in ("still.png", "equal", "moving")] == [1, micro.FRAMES, micro.FRAMES]
    taken = store.frames("still.png")
    assert taken.timestamps.tolist() == taken.indices.tolist() == [0] * micro.FRAMES
    assert taken.clip.duration is None
    shuffled = view_frames(store.pixels("still.png"), "shuffled", 1, "still.png")
    np.testing.assert_array_equal(shuffled, store.pixels("still.png"))
    assert np.ptp(view_frames(store.pixels("still.png"), "gray", 1, "still.png")) == 0


def test_one_file_is_not_two_things(tmp_path: Path) -> None:
    video = Question("v", "mvbench", "multiple_choice", "?", ClipRef("a.gif"))
    write_jsonl(tmp_path / "questions.jsonl", [image("a.gif"), video])
    with pytest.raises(ValueError, match=r"'q0' and 'v' take clip 'a\.gif' for different things \(image, video\)"):
        unique_clips([tmp_path / "questions.jsonl"])


def test_the_model_sees_a_still_video_and_encodes_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture gives the tokens of F equal frames, beside a video in one batch; one frame of it goes through the tower."""
    store, model = stored(tmp_path), micro.model()
    frames = read_clips(store, ["moving", "still.png", "equal"])
    with torch.no_grad():
        plain = model.connect(model.encode_frames(normalize_frames(frames)))
        sizes = []
        encode = model.encode_frames
        monkeypatch.setattr(
            model, "encode_frames", lambda pixels: sizes.append(tuple(pixels.shape[:2])) or encode(pixels)
        )
        tokens = model.connect(model.encode(frames))
        alone = model.connect(model.encode(frames[1:2]))
    assert sizes == [(2, 1), (1, micro.FRAMES), (1, 1)]
    torch.testing.assert_close(tokens, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, plain[1:2], atol=1e-5, rtol=0)
    assert (plain[0] - plain[1]).abs().max() > 0.1


def test_a_clip_that_returns_to_its_first_frame_moves() -> None:
    """First and last frame are equal, one in between differs: encoded in full."""
    model, frames = micro.model(), torch.from_numpy(micro.picture(1)[None].copy())
    frames[0, -1] = frames[0, 0]
    with torch.no_grad():
        whole = model.encode_frames(normalize_frames(frames))
        assert torch.equal(model.encode(frames), whole)
