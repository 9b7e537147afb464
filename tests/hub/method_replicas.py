"""Miniature repositories of Video-R1's data, Charades-STA and ActivityNet Captions, beside the base model, for `tests.hub.server`.

File names, archives, schemas and defects are the published ones; scenes are the project's own world, pictures a frame of it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.hub import annotation_replicas as published
from tests.hub.replicas import SIZE, Writer, write_zip
from tests.hub.repos import write_repos
from vidreason.artifacts.files import write_json
from vidreason.world.encode import Timing
from vidreason.world.layouts import Job, encode_all
from vidreason.world.scenes import make_scene

VIDEO_R1 = "Video-R1/Video-R1-data"
CHARADES = "lmms-lab/charades_sta"
VIDEOMIND = "yeliudev/VideoMind-Dataset"
FOLDERS = (
    "CLEVRER", "Chart", "General", "Knowledge", "LLaVA-Video-178K", "Math", "NeXT-QA", "OCR", "PerceptionTest", "STAR", "Spatial",
)  # fmt: skip
"""Folders of Video-R1's data, each with archives that are unpacked in it."""
SECONDS = {"3MZRA": 31, "AO9RW": 31, "v_N8ppHQNikw8": 66, "v_zLbSEo5xhVY": 160}
"""Video of the grounding sets -> whole seconds that its file lasts."""
TRAINED = ("LLaVA-Video-178K/a/one.mp4", "LLaVA-Video-178K/a/two.mp4", "NeXT-QA/a/one.mp4", "STAR/a/three.mp4")
"""Videos of Video-R1; two have the same name in different folders."""
PICTURES = ("Math/a/one.png", "OCR/a/two.png", "Chart/a/three.jpg")
DAMAGED = "OCR/a/empty.png"
"""A picture of no bytes."""


def build_methods(root: Path, seed: int = 0) -> dict[str, int]:
    """Write the repositories and their index.

    Returns:
        For each data set the questions that its file holds, those included that a reader sets aside.
    """
    with tempfile.TemporaryDirectory() as scratch:
        writer = Writer(root, Path(scratch), seed)
        writer.write_models()
        counts = {**_write_video_r1(writer), **_write_grounding(writer)}
        writer.write_common_files()
        write_repos(root, writer.repos.values())
    return counts


def by_hand(folder: Path) -> None:
    """Put ActivityNet's videos where a user would unpack them: below the folder of their source."""
    _encode({folder / f"activitynet/videos/{name}.mp4": name for name in SECONDS if name.startswith("v_")})


def _encode(files: dict[Path, str]) -> None:
    jobs = []
    for number, (path, name) in enumerate(files.items()):
        seconds = SECONDS.get(name, 6)
        frames = max(1, 24 // seconds) if seconds < 24 else 1
        scene = make_scene(100 + number)
        jobs.append(Job(scene, path, Timing(_rate(seconds, frames), frames), "mp4", None, SIZE))
    encode_all(jobs, threads=1)


def _rate(seconds: float, per_step: int) -> float:
    from vidreason.world.scenes import STEPS

    return STEPS * per_step / seconds


def _write_video_r1(writer: Writer) -> dict[str, int]:
    work = writer.scratch / "video_r1"
    _encode({work / path: path for path in TRAINED})
    for number, path in enumerate(PICTURES):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (SIZE + 9 * number, SIZE), (40 * number, 90, 160))
        picture.paste((250, 240, 20), (4 + number, 4, 14, 16))
        picture.save(work / path)
    (work / DAMAGED).write_bytes(b"")
    folder = writer.repo("dataset", VIDEO_R1)
    for name in FOLDERS:
        (work / name / "a").mkdir(parents=True, exist_ok=True)
        (work / name / "a/notes.txt").write_text("nothing to see\n")
        write_zip(folder / name / f"{name}.zip", work / name, ("a",))
    records, thoughts = video_r1_records(), video_r1_records(cot=True)
    write_json(folder / "Video-R1-260k.json", records)
    write_json(folder / "Video-R1-COT-165k.json", thoughts)
    return {"video_r1_260k": len(records), "video_r1_cot": len(thoughts)}


def video_r1_records(cot: bool = False) -> list[dict[str, Any]]:
    """The defective records of `published.video_r1`, and one of each type about each video and picture."""
    (records,) = published.video_r1(cot).values()
    made = []
    asked = [
        ("multiple choice", "Which way does it go?", "B", ["A. up", "B. down", "C. left"]),
        ("numerical", "How many things are there?", "3", []),
        ("OCR", "What is written there?", "No Entry", []),
        ("free-form", "What happens?", "A thing moves.", []),
        ("regression", "How long does it take, in s?", "2.5", []),
    ]
    paths = (*TRAINED, *PICTURES, DAMAGED)
    for number, path in enumerate(paths):
        for kind, problem, solution, options in asked[number % 2 :: 2] if not cot else asked[:: number + 1]:
            record = {
                "problem_id": 100 + len(made),
                "problem": problem,
                "data_type": "video" if path.endswith(".mp4") else "image",
                "problem_type": kind,
                "options": options,
                "solution": f"<answer>{solution}</answer>",
                "path": f"./{path}",
                "data_source": path.split("/", maxsplit=1)[0],
            }
            made.append({**record, "process": f"<think>It shows {solution}.</think>"} if cot else record)
    return [*records, *made]


def _write_grounding(writer: Writer) -> dict[str, int]:
    work = writer.scratch / "grounding"
    _encode({work / f"Charades_v1_480/{name}.mp4": name for name in SECONDS if not name.startswith("v_")})
    folder = writer.repo("dataset", CHARADES)
    for number, name in enumerate((*published.CHARADES_DURATIONS, None), start=1):
        part = writer.scratch / f"part{number}"
        (part / "Charades_v1_480").mkdir(parents=True)
        video = work / f"Charades_v1_480/{name}.mp4"
        if video.exists():
            (part / f"Charades_v1_480/{name}.mp4").write_bytes(video.read_bytes())
        else:  # a part with a video that nobody asks about
            (part / f"Charades_v1_480/X{number}.mp4").write_bytes(b"\0" * 64)
        write_zip(folder / f"Charades_v1_480_part_{number}.zip", part, ("Charades_v1_480",))
    folder = writer.repo("dataset", VIDEOMIND)
    for split in ("train", "test"):
        tree = {name: content for name, content in published.charades(split).items() if name.endswith(".txt")}
        published.write(folder / "charades_sta", {**tree, "durations.json": published.CHARADES_DURATIONS})
    for name in ("train.json", "val_2.json"):
        published.write(folder / "activitynet_captions", published.activitynet(name))
    captions = json.loads((folder / "activitynet_captions/val_2.json").read_text())
    return {
        "charades_sta": len(published.CHARADES_LINES),
        "activitynet_tvg": sum(len(entry["sentences"]) for entry in captions.values()),
    }
