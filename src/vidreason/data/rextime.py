"""ReXTime: questions about causes and effects across time, with the part of the video that holds the evidence.

Layout (the hub's ReXTime/ReXTime): `rextime_val.json` (or `.jsonl`), records `{qid, vid, duration, question, options, span, ans}`;
videos `<vid>` of ActivityNet (`v_<id>`) and QVHighlights (`<id>_<start>_<end>`) with various suffixes. The truth of the test split
is withheld, and the file of the same name in the GitHub repository has no options.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.fields import (
    as_optional_text,
    as_text,
    as_texts,
    gold_letter,
    questions_of,
    read_records,
    require_keys,
    video_path,
)
from vidreason.data.moments import video_finder, with_duration, with_segments
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import LETTERS, ClipRef, Question
from vidreason.tasks.prompt_templates import with_options_line

VAL = ("rextime_val.json", "rextime_val.jsonl", "data/rextime_val.jsonl", "rextime/rextime_val.json")
"""Names of the annotation file below the root, in the order in which they are tried."""
FOLDERS = ("videos", "activitynet/videos", "qvhighlights/videos", ".")
"""Folders of the videos below the root, in the order in which they are tried."""


def read(source: Source) -> list[Question]:
    """Read the validation split in published order: 921 questions about 696 videos.

    Returns:
        Questions; `category` is the kind of reasoning where the records name it, `group` where the video comes from.

    Raises:
        ValueError: The file is absent, or a record is malformed.
    """
    file = find_annotations(source.root, source.annotations, VAL)
    located = video_finder(source.root, FOLDERS)

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record, located)
        pairs = record["relevant_windows"] if "relevant_windows" in record else [record.get("span")]
        return with_segments(with_duration(question, record["duration"]), pairs, source)

    return questions_of(file, read_records(file), parse, aside=source)


def parse_record(record: Any, located: Callable[[str], str]) -> Question:
    """Turn one record into a question without its segment.

    Raises:
        ValueError: A key is absent (`options`, in the file of the GitHub repository), or the answer is no letter.
    """
    require_keys(record, ("qid", "vid", "duration", "ans"))
    if "options" not in record:
        raise ValueError(
            f"no key ['options']; the record has {sorted(record)}. The options are in the hub's rextime_val.json, not in the file "
            f"of the GitHub repository"
        )
    options = as_texts(record["options"], "options")
    name = PurePosixPath(video_path(record["vid"], "vid")).as_posix()
    qid = as_text(record["qid"], "qid")
    return Question(
        id=qid,
        dataset="rextime",
        task="grounded_choice",
        text=as_text(record.get("question", record.get("query")), "question"),
        clip=ClipRef(located(name)),
        options=options,
        gold=gold_letter(record["ans"], LETTERS[: len(options)]),
        category=as_optional_text(record.get("category"), "category"),
        group=qid.partition("_")[0],
    )


def annotation_files(source: Source) -> list[Path]:
    """The file that questions are read from, if it exists."""
    return existing_annotations(source.root, source.annotations, VAL)


register(
    Dataset(
        name="rextime",
        title="ReXTime",
        description="ReXTime (grounded multiple choice, validation split)",
        citation="Chen et al., ReXTime, NeurIPS 2024, arXiv 2406.19392",
        role="benchmark",
        template=with_options_line,
        read=read,
        annotation_files=annotation_files,
        tasks=("grounded_choice",),
    )
)
