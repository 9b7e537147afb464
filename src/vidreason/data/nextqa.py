"""NextQA as training data: multiple-choice questions about videos of at most 30 seconds.

Two published forms are read, and give the same questions: the conversations of lmms-lab/LLaVA-Video-178K (folder
`0_30_s_nextqa`) and the lines of `nextqa_0-30s.jsonl` in Zhang199/TinyLLaVA-Video-R1-training-data. Questions that cannot
be used are set aside with a reason; `vidreason.data.filter_questions` drops those whose video cannot be used.
"""

import collections
import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

from vidreason.artifacts.path_checks import is_there
from vidreason.config.annotations import BUCKET, existing_annotations, find_annotations
from vidreason.data.fields import as_text, questions_of, read_records, require_keys, video_path
from vidreason.data.options import answer_letter, split_choices
from vidreason.data.registry import Dataset, Source, register
from vidreason.records import NO_OPTION, ClipRef, Question
from vidreason.tasks.markup import first_answer
from vidreason.tasks.prompt_templates import with_options_line

ANNOTATIONS = (f"{BUCKET}/{BUCKET}_mc_qa_processed.json", f"{BUCKET}_mc_qa_processed.json", "nextqa_0-30s.jsonl")
"""Published names of the annotation file below the root, in the order in which they are tried."""
DUPLICATE = "duplicate"
NO_GOLD = "no_gold"


def read(source: Source) -> list[Question]:
    """Read all questions, whether or not their videos can be read.

    Args:
        source: The data set; its `annotations` None looks for the published names.

    Returns:
        The usable questions in file order. Repeats of an earlier question, and questions whose answer text is none of the
        options, are set aside.

    Raises:
        ValueError: A record is malformed; the message names the file and the number of the record.
    """
    root = source.root
    file = find_annotations(root, source.annotations, ANNOTATIONS)
    numbers: collections.Counter[str] = collections.Counter()
    problem_ids: dict[object, int] = {}

    def parse(record: Any, index: int) -> Question:
        question = parse_record(record)
        _check_problem_id(record.get("problem_id"), index + 1, problem_ids)
        # The published `id` names the video, not the question, and two videos in different folders or formats can share
        # it, so the questions of one name are numbered.
        number = numbers[question.id]
        numbers[question.id] += 1
        return dataclasses.replace(
            question, id=f"{question.id}-{number}", clip=ClipRef(located(root, question.clip.path))
        )

    questions: list[Question] = []
    known: set[object] = set()
    for number, question in enumerate(questions_of(file, read_records(file), parse, for_training=True), start=1):
        content = (question.clip.path, question.text, question.options, question.gold)
        where = f"{file}: record {number}"
        if question.gold == NO_OPTION:
            source.set_aside(question, NO_GOLD, "the words of the answer are none of the options", where)
        elif content in known:
            source.set_aside(question, DUPLICATE, "repeats an earlier question", where)
        else:
            questions.append(question)
        known.add(content)
    return questions


def _check_problem_id(identity: Any, number: int, known: dict[object, int]) -> None:
    """Check that no two problems have the same number; not every problem has one."""
    if identity is None:
        return
    if not isinstance(identity, str | int):
        raise ValueError(f"problem_id is {str(identity)[:80]!a}; expected a number or a text")
    if identity in known:
        raise ValueError(f"problem_id {identity!r} was already used by record {known[identity]}")
    known[identity] = number


def parse_record(record: Any) -> Question:
    """Turn one published record of either form into a question.

    Args:
        record: A conversation (`conversations`, `video`) or a problem (`problem`, `solution`, `video_filename`).

    Returns:
        The question; its id is that of the video, its gold letter `NO_OPTION` if the answer text is none of the options.

    Raises:
        ValueError: A key is absent, a text is empty, or the answer names no option.
    """
    if isinstance(record, dict) and "problem" in record:
        require_keys(record, ("problem", "solution", "video_filename"))
        question, options = split_choices(as_text(record["problem"], "problem"))
        solved = as_text(record["solution"], "solution")
        letter = answer_letter(first_answer(solved) or solved, options)
        video = video_path(record["video_filename"], "video_filename")
    else:
        require_keys(record, ("conversations", "video"))
        human_text, model_text = turns(record["conversations"])
        question, options = split_choices(human_text)
        letter = answer_letter(model_text, options)
        video = video_path(record["video"])
    return Question(video_name(video), "nextqa", "multiple_choice", question, ClipRef(video), options, letter)


def video_name(video: str) -> str:
    """The name of a video in the published ids: its folder and its file name without the suffix."""
    path = PurePosixPath(video)
    return f"{path.parent.name}-{path.stem}"


def turns(conversations: Any) -> tuple[str, str]:
    """The text of the human turn and of the model's turn of a two-turn conversation.

    Raises:
        ValueError: There is not one human turn followed by one of the model.
    """
    plain = isinstance(conversations, list) and all(isinstance(turn, dict) for turn in conversations)
    speakers = [turn.get("from") for turn in conversations] if plain else None
    if speakers != ["human", "gpt"]:
        raise ValueError(f"expected one turn of 'human' and one of 'gpt', found {speakers}")
    human_text, model_text = (as_text(turn.get("value"), f"the value of {turn['from']}") for turn in conversations)
    return human_text, model_text


def located(root: Path, video: str) -> str:
    """The path below the root: some releases give paths relative to the bucket's folder, some to the data set's."""
    inside = f"{BUCKET}/{video}"
    return inside if not is_there(root / video) and is_there(root / inside) else video


def form_free_name(video: str) -> str:
    """The path of a video as both published forms give it, so that both are split the same way."""
    return video.removeprefix(f"{BUCKET}/")


def count_hint(found: int, expected: int, source: Source) -> str:
    """Which published revision a file with another number of questions resembles."""
    file = find_annotations(source.root, source.annotations, ANNOTATIONS)
    size = f"{file} has {file.stat().st_size / 1e6:.2f} MB."
    if found > expected:
        return (
            f"{size} It looks like lmms-lab/LLaVA-Video-178K before its commit d8ee1c8, when the file had 3.98 MB and more "
            "questions: pin sources.LLaVA-Video-178K.revision to d8ee1c8 or later."
        )
    return (
        f"{size} Later revisions of lmms-lab/LLaVA-Video-178K have a file of 2.25 MB. Fewer questions than that: was it cut "
        "short, or is it another folder's (30_60_s_nextqa) or the open-ended one?"
    )


register(
    Dataset(
        name="nextqa",
        title="NextQA",
        description="NextQA (0-30 s, multiple choice)",
        citation="Xiao et al., NExT-QA, CVPR 2021; Zhang et al., LLaVA-Video-178K, arXiv 2410.02713",
        role="training",
        template=with_options_line,
        read=read,
        annotation_files=lambda source: existing_annotations(source.root, source.annotations, ANNOTATIONS),
        video_name=form_free_name,
        count_hint=count_hint,
    )
)
