"""Videos of 30 seconds, 10 minutes and an hour, and the time that it takes to get 16 frames out of them."""

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

from bench import naive
from bench.work import DifferentError
from vidreason.files import write_jsonl
from vidreason.frames import extract_frames, take_frames
from vidreason.records import Question
from vidreason.world.encode import ffmpeg_binary

FRAMES, SIDE = 16, 384
PIECE = 30
"""Seconds that are encoded; longer videos repeat them, without encoding again."""
LENGTHS = {"30 s": 30, "10 min": 600, "1 h": 3600}
REPEATS = {"30 s": (5, 3), "10 min": (5, 2), "1 h": (3, 1)}
"""Repeats of this project's side and of the naive one."""
MANY = 12
"""Videos of 30 s that are read with one and with two threads."""


def make_videos(folder: Path) -> dict[str, Path]:
    """Write the videos, h264 at 320 x 240 and 25 frames per second, a key frame every 250; those that are there stay.

    The picture is ffmpeg's moving test pattern under noise, so that there are residuals and motion to decode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: folder / f"{seconds}s.mp4" for name, seconds in LENGTHS.items()}
    piece = found["30 s"]
    pattern = f"testsrc2=size=320x240:rate=25:duration={PIECE},noise=alls=8:allf=t"
    _write(piece, ["-f", "lavfi", "-i", pattern, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"])
    for name, path in found.items():
        loops = LENGTHS[name] // PIECE - 1
        if loops:
            _write(path, ["-stream_loop", str(loops), "-i", str(piece), "-c", "copy"])
    return found


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Time both sides on every video, in turn.

    Yields:
        Name, seconds of each side, ratio; at the end seconds of many short videos with one and with two threads.

    Raises:
        DifferentError: The two sides found other pictures.
    """
    kept = Path(tempfile.gettempdir()) / f"vidreason-bench-videos-{os.getuid()}"
    for name, path in make_videos(kept).items():
        question = Question(name, "nextqa", path.name, "?", ("a", "b"), "A")
        seconds: dict[str, list[float]] = {"ours": [], "naive": []}
        pictures: dict[str, np.ndarray] = {}
        for turn in range(max(REPEATS[name])):
            for side, repeats in zip(seconds, REPEATS[name], strict=True):
                if turn >= repeats:
                    continue
                began = time.perf_counter()
                if side == "ours":
                    pictures[side] = take_frames(question, kept, FRAMES, SIDE).pixels
                else:
                    pictures[side] = naive.take_frames(question, kept, FRAMES, SIDE)
                seconds[side].append(time.perf_counter() - began)
        if not np.array_equal(pictures["ours"], pictures["naive"]):
            raise DifferentError(f"the frames of the video of {name} differ between decoders")
        medians = {side: statistics.median(values) for side, values in seconds.items()}
        yield {"video": name, **medians, "ratio": medians["naive"] / medians["ours"]}
    yield {"video": f"{MANY} of 30 s", **many(kept, folder)}


def many(kept: Path, folder: Path) -> dict[str, float]:
    """Seconds for several short videos: everything decoded one after the other, then sought by one and by two threads."""
    root = folder / "many"
    root.mkdir()
    questions = []
    for number in range(MANY):
        (root / f"{number}.mp4").hardlink_to(kept / f"{LENGTHS['30 s']}s.mp4")
        questions.append(Question(f"q{number}", "nextqa", f"{number}.mp4", "?", ("a", "b"), "A"))
    write_jsonl(folder / "many.jsonl", questions)
    found = {}
    for threads in (1, 2):
        began = time.perf_counter()
        extract_frames(
            [folder / "many.jsonl"],
            root,
            folder / "many.parquet",
            folder / "many.clips.jsonl",
            count=FRAMES,
            size=SIDE,
            threads=threads,
        )
        found[f"threads {threads}"] = time.perf_counter() - began
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda question: naive.take_frames(question, root, FRAMES, SIDE), questions))
        found[f"naive threads {threads}"] = time.perf_counter() - began
    return found


def _write(path: Path, arguments: list[str]) -> None:
    """Run ffmpeg, unless the file is there; it gets its name when it is whole."""
    if path.exists():
        return
    aside = path.with_suffix(".part.mp4")
    command = [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments, str(aside)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ffmpeg could not write {path}: {done.stderr.strip()[-400:]}")
    aside.replace(path)
