"""Signs of the synthetic world: words of drawn letters, which a picture shows together and a clip one after another.

A letter fills one cell of the grid, like a thing of a scene, so each is one patch of a small vision tower. The words are drawn at
random: no text around the picture tells them.
"""

import dataclasses
import functools

import numpy as np

from vidreason.world.scenes import ACT_ENDS, COLOURS, GRID, STEPS

ALPHABET = "ACEFHIJKLMNOPTUVXYZ"
"""Letters that are drawn. Absent are those that five by seven pixels hardly tell from others: B, D, G, Q, R, S, W."""
_DRAWN = (
    """
    .###. .#### ##### ##### #...# ##### ....# #...# #.... #...#
    #...# #.... #.... #.... #...# ..#.. ....# #..#. #.... ##.##
    #...# #.... #.... #.... #...# ..#.. ....# #.#.. #.... #.#.#
    ##### #.... ####. ####. ##### ..#.. ....# ##... #.... #.#.#
    #...# #.... #.... #.... #...# ..#.. #...# #.#.. #.... #...#
    #...# #.... #.... #.... #...# ..#.. #...# #..#. #.... #...#
    #...# .#### ##### #.... #...# ##### .###. #...# ##### #...#
    """,
    """
    #...# .###. ####. ##### #...# #...# #...# #...# #####
    ##..# #...# #...# ..#.. #...# #...# #...# #...# ....#
    ##..# #...# #...# ..#.. #...# #...# .#.#. .#.#. ...#.
    #.#.# #...# ####. ..#.. #...# #...# ..#.. ..#.. ..#..
    #..## #...# #.... ..#.. #...# #...# .#.#. ..#.. .#...
    #..## #...# #.... ..#.. #...# .#.#. #...# ..#.. #....
    #...# .###. #.... ..#.. .###. ..#.. #...# ..#.. #####
    """,
)
"""The letters of the alphabet in two lines."""
TILE = 8
"""Height and width of a letter with the empty space around it, in the pixels that it is drawn with."""
SHORTEST, LONGEST = 2, GRID
"""Letters of a word."""
MOST_WORDS = GRID - 1
"""Most words of a picture: one in each row but the first, whose left cell stays empty."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A word of a sign.

    Attributes:
        text: Letters of `ALPHABET`.
        row: Row of its cells, 0 at the top.
        column: Column of its first letter, 0 at the left.
        start: First step that shows it.
        end: First step after.
    """

    text: str
    row: int
    column: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Sign:
    """Words of one colour.

    Attributes:
        seed: Seed that it was drawn with.
        acts: The words in the order that they are read in: that of time, or from the top.
        colour: One of `COLOURS`.
        background: Gray level of the background, 0..255.
    """

    seed: int
    acts: tuple[Word, ...]
    colour: str
    background: int

    @property
    def caption(self) -> str:
        """The text on the sign."""
        return " ".join(word.text for word in self.acts)


def make_sign(seed: int, moving: bool) -> Sign:
    """Draw a sign; the same seed gives the same sign.

    Args:
        seed: Any non-negative integer.
        moving: Whether three words appear one after another in place of one to three at once.

    Returns:
        A sign whose words are all different.

    Example:
        >>> len(make_sign(3, moving=True).acts)
        3
    """
    rng = np.random.default_rng([seed, 0x516])
    count = len(ACT_ENDS) if moving else int(rng.integers(1, MOST_WORDS + 1))
    texts: list[str] = []
    while len(texts) < count:
        text = "".join(rng.choice(tuple(ALPHABET), size=int(rng.integers(SHORTEST, LONGEST + 1))))
        if text not in texts:
            texts.append(text)
    rows = [int(row) for row in rng.integers(1, GRID, size=count)] if moving else _rows(count, rng)
    times = list(zip((0, *ACT_ENDS), ACT_ENDS, strict=False)) if moving else [(0, STEPS)] * count
    columns = [int(rng.integers(GRID - len(text) + 1)) for text in texts]
    places = zip(texts, rows, columns, times, strict=True)
    words = tuple(Word(text, row, column, *time) for text, row, column, time in places)
    return Sign(seed, words, str(rng.choice(tuple(COLOURS))), int(rng.integers(20, 60)))


def _rows(count: int, rng: np.random.Generator) -> list[int]:
    """Rows of words that are shown together, from the top."""
    return sorted(int(row) for row in rng.permutation(np.arange(1, GRID))[:count])


def render_sign(sign: Sign, step: int, size: int) -> np.ndarray:
    """Draw the picture of one step.

    Args:
        sign: The sign.
        step: Step, 0..STEPS-1.
        size: Height and width in pixels, at least `GRID` times `TILE`.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        ValueError: The picture is too small for letters.
    """
    cell = size // GRID
    if cell < TILE:
        raise ValueError(f"world.size is {size}; pictures with letters need at least {GRID * TILE} pixels a side")
    picture = np.full((size, size, 3), sign.background, dtype=np.uint8)
    for word in sign.acts:
        if word.start <= step < word.end:
            for column, letter in enumerate(word.text, start=word.column):
                box = picture[word.row * cell : (word.row + 1) * cell, column * cell : (column + 1) * cell]
                box[glyph(letter, cell)] = COLOURS[sign.colour]
    return picture


@functools.lru_cache(maxsize=256)
def glyph(letter: str, cell: int) -> np.ndarray:
    """Mask of a letter in its cell: bool [cell, cell]. Each of its pixels is a square of the same size.

    Raises:
        ValueError: The letter is not in `ALPHABET`.
    """
    if letter not in ALPHABET:
        raise ValueError(f"{letter!r} is not drawn; allowed: the letters {ALPHABET}")
    tile = np.zeros((TILE, TILE), bool)
    tile[: len(_font()[letter]), 1:6] = _font()[letter]
    scaled = np.kron(tile, np.ones((cell // TILE,) * 2, bool))
    margin = (cell - len(scaled)) // 2
    mask = np.zeros((cell, cell), bool)
    mask[margin : margin + len(scaled), margin : margin + len(scaled)] = scaled
    return mask


@functools.cache
def _font() -> dict[str, np.ndarray]:
    """Letter -> bool [7, 5]."""
    pixels: list[np.ndarray] = []
    for line in _DRAWN:
        rows = [row.split() for row in line.split("\n") if row.strip()]
        pixels += [np.array([[mark == "#" for mark in row] for row in letter]) for letter in zip(*rows, strict=True)]
    return dict(zip(ALPHABET, pixels, strict=True))
