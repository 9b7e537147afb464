"""Addresses within the gallery: what stands after `#` names the filters."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from vidreason.results.counts.markers import ANY, SWITCH
from vidreason.results.scored_runs import Runs

Cell = tuple[int, int]
"""Row and column of a table, from 0."""


def address(page: str, **filters: object) -> str:
    """The gallery with some filters set.

    Example:
        >>> address("gallery/index.html", benchmark="mlvu", arm="r1", seed=0)
        'gallery/index.html#benchmark=mlvu&arm=r1&seed=0'
    """
    return f"{page}#" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in filters.items())


def reflection_links(rows: Sequence[Sequence[str]], header: Sequence[str], page: str) -> Mapping[Cell, str]:
    """Where the counts of reflection.csv lead: to the answers with a word of reflection, or with an option switch."""
    place = {name: header.index(name) for name in ("arm", "seed", "marker", "with_marker")}
    outcomes = {ANY: "reflects", SWITCH: "switches"}
    return {
        (number, place["with_marker"]): address(
            page, arm=row[place["arm"]], seed=row[place["seed"]], outcome=outcomes[row[place["marker"]]]
        )
        for number, row in enumerate(rows)
        if row[place["marker"]] in outcomes
    }


def main_links(runs: Runs, page: str) -> Mapping[Cell, str]:
    """Where the cells of the main table lead: to the questions that they count.

    The columns are arm, style, seed, the benchmarks, their mean, the share of well-formed answers, and the unparsed ones
    (`vidreason.results.main_markdown`).
    """
    links = {}
    for row, (arm, seed) in enumerate(runs.pairs(controls=False)):
        own = {"arm": arm.name, "seed": seed}
        links[row, 0] = address(page, **own)
        for column, benchmark in enumerate(runs.benchmarks, start=3):
            links[row, column] = address(page, benchmark=benchmark, **own)
        mean = 3 + len(runs.benchmarks)
        links[row, mean] = links[row, 0]
        links[row, mean + 1] = address(page, **own, outcome="malformed")
        links[row, mean + 2] = address(page, **own, outcome="unparsed")
    return links
