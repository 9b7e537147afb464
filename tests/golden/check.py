"""Compare this implementation with a folder of golden data: `python -m tests.golden.check FOLDER`.

FOLDER has the layout of `tests/golden` (TinyLLaVA-Video-R1) or of `tests/golden_methods` (Video-R1 and Temporal-R1).
Prints one line per compared item with its deviation and tolerance; exits with 1 if any item fails.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.golden import model_items, text_items, training_items
from tests.golden.folder import Check, Folder, Item
from tests.golden.methods import frames_and_time, losses, temporal_r1_rewards, video_r1_rewards
from tests.golden.methods.base import MethodCheck, Methods

Data = TypeVar("Data", Folder, Methods)
CHECKS: tuple[Check, ...] = (*model_items.CHECKS, *text_items.CHECKS, *training_items.CHECKS)
METHOD_CHECKS: tuple[MethodCheck, ...] = (
    *video_r1_rewards.CHECKS,
    *temporal_r1_rewards.CHECKS,
    *losses.CHECKS,
    *frames_and_time.CHECKS,
)


def name_of(check: Callable[[Data], Iterable[Item]]) -> str:
    """Name of a check on the command line."""
    return check.__name__.removeprefix("check_")


def run(folder: Folder, only: Sequence[str] = ()) -> Iterator[Item]:
    """Run the checks on a folder of TinyLLaVA-Video-R1's data; see `run_checks`."""
    return run_checks(CHECKS, folder, only)


def run_checks(checks: Iterable[Callable[[Data], Iterable[Item]]], data: Data, only: Sequence[str]) -> Iterator[Item]:
    """Run checks.

    Args:
        checks: The checks of a layout.
        data: Golden data in that layout.
        only: Names of checks without `check_`; empty for all.

    Yields:
        One item per comparison. A check that raises is a failed item, so that the others still run.
    """
    for check in checks:
        name = name_of(check)
        if only and name not in only:
            continue
        try:
            yield from check(data)
        except Exception as error:
            yield Item(f"{name}: {type(error).__name__}", float("inf"), 0.0, str(error)[:500])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, help="folder of golden data: tests/golden, tests/golden_methods or another"
    )
    own = [name_of(check) for check in CHECKS]
    methods = [name_of(check) for check in METHOD_CHECKS]
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="CHECK",
        help=f"of tests/golden: {', '.join(own)}; of tests/golden_methods: {', '.join(methods)}",
    )
    parser.add_argument(
        "--real-tokenizer", type=Path, help="folder of the real Qwen2.5 tokenizer, to check the cases made with it too"
    )
    options = parser.parse_args(arguments)
    has_methods = Methods.is_at(options.folder)
    if not has_methods and not (options.folder / "meta.json").is_file():
        parser.error(f"{options.folder}: no meta.json, video_r1 or temporal_r1; is it a folder of golden data?")
    allowed = methods if has_methods else own
    for name in options.only:
        if name not in allowed:
            parser.error(f"--only {name}: not a check of this folder; allowed: {', '.join(allowed)}")
    if has_methods:
        items = run_checks(METHOD_CHECKS, Methods(options.folder), options.only)
    else:
        items = run(Folder(options.folder, options.real_tokenizer), options.only)
    count = failed = 0
    for item in items:
        print(item, flush=True)
        count += 1
        failed += not item.passed
    print(f"{count} items, {failed} failed" if failed else f"{count} items, all within tolerance")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
