"""The typed records that every stage passes to the next, all frozen dataclasses stored as JSON lines.

A line of a file begins with the name and version of its format, for instance `"format": "question/2"`; see
`vidreason.artifacts.files.read_jsonl` and `write_jsonl`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from vidreason.artifacts.control_characters import ends_line, is_control
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import json_line

LETTERS = "ABCDEFGHIJ"
NO_OPTION = "@"
"""Gold letter of a question whose published answer is none of its options (upstream's own mark)."""

FRAME_RULES = ("uniform", "segments")
"""Rules that pick frames in a clip, the values of `ClipRef.frame_rule`."""
VIDEO, IMAGE = "video", "image"
CLIP_KINDS = (VIDEO, IMAGE)
"""What a clip's file can be, the values of `ClipRef.kind`."""

OK = "ok"
"""Status of a clip that can be read. Every other status is the reason why it cannot."""
TOO_LONG = "too_long"
"""Status of a readable training video that is longer than its data set's filter allows."""
PROMPT_TOO_LONG = "prompt_too_long"
"""Status of a question that is not answered although its clip can be read: prompt and video exceed the model's context."""
WELL_FORMED = "well_formed"
"""Key of `Grade.parts`: 1 for a completion of the form that its task asks for, else 0."""
UNREAD = "unread_"
"""Beginning of the keys of `Grade.parts` that say why an answer, or a part of it, could not be read; their value is 1."""


@dataclass(frozen=True)
class ClipRef:
    """The frames that a question is about: a file, which part of it, and the rule that picks frames in it.

    Attributes:
        path: Video file, frame folder or picture relative to the data set's root.
        kind: `video`, or `image` for a single picture (see `vidreason.media.pictures`).
        start: Start of the part that is used, in seconds; None for the whole video, and for a picture.
        end: End of that part, in seconds.
        frame_rule: Rule that picks frames: `uniform` or `segments` (see `vidreason.media.frame_rules`).
    """

    path: str
    kind: str = VIDEO
    start: float | None = None
    end: float | None = None
    frame_rule: str = "uniform"

    def __post_init__(self) -> None:
        """Refuse an unknown kind, and bounds that are no part of a video."""
        if self.kind not in CLIP_KINDS:
            raise ValueError(
                f"the clip of {self.path[:200]!r}: kind is {self.kind!r}; allowed: {', '.join(CLIP_KINDS)}"
            )
        if self.start is None and self.end is None:
            return
        if self.kind == IMAGE:
            raise ValueError(
                f"the clip of {self.path[:200]!r}: start is {self.start}, end is {self.end}; allowed for an image: neither"
            )
        if self.start is None or self.end is None or self.end < self.start:
            raise ValueError(
                f"the clip of {self.path[:200]!r}: start is {self.start}, end is {self.end}; allowed: both or neither, "
                f"start <= end"
            )

    @property
    def key(self) -> str:
        """Name of these frames: questions about clips with the same key share them."""
        # Ten digits: parts of an hour-long video that begin a millisecond apart are two clips.
        bounds = "" if self.start is None else f"#{self.start:.10g}-{self.end:.10g}"
        return f"{self.path}{bounds}"


@dataclass(frozen=True)
class Question:
    """One question about one clip.

    Attributes:
        id: Unique within its data set.
        dataset: Name of a data set of `vidreason.data`.
        task: Answer type, a name of `vidreason.tasks`, for instance `multiple_choice`.
        text: The question alone, as published.
        clip: The frames that it is about.
        options: Texts of the options in display order, without their letters; none where the answer is not a choice.
        gold: The right answer: for multiple choice the letter of the gold option, or `NO_OPTION`.
        segments: Start and end, in seconds, of the parts that hold the evidence; none where they are not annotated.
        duration: Length of the clip in seconds as annotated; None where it is not.
        category: The data set's own name for the kind of question; `""` where it has none.
        group: A second grouping that scores are reported by (Video-MME duration, MMVU subject).
        demonstration: Annotated completion to imitate (cold start only), else `""`.
    """

    FORMAT: ClassVar[str] = "question/2"

    id: str
    dataset: str
    task: str
    text: str
    clip: ClipRef
    options: tuple[str, ...] = ()
    gold: str = ""
    segments: tuple[tuple[float, float], ...] = ()
    duration: float | None = None
    category: str = ""
    group: str = ""
    demonstration: str = ""

    @property
    def letters(self) -> str:
        """Letters of the options, `"ABCD"` for four."""
        return LETTERS[: len(self.options)]

    @property
    def sha256(self) -> str:
        """Hash of the question's line in a file, by which answers to a question that has changed since are refused."""
        return sha256_text(json_line(self))


@dataclass(frozen=True)
class ClipStatus:
    """What probing and decoding gave for one clip; one row for every requested clip, readable or not.

    Attributes:
        key: `ClipRef.key`.
        status: `ok`, or the reason why there are no frames: `missing`, `empty_file`, `unreadable`, `truncated`,
            `too_short`, `not_a_video`, `not_an_image`, `timed_out` (see config/README.md), `too_long` (training data).
        duration: True duration in seconds; None when unknown.
        fps: Average frames per second; None when unknown.
        frames: Number of frames in the stream; None when unknown.
        codec: Name of the video codec, `frames` for a folder of pictures, `image` for a single one, `""` when unknown.
        detail: The decoder's own words, for the report.
    """

    FORMAT: ClassVar[str] = "clip/2"

    key: str
    status: str
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    codec: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Completion:
    """One generated text.

    Attributes:
        text: Decoded text, special tokens removed, stripped.
        tokens: Length in tokens, end of sequence included.
        finished: Whether the end of sequence was reached before the limit.
    """

    text: str = ""
    tokens: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Grade:
    """How good one completion is as an answer to its question, by one rule of reading.

    Attributes:
        value: From 0 to 1: 1 or 0 for multiple choice, an overlap or a similarity for other answer types.
        correct: Whether the answer counts as right.
        parsed: The answer that was read in the completion, a letter for instance; None if none was found.
        parts: Further measurements by name. `vidreason.tasks.base.grade` sees to it that `WELL_FORMED` is among them.
    """

    value: float
    correct: bool
    parsed: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def well_formed(self) -> bool:
        """Whether the completion has the form that its task asks for."""
        return self.parts.get(WELL_FORMED, 0.0) > 0

    @property
    def unread(self) -> tuple[str, ...]:
        """Kinds of faults for which the answer, or a part of it, could not be read, sorted; none where the task names none.

        Example:
            >>> Grade(0.0, False, parts={"tiou": 0.0, "unread_reversed": 1.0}).unread
            ('reversed',)
        """
        return tuple(sorted(key.removeprefix(UNREAD) for key in self.parts if key.startswith(UNREAD)))


UNANSWERED = Grade(0.0, False, parts={WELL_FORMED: 0.0})
"""Grade of a question that is not answered, because its clip has no frames or its prompt is too long."""


@dataclass(frozen=True)
class Rollout:
    """One sampled completion of one question.

    Attributes:
        question_id: `Question.id`.
        index: Number of the rollout within the question's group, from 0.
        completion: What the model wrote.
        grade: How good it is by the protocol's rule; `parts` holds `well_formed`.
        question_sha256: `Question.sha256`.
        status: `ok`; or why the question was not answered, in the one row that then stands for its group.
    """

    FORMAT: ClassVar[str] = "rollout/2"

    question_id: str
    index: int
    completion: Completion
    grade: Grade
    question_sha256: str
    status: str = OK


@dataclass(frozen=True)
class KeptRollout:
    """One rollout of a step of a GRPO training.

    Attributes:
        step: Number of the step, from 0.
        question_id: `Question.id`.
        index: Number of the rollout among those of its question and view, from 0.
        view: View of the video that it was sampled under; `ordered` ones are learned from.
        completion: What the model wrote.
        grade: How good it is, as the reward reads it.
        terms: Reward term -> its value before weighting; empty for a rollout that is not learned from.
        reward: The combined reward; None for a rollout that is not learned from.
        advantage: What its log-probability was weighed with, noise included; None for a rollout that is not learned from.
    """

    FORMAT: ClassVar[str] = "kept_rollout/1"

    step: int
    question_id: str
    index: int
    view: str
    completion: Completion
    grade: Grade
    terms: Mapping[str, float] = field(default_factory=dict)
    reward: float | None = None
    advantage: float | None = None


@dataclass(frozen=True)
class StepTiming:
    """What one step of a training cost, over all its processes.

    Attributes:
        step: Number of the step, from 0.
        seconds: Wall time of the step in the main process; validation and saving are not in it.
        phases: Phase -> seconds of it in the main process; what is in no phase is the difference to `seconds`.
        generated_tokens: Sampled tokens, those of shuffled and replaced rollouts included; 0 where nothing is sampled.
        trained_tokens: Tokens that the loss is over, counted once for each update.
        generated_per_second: Sampled tokens a second of the phase `sample`; None where nothing is sampled.
        trained_per_second: Tokens of the loss a second of the whole step.
        peak_memory: Most bytes of a device's memory that tensors had, of the process with the most; None on a CPU.
        peak_share: FLOP/s of the step as a share of its devices' dense bf16 peak; None where one of the two is not known.
    """

    FORMAT: ClassVar[str] = "step_timing/1"

    step: int
    seconds: float
    phases: Mapping[str, float]
    generated_tokens: int
    trained_tokens: int
    generated_per_second: float | None
    trained_per_second: float
    peak_memory: int | None = None
    peak_share: float | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer of one arm to one benchmark question, with all that is needed to score it again.

    Attributes:
        question_id: `Question.id`.
        status: `ok`; or why the question was not answered, and counts as wrong: the clip's status, or `PROMPT_TOO_LONG`.
        prompt_sha256: Hash of the whole prompt text.
        completion: What the model wrote; empty where the status is not `ok`.
        question_sha256: `Question.sha256`.
    """

    FORMAT: ClassVar[str] = "prediction/2"

    question_id: str
    status: str
    prompt_sha256: str
    completion: Completion
    question_sha256: str


@dataclass(frozen=True)
class SampledAnswers:
    """Several answers of one arm to one benchmark question.

    Attributes:
        question_id: `Question.id`.
        status: As in `Prediction`.
        prompt_sha256: Hash of the whole prompt text.
        completions: What the model wrote, in the order of the draws; none where the status is not `ok`.
        question_sha256: `Question.sha256`.
    """

    FORMAT: ClassVar[str] = "sampled_answers/1"

    question_id: str
    status: str
    prompt_sha256: str
    completions: tuple[Completion, ...]
    question_sha256: str


def check_label(text: str, key: str) -> None:
    """Refuse what would break a row of a table, a file's name, or the reader's trust that two equal labels are equal."""
    for letter in text:
        if is_control(letter) or ends_line(letter):
            name = unicodedata.name(letter, "a control character")
            raise ValueError(f"the {key} {text[:200]!a} holds U+{ord(letter):04X} ({name}); allowed: one line of text")


RESERVED_NAMES = ("all", "mean", "validation")
"""Names that tables and folders use for something else than a data set, an answer type or a reward term."""


def check_name(kind: str, name: object) -> None:
    """Refuse a name that cannot be a key of the configuration, a column and part of a file's name.

    Args:
        kind: What has the name, for the message: `data set`, `task` or `reward term`.
        name: The name.

    Raises:
        ValueError: It is no lower-case word of letters, digits and underscores, or is used for something else.
    """
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"{kind} {name!r}: the name is not allowed; allowed: a lower-case letter, then lower-case letters, digits and _"
        )
    if name in RESERVED_NAMES:
        raise ValueError(f"{kind} {name!r}: the name is reserved; allowed: any but {', '.join(RESERVED_NAMES)}")
