"""Words by which a thought is counted as reflecting: the list, and where each of its parts comes from.

All phrases are lower case; they are looked for as whole words, in any spelling of white space. docs/reflection.md says what such
counts show and what they do not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Marker:
    """Phrases that are counted together.

    Attributes:
        name: Of the row in `reflection.csv`.
        phrases: The phrases.
        opens: Whether they count only at the beginning of a sentence and before a pause: "Wait, the man ..." reflects, "they wait,"
            describes.
    """

    name: str
    phrases: tuple[str, ...]
    opens: bool = False


def _phrases(text: str) -> tuple[str, ...]:
    """Phrases between semicolons."""
    return tuple(phrase.strip() for phrase in text.split(";"))


MARKERS = (
    # Source: the transcript called an "aha moment" in DeepSeek-R1 (arXiv 2501.12948), which begins "Wait, wait. Wait."; the other
    # phrases are ours.
    Marker(
        "wait", _phrases("wait; but wait; no, wait; oh wait; wait a minute; wait a moment; hold on; hmm"), opens=True
    ),
    # Source: sail-sg/oat-zero@41ed659:analysis/eval_self_reflect.py, the first line, which is counted there for the DeepSeek models;
    # the other spellings and verbs are ours.
    Marker(
        "recheck",
        _phrases(
            "reevaluate; reevaluation; recheck; rethink; check again; re-evaluate; try again; re-examine; "
            "re-check; re-think; re-evaluation; reexamine; reconsider; reassess; re-assess; double-check; double check; "
            "think again; look again; verify again"
        ),
    ),
    # Ours: announcements of a check, as in "let me check the options".
    Marker(
        "let_me_check",
        _phrases(
            "let me check; let me verify; let me see again; let me look; let me review; let's check; let's verify; let's review; "
            "i should check; i need to check; i should verify"
        ),
    ),
    # Ours: an earlier thought is set against the video. arXiv 2504.09641 shows thoughts of this kind as examples of aha moments, and
    # counts none.
    Marker(
        "against_the_video",
        _phrases(
            "however, the video; however, in the video; but the video; but in the video; the video does not show; "
            "the video actually; on closer inspection; upon closer inspection; on a closer look; on second thought; "
            "that contradicts; this contradicts"
        ),
    ),
)
"""In the order of the table."""

ANY, SWITCH = "any", "option_switch"
"""Rows of the table: thoughts with at least one marker, and those that name another option than they end at."""
