r"""How often thoughts reflect, by words: markers of `vidreason.results.counts.markers`, and option switches.

A switch is a thought that names one option as the answer and later another, or ends at another answer.

Example:
    >>> thought = "The answer is B. Wait, the ball is red. So the answer is C."
    >>> marks(thought)["wait"], switches(thought, "C")
    (1, 1)
    >>> marks("They wait, then try again.")
    {'wait': 0, 'recheck': 1, 'let_me_check': 0, 'against_the_video': 0}
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidreason.artifacts.files import read_jsonl
from vidreason.records import LETTERS, Completion, Grade, KeptRollout
from vidreason.results.counts.markers import ANY, MARKERS, SWITCH, Marker
from vidreason.results.number_format import Row, mean_of, percent, share
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import arm_and_seed
from vidreason.tasks.markup import split_think


def _pattern(marker: Marker) -> re.Pattern[str]:
    """The longest phrase first, so that one passage counts once."""
    phrases = "|".join(map(re.escape, sorted(marker.phrases, key=lambda phrase: (-len(phrase), phrase))))
    if marker.opens:
        return re.compile(rf"(?:^|(?<=[.!?;:] ))(?:{phrases})(?=[,.!?;:…-])")
    return re.compile(rf"(?<![\w-])(?:{phrases})(?![\w-])")


_PATTERNS = {marker.name: _pattern(marker) for marker in MARKERS}
_OPTION = (
    rf"(?:option )?[\"'(\[]?([{LETTERS}])"
    r"(?=[)\]\"*.,;:!?…]|'(?!\w)|$| [-–—] | (?:because|since|as|so|and|but|not|instead|rather|now|then)\b)"
)
"""A letter that something follows which ends it: in "the answer is A man" it is a word."""
_CLAIMS = re.compile(
    rf"(?i:\banswer (?:is|should be|must be|would be|could be|might be|seems to be):? ){_OPTION}"
    rf"|(?i:\bi (?:choose|pick|select|go with) ){_OPTION}"
    rf"|(?i:\boption )[(\[]?([{LETTERS}])[)\]]? "
    r"(?i:(?:is|seems|looks|must be|should be) (?:the )?(?:most likely )?(?:correct|right|best)\b)"
)
"""Passages that name an option as the answer. Letters are capitals: "the answer is a dog" names none. White space is single."""


def _plain(thought: str) -> str:
    """With single spaces, so that every pattern takes time in proportion to the length, and with straight apostrophes."""
    return " ".join(thought.split()).replace("\u2019", "'")


def marks(thought: str) -> dict[str, int]:
    """Marker -> how often it stands in a thought."""
    text = _plain(thought).lower()
    return {name: sum(1 for _ in pattern.finditer(text)) for name, pattern in _PATTERNS.items()}


def switches(thought: str, final: str | None) -> int:
    """How often the named option changes in a thought and from its last one to the answer.

    Args:
        thought: The thought.
        final: What was read as the answer; anything but a letter counts as none.
    """
    claims = [next(filter(None, match.groups())) for match in _CLAIMS.finditer(_plain(thought))]
    if final is not None and len(final) == 1 and final in LETTERS:
        claims.append(final)
    return sum(one != other for one, other in itertools.pairwise(claims))


@dataclass(frozen=True)
class Counted:
    """What is counted of one answer with a thought.

    Attributes:
        tokens: Length of the answer.
        right: Whether it is right.
        counts: Marker, or `option_switch` -> how often.
    """

    tokens: int
    right: bool
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """How often any marker stands in it."""
        return sum(count for name, count in self.counts.items() if name != SWITCH)

    def count(self, name: str) -> int:
        """How often a marker stands in it, `any` marker, or the option switches."""
        return self.total if name == ANY else self.counts[name]


def counted(completion: Completion, grade: Grade) -> Counted | None:
    """Count the markers of an answer; None for one without a thought. A thought that was cut off counts."""
    thought = split_think(completion.text)[1]
    if not thought:
        return None
    return Counted(completion.tokens, grade.correct, {**marks(thought), SWITCH: switches(thought, grade.parsed)})


def reflection_table(inputs: ResultInputs) -> list[Row]:
    """A row for every marker and every arm that reasons, controls included; answers without a thought are left out."""
    runs, rows = inputs.runs, list[Row]()
    for arm, seed in runs.pairs(controls=True):
        if arm.style != "reason":
            continue
        scored = [row for _, row in runs.answers(arm, seed) if row.has_frames]
        answers = _with_thought((row.prediction.completion, row.grade) for row in scored)
        head = {"arm": arm.name, "label": arm.label, "seed": seed, "answers": len(answers)}
        rows += [head | {"marker": name} | _cells(answers, name) for name in (ANY, *_PATTERNS, SWITCH)]
    return rows


def _with_thought(answers: Iterable[tuple[Completion, Grade]]) -> list[Counted]:
    return [one for one in (counted(*answer) for answer in answers) if one is not None]


def _cells(answers: Sequence[Counted], name: str) -> Row:
    """How many answers have a marker, how often it stands in them, and how many are right with and without it."""
    has = [one for one in answers if one.count(name)]
    others = [one for one in answers if not one.count(name)]
    return {
        "with_marker": len(has),
        "share": share(len(has) / len(answers) if answers else None),
        "per_1k_tokens": per_1k_tokens(answers, name),
        "right_with": percent(mean_of([float(one.right) for one in has])),
        "right_without": percent(mean_of([float(one.right) for one in others])),
    }


def per_1k_tokens(answers: Sequence[Counted], name: str) -> str:
    """Occurrences in a thousand tokens of the answers; empty without tokens."""
    tokens = sum(one.tokens for one in answers)
    return f"{1000 * sum(one.count(name) for one in answers) / tokens:.3f}" if tokens else ""


def reflection_steps_table(inputs: ResultInputs) -> list[Row]:
    """A row for every kept step of every training: the rollouts that were learned from."""
    rows, known = list[Row](), list(inputs.arms)
    by_training = {arm_and_seed(path): path for path in inputs.rollouts}
    for arm, seed in sorted(by_training, key=lambda key: (known.index(key[0]) if key[0] in known else len(known), key)):
        steps: dict[int, list[KeptRollout]] = {}
        for rollout in read_jsonl(by_training[arm, seed], KeptRollout):
            if rollout.reward is not None:
                steps.setdefault(rollout.step, []).append(rollout)
        for step, rollouts in steps.items():
            answers = _with_thought((one.completion, one.grade) for one in rollouts)
            rows.append(
                {
                    "arm": arm,
                    "label": inputs.label(arm),
                    "seed": seed,
                    "step": step,
                    "answers": len(answers),
                    "with_marker": sum(1 for one in answers if one.count(ANY)),
                    "per_1k_tokens": per_1k_tokens(answers, ANY),
                    "option_switches": sum(1 for one in answers if one.count(SWITCH)),
                }
            )
    return rows
