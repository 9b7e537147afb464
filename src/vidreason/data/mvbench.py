"""MVBench: 20 tasks of 200 questions each, over videos of many origins.

Layout (OpenGVLab/MVBench, branch `main`): `json/<task>.json` and `video/<folder>/...`; folders differ from task to task
and so does the way upstream reads them. Clips of clevrer and star that were replaced lie under `video/data0613/`;
those of nturgbd are not distributed (licence) and count as missing.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.paths import is_there
from vidreason.data.fields import need, option_texts, plain_text, questions_of, read_records, video_path
from vidreason.data.options import letter_of
from vidreason.data.registry import Dataset, register
from vidreason.records import ClipRef, Question
from vidreason.tasks.prompts import with_options_line_cut

REPLACED = "data0613"


@dataclasses.dataclass(frozen=True)
class Task:
    """Where and how the clips of a task are read.

    Attributes:
        folder: Folder below `video/`.
        reader: `video` (mp4), `webm`, `avi`, or `frames` (a folder of pictures at 3 per second).
        bounded: Whether the records say from when to when to look.
    """

    folder: str
    reader: str = "video"
    bounded: bool = False


TASKS: Mapping[str, Task] = {
    "action_sequence": Task("star/Charades_v1_480", bounded=True),
    "action_prediction": Task("star/Charades_v1_480", bounded=True),
    "action_antonym": Task("ssv2_video", reader="webm"),
    "fine_grained_action": Task("Moments_in_Time_Raw/videos"),
    "unexpected_action": Task("FunQA_test/test"),
    "object_existence": Task("clevrer/video_validation"),
    "object_interaction": Task("star/Charades_v1_480", bounded=True),
    "object_shuffle": Task("perception/videos"),
    "moving_direction": Task("clevrer/video_validation"),
    "action_localization": Task("sta/sta_video", bounded=True),
    "scene_transition": Task("scene_qa/video"),
    "action_count": Task("perception/videos"),
    "moving_count": Task("clevrer/video_validation"),
    "moving_attribute": Task("clevrer/video_validation"),
    "state_change": Task("perception/videos"),
    "fine_grained_pose": Task("nturgbd", reader="avi"),
    "character_order": Task("perception/videos"),
    "egocentric_navigation": Task("vlnqa"),
    "episodic_reasoning": Task("tvqa/frames_fps3_hq", reader="frames", bounded=True),
    "counterfactual_inference": Task("clevrer/video_validation"),
}
"""Source: the table `data_list` of OpenGVLab/Ask-Anything's MVBench reader, also in TinyLLaVA-Video-R1@efe76a1
tinyllava/eval/eval_mvbench.py."""


def read(root: str | Path, protocol: str = "paper") -> list[Question]:
    """Read the questions of every task whose file is there.

    Args:
        root: Folder of the benchmark.
        protocol: See `parse_record`.

    Returns:
        Questions, task by task in the order of `TASKS`.

    Raises:
        ValueError: No task's file is there, or a record is malformed.
    """
    root = Path(root)
    questions: list[Question] = []
    for task, source in zip(TASKS, annotation_files(root), strict=True):
        if source.is_file():
            questions += _read_task(root, source, task, protocol)
    if not questions:
        raise ValueError(f"{root / 'json'}: none of the tasks' files is there: {', '.join(TASKS)}")
    return questions


def annotation_files(root: Path) -> list[Path]:
    """The files that questions are read from, in the order of `TASKS`; some may not exist."""
    return [root / "json" / f"{task}.json" for task in TASKS]


def _read_task(root: Path, source: Path, task: str, protocol: str) -> list[Question]:
    """The questions of one file."""

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record, task, index, protocol)
        return dataclasses.replace(
            question, clip=dataclasses.replace(question.clip, path=_located(root, question.clip.path))
        )

    return questions_of(source, read_records(source), parse)


def parse_record(record: Any, task: str, index: int = 0, protocol: str = "paper") -> Question:
    """Turn one record into a question.

    Args:
        record: `{video, question, candidates, answer, start?, end?}`; the answer is a text.
        task: Key of `TASKS`.
        index: Place in the task's file, from 0; makes the id.
        protocol: `paper` looks between start and end wherever the task has them, as MVBench's own reader does;
            `upstream` ignores them for video files, as TinyLLaVA-Video-R1's reader does.

    Returns:
        The question; the answer is `NO_OPTION` when it is not among the candidates. Five published records of
        `counterfactual_inference` have one candidate alone, the answer.

    Raises:
        ValueError: Unknown task or protocol, a key is absent, or the bounds are not numbers in order.

    Source: `read_video`, `read_video_webm`, `read_video_avi`, `read_frame` and `qa_template` in
    TinyLLaVA-Video-R1@efe76a1 tinyllava/eval/eval_mvbench.py.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
    if protocol not in ("paper", "upstream"):
        raise ValueError(f"unknown protocol {protocol!r}; allowed: paper, upstream")
    kind = TASKS[task]
    bounded = kind.bounded and (protocol == "paper" or kind.reader == "frames")
    need(record, ("video", "question", "candidates", "answer", *(("start", "end") if bounded else ())))
    start, end = (_seconds(record["start"]), _seconds(record["end"])) if bounded else (None, None)
    if start is not None and end is not None and end < start:
        raise ValueError(f"the part to look at ends at {end:g} s, before its start at {start:g} s")
    candidates = option_texts(record["candidates"], "candidates")
    return Question(
        id=f"{task}-{index}",
        dataset="mvbench",
        task="multiple_choice",
        text=plain_text(record["question"], "question"),
        clip=ClipRef(
            f"video/{kind.folder}/{video_path(record['video'])}",
            start=start,
            end=end,
            frame_rule="segments" if bounded or kind.reader != "video" else "uniform",
        ),
        options=candidates,
        gold=letter_of(plain_text(record["answer"], "answer"), candidates),
        category=task,
    )


def _seconds(value: Any) -> float:
    """A bound in seconds."""
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a bound must be a number of seconds, found {value!r}")
    return seconds


def _located(root: Path, video: str) -> str:
    """The path of a clip below the root: where its task says, else among the replaced ones."""
    replaced = f"video/{REPLACED}/{video.removeprefix('video/')}"
    return replaced if not is_there(root / video) and is_there(root / replaced) else video


register(
    Dataset(
        name="mvbench",
        title="MVBench",
        description="MVBench",
        citation="Li et al., MVBench, CVPR 2024, arXiv 2311.17005",
        role="benchmark",
        template=with_options_line_cut,
        read=lambda source: read(source.root, source.protocol),
        annotation_files=lambda source: annotation_files(source.root),
        protocols=True,
    )
)
