"""Writing the world in the published layouts of the real data sets.

Each `write_*` function writes items into a folder as the real repository looks when unpacked: the same names of files and
folders, the same keys, the same peculiarities (URL prefixes, letters, bounds, suffixes).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.artifacts.files import write_aside, write_json
from vidreason.data import mlvu, mvbench, video_mme
from vidreason.records import LETTERS
from vidreason.tasks.markup import completion_of
from vidreason.tasks.prompt_templates import dotted
from vidreason.world.encode import SIZE, Timing, encode, timing, with_surroundings
from vidreason.world.questions import WorldQuestion
from vidreason.world.scenes import Scene, make_scene
from vidreason.world.signs import Sign
from vidreason.world.splits import WorldItem, duration_class, scene_seed

NEXTQA_REQUEST = "Please provide your answer by stating the letter followed by the full option."
MMVU_PREFIX = "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/"
MMVU_SUBJECTS = ("Art", "Biology", "Chemistry", "Geography", "Physics")
BROKEN = ("zero_byte", "truncated_webm", "corrupted")
"""Kinds of damage for NextQA's broken files."""
READER_KINDS = {"video": "mp4", "webm": "webm", "avi": "avi", "frames": "frames"}
"""MVBench's readers -> kinds of `vidreason.world.encode`."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One video to encode.

    Attributes:
        scene: The scene or sign.
        path: File or folder to write.
        clip: Frame rate and frames.
        kind: Key of `KINDS`.
        around: Scene shown before and after the bounds.
        size: Height and width in pixels.
    """

    scene: Scene | Sign
    path: Path
    clip: Timing
    kind: str
    around: Scene | None = None
    size: int = SIZE


def encode_all(jobs: Sequence[Job], threads: int) -> None:
    """Encode videos, several at a time."""

    def work(job: Job) -> None:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        encode(job.scene, job.path, job.clip, job.kind, job.around, job.size)

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        # Iterating over the results raises the first error.
        for _ in pool.map(work, jobs):
            pass


def write_nextqa(
    folder: Path,
    items: Sequence[WorldItem],
    seed: int = 0,
    broken: Sequence[str] = (),
    variable_fraction: float = 0.0,
    size: int = SIZE,
    threads: int = 2,
) -> None:
    """LLaVA-Video-178K's `0_30_s_nextqa`: conversations, and videos under `NextQA/NExTVideo/<folder>/<id>.mp4`.

    Args:
        folder: Root of the data set.
        items: Videos and questions.
        seed: Seed of the choice of variable frame rates and of the noise in a corrupted file.
        broken: Kinds of `BROKEN`; the first videos are damaged in these ways, and their questions stay.
        variable_fraction: Fraction of videos with a variable frame rate.
        size: Height and width in pixels.
        threads: Videos encoded at the same time.
    """
    unknown = sorted(set(broken) - set(BROKEN))
    if unknown:
        raise ValueError(f"broken: unknown kinds {unknown}; allowed: {', '.join(BROKEN)}")
    rng = np.random.default_rng([seed, 0xB40])
    records, jobs, damage = [], [], []
    for item in items:
        fault = broken[item.video_id] if item.video_id < len(broken) else ""
        kind = "webm" if fault == "truncated_webm" else "variable" if rng.random() < variable_fraction else "mp4"
        video = _nextqa_path(item.video_id, ".webm" if kind == "webm" else ".mp4")
        jobs.append(Job(item.scene, folder / video, timing(item.duration, kind), kind, size=size))
        damage.append((folder / video, fault))
        records += [_nextqa_record(item.video_id, video, question) for question in item.questions]
    encode_all(jobs, threads)
    for path, fault in damage:
        _damage(path, fault, rng)
    write_json(folder / "0_30_s_nextqa" / "0_30_s_nextqa_mc_qa_processed.json", records)


def _nextqa_path(video_id: int, suffix: str = ".mp4") -> str:
    """Path of a NextQA video: a folder of four digits, a name of ten digits."""
    return f"NextQA/NExTVideo/{1000 + video_id // 50:04d}/{2_400_000_000 + 7919 * video_id:010d}{suffix}"


def _nextqa_record(video_id: int, video: str, question: WorldQuestion) -> dict[str, Any]:
    """A question as a conversation."""
    path = Path(video)
    request = f"<image>\n{question.text}\n{dotted(question.options)}\n{NEXTQA_REQUEST}"
    return {
        "id": f"{path.parent.name}-{path.stem}",
        "conversations": [
            {"from": "human", "value": request},
            {"from": "gpt", "value": f"{question.gold}. {question.gold_text}"},
        ],
        "data_source": "0_30_s_nextqa",
        "video": video,
    }


