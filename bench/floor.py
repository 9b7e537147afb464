"""The tables of FLOOR.md: what a GRPO step costs, what it needs in memory, and what the hardware would allow.

`python -m bench.floor` prints them; with `--write` it puts them into the page.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bench.costs import PHASES, SCHEDULES, step_costs, total
from bench.memory import HELD, SETTINGS, chunked_logits, memory, step_memory
from bench.sizes import Size, paper
from vidreason.models.costs import CARDS
from vidreason.models.tinyllava.costs import ModelCosts as Model

PAGE = Path(__file__).with_name("FLOOR.md")
BEGIN, END = "<!-- floor: {} -->", "<!-- /floor -->"
GIB = 2**30
OVERHEAD = 2 * GIB
"""Memory of CUDA, NCCL, libraries and recorded graphs."""
USABLE = 0.92
"""Share of the rest of a card that fragmentation leaves."""


def main() -> None:
    """Print the tables, or put them into FLOOR.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into FLOOR.md")
    new_tables = tables(paper())
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), new_tables), encoding="utf-8")
        return
    for name, table in new_tables.items():
        print(f"{name}\n\n{table}\n")


def filled(page: str, new_tables: dict[str, str]) -> str:
    """A page with the tables between their marks.

    Raises:
        ValueError: A mark is missing.
    """
    for name, table in new_tables.items():
        begin = BEGIN.format(name)
        if begin not in page or END not in page.split(begin, 1)[1]:
            raise ValueError(f"{PAGE.name}: no {begin} with an {END} after it")
        before, rest = page.split(begin, 1)
        page = f"{before}{begin}\n\n{table}\n\n{END}{rest.split(END, 1)[1]}"
    return page


def tables(size: Size) -> dict[str, str]:
    """The tables of FLOOR.md, by name."""
    return {
        "model": _model_table(size),
        "costs": _cost_table(size),
        "seconds": _seconds_table(size),
        "alone": _alone_table(size),
        "held": _held_table(size),
        "memory": _memory_table(size),
    }


def _model_table(size: Size) -> str:
    model = Model(size.model)
    rows = [
        ("vision tower", model.tower_weights(), model.tower(size.frames).flops, "a clip"),
        ("connector", model.connector_weights(), model.connector(size.frames).flops, "a clip"),
        (
            "language model",
            model.language_weights(),
            model.language(1, size.prompt, 1).flops,
            "a token after the prompt",
        ),
    ]
    lines = [(name, f"{count / 1e6:,.1f} M", f"{flops / 1e9:,.1f} GFLOP {of}") for name, count, flops, of in rows]
    return table(("part", "weights", "one forward pass"), [*lines, ("all", f"{model.weights() / 1e6:,.1f} M", "")])


def _cost_table(size: Size) -> str:
    naive, ours = (step_costs(size, schedule) for schedule in SCHEDULES)
    lines = []
    for phase, one, other in [
        *((phase, naive[phase], ours[phase]) for phase in PHASES),
        ("**step**", total(naive), total(ours)),
    ]:
        ratio = f"{one.flops / other.flops:.1f}" if phase != "decode" else f"{one.bytes / other.bytes:.1f} (bytes)"
        lines.append((phase, _tera(one.flops), _tera(other.flops), ratio, _tera(one.bytes), _tera(other.bytes)))
    heading = ("phase", "TFLOP naive", "TFLOP ours", "ratio", "TB naive", "TB ours")
    return table(heading, lines)


def _seconds_table(size: Size) -> str:
    costs = {schedule: step_costs(size, schedule) for schedule in SCHEDULES}
    heading = ["phase", *(f"{card.name}, {schedule}" for card in CARDS for schedule in SCHEDULES)]
    lines = [
        (phase, *(f"{costs[schedule][phase].seconds(card):.2f}" for card in CARDS for schedule in SCHEDULES))
        for phase in PHASES
    ]
    sums = [sum(cost.seconds(card) for cost in costs[schedule].values()) for card in CARDS for schedule in SCHEDULES]
    return table(heading, [*lines, ("**step**", *(f"**{value:.2f}**" for value in sums))])


def _alone_table(size: Size) -> str:
    """A step of 8 questions on one card."""
    whole = dataclasses.replace(size, questions=8)
    costs = {schedule: step_costs(whole, schedule) for schedule in SCHEDULES}
    cards = CARDS[1:]
    heading = ["phase", *(f"{card.name}, {schedule}" for card in cards for schedule in SCHEDULES)]
    cells = {
        phase: [costs[schedule][phase].seconds(card) for card in cards for schedule in SCHEDULES] for phase in PHASES
    }
    lines = [(phase, *(f"{value:.2f}" for value in values)) for phase, values in cells.items()]
    sums = [f"**{sum(values):.2f}**" for values in zip(*cells.values(), strict=True)]
    return table(heading, [*lines, ("**step**", *sums)])


def _held_table(size: Size) -> str:
    """What the schedules need beside weights and optimizer."""
    cases = [
        ("naive", "no", step_memory(size, "naive", recompute=False)),
        ("naive", "yes", step_memory(size, "naive", recompute=True)),
        ("ours, whole logits", "no", step_memory(size, "ours", recompute=False, chunked=False)),
        ("ours", "no", step_memory(size, "ours", recompute=False)),
        ("ours", "yes", step_memory(size, "ours", recompute=True)),
    ]
    names = ("cache", "logits", "activations")
    lines = [(name, again, *(f"{held[key] / GIB:.2f}" for key in names)) for name, again, held in cases]
    return table(("schedule", "recompute", "keys and values", "logits", "activations"), lines)


def _memory_table(size: Size) -> str:
    lines = []
    for setting in SETTINGS:
        held = memory(size, setting)
        fits = [f"{room:.0f}" for room in (24, 40, 80) if held["peak"] < USABLE * (room * GIB - OVERHEAD)]
        lines.append(
            (
                setting.name,
                "yes" if setting.recompute else "no",
                "yes" if chunked_logits(setting) else "no",
                " and ".join(
                    name
                    for name, on in (("optimizer", setting.offload), ("reference", setting.offload_reference))
                    if on
                )
                or "nothing",
                *(f"{held[column] / GIB:.1f}" for column in HELD),
                ", ".join(fits) or "none",
            )
        )
    return table(("setting", "recompute", "chunked logits", "on the host", *HELD, "fits GiB"), lines)


def _tera(value: float) -> str:
    return f"{value / 1e12:,.2f}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
