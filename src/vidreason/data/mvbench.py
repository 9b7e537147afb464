"""MVBench: 20 categories of 200 questions each, with videos from many sources.

Layout (OpenGVLab/MVBench, branch `main`): `json/<task>.json` and `video/<folder>/...`; folders differ from category
to category and so does the way upstream reads them. Clips of clevrer and star that were replaced lie under `video/data0613/`;
those of nturgbd are not distributed (license) and count as missing.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.path_checks import is_there
from vidreason.data.fields import as_text, as_texts, questions_of, read_records, require_keys, video_path
from vidreason.data.options import letter_of
from vidreason.data.registry import Dataset, register
from vidreason.records import ClipRef, Question
from vidreason.tasks.prompt_templates import with_options_line_cut

REPLACED = "data0613"


@dataclasses.dataclass(frozen=True)
class ClipFolder:
    """Where the clips of a category are and how they are read.

    Attributes:
        folder: Folder below `video/`.
        reader: `video` (mp4), `webm`, `avi`, or `frames` (a folder of pictures at 3 per second).
        bounded: Whether records have a start and an end.
    """

    folder: str
    reader: str = "video"
    bounded: bool = False


CATEGORIES: Mapping[str, ClipFolder] = {
    "action_sequence": ClipFolder("star/Charades_v1_480", bounded=True),
    "action_prediction": ClipFolder("star/Charades_v1_480", bounded=True),
    "action_antonym": ClipFolder("ssv2_video", reader="webm"),
    "fine_grained_action": ClipFolder("Moments_in_Time_Raw/videos"),
    "unexpected_action": ClipFolder("FunQA_test/test"),
    "object_existence": ClipFolder("clevrer/video_validation"),
    "object_interaction": ClipFolder("star/Charades_v1_480", bounded=True),
    "object_shuffle": ClipFolder("perception/videos"),
    "moving_direction": ClipFolder("clevrer/video_validation"),
    "action_localization": ClipFolder("sta/sta_video", bounded=True),
    "scene_transition": ClipFolder("scene_qa/video"),
    "action_count": ClipFolder("perception/videos"),
    "moving_count": ClipFolder("clevrer/video_validation"),
    "moving_attribute": ClipFolder("clevrer/video_validation"),
    "state_change": ClipFolder("perception/videos"),
    "fine_grained_pose": ClipFolder("nturgbd", reader="avi"),
    "character_order": ClipFolder("perception/videos"),
    "egocentric_navigation": ClipFolder("vlnqa"),
    "episodic_reasoning": ClipFolder("tvqa/frames_fps3_hq", reader="frames", bounded=True),
    "counterfactual_inference": ClipFolder("clevrer/video_validation"),
}
"""Source: the table `data_list` of OpenGVLab/Ask-Anything's MVBench reader, also in TinyLLaVA-Video-R1@efe76a1
tinyllava/eval/eval_mvbench.py."""


def read(root: str | Path, protocol: str = "paper") -> list[Question]:
    """Read the questions of every category whose file is there.

    Args:
        root: Folder of the benchmark.
        protocol: See `parse_record`.

    Returns:
        Questions, category by category in the order of `CATEGORIES`.

    Raises:
        ValueError: No category's file is there, or a record is malformed.
    """
    root = Path(root)
    questions: list[Question] = []
    for category, source in zip(CATEGORIES, annotation_files(root), strict=True):
        if source.is_file():
            questions += _read_category(root, source, category, protocol)
    if not questions:
        raise ValueError(f"{root / 'json'}: none of the files of the categories is there: {', '.join(CATEGORIES)}")
    return questions


def annotation_files(root: Path) -> list[Path]:
    """The files that questions are read from, in the order of `CATEGORIES`; some may not exist."""
    return [root / "json" / f"{category}.json" for category in CATEGORIES]


def _read_category(root: Path, source: Path, category: str, protocol: str) -> list[Question]:
    """The questions of one file."""

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record, category, index, protocol)
        return dataclasses.replace(
            question, clip=dataclasses.replace(question.clip, path=_located(root, question.clip.path))
        )

    return questions_of(source, read_records(source), parse)


def parse_record(record: Any, category: str, index: int = 0, protocol: str = "paper") -> Question:
    """Turn one record into a question.

    Args:
        record: `{video, question, candidates, answer, start?, end?}`; the answer is a text.
        category: Key of `CATEGORIES`.
        index: Place in the category's file, from 0; makes the id.
        protocol: `paper` looks between start and end wherever the category has them, as MVBench's own reader does;
            `upstream` ignores them for video files, as TinyLLaVA-Video-R1's reader does.

    Returns:
        The question; the answer is `NO_OPTION` when it is not among the candidates. Five published records of
        `counterfactual_inference` have one candidate alone, the answer.

    Raises:
        ValueError: Unknown category or protocol, a key is absent, or the bounds are not numbers in order.

    Source: `read_video`, `read_video_webm`, `read_video_avi`, `read_frame` and `qa_template` in
    TinyLLaVA-Video-R1@efe76a1 tinyllava/eval/eval_mvbench.py.
    """
    if category not in CATEGORIES:
        raise ValueError(f"unknown category {category!r}; allowed: {', '.join(CATEGORIES)}")
    if protocol not in ("paper", "upstream"):
        raise ValueError(f"unknown protocol {protocol!r}; allowed: paper, upstream")
    kind = CATEGORIES[category]
    bounded = kind.bounded and (protocol == "paper" or kind.reader == "frames")
    require_keys(record, ("video", "question", "candidates", "answer", *(("start", "end") if bounded else ())))
    start, end = (_seconds(record["start"]), _seconds(record["end"])) if bounded else (None, None)
    if start is not None and end is not None and end < start:
        raise ValueError(f"the part to look at ends at {end:g} s, before its start at {start:g} s")
    candidates = as_texts(record["candidates"], "candidates")
    return Question(
        id=f"{category}-{index}",
        dataset="mvbench",
        task="multiple_choice",
        text=as_text(record["question"], "question"),
        clip=ClipRef(
            f"video/{kind.folder}/{video_path(record['video'])}",
            start=start,
            end=end,
            frame_rule="segments" if bounded or kind.reader != "video" else "uniform",
        ),
        options=candidates,
        gold=letter_of(as_text(record["answer"], "answer"), candidates),
        category=category,
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
    """The path of a clip below the root: in the folder of its category, else among the replaced clips."""
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
