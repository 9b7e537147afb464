"""The typed records that every stage passes to the next: Question, Clip, Rollout, Prediction.

All are frozen dataclasses, stored as JSON lines (`vidreason.artifacts.files.read_jsonl`, `write_jsonl`).
"""

import unicodedata
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJ"
NO_OPTION = "@"
"""Gold letter of a question whose published answer is none of its options (upstream's own mark)."""

OK = "ok"
"""Status of a clip that can be read. Every other status is the reason why it cannot."""
PROMPT_TOO_LONG = "prompt_too_long"
"""Status of a question that cannot be asked although its clip can be read: prompt and video exceed the model's context."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question about one clip.

    Attributes:
        id: Unique within its data set.
        dataset: `nextqa`, `coldstart`, `video_mme`, `mvbench`, `mlvu` or `mmvu`.
        video: Path of the video file (or frame folder) relative to the data set's root.
        question: The question alone, as published.
        options: Texts of the options in display order, without their letters.
        answer: Letter of the gold option, or `NO_OPTION`.
        task: The data set's own name for the kind of question; `""` where it has none.
        group: A second grouping that scores are reported by (Video-MME duration, MMVU subject).
        start: Start of the part of the video the question is about, in seconds; None for the whole video.
        end: End of that part, in seconds.
        indexing: Rule that picks frames: `uniform` or `segments` (see `vidreason.media.frame_rules`).
        target: Annotated completion to imitate (cold start only), else `""`.
    """

    id: str
    dataset: str
    video: str
    question: str
    options: tuple[str, ...]
    answer: str
    task: str = ""
    group: str = ""
    start: float | None = None
    end: float | None = None
    indexing: str = "uniform"
    target: str = ""

    @property
    def clip(self) -> str:
        """Key of the frames this question looks at: questions with the same key share them."""
        # Ten digits: parts of an hour-long video that begin a millisecond apart are two clips.
        bounds = "" if self.start is None else f"#{self.start:.10g}-{self.end:.10g}"
        return f"{self.video}{bounds}"

    @property
    def letters(self) -> str:
        """Letters of the options, `"ABCD"` for four."""
        return LETTERS[: len(self.options)]


@dataclass(frozen=True)
class Clip:
    """What probing and decoding one clip gave; one row for every clip asked for, readable or not.

    Attributes:
        clip: `Question.clip`.
        status: `ok`, or the reason why there are no frames: `missing`, `empty_file`, `unreadable`, `truncated`,
            `too_short`, `not_a_video`, `timed_out` (see config/README.md), `too_long` (NextQA).
        duration: True duration in seconds; None when unknown.
        fps: Average frames per second; None when unknown.
        frames: Number of frames in the stream; None when unknown.
        codec: Name of the video codec, `frames` for a folder of pictures, `""` when unknown.
        detail: The decoder's own words, for the report.
    """

    clip: str
    status: str
    duration: float | None = None
    fps: float | None = None
    frames: int | None = None
    codec: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Rollout:
    """One sampled completion of one question.

    Attributes:
        question: `Question.id`.
        index: Number of the rollout within the question's group, from 0.
        completion: Decoded text, special tokens removed, stripped.
        tokens: Length in tokens, end of sequence included.
        finished: Whether the end of sequence was reached before the limit.
        correct: Whether the answer is right by the protocol's accuracy rule.
        well_formed: Whether the format reward is above 0.
        status: `ok`; or why the question was not asked, in the one row that then stands for its group.
    """

    question: str
    index: int
    completion: str
    tokens: int
    finished: bool
    correct: bool
    well_formed: bool
    status: str = OK


@dataclass(frozen=True)
class Prediction:
    """The answer of one arm to one benchmark question, with all that is needed to judge it again.

    Attributes:
        question: `Question.id`.
        video: `Question.video`, by which intervals are clustered.
        task: `Question.task`.
        group: `Question.group`.
        answer: Gold letter.
        options: Number of options.
        status: `ok`; or why the question was not asked, and counts as wrong: the clip's status, or `PROMPT_TOO_LONG`.
        prompt_sha256: Hash of the whole prompt text.
        completion: Raw output, special tokens removed.
        tokens: Length in tokens.
        finish: `stop` (end of sequence) or `length`; `""` when nothing was generated.
    """

    question: str
    video: str
    task: str
    group: str
    answer: str
    options: int
    status: str
    prompt_sha256: str
    completion: str
    tokens: int
    finish: str


_JOINERS = "\u200c\u200d"
"""Invisible, but letters of some scripts and of emojis are spelled with them."""


def check_label(text: str, key: str) -> None:
    """Refuse what would break a row of a table, a file's name, or the reader's trust that two equal labels are equal."""
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in _JOINERS:
            name = unicodedata.name(letter, "a control character")
            raise ValueError(f"the {key} {text[:200]!a} holds U+{ord(letter):04X} ({name}); allowed: one line of text")
