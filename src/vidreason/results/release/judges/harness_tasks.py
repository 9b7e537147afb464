"""lmms-eval's own tasks on benchmark files that are here already, and a run of the harness on them.

A task of the harness downloads its data set. The tasks that are written here include the harness's own, with its prompts, readers
and metrics, and replace two things alone: the file of records, and the name, which begins with `local_`.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from vidreason.data import mvbench, video_mme
from vidreason.results.release.judges import LMMS_EVAL_MISSING
from vidreason.results.release.judges.harness_requests import LOCAL, RequestError

LOG = "requests.jsonl"
"""Name of the log of requests in the folder of the harness's results."""
BENCHMARKS = ("video_mme", "mvbench")
"""Benchmarks whose tasks can read local files."""


@dataclass(frozen=True)
class LocalTasks:
    """Tasks of the harness that read files of this machine.

    Attributes:
        folder: For `--include_path`.
        home: For the environment variable `HF_HOME`, below which the harness looks for videos.
        tasks: Name of a task -> benchmark.
    """

    folder: Path
    home: Path
    tasks: Mapping[str, str]


def write_tasks(roots: Mapping[str, Path], folder: Path) -> LocalTasks:
    """Write the tasks of Video-MME and MVBench for files in their published layouts.

    MVBench's task reads re-encoded and pre-cut copies of some videos. Only parts that look for their videos in the published folder,
    and take them whole, get a task.

    Args:
        roots: Benchmark (`video_mme`, `mvbench`) -> its folder.
        folder: Where to write; its content is replaced.

    Raises:
        RequestError: lmms-eval is not installed, or none of the benchmarks' files is there.
    """
    spec = importlib.util.find_spec("lmms_eval")
    if spec is None or spec.origin is None:
        raise RequestError(LMMS_EVAL_MISSING)
    shipped, home = Path(spec.origin).parent / "tasks", folder / "home"
    tasks: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    if (table := roots.get("video_mme", Path()) / video_mme.TABLE).is_file():
        _link(home / "videomme", roots["video_mme"])
        records = _with_known_parts(table, folder / "videomme.parquet")
        config = {"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"test": str(records.absolute())}}}
        tasks[_write(folder, shipped / "videomme/videomme.yaml", config)] = "video_mme"
    if (videos := roots.get("mvbench", Path()) / "video").is_dir():
        _link(home / "mvbench_video", videos)
        looked_up = importlib.import_module("lmms_eval.tasks.mvbench.utils").DATA_LIST
        for part, source in zip(mvbench.CATEGORIES, mvbench.annotation_files(roots["mvbench"]), strict=True):
            clips = mvbench.CATEGORIES[part]
            if source.is_file() and clips.reader == "video" and not clips.bounded and looked_up[part] == clips.folder:
                config = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"train": str(source.absolute())}}}
                tasks[_write(folder, shipped / f"mvbench/mvbench_{part}.yaml", config)] = "mvbench"
    if not tasks:
        named = ", ".join(f"{name} in {root}" for name, root in roots.items())
        raise RequestError(f"none of the files of these benchmarks is there: {named}")
    return LocalTasks(folder, home, tasks)


def _with_known_parts(table: Path, out: Path) -> Path:
    """Video-MME's table with parts that the harness has: its mean ends with an error at any other, as the demo's world has them.

    Only the columns by which it reports parts change, to its first part each; no prompt and no verdict depends on them.
    """
    parts = importlib.import_module("lmms_eval.tasks.videomme.utils")
    records = pd.read_parquet(table)
    columns = (
        ("domain", parts.CATEGORIES),
        ("sub_category", parts.SUB_CATEGORIES),
        ("task_type", parts.TASK_CATEGORIES),
    )
    for column, known in columns:
        records[column] = records[column].where(records[column].isin(known), known[0])
    records.to_parquet(out)
    return out


def _link(link: Path, target: Path) -> None:
    """Let the harness find the videos of a benchmark."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target.absolute())


def _write(folder: Path, shipped: Path, changes: Mapping[str, object]) -> str:
    """Write one task; returns its name."""
    name = f"{LOCAL}{shipped.stem}"
    config = {"include": str(shipped), "task": name, **changes}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return name


def run_harness(local: LocalTasks, arguments: Mapping[str, object], out: Path, options: Sequence[str] = ()) -> None:
    """Let lmms-eval judge a checkpoint on local tasks, without a network, in a process of its own.

    Args:
        local: The tasks.
        arguments: `--model_args`; the log is added.
        out: Folder for the harness's results, and for `requests.jsonl`, the log of prompts, frames and completions.
        options: More options of the harness, such as `--limit 8`.

    Raises:
        RequestError: The harness has failed; its output is above.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stale in (*out.rglob("*.jsonl"), *out.rglob("*_results.json")):
        stale.unlink()
    given = ",".join(f"{key}={value}" for key, value in {**arguments, "log": out / LOG}.items())
    command = [sys.executable, "-m", "lmms_eval", "--model", "vidreason", "--model_args", given]
    command += ["--tasks", ",".join(local.tasks), "--include_path", str(local.folder), "--log_samples"]
    command += ["--output_path", str(out), *options]
    cache = str((local.home / "datasets").absolute())
    environment = {"HF_HOME": str(local.home.absolute()), "HF_DATASETS_CACHE": cache}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(command, env={**os.environ, **environment, **offline}, check=False)
    if done.returncode or not list(
        out.rglob("*_results.json")
    ):  # the harness ends an evaluation that failed with status 0
        raise RequestError(f"lmms-eval ended without results (status {done.returncode}); its output is above")
