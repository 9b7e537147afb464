"""The cold-start conversations: questions with annotated reasoning, which teach the answer format."""

import dataclasses
from pathlib import Path
from typing import Any

from vidreason.config.annotations import existing_annotations, find_annotations
from vidreason.data.fields import questions_of, read_records, require_keys, video_path
from vidreason.data.nextqa import located, turns, video_name
from vidreason.data.options import answer_letter, split_choices
from vidreason.data.registry import Dataset, register
from vidreason.records import NO_OPTION, ClipRef, Question
from vidreason.tasks.markup import checked_answer
from vidreason.tasks.prompt_templates import with_options_line

ANNOTATIONS = ("nextqa-coldstart-16.json",)
"""Published name of the annotation file below the root."""


def read(root: str | Path, annotations: str | Path | None = None) -> list[Question]:
    """Read and check the conversations.

    Args:
        root: Folder of the data set; videos are relative to it.
        annotations: The conversations, absolute or relative to `root`; None looks for `nextqa-coldstart-16.json`.

    Returns:
        The questions, each with its `demonstration`.

    Raises:
        ValueError: A record is malformed; the message names the file and the number of the record.
    """
    source = find_annotations(root, annotations, ANNOTATIONS)

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record, index)
        return dataclasses.replace(question, clip=ClipRef(located(Path(root), question.clip.path)))

    return questions_of(source, read_records(source), parse, for_training=True)


def parse_record(record: Any, index: int) -> Question:
    """Turn one conversation into a question with a demonstration.

    Args:
        record: `{"video": ..., "conversations": [human, gpt]}`.
        index: Place in the file, from 0; makes the id unique.

    Returns:
        The question.

    Raises:
        ValueError: The completion has not exactly one think and one answer block, or the answer is no option.
    """
    require_keys(record, ("conversations", "video"))
    human_text, completion = turns(record["conversations"])
    question, options = split_choices(human_text)
    answer = checked_answer(completion)
    letter = answer_letter(answer, options)
    if letter == NO_OPTION:  # the model would imitate the wrong text
        raise ValueError(f"the words of the answer {answer[:80]!r} are none of the options {list(options)}")
    video = video_path(record["video"])
    return Question(
        f"{video_name(video)}-{index}",
        "coldstart",
        "multiple_choice",
        question,
        ClipRef(video),
        options,
        letter,
        demonstration=completion.strip(),
    )


register(
    Dataset(
        name="coldstart",
        title="Cold start",
        description="Cold start (16 annotated NextQA conversations)",
        citation="Zhang et al., TinyLLaVA-Video-R1, arXiv 2504.09641",
        role="demonstrations",
        template=with_options_line,
        read=lambda source: read(source.root, source.annotations),
        annotation_files=lambda source: existing_annotations(source.root, source.annotations, ANNOTATIONS),
    )
)