def _damage(path: Path, fault: str, rng: np.random.Generator) -> None:
    """Damage a complete file."""
    if not fault:
        return
    content = path.read_bytes()
    if fault == "zero_byte":
        path.write_bytes(b"")
    elif fault == "truncated_webm":
        path.write_bytes(content[: len(content) // 2])
    else:
        # The index at the end of the mp4 stays intact, so only decoding shows the damage.
        half = len(content) // 2
        path.write_bytes(content[:48] + rng.bytes(half - 48) + content[half:])


def write_coldstart(folder: Path, items: Sequence[WorldItem], size: int = SIZE, threads: int = 2) -> None:
    """`nextqa-coldstart-16.json` of TinyLLaVA-Video-R1-training-data, with its videos."""
    records, jobs = [], []
    for item in items:
        video = _nextqa_path(item.video_id)
        question = item.questions[0]
        jobs.append(Job(item.scene, folder / video, timing(item.duration, "mp4"), "mp4", size=size))
        request = f"<image>\n{question.text}\nOptions:\n{dotted(question.options)}"
        reply = completion_of(item.think, question.gold)
        records.append(
            {"video": video, "conversations": [{"from": "human", "value": request}, {"from": "gpt", "value": reply}]}
        )
    encode_all(jobs, threads)
    write_json(folder / "nextqa-coldstart-16.json", records)


def write_video_mme(folder: Path, items: Sequence[WorldItem], size: int = SIZE, threads: int = 2) -> None:
    """lmms-lab/Video-MME: a parquet table of strings with lists of options; videos in `data/`, some .MP4 or .mkv."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, jobs = [], []
    for item in items:
        name = f"Wor1d-{item.video_id:05d}"
        suffix = ".mkv" if item.video_id % 11 == 5 else ".MP4" if item.video_id % 7 == 3 else ".mp4"
        kind = "mkv" if suffix == ".mkv" else "mp4"
        jobs.append(Job(item.scene, folder / "data" / f"{name}{suffix}", timing(item.duration, kind), kind, size=size))
        for number, question in enumerate(item.questions, start=1):
            rows.append(
                {
                    "video_id": f"{item.video_id + 1:03d}",
                    "duration": duration_class(item.video_id),
                    "domain": "Synthetic World",
                    "sub_category": "Parade",
                    "url": f"https://www.youtube.com/watch?v={name}",
                    "videoID": name,
                    "question_id": f"{item.video_id + 1:03d}-{number}",
                    "task_type": question.category,
                    "question": question.text,
                    "options": dotted(question.options).split("\n"),
                    "answer": question.gold,
                }
            )
    encode_all(jobs, threads)
    table = folder / video_mme.TABLE
    with write_aside(table) as aside:
        pq.write_table(pa.Table.from_pylist(rows), aside)


def write_mvbench(folder: Path, items: Sequence[WorldItem], seed: int = 0, size: int = SIZE, threads: int = 2) -> None:
    """OpenGVLab/MVBench: `json/<category>.json` and `video/<folder>/`; `item.category` is one of MVBench's.

    In a category with bounds, the scene fills them exactly and another scene runs before and after it.
    """
    rng = np.random.default_rng([seed, 0x3B1])
    jobs: list[Job] = []
    records: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        task = mvbench.CATEGORIES[item.category]
        kind = READER_KINDS[task.reader]
        name = f"w{item.video_id:05d}" + ("" if kind == "frames" else f".{kind}")
        name = name.replace(".avi", "_rgb.avi")
        question = item.questions[0]
        record: dict[str, Any] = {
            "video": name,
            "question": question.text,
            "candidates": list(question.options),
            "answer": question.gold_text,
        }
        clip, around = timing(item.duration, kind), None
        if task.bounded:
            clip = with_surroundings(clip, float(rng.uniform(3, 8)), float(rng.uniform(3, 8)))
            around = make_scene(scene_seed(seed, "surroundings", item.video_id))
            record["start"], record["end"] = (round(bound, 3) for bound in clip.bounds)
        jobs.append(Job(item.scene, folder / "video" / task.folder / name, clip, kind, around, size))
        records.setdefault(item.category, []).append(record)
    encode_all(jobs, threads)
    for name, rows in records.items():
        write_json(folder / "json" / f"{name}.json", rows)


def write_mlvu(folder: Path, items: Sequence[WorldItem], size: int = SIZE, threads: int = 2) -> None:
    """MLVU/MVLU: `MLVU/json/<n>_<category>.json` and `MLVU/video/<n>_<category>/`; `item.category` is one of MLVU's."""
    jobs: list[Job] = []
    records: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        folder_name = mlvu.CATEGORIES[item.category]
        name = f"{item.category}_{item.video_id}.mp4"
        clip = timing(item.duration, "mp4")
        jobs.append(Job(item.scene, folder / "MLVU" / "video" / folder_name / name, clip, "mp4", size=size))
        for question in item.questions:
            record = {
                "video": name,
                "duration": clip.duration,
                "question": question.text,
                "candidates": list(question.options),
                "answer": question.gold_text,
                "question_type": "findNeedle" if item.category == "needle" else item.category,
            }
            records.setdefault(folder_name, []).append(record)
    encode_all(jobs, threads)
    for folder_name, rows in records.items():
        write_json(folder / "MLVU" / "json" / f"{folder_name}.json", rows)


def write_mmvu(folder: Path, items: Sequence[WorldItem], size: int = SIZE, threads: int = 2) -> None:
    """yale-nlp/MMVU: `validation.json`, videos named by URL, and one open-ended question, which readers skip."""
    records: list[dict[str, Any]] = []
    jobs = []
    for item in items:
        subject = MMVU_SUBJECTS[item.video_id % len(MMVU_SUBJECTS)]
        video = f"videos/{subject}/{item.video_id}.mp4"
        jobs.append(Job(item.scene, folder / video, timing(item.duration, "mp4"), "mp4", size=size))
        for question in item.questions:
            choices = dict(zip(LETTERS, question.options, strict=False))
            records.append(
                _mmvu_record(len(records), video, subject, question.text, "multiple-choice", choices, question.gold)
            )
        if item.video_id == 0:
            records.append(
                _mmvu_record(len(records), video, subject, "What happens?", "open-ended", {}, item.scene.caption)
            )
    encode_all(jobs, threads)
    write_json(folder / "validation.json", records)


def _mmvu_record(
    number: int, video: str, subject: str, question: str, kind: str, choices: Mapping[str, str], answer: str
) -> dict[str, Any]:
    """One record of MMVU."""
    return {
        "id": f"validation_{number}",
        "video": f"{MMVU_PREFIX}{video}",
        "youtube_url": "",
        "question_type": kind,
        "metadata": {"subject": subject, "textbook": "", "rationale": "", "knowledge": []},
        "question": question,
        "choices": dict(choices),
        "answer": answer,
    }
