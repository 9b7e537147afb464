r"""Questions with changed options: controls that ask whether an answer depends on what the options say or on where they stand.

`permuted` puts the options into another order, and the gold letter follows. Whoever has learned which letter is often right, or
which answer a question has in a leaked benchmark, loses by it; whoever reads the options does not.

`without_gold` writes `None of the above` in the place of the gold option, and that option stays the right one. To be correct is
then to reject every other option. No option that was ever right is left to be recognized, so memory of the published answer is no
help.

A question whose options cannot be changed without changing what is right stays as it is (`keeps_options`); tables count those.

Source: of the idea of `without_gold`, Salido et al., arXiv 2502.12896 ("None of the others" in place of the right answer), and Tam
    et al., arXiv 2503.01550 ("None of the above" as the answer); of the permutation, Pezeshkpour and Hruschka, arXiv 2308.11483, and
    Zheng et al., arXiv 2309.03882.
Differs from the source: one permutation of each question instead of all; the place of the gold option is kept.
"""

import dataclasses
import random
import re
from collections.abc import Callable, Mapping

from vidreason.records import LETTERS, NO_OPTION, Question

PUBLISHED, PERMUTED, WITHOUT_GOLD = "published", "permuted", "without_gold"
NONE_OF_THE_ABOVE = "None of the above"

CHOICES = ("multiple_choice", "grounded_choice")
"""Answer types in which the answer names an option by its letter, so that options can be changed."""

_LETTER = r"[\(\[]?[A-J][\)\]]?"
_REFERS = re.compile(
    rf"""
      \b(?:none|all|both|neither|either|any|some|one)\s+of\s+(?:the\s+)?(?:above|below|these|those|others?|options?|choices?|answers?)\b
    | \A\s*(?:the\s+)?(?:above|below|other\s+(?:options?|choices?|answers?))\s*\.?\s*\Z
    | \A\s*(?:none\s+of\s+(?:them|the\s+two)|(?:all|both|neither|either|any)(?:\s+of\s+(?:them|the\s+two))?)\s*\.?\s*\Z
    | \b(?:option|answer|choice)s?\s+(?-i:{_LETTER})(?![A-Za-z])
    | \A\s*(?:both|either|neither|only)?\s*(?-i:{_LETTER})(?:\s*,\s*(?-i:{_LETTER}))*\s*,?\s*(?:and|or|nor|&)\s+(?-i:{_LETTER})\s*\.?\s*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Options about other options: `None of the above`, `Both A and B`, `Neither`. A bare `none` is a number, as beside `one` and `two`."""
_VERDICTS = ({"yes", "no"}, {"true", "false"}, {"right", "wrong"}, {"correct", "incorrect"})
"""Pairs of options of which one always holds: rejecting the other is no answer."""


def _plain(text: str) -> str:
    """A text without case, white space at its ends and a final full stop."""
    return " ".join(text.split()).removesuffix(".").strip().casefold()


def keeps_options(question: Question, edit: str) -> bool:
    """Whether an edit leaves a question as it is.

    That is so for a question without lettered options, with fewer than two of them, or of which no option is right; and where an
    option is about other options (`None of the above`, `Both A and B`), because then an edit would change what is right. For
    `without_gold` also where another option has the words of the gold one, and where the options are yes and no.

    Args:
        question: The question as published.
        edit: One of `EDITS`.
    """
    if edit == PUBLISHED or question.task not in CHOICES or len(question.options) < 2 or question.gold == NO_OPTION:
        return True
    if any(_REFERS.search(option) for option in question.options):
        return True
    if edit == PERMUTED:
        return False
    words = [_plain(option) for option in question.options]
    return words.count(words[LETTERS.index(question.gold)]) > 1 or set(words) in _VERDICTS


def _permuted(question: Question, seed: int) -> Question:
    """The options in a random order other than the published one; every other order is equally likely."""
    # A text seeds Python's generator by its SHA-512, the same on every machine.
    draw = random.Random(f"options:{seed}:{question.dataset}:{question.id}")
    places = list(range(len(question.options)))
    order = list(places)
    while order == places:
        draw.shuffle(order)
    gold = LETTERS[order.index(LETTERS.index(question.gold))]
    return dataclasses.replace(question, options=tuple(question.options[place] for place in order), gold=gold)


def _without_gold(question: Question, _: int) -> Question:
    """`None of the above` in the place of the gold option, which stays the right one."""
    gold = LETTERS.index(question.gold)
    options = (*question.options[:gold], NONE_OF_THE_ABOVE, *question.options[gold + 1 :])
    return dataclasses.replace(question, options=options)


EDITS: Mapping[str, Callable[[Question, int], Question]] = {
    PUBLISHED: lambda question, _: question,
    PERMUTED: _permuted,
    WITHOUT_GOLD: _without_gold,
}
"""Name of an edit -> what it makes of a question and a seed."""


@dataclasses.dataclass(frozen=True)
class OptionEdit:
    """How the options of an arm's questions are changed before they are asked and graded.

    Attributes:
        name: One of `EDITS`.
        seed: With the data set and the question's id, the seed of a random order.
    """

    name: str = PUBLISHED
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown edit."""
        if self.name not in EDITS:
            raise ValueError(f"options: {self.name!r}; allowed: {', '.join(EDITS)}")

    def of(self, question: Question) -> Question:
        """The question as it is asked and graded; its id stays.

        Example:
            >>> from vidreason.records import ClipRef
            >>> question = Question("1", "mlvu", "multiple_choice", "Why?", ClipRef("v.mp4"), ("rain", "sun"), "B")
            >>> OptionEdit("permuted").of(question).options, OptionEdit("permuted").of(question).gold
            (('sun', 'rain'), 'A')
            >>> OptionEdit("without_gold").of(question).options
            ('rain', 'None of the above')
        """
        return question if keeps_options(question, self.name) else EDITS[self.name](question, self.seed)


UNCHANGED = OptionEdit()


def same_but_for_options(one: Question, other: Question) -> bool:
    """Whether two questions differ in their options and gold letters at most, as those of two edits do."""
    bare = [dataclasses.replace(question, options=(), gold="") for question in (one, other)]
    return bare[0] == bare[1] and len(one.options) == len(other.options)
