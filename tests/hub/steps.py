"""Lock, fetch and unpack one source in the current folder: `python -m tests.hub.steps SETTINGS [delete_archives] [impatient]`.

In a process of its own, because huggingface-hub reads its environment when it is imported. Waits are short.
"""

import json
import sys
from pathlib import Path

from huggingface_hub import constants

from vidreason import hub
from vidreason.archives import ArchiveError
from vidreason.sources import HubError, Source, SourceError, fetch_source, lock_source, unpack_source

NAME = "Things"
"""What the one source is called."""


def main() -> None:
    """Do what is not done yet, as the rules would."""
    hub.WAITS = () if "impatient" in sys.argv else (0.05, 0.05)
    constants.DOWNLOAD_CHUNK_SIZE = 1 << 12  # the library writes nothing before it has so much, by default 10 MB
    source = Source.of(NAME, json.loads(sys.argv[1]))
    lock, folder = Path(f"config/locks/{NAME}.json"), Path("data") / NAME
    try:
        if not lock.exists():
            lock_source(source, lock)
        fetch_source(source, lock, folder, folder / "fetched.json")
        unpack_source(source, folder / "fetched.json", folder, folder / "unpacked.json", "delete_archives" in sys.argv)
    except (HubError, SourceError, ArchiveError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
