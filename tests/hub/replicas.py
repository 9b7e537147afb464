"""Miniature replicas of the repositories that the paper's run is made from, for `tests.hub.server`.

Same ids, file names, archives, schemas and known defects as the published ones; the content is the project's own
synthetic world, a few seconds of 32 x 32 pixels a video. What a run must not fetch is there too, as a decoy. The same
seed writes the same bytes.

    python -m tests.hub.replicas /tmp/hub
"""

import argparse
import codecs
import dataclasses
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.hub.repos import INDEX, Repo, write_repos
from tests.support.worlds import world_settings
from vidreason.artifacts.files import read_json, write_aside, write_json, write_jsonl
from vidreason.data import mlvu, mvbench
from vidreason.records import LETTERS
from vidreason.world.layouts import (
    write_coldstart,
    write_mlvu,
    write_mmvu,
    write_mvbench,
    write_nextqa,
    write_video_mme,
)
from vidreason.world.questions import NUMBERS, WorldQuestion, make_questions
from vidreason.world.scenes import COLOURS, DIRECTIONS, THINGS, make_scene
from vidreason.world.splits import WorldItem, draw_items, duration_class, scene_seed

GOLDEN = Path(__file__).parents[1] / "golden"
COUNTS = "counts.json"
"""File below the root that holds what `build` returned."""
SIZE = 32
"""Height and width of the videos in pixels."""

LLAVA = "lmms-lab/LLaVA-Video-178K"
R1_DATA = "Zhang199/TinyLLaVA-Video-R1-training-data"
VIDEO_MME = "lmms-lab/Video-MME"
MVBENCH = "OpenGVLab/MVBench"
MLVU = "MLVU/MVLU"
MMVU = "yale-nlp/MMVU"
BASE = "Zhang199/TinyLLaVA-Video-Qwen2.5-3B-Group-16-512"
COLDSTART = "Zhang199/TinyLLaVA-Video-Coldstart_NextQA_16"
R1 = "Zhang199/TinyLLaVA-Video-R1"
QWEN = "Qwen/Qwen2.5-3B"
SIGLIP = "google/siglip-so400m-patch14-384"

PUBLISHED = {
    LLAVA: "d8ee1c8",
    VIDEO_MME: "ead1408f75b618502df9a1d8e0950166bf0a2a0b",
    MMVU: "b937f41",
    "lmms-lab/charades_sta": "799008a8e37860e3bbd8418c6e3111b0bc05f648",
    "yeliudev/VideoMind-Dataset": "3518d8e8c2c7c1ceec4b242afc07162bbafa33d8",
}
"""Repository -> the commit of `main` that the paper's run pins, or its beginning; the rest is made up."""
OLDER = "older"
"""The commit of `LLAVA` before its annotations shrank. No branch leads to it: only `commit_of(LLAVA, OLDER)` does."""
PRE_CUT = "video"
"""Branch of `MVBENCH` with clips that are cut already and other questions."""

BUCKET = "0_30_s_nextqa"
OTHER_BUCKET = "30_60_s_nextqa"
TOO_LONG = {3: 33.0, 8: 40.0}
"""NextQA's videos that are longer than 30 s, in seconds; number 0 is an empty file."""
ASKED_TWICE = (1, 4, 7, 10)
"""NextQA's videos with two questions; in the older commit all have two."""
REPEATED = 2
"""NextQA's record that the one before the last repeats; the last has an answer whose words are none of the options."""
COLDSTART_FROM = 100
"""Number of the first cold-start video: those of NextQA lie in the same archive and must keep names of their own."""
CHUNKS = 3
"""Archives of Video-MME."""
DECOY_BYTES = 4 << 20
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json")

