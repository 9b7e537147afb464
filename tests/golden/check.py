"""Compare this implementation with a folder of golden data: `python -m tests.golden.check FOLDER`.

Prints one line per compared item with its deviation and tolerance; exits with 1 if any item fails.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.golden import model_items, text_items, training_items
from tests.golden.folder import Check, Folder, Item

CHECKS: tuple[Check, ...] = (*model_items.CHECKS, *text_items.CHECKS, *training_items.CHECKS)


def run(folder: Folder, only: Sequence[str] = ()) -> Iterator[Item]:
    """Run the checks on a folder.

    Args:
        folder: Golden data in the published layout.
        only: Names of checks without `check_`; empty for all.

    Yields:
        One item per comparison. A check that raises is a failed item, so that the others still run.
    """
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        if only and name not in only:
            continue
        try:
            yield from check(folder)
        except Exception as error:
            yield Item(f"{name}: {type(error).__name__}", float("inf"), 0.0, str(error)[:500])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    names = [check.__name__.removeprefix("check_") for check in CHECKS]
    parser = argparse.ArgumentParser(prog="python -m tests.golden.check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of golden data, for example tests/golden")
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="CHECK", help=f"of: {', '.join(names)}")
    parser.add_argument(
        "--real-tokenizer", type=Path, help="folder of the real Qwen2.5 tokenizer, to check the cases made with it too"
    )
    options = parser.parse_args(arguments)
    if not (options.folder / "meta.json").is_file():
        parser.error(f"{options.folder}: no meta.json; is it a folder of golden data?")
    count = failed = 0
    for item in run(Folder(options.folder, options.real_tokenizer), options.only):
        print(item, flush=True)
        count += 1
        failed += not item.passed
    print(f"{count} items, {failed} failed" if failed else f"{count} items, all within tolerance")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
