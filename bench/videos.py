"""Videos of 30 seconds, 10 minutes and an hour, and the time that it takes to get 16 frames out of them."""

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench import naive
from bench.work import DifferentError
from vidreason.artifacts.files import write_jsonl
from vidreason.media.extract_frames import FrameSpec, extract_frames, take_frames
from vidreason.records import ClipRef, Question
from vidreason.world.encode import ffmpeg_binary

FRAMES, SIDE = 16, 384
WIDTH, HEIGHT, RATE = 320, 240, 25
LONG = 600
"""Seconds that are encoded; the short video is the beginning of these, the hour repeats them, without encoding again."""
SHOTS = (1.0, 8.0)
"""Shortest and longest time between two cuts, in seconds."""
REPEATS = {"30 s": (5, 3), "10 min": (5, 1), "10 min, never cut": (5, 1), "1 h": (3, 1)}
"""Video -> repeats of this project's side and of the naive one."""
MANY = 8
"""Videos of 30 s that are read with one and with two threads."""


def make_videos(folder: Path) -> dict[str, Path]:
    """Write the videos, h264 with x264's usual key frames: at every cut, and at the latest after 250 frames.

    A shot is a camera that pans over a picture of its own, with grain. Videos that are there stay.

    Args:
        folder: Where to.

    Returns:
        Name -> file, for the names of `REPEATS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name.replace(', ', ' ').replace(' ', '-')}.mp4" for name in REPEATS}
    _encode(paths["10 min"], SHOTS)
    _encode(paths["10 min, never cut"], (LONG, LONG))
    source = ["-i", str(paths["10 min"]), "-c", "copy"]
    _ffmpeg(paths["30 s"], [*source, "-t", "30"])
    _ffmpeg(paths["1 h"], ["-stream_loop", str(3600 // LONG - 1), *source])
    return paths


def pictures(shots: tuple[float, float]) -> Iterator[np.ndarray]:
    """Frames of `LONG` seconds, uint8 [H, W, 3], cut after times drawn from `shots`."""
    rng = np.random.default_rng(0)
    left = LONG * RATE
    while left:
        length = min(left, max(1, round(rng.uniform(*shots) * RATE)))
        left -= length
        scene = sum(
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(
                    (2 * WIDTH, 2 * HEIGHT), Image.Resampling.BICUBIC
                )
            )
            * share
            for side, share in ((6, 0.6), (40, 0.3), (240, 0.1))
        )
        picture = np.asarray(scene).astype(np.uint8)
        begin, end = rng.uniform(0, (HEIGHT, WIDTH), (2, 2))
        # A slow pan: at most a pixel a frame, there and back.
        for frame in range(length):
            share = abs((frame / 400 + 1) % 2 - 1)
            top, side = (begin + share * (end - begin)).astype(int)
            yield picture[top : top + HEIGHT, side : side + WIDTH]


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Time both sides on every video, in turn.

    Yields:
        Name, seconds of each side, ratio; at the end seconds of many short videos with one and with two threads.

    Raises:
        DifferentError: The two sides give different pictures.
    """
    kept = Path(tempfile.gettempdir()) / f"vidreason-bench-videos-{os.getuid()}"
    videos = make_videos(kept)
    for name, path in videos.items():
        question = Question(name, "nextqa", "multiple_choice", "?", ClipRef(path.name), ("a", "b"), "A")
        seconds: dict[str, list[float]] = {"ours": [], "naive": []}
        pixels: dict[str, np.ndarray] = {}
        for turn in range(max(REPEATS[name])):
            for side, repeats in zip(seconds, REPEATS[name], strict=True):
                if turn >= repeats:
                    continue
                began = time.perf_counter()
                if side == "ours":
                    pixels[side] = take_frames(question, kept, FRAMES, SIDE).pixels
                else:
                    pixels[side] = naive.take_frames(question, kept, FRAMES, SIDE)
                seconds[side].append(time.perf_counter() - began)
        if not np.array_equal(pixels["ours"], pixels["naive"]):
            raise DifferentError(f"the frames of the video of {name} differ between decoders")
        medians = {side: statistics.median(values) for side, values in seconds.items()}
        yield {"video": name, **medians, "ratio": medians["naive"] / medians["ours"]}
    yield {"video": f"{MANY} of 30 s", **many(videos["30 s"], folder)}


def many(short: Path, folder: Path) -> dict[str, float]:
    """Seconds for several short videos: everything decoded one after the other, then sought by one and by two threads."""
    root = folder / "many"
    root.mkdir()
    questions = []
    for number in range(MANY):
        (root / f"{number}.mp4").symlink_to(short)
        questions.append(
            Question(f"q{number}", "nextqa", "multiple_choice", "?", ClipRef(f"{number}.mp4"), ("a", "b"), "A")
        )
    write_jsonl(folder / "many.jsonl", questions)
    seconds = {}
    for threads in (1, 2):
        began = time.perf_counter()
        extract_frames(
            [folder / "many.jsonl"],
            root,
            folder / "many.parquet",
            folder / "many.clips.jsonl",
            FrameSpec(FRAMES, SIDE),
            threads,
        )
        seconds[f"threads {threads}"] = time.perf_counter() - began
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda question: naive.take_frames(question, root, FRAMES, SIDE), questions))
        seconds[f"naive threads {threads}"] = time.perf_counter() - began
    return seconds


def _encode(path: Path, shots: tuple[float, float]) -> None:
    """Write a video of `LONG` seconds."""
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "pipe:"]
    codec = ["-vf", "noise=alls=9:allf=t", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    _ffmpeg(path, [*size, *codec], shots)


def _ffmpeg(path: Path, arguments: list[str], shots: tuple[float, float] | None = None) -> None:
    """Run ffmpeg, with pictures on its standard input if there are shots, unless the file is there.

    Raises:
        RuntimeError: It failed; the message holds its last words.
    """
    if path.exists():
        return
    aside = path.with_suffix(".part.mp4")
    command = [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-y", *arguments, str(aside)]
    with tempfile.TemporaryFile() as words:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=words) as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:
                for picture in pictures(shots) if shots else ():
                    stream.write(picture.tobytes())
        if process.returncode:
            words.seek(0)
            said = words.read().decode("utf-8", "replace").strip()
            raise RuntimeError(f"ffmpeg could not write {path}: {said[-400:]}")
    aside.replace(path)