MVBENCH_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "action_sequence": ("after",),
    "action_prediction": ("last",),
    "action_antonym": ("direction",),
    "fine_grained_action": ("change", "direction"),
    "unexpected_action": ("existence",),
    "object_existence": ("existence",),
    "object_interaction": ("change",),
    "object_shuffle": ("last",),
    "moving_direction": ("direction",),
    "action_localization": ("first",),
    "scene_transition": ("after",),
    "action_count": ("count",),
    "moving_count": ("count",),
    "moving_attribute": ("colour",),
    "state_change": ("change",),
    "fine_grained_pose": ("colour",),
    "character_order": ("first", "last"),
    "egocentric_navigation": ("direction",),
    "episodic_reasoning": ("first", "last", "after"),
    "counterfactual_inference": ("existence",),
}
"""Task of MVBench -> tasks of the world that stand for it."""
MVBENCH_ARCHIVES = (
    "FunQA_test", "Moments_in_Time_Raw", "clevrer", "data0613", "perception", "scene_qa", "ssv2_video", "sta", "star",
    "tvqa", "vlnqa",
)  # fmt: skip
NOT_DISTRIBUTED = "nturgbd"
REPLACED_TASKS = ("moving_count", "counterfactual_inference", "action_sequence", "object_interaction")
"""Tasks whose last clip lies in data0613 and not where the task says."""
PER_TASK = 2
"""Questions for each task of MVBench and MLVU, but for `needle`, which has two defective ones besides."""
NEEDLES = 4
OUTSIDE = (1, 3)
"""Needle records whose answer is none of the candidates."""
REPEATING = {"1_plotQA": False, "4_count": True}
"""File of MLVU whose first record has a candidate twice -> whether that is the answer."""
EMPTY_CANDIDATE = {"1_plotQA": False, "3_ego": True}
"""File of MLVU whose last record has an empty candidate -> whether that is the answer."""
EMPTY_RECORD = "7_topic_reasoning"
"""File of MLVU whose last record has no question, no words in its candidates and no answer."""
ONE_CANDIDATE = "counterfactual_inference"
"""Task of MVBench whose first record has no candidate but the answer."""
MARKED = "action_antonym"
"""Task of MVBench whose file begins with a byte-order mark."""
OPEN_ONLY = 2
"""Videos of MMVU that only open-ended questions ask about: the last ones."""

_EPOCH = (2024, 6, 1, 0, 0, 0)
_EPOCH_SECONDS = 1_717_200_000
_JUNK = b"\0\5\26\7" + bytes(60)
"""A resource fork, or what begins like one."""


def commit_of(repo: str, ref: str = "main") -> str:
    """The 40 hexadecimal digits of a branch of a replica, made up where nothing was published."""
    known = PUBLISHED.get(repo, "") if ref == "main" else ""
    return (known + hashlib.sha1(f"{repo}@{ref}".encode(), usedforsecurity=False).hexdigest())[:40]


def build(root: Path, seed: int = 0) -> dict[str, Any]:
    """Write all repositories, `repos.json` and `counts.json`.

    Args:
        root: Folder to write. One that an earlier build wrote is replaced.
        seed: Seed of the scenes, the questions and the weights.

    Returns:
        For each data set what its reader will find; under `repos` files, bytes and archives' members of each commit.

    Raises:
        FileExistsError: There is a folder with other things in it.
    """
    root = Path(root)
    if root.is_dir() and any(root.iterdir()) and not (root / INDEX).is_file():
        raise FileExistsError(f"{root}: a folder that is no miniature hub; it would be replaced")
    with write_aside(root) as aside, tempfile.TemporaryDirectory() as scratch:
        aside.mkdir()
        writer = Writer(aside, Path(scratch), seed)
        counts: dict[str, Any] = {
            **writer.write_training_sets(),
            "video_mme": writer.write_video_mme(),
            "mvbench": writer.write_mvbench(),
            "mlvu": writer.write_mlvu(),
            "mmvu": writer.write_mmvu(),
        }
        writer.write_models()
        writer.write_common_files()
        counts["repos"] = writer.count_files()
        write_repos(aside, writer.repos.values())
        write_json(aside / COUNTS, counts)
    return counts


