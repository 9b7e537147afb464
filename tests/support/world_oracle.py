"""What is true of a clip of the world, from what its pictures show and from nothing else."""

import re
from collections.abc import Sequence

import numpy as np

from vidreason.world.scenes import ACT_ENDS, COLOURS, DIRECTIONS, GRID, THINGS, sprite
from vidreason.world.signs import ALPHABET, glyph

Shown = tuple[str, int, int, str]
"""A thing or letter, its row, its column and its colour."""


def read_picture(picture: np.ndarray, shapes: Sequence[str]) -> list[Shown]:
    """What stands in the cells of a picture, row by row: in each the shape and colour, or nothing, that it is nearest to.

    Args:
        picture: uint8 [S, S, 3], as decoded.
        shapes: Things, or letters, that there may be.
    """
    cell = picture.shape[0] // GRID
    background = np.median(picture.reshape(-1, 3), axis=0)
    found = []
    for row in range(GRID):
        for column in range(GRID):
            box = picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].astype(float)
            if np.abs(box - background).mean() < 2:
                continue
            errors = {("", ""): np.abs(box - background).mean()}
            for shape in shapes:
                mask = (glyph if shape in ALPHABET else sprite)(shape, cell)
                for colour, value in COLOURS.items():
                    drawn = np.where(mask[..., None], value, background)
                    errors[shape, colour] = np.abs(box - drawn).mean()
            shape, colour = min(errors, key=lambda key: errors[key])
            if shape:
                found.append((shape, row, column, colour))
    return found


def true_options(seen: Sequence[Shown], text: str, options: Sequence[str]) -> list[str]:
    """Which options of a question are true.

    Args:
        seen: The thing of each step.
        text: The question.
        options: Its options.
    """
    order, words = list(dict.fromkeys(thing for thing, *_ in seen)), re.findall(r"[a-z]+", text.lower())
    about = next((word for word in words if word in THINGS), None)
    places = [(row, column) for thing, row, column, _ in seen if thing == about]
    colours = [colour for thing, _, _, colour in seen if thing == about]

    def true(option: str) -> bool:
        match words:
            case ["which", "thing", "comes", "first"]:
                return order[0] == option
            case ["which", "thing", "comes", "last"]:
                return order[-1] == option
            case ["which", "thing", "comes", "right", "after", "the", _]:
                return order[order.index(about) + 1 :][:1] == [option]
            case ["which", "way", "does", "the", _, "go"]:
                (top, left), (bottom, right) = places[0], places[-1]
                down, across = DIRECTIONS[option]
                return bool(np.sign(bottom - top) == down and np.sign(right - left) == across)
            case ["which", "colour", "does", "the", _, "turn", "into"]:
                return len(set(colours)) == 2 and colours[-1] == option
            case ["which", "colour", "is", "the", _]:
                return set(colours) == {option}
            case ["which", "thing", "appears"]:
                return option in order
            case ["how", "many", "things", "go", "somewhere"]:
                return option == ("none", "one", "two", "three")[_moving(seen)]
        raise AssertionError(f"the oracle does not know {text!r}")

    return [option for option in options if true(option)]


def true_answer(seen: Sequence[Shown], text: str) -> str:
    """The answer to a question without options; `seen` as above, one step alone for a picture."""
    about = next((thing for thing in THINGS if f"the {thing}" in text), None)
    last = max((step for step, (thing, *_) in enumerate(seen) if thing == about), default=-1)
    _, row, column, _ = seen[last]
    places = {"row": row, "column": column, "top": row, "left": column}
    if text == "How many things go somewhere?":
        return str(_moving(seen))
    if match := re.fullmatch(
        r"The picture has 4 rows and 4 columns\. In which (row|column) from the .* is the .*\?", text
    ):
        return str(places[match[1]] + 1)
    if match := re.match(r"How far from the (top|left) is the middle of the ", text):
        return f"{(places[match[1]] * 2 + 1) / (2 * GRID):.1%}"[:-1]
    if text.startswith("After what percentage of the video"):
        return f"{100 * (last + 1) / len(seen):g}"
    if text == "Describe the picture.":
        thing, row, column, colour = seen[0]
        return " ".join((colour, thing, *(("one", "two", "three", "four")[place] for place in (row, column))))
    if text == "Describe the video.":
        return ", ".join(_told(seen[start:end]) for start, end in zip((0, *ACT_ENDS), ACT_ENDS, strict=False))
    raise AssertionError(f"the oracle does not know {text!r}")


def read_text(pictures: Sequence[np.ndarray]) -> str:
    """The words on pictures, line by line, and in the order in which they come."""
    words = []
    for picture in pictures:
        letters = read_picture(picture, tuple(ALPHABET))
        for line in range(GRID):
            word = "".join(letter for letter, row, _, _ in letters if row == line)
            if word and word not in words:
                words.append(word)
    return " ".join(words)


def _moving(seen: Sequence[Shown]) -> int:
    places: dict[str, set[tuple[int, int]]] = {}
    for thing, row, column, _ in seen:
        places.setdefault(thing, set()).add((row, column))
    return sum(len(cells) > 1 for cells in places.values())


def _told(act: Sequence[Shown]) -> str:
    """Caption of one act."""
    (thing, top, left, colour), (_, bottom, right, after) = act[0], act[-1]
    step = tuple(np.sign((bottom - top, right - left)))
    way = next((way for way, direction in DIRECTIONS.items() if direction == step), None)
    turned = f"turns {after}" if after != colour else "stays put"
    return f"{colour} {thing} {f'goes {way}' if way else turned}"
