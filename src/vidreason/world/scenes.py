"""Scenes of the synthetic world: three coloured things appear one after another.

A scene has `STEPS` steps of equal length, divided into three *acts*. In each act one thing of one colour is shown. It stays put,
goes left, right, up or down, or turns another colour. Nothing else happens, so the caption describes a scene completely.

The picture is a grid of `GRID` x `GRID` cells. In a picture of 4 x 4 patches each cell is a patch, which a small vision tower can
learn to recognize. The upper left cell stays empty, because upstream's vision tower drops the first patch
(`vision_feature_select_strategy`).
"""

import dataclasses
import functools

import numpy as np

STEPS = 16
"""Steps of a scene. A clip of duration D shows step floor(STEPS * t / D) at time t."""
GRID = 4
THINGS = ("ball", "box", "kite", "ring", "cross", "bar", "post", "wedge")
COLOURS = {
    "red": (225, 45, 45),
    "green": (40, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (235, 215, 50),
    "pink": (240, 120, 215),
    "white": (245, 245, 245),
}
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
PLACES = ("one", "two", "three", "four")
"""Words for rows, from the top, and columns, from the left."""
ACT_ENDS = (5, 10, 16)
"""First step after each act."""


@dataclasses.dataclass(frozen=True)
class Act:
    """Part of a scene that shows one thing.

    Attributes:
        thing: One of `THINGS`.
        colour: Its first colour, one of `COLOURS`.
        verb: `stays`, `goes` or `turns`.
        argument: `put`, a direction, or the colour that it turns to half-way.
        row: Row of the first cell, 0 at the top.
        column: Column of the first cell, 0 at the left.
        start: First step.
        end: First step after the act.
    """

    thing: str
    colour: str
    verb: str
    argument: str
    row: int
    column: int
    start: int
    end: int

    @property
    def caption(self) -> str:
        """Description of the act in four words."""
        return f"{self.colour} {self.thing} {self.verb} {self.argument}"

    def description(self, step: int) -> str:
        """Description of the picture of a step in four words: colour, thing, row and column."""
        row, column, colour = self.at(step)
        return f"{colour} {self.thing} {PLACES[row]} {PLACES[column]}"

    def at(self, step: int) -> tuple[int, int, str]:
        """Row, column and colour at a step of the act."""
        if self.verb == "turns":
            return self.row, self.column, self.colour if 2 * step < self.start + self.end else self.argument
        if self.verb == "stays":
            return self.row, self.column, self.colour
        down, right = DIRECTIONS[self.argument]
        moved = round((GRID - 1) * (step - self.start) / (self.end - self.start - 1))
        return self.row + down * moved, self.column + right * moved, self.colour


@dataclasses.dataclass(frozen=True)
class Scene:
    """A sequence of acts.

    Attributes:
        seed: Seed that it was drawn with.
        acts: The acts in temporal order.
        background: Gray level of the background, 0..255.
    """

    seed: int
    acts: tuple[Act, ...]
    background: int

    @property
    def caption(self) -> str:
        """Captions of the acts in temporal order, on one line."""
        return ", ".join(act.caption for act in self.acts)

    def act_at(self, step: int) -> Act:
        """The act that a step belongs to."""
        return next(act for act in self.acts if act.start <= step < act.end)


def make_scene(seed: int) -> Scene:
    """Draw a scene; the same seed gives the same scene.

    Args:
        seed: Any non-negative integer.

    Returns:
        A scene of three acts with different things and different first colours. The number of things that move is uniform
        over 0 to 3, so that it cannot be guessed.

    Example:
        >>> make_scene(3) == make_scene(3)
        True
    """
    rng = np.random.default_rng([seed, 0x5CE])
    count = len(ACT_ENDS)
    things = rng.choice(THINGS, size=count, replace=False)
    colours = rng.choice(tuple(COLOURS), size=count, replace=False)
    going = set(rng.permutation(count)[: rng.integers(count + 1)].tolist())
    acts = []
    for number, (start, end) in enumerate(zip((0, *ACT_ENDS), ACT_ENDS, strict=False)):
        colour = str(colours[number])
        verb, argument, row, column = _draw_movement(rng) if number in going else _draw_stationary(rng, colour)
        acts.append(Act(str(things[number]), colour, verb, argument, row, column, start, end))
    return Scene(seed, tuple(acts), int(rng.integers(20, 60)))


def _draw_movement(rng: np.random.Generator) -> tuple[str, str, int, int]:
    """Draw a direction and the first cell of a path that avoids the upper left cell."""
    argument = str(rng.choice(tuple(DIRECTIONS)))
    lane, far = int(rng.integers(1, GRID)), GRID - 1
    row, column = {"left": (lane, far), "right": (lane, 0), "up": (far, lane), "down": (0, lane)}[argument]
    return "goes", argument, row, column


def _draw_stationary(rng: np.random.Generator, colour: str) -> tuple[str, str, int, int]:
    """Draw whether a thing stays put or turns another colour, and its cell, which is not the upper left one."""
    cell = int(rng.integers(1, GRID * GRID))
    if rng.random() < 0.5:
        return "stays", "put", cell // GRID, cell % GRID
    return "turns", str(rng.choice([other for other in COLOURS if other != colour])), cell // GRID, cell % GRID


def render(scene: Scene, step: int, size: int) -> np.ndarray:
    """Draw the picture of one step; where no act is going on, it is empty.

    Args:
        scene: The scene.
        step: Step, 0..STEPS-1.
        size: Height and width in pixels, a multiple of `GRID`.

    Returns:
        uint8 [size, size, 3], RGB.
    """
    cell = size // GRID
    picture = np.full((size, size, 3), scene.background, dtype=np.uint8)
    for act in scene.acts:
        if act.start <= step < act.end:
            row, column, colour = act.at(step)
            box = picture[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            box[sprite(act.thing, cell)] = COLOURS[colour]
    return picture


@functools.lru_cache(maxsize=256)
def sprite(thing: str, cell: int) -> np.ndarray:
    """Mask of a thing that fills one cell: bool [cell, cell]."""
    y, x = np.mgrid[0:cell, 0:cell]
    u, v = (2 * x + 1) / cell - 1, (2 * y + 1) / cell - 1
    radius = np.hypot(u, v)
    masks = {
        "ball": radius <= 0.95,
        "box": (abs(u) <= 0.9) & (abs(v) <= 0.9),
        "kite": abs(u) + abs(v) <= 1.0,
        "ring": (radius <= 0.98) & (radius >= 0.5),
        "cross": (abs(u) <= 0.3) | (abs(v) <= 0.3),
        "bar": abs(v) <= 0.4,
        "post": abs(u) <= 0.4,
        "wedge": u + v >= 0.0,
    }
    return masks[thing]