class Writer:
    """Writes the repositories, one method for each."""

    def __init__(self, root: Path, scratch: Path, seed: int) -> None:
        self.root = root
        self.scratch = scratch
        self.seed = seed
        self.repos: dict[str, Repo] = {}

    def repo(self, kind: str, name: str, gated: bool = False) -> Path:
        """Begin a repository; return its folder."""
        folder = self.root / f"{kind}s" / name
        folder.mkdir(parents=True)
        repo = Repo(kind, name, folder, {"main": commit_of(name)}, gated)
        self.repos[name] = repo
        return folder

    def other_commit(self, name: str, ref: str) -> Path:
        """Begin a commit whose files are not those of `main`; return its folder."""
        folder = self.root / "commits" / commit_of(name, ref)
        folder.mkdir(parents=True)
        self.repos[name].folders[commit_of(name, ref)] = folder
        return folder

    def items(self, split: str, videos: int, questions: int = 1) -> list[WorldItem]:
        """Videos and questions of the world, all short."""
        settings = world_settings({"videos": {split: videos}, "questions_per_video": {split: questions}})
        items = draw_items(split, settings, self.seed)
        return [dataclasses.replace(item, duration=5.0 + item.video_id % 4) for item in items]

    # --- Training ----------------------------------------------------------------------------------------------------

    def write_training_sets(self) -> dict[str, Any]:
        """NextQA in its two published forms, and the cold start."""
        work = self.scratch / "nextqa"
        drawn = [
            dataclasses.replace(item, duration=TOO_LONG.get(item.video_id, item.duration))
            for item in self.items("nextqa", 12, 2)
        ]
        items = [item if item.video_id in ASKED_TWICE else _with_questions(item, 1) for item in drawn]
        write_nextqa(work, items, self.seed, broken=("zero_byte",), size=SIZE)
        name = f"{BUCKET}/{BUCKET}_mc_qa_processed.json"
        records = read_json(work / name)
        records += [records[REPEATED], _without_gold(records[REPEATED])]
        older = self._nextqa_records(drawn)
        older += [older[REPEATED], _without_gold(older[REPEATED])]

        folder = self.repo("dataset", LLAVA)
        write_json(folder / name, records)
        first = {record["video"]: record for record in reversed(records)}
        opened = [_open_ended(first[_video_of(item)], item) for item in items]
        write_json(folder / f"{BUCKET}/{BUCKET}_oe_qa_processed.json", opened)
        write_tar(folder / f"{BUCKET}/{BUCKET}_videos_1.tar.gz", work, ("NextQA",))
        self._write_other_bucket(folder)
        before = self.other_commit(LLAVA, OLDER)
        shutil.copytree(folder, before, dirs_exist_ok=True)
        write_json(before / name, older)

        cold = [
            dataclasses.replace(item, video_id=COLDSTART_FROM + item.video_id) for item in self.items("coldstart", 16)
        ]
        write_coldstart(work, cold, size=SIZE)
        folder = self.repo("dataset", R1_DATA)
        shutil.copy(work / "nextqa-coldstart-16.json", folder)
        write_jsonl(
            folder / "nextqa_0-30s.jsonl", [_problem(number, record) for number, record in enumerate(records, 1)]
        )
        video = Path(_video_of(cold[0]))
        junk = {f"__MACOSX/{path}": _JUNK for path in ("._NextQA", video.with_name(f"._{video.name}").as_posix())}
        write_zip(folder / "NextQA.zip", work, ("NextQA",), junk)

        asked = Counter(record["video"] for record in records[:-2])
        return {
            "nextqa": {
                "records": len(records),
                "questions": len(records) - 2,
                "repeated": 1,
                "without_gold": 1,
                "videos": len(items),
                "empty_files": 1,
                "too_long": len(TOO_LONG),
                "usable_questions": sum(
                    asked[_video_of(item)] for item in items if item.video_id not in (0, *TOO_LONG)
                ),
                "older_records": len(older),
            },
            "coldstart": {"questions": len(cold), "videos": len(cold)},
        }

    def _nextqa_records(self, items: Sequence[WorldItem]) -> list[dict[str, Any]]:
        """The annotations alone."""
        work = self.scratch / "annotations"
        write_nextqa(work, items, self.seed, size=SIZE)
        records: list[dict[str, Any]] = read_json(work / f"{BUCKET}/{BUCKET}_mc_qa_processed.json")
        return records

    def _write_other_bucket(self, folder: Path) -> None:
        """NextQA's longer videos, which the paper does not train on."""
        work = self.scratch / OTHER_BUCKET
        (item,) = self.items("nextqa", 1)
        write_nextqa(work, [dataclasses.replace(item, video_id=900, duration=40.0)], self.seed, size=SIZE)
        records = read_json(work / f"{BUCKET}/{BUCKET}_mc_qa_processed.json")
        for record in records:
            record["data_source"] = OTHER_BUCKET
        write_json(folder / f"{OTHER_BUCKET}/{OTHER_BUCKET}_mc_qa_processed.json", records)
        write_tar(folder / f"{OTHER_BUCKET}/{OTHER_BUCKET}_videos_1.tar.gz", work, ("NextQA",))

    # --- Benchmarks --------------------------------------------------------------------------------------------------

    def write_video_mme(self) -> dict[str, Any]:
        """Three lengths, three suffixes, the videos in several archives."""
        work = self.scratch / "video_mme"
        items = self.items("video_mme", 6, 2)
        write_video_mme(work, items, size=SIZE)
        folder = self.repo("dataset", VIDEO_MME)
        shutil.copytree(work / "videomme", folder / "videomme")
        videos = sorted(path.name for path in (work / "data").iterdir())
        for chunk in range(CHUNKS):
            part = self.scratch / f"chunk{chunk}"
            (part / "data").mkdir(parents=True)
            for video in videos[chunk::CHUNKS]:
                shutil.copy(work / "data" / video, part / "data")
            write_zip(folder / f"videos_chunked_{chunk + 1:02d}.zip", part, ("data",))
        for video in videos:
            subtitle = work / "subtitle" / f"{Path(video).stem}.srt"
            subtitle.parent.mkdir(exist_ok=True)
            subtitle.write_text("1\n00:00:00,000 --> 00:00:01,000\nNobody speaks.\n")
        write_zip(folder / "subtitle.zip", work, ("subtitle",))
        questions = Counter[str]()
        for item in items:
            questions[duration_class(item.video_id)] += len(item.questions)
        return {"questions": questions.total(), "videos": len(items), "groups": dict(questions)}

    def write_mvbench(self) -> dict[str, Any]:
        """All 20 tasks in 11 archives; some clips elsewhere, those of one task nowhere."""
        work = self.scratch / "mvbench"
        items = self._mvbench_items()
        write_mvbench(work, items, self.seed, size=SIZE)
        ntu = sorted(path.name for path in (work / "video" / NOT_DISTRIBUTED).iterdir())
        shutil.rmtree(work / "video" / NOT_DISTRIBUTED)
        for task in REPLACED_TASKS:
            clip = f"{mvbench.CATEGORIES[task].folder}/{read_json(work / 'json' / f'{task}.json')[-1]['video']}"
            elsewhere = work / "video" / mvbench.REPLACED / clip
            elsewhere.parent.mkdir(parents=True, exist_ok=True)
            (work / "video" / clip).rename(elsewhere)

        lone = work / "json" / f"{ONE_CANDIDATE}.json"
        records = read_json(lone)
        records[0]["candidates"] = [records[0]["answer"]]
        write_json(lone, records)

        folder = self.repo("dataset", MVBENCH, gated=True)
        shutil.copytree(work / "json", folder / "json")
        marked = folder / "json" / f"{MARKED}.json"
        marked.write_bytes(codecs.BOM_UTF8 + marked.read_bytes())
        for name in MVBENCH_ARCHIVES:
            write_zip(folder / "video" / f"{name}.zip", work / "video", (name,))
        (folder / "video" / "MVBench_videos_ntu.txt").write_text("".join(f"{name}\n" for name in ntu))
        self._write_pre_cut(work)

        tasks = Counter(item.category for item in items)
        return {
            "questions": len(items),
            "videos": len(items),
            "missing": len(ntu),
            "replaced": len(REPLACED_TASKS),
            "one_option": 1,
            "tasks": {task: tasks[task] for task in mvbench.CATEGORIES},
        }

    def _mvbench_items(self) -> list[WorldItem]:
        """Items for all 20 tasks; the world's own table has fewer."""
        rng = np.random.default_rng([self.seed, 0x2E91])
        items: list[WorldItem] = []
        number = 0
        while len(items) < PER_TASK * len(MVBENCH_CATEGORIES):
            task = tuple(MVBENCH_CATEGORIES)[len(items) % len(MVBENCH_CATEGORIES)]
            scene = make_scene(scene_seed(self.seed, "mvbench", number))
            number += 1
            questions = make_questions(scene, MVBENCH_CATEGORIES[task], 1, rng)
            # A scene in which, say, nothing moves is passed over where a direction is to be asked.
            if questions:
                items.append(WorldItem(len(items), scene, 5.0 + len(items) % 4, questions, task))
        return items

    def _write_pre_cut(self, work: Path) -> None:
        """The branch with other annotations: no bounds, other clips."""
        folder = self.other_commit(MVBENCH, PRE_CUT)
        self.repos[MVBENCH].commits[PRE_CUT] = commit_of(MVBENCH, PRE_CUT)
        for task, kind in mvbench.CATEGORIES.items():
            if kind.bounded:
                records = read_json(work / "json" / f"{task}.json")
                kept = [
                    {key: value for key, value in record.items() if key not in ("start", "end")} for record in records
                ]
                write_json(
                    folder / "json" / f"{task}.json", [{**record, "video": f"cut_{record['video']}"} for record in kept]
                )
        clips = self.scratch / "pre_cut" / "star" / "Charades_v1_480"
        clips.mkdir(parents=True)
        clip = min((work / "video/star/Charades_v1_480").iterdir())
        shutil.copy(clip, clips / f"cut_{clip.name}")
        write_zip(folder / "video" / "star.zip", self.scratch / "pre_cut", ("star",))

    def write_mlvu(self) -> dict[str, Any]:
        """Single files; answers outside the candidates, candidates that repeat, two tasks without candidates."""
        work = self.scratch / "mlvu"
        drawn = self.items("mlvu", NEEDLES * len(mlvu.CATEGORIES))
        wanted = {task: NEEDLES if task == "needle" else PER_TASK for task in mlvu.CATEGORIES}
        items: list[WorldItem] = []
        for item in drawn:
            if sum(other.category == item.category for other in items) < wanted[item.category]:
                items.append(_with_options(item, 4))
        write_mlvu(work, items, size=SIZE)
        annotations = work / mlvu.FOLDER / "json"

        needles = read_json(annotations / "2_needle.json")
        for index in OUTSIDE:
            needles[index]["answer"] = "something else"
        write_json(annotations / "2_needle.json", needles)
        for name, of_the_answer in REPEATING.items():
            records = read_json(annotations / f"{name}.json")
            candidates, answer = records[0]["candidates"], records[0]["answer"]
            wrong = [place for place, text in enumerate(candidates) if text != answer]
            candidates[wrong[-1]] = answer if of_the_answer else candidates[wrong[0]]
            write_json(annotations / f"{name}.json", records)
        for name, of_the_answer in EMPTY_CANDIDATE.items():
            records = read_json(annotations / f"{name}.json")
            candidates, answer = records[-1]["candidates"], records[-1]["answer"]
            place = next(place for place, text in enumerate(candidates) if (text == answer) == of_the_answer)
            candidates[place] = ""
            records[-1]["answer"] = "" if of_the_answer else answer
            write_json(annotations / f"{name}.json", records)
        records = read_json(annotations / f"{EMPTY_RECORD}.json")
        records[-1] |= {"question": "", "candidates": [""] * 4, "answer": ""}
        write_json(annotations / f"{EMPTY_RECORD}.json", records)
        plots = read_json(annotations / "1_plotQA.json")
        lent = work / mlvu.FOLDER / "video" / "1_plotQA" / plots[0]["video"]
        for name, kind in (("8_sub_scene", "subPlot"), ("9_summary", "summary")):
            video = lent.parents[1] / name / f"{kind}_0.mp4"
            video.parent.mkdir()
            shutil.copy(lent, video)
            told = {"duration": plots[0]["duration"], "question": "What happens?", "answer": items[0].scene.caption}
            write_json(annotations / f"{name}.json", [{"video": video.name, **told, "question_type": kind}])

        folder = self.repo("dataset", MLVU, gated=True)
        shutil.copytree(work / mlvu.FOLDER, folder / mlvu.FOLDER)
        return {
            "questions": len(items),
            "videos": len(items),
            "no_option": len(OUTSIDE),
            "duplicate_candidates": len(REPEATING),
            "empty_candidates": len(EMPTY_CANDIDATE),
            "empty_records": 1,
            "tasks": wanted,
        }

    def write_mmvu(self) -> dict[str, Any]:
        """Single files that records name by address; some videos only asked about by open-ended questions."""
        work = self.scratch / "mmvu"
        items = [_with_options(item, 5) for item in self.items("mmvu", 8, 2)]
        choice, opened = items[:-OPEN_ONLY], [_with_questions(item, 1) for item in items[-OPEN_ONLY:]]
        write_mmvu(work, [*choice, *opened], size=SIZE)
        records = read_json(work / "validation.json")
        for record, item in zip(records[-OPEN_ONLY:], opened, strict=True):
            record["question_type"] = "open-ended"
            record["choices"] = dict.fromkeys("ABCDE", "")
            record["answer"] = item.scene.caption

        # Every subject counts its videos from 0: the names alone collide.
        folder = self.repo("dataset", MMVU)
        taken = Counter[str]()
        renamed: dict[str, str] = {}
        for record in records:
            prefix, _, old = record["video"].partition("videos/")
            subject = old.split("/")[0]
            if old not in renamed:
                renamed[old] = f"{subject}/{taken[subject]}.mp4"
                taken[subject] += 1
                target = folder / "videos" / renamed[old]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(work / "videos" / old, target)
            record["video"] = f"{prefix}videos/{renamed[old]}"
        write_json(folder / "validation.json", records)
        asked = [record for record in records if record["question_type"] == "multiple-choice"]
        return {
            "records": len(records),
            "questions": len(asked),
            "videos": len({record["video"] for record in asked}),
            "unneeded_videos": OPEN_ONLY,
            "empty_choices": sum("" in record["choices"].values() for record in asked),
            "groups": dict(sorted(Counter(record["metadata"]["subject"] for record in asked).items())),
        }

    # --- Models ------------------------------------------------------------------------------------------------------

    def write_models(self) -> None:
        """The three checkpoints, and the parts that a run takes from other models."""
        write_model(self.repo("model", BASE), self.seed, "bfloat16", shards=2)
        for number, name in enumerate((COLDSTART, R1), start=1):
            folder = self.repo("model", name)
            write_model(folder, self.seed + number, "float32")
            for file in (*TOKENIZER, "added_tokens.json", "special_tokens_map.json"):
                shutil.copy(GOLDEN / "checkpoint" / file, folder)

        folder = self.repo("model", QWEN)
        for file in TOKENIZER:
            shutil.copy(GOLDEN / "checkpoint" / file, folder)
        write_json(folder / "tokenizer.json", _whole_tokenizer())
        write_json(folder / "config.json", {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"})
        for number in (1, 2):
            _write_decoy(folder / f"model-{number:05d}-of-00002.safetensors")

        folder = self.repo("model", SIGLIP)
        settings = read_json(GOLDEN / "siglip_preprocessor_config.json")
        write_json(folder / "preprocessor_config.json", {**settings, "size": {"height": SIZE, "width": SIZE}})
        write_json(folder / "config.json", {"architectures": ["SiglipModel"], "model_type": "siglip"})
        _write_decoy(folder / "model.safetensors")

    # --- All of them -------------------------------------------------------------------------------------------------

    def write_common_files(self) -> None:
        """The files that every repository has."""
        for repo in self.repos.values():
            for folder in (repo.root, *repo.folders.values()):
                (folder / "README.md").write_text(f"# {repo.id}\n\nA miniature, for tests.\n")
                lines = [f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in repo.lfs]
                (folder / ".gitattributes").write_text("".join(lines))

    def count_files(self) -> dict[str, Any]:
        """Files, bytes, and members of archives, by repository and then by commit."""
        counted: dict[str, Any] = {}
        for repo in self.repos.values():
            commits = {}
            for commit, folder in {repo.commits["main"]: repo.root, **repo.folders}.items():
                files = [path for path in folder.rglob("*") if path.is_file()]
                members = {
                    _below(folder, path): count_members(path)
                    for path in sorted(files)
                    if path.suffix in (".zip", ".gz")
                }
                commits[commit] = {
                    "files": len(files),
                    "bytes": sum(path.stat().st_size for path in files),
                    "members": members,
                }
            counted[repo.key] = commits
        return counted


def write_model(folder: Path, seed: int, dtype: str, shards: int = 1) -> None:
    """A TinyLLaVA-Video that is too small for anything but tests, in the published format, without a tokenizer.

    Args:
        folder: Folder that is there.
        seed: Seed of the weights.
        dtype: `bfloat16` or `float32`.
        shards: At least so many files of weights.
    """
    import torch

    from vidreason.models.tinyllava.checkpoint import initialize
    from vidreason.models.tinyllava.configuration import TinyLlavaConfig
    from vidreason.models.tinyllava.weights import stored_weights, write_weights

    values = read_json(GOLDEN / "checkpoint" / "config.json")
    values.update(group=16, num_queries=32, hidden_size=16, vision_hidden_size=8, torch_dtype=dtype)
    values.update(_name_or_path=folder.name, llm_model_name_or_path=QWEN, tokenizer_name_or_path=QWEN)
    values.update(vision_model_name_or_path=SIGLIP)
    values["text_config"].update(
        _name_or_path=QWEN,
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=2,
        num_key_value_heads=1,
        torch_dtype=dtype,
    )
    values["vision_config"].update(
        _name_or_path=SIGLIP,
        model_name_or_path=SIGLIP,
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        num_hidden_layers=2,
        image_size=SIZE,
        patch_size=8,
    )
    config = TinyLlavaConfig.from_dict(values)
    config.save(folder / "config.json")
    ids = {"bos_token_id": config.text().bos_token_id, "eos_token_id": config.text().eos_token_id}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    weights = {
        name: tensor.to(getattr(torch, dtype)) for name, tensor in stored_weights(initialize(config, seed)).items()
    }
    total = sum(tensor.nbytes for tensor in weights.values())
    write_weights(weights, folder, total if shards == 1 else total // shards)


def write_zip(target: Path, source: Path, tops: Iterable[str], junk: Mapping[str, bytes] | None = None) -> None:
    """Pack folders into a zip, the folders themselves included.

    Args:
        target: The archive.
        source: Folder that the members' names begin at.
        tops: Folders below it.
        junk: Members that are in no folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for path in _paths(source, tops):
            folder = path.is_dir()
            info = zipfile.ZipInfo(f"{_below(source, path)}{'/' if folder else ''}", _EPOCH)
            info.create_system = 3
            info.external_attr = (0o40755 << 16 | 0x10) if folder else 0o100644 << 16
            archive.writestr(info, b"" if folder else path.read_bytes())
        for name, content in (junk or {}).items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)


def write_tar(target: Path, source: Path, tops: Iterable[str]) -> None:
    """Pack folders into a tar.gz, the folders themselves included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        target.open("wb") as stream,
        gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in _paths(source, tops):
            info = tarfile.TarInfo(_below(source, path))
            info.mtime = _EPOCH_SECONDS
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                content = path.read_bytes()
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def count_members(archive: Path) -> int:
    """Files in an archive, without what a Mac leaves there."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            names = [info.filename for info in opened.infolist() if not info.is_dir()]
    else:
        with tarfile.open(archive) as opened_tar:
            names = [info.name for info in opened_tar if info.isfile()]
    return sum(not name.startswith("__MACOSX/") for name in names)


def _paths(source: Path, tops: Iterable[str]) -> list[Path]:
    """Folders and all that is in them, sorted, so that two builds pack in the same order."""
    return [path for top in tops for path in (source / top, *sorted((source / top).rglob("*")))]


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _with_questions(item: WorldItem, count: int) -> WorldItem:
    return dataclasses.replace(item, questions=item.questions[:count])


def _with_options(item: WorldItem, count: int) -> WorldItem:
    return dataclasses.replace(item, questions=tuple(_resized(question, count) for question in item.questions))


def _resized(question: WorldQuestion, count: int) -> WorldQuestion:
    """The question with exactly so many options: wrong ones taken away, or words of the same kind added, then empty ones."""
    options = list(question.options)
    while len(options) > count:
        options.remove(next(text for text in reversed(options) if text != question.gold_text))
    kinds = (THINGS, tuple(COLOURS), tuple(DIRECTIONS), NUMBERS)
    alike = next(words for words in kinds if question.gold_text in words)
    options += [word for word in alike if word not in options]
    options = [*options, *[""] * count][:count]
    return dataclasses.replace(question, options=tuple(options), gold=LETTERS[options.index(question.gold_text)])


def _video_of(item: WorldItem) -> str:
    """Path of a NextQA or cold-start video, as `write_nextqa` makes it."""
    return f"NextQA/NExTVideo/{1000 + item.video_id // 50:04d}/{2_400_000_000 + 7919 * item.video_id:010d}.mp4"


def _open_ended(record: Mapping[str, Any], item: WorldItem) -> dict[str, Any]:
    """A record of the file of open-ended questions."""
    turns = [("human", "<image>\nWhat happens in the video?"), ("gpt", f"{item.scene.caption}.")]
    return {**record, "conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def _without_gold(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with an answer whose words are none of the options."""
    asked, told = record["conversations"]
    return {**record, "conversations": [asked, {**told, "value": f"{told['value'][0]}. something else"}]}


def _problem(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation as upstream's training data words it: some without a number, some paths without `./`."""
    asked, told = (turn["value"] for turn in record["conversations"])
    lines = asked.removeprefix("<image>\n").split("\n")
    return {
        **({"problem_id": number} if number % 3 else {}),
        "problem": "\n".join([lines[0], "Options:", *lines[1:-1]]),
        "data_type": "video",
        "problem_type": "multiple choice",
        "solution": f"<answer>{told[0] if told in lines else told}</answer>",
        "video_filename": f"{'./' if number % 4 else ''}{record['video']}",
    }


def _whole_tokenizer() -> dict[str, Any]:
    """The golden tokenizer as one file."""
    from transformers import Qwen2Tokenizer

    tokenizer: Any = Qwen2Tokenizer.from_pretrained(str(GOLDEN / "checkpoint"), local_files_only=True)
    whole: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return whole


def _write_decoy(path: Path) -> None:
    """A large file that nobody should want."""
    path.write_bytes(path.name.encode() * (DECOY_BYTES // len(path.name)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Build by hand."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub.replicas", description="Write the miniature hub's files."
    )
    parser.add_argument("root", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    build(chosen.root, chosen.seed)
    print(f"Replicas are in {chosen.root}. Serve them: python -m tests.hub.server {chosen.root}")


if __name__ == "__main__":
    main()
