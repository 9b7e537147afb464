"""Lock, fetch and unpack one source in the current folder: `python -m tests.hub.steps SETTINGS [delete_archives] [impatient] [unchecked]`.

In a process of its own, because huggingface-hub reads its environment when it is imported. Waits are
short; `impatient` waits never, `unchecked` does not ask how much room there is.
"""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

from vidreason.sources import fetch as sources
from vidreason.sources import web
from vidreason.sources.fetch import fetch_source
from vidreason.sources.lock import EXPECTED, Source, lock_source
from vidreason.sources.unpack import unpack_source

NAME = "Things"
"""What the one source is called."""


def main() -> None:
    """Do what is not done yet, as the rules would."""
    web.WAITS = () if "impatient" in sys.argv else (0.05, 0.05)
    if "unchecked" in sys.argv:
        sources.shutil = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1 << 60), rmtree=shutil.rmtree)
    source = Source.of(NAME, json.loads(sys.argv[1]))
    lock, folder = Path(f"config/locks/{NAME}.json"), Path("data") / NAME
    try:
        if not lock.exists():
            lock_source(source, lock)
        fetch_source(source, lock, folder, folder / "fetched.json")
        unpack_source(source, folder / "fetched.json", folder, folder / "unpacked.json", "delete_archives" in sys.argv)
    except EXPECTED as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
