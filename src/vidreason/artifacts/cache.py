"""Content-addressed cache of results, shared by runs, folders and users.

The environment variable `VIDREASON_CACHE` names its folder; without it nothing is shared. An entry is a folder named by a digest
of settings, contents of inputs, code and versions. It records where it was made. Users get copies, so the cache may be emptied
at any time.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.digests import sha256_of, sha256_text
from vidreason.artifacts.files import copy_file, read_json, write_aside, write_json
from vidreason.artifacts.provenance import environment, is_environment, versions

VARIABLE = "VIDREASON_CACHE"
ENTRY = "entry.json"


class DamagedEntryError(ValueError):
    """An entry of the cache is incomplete or was changed."""


def get_or_make(
    kind: str, identity: Callable[[], str], files: Mapping[str, str | Path], make: Callable[[], object]
) -> dict[str, Any] | None:
    """Copy files from the cache, or make them and store them there.

    If the cache cannot be read or written, or an entry is damaged, the log says so and the files are made.

    Args:
        kind: Name of the rule; a folder of the cache.
        identity: Returns the digest of everything that decides the files, except versions of packages. Called only if there is
            a cache.
        files: Name in the cache -> path.
        make: Writes the files.

    Returns:
        The `environment` in which the files were made if they come from the cache, else None.
    """
    if not os.environ.get(VARIABLE):
        make()
        return None
    entry = _entry(kind, identity)
    if entry is not None:
        try:
            if entry.is_dir():
                made = _take(entry, files)
                print(f"taken from {entry}, made {made['created']} on {made['nodes']}", file=sys.stderr, flush=True)
                return made
        except (OSError, ValueError) as error:
            print(f"{entry}: cannot be used, so it is made anew: {error}", file=sys.stderr, flush=True)
    make()
    if entry is not None and _entry(kind, identity) == entry:  # the inputs have not changed meanwhile
        try:
            _put(entry, files)
        except OSError as error:
            print(f"{entry}: cannot be written, so it is not shared: {error}", file=sys.stderr, flush=True)
    return None


def _entry(kind: str, identity: Callable[[], str]) -> Path | None:
    """Folder of an entry; None if an input cannot be read."""
    try:
        return Path(os.environ[VARIABLE]) / kind / sha256_text(f"{identity()} {sorted(versions().items())}")
    except OSError as error:
        print(f"{kind}: not shared, because an input cannot be read: {error}", file=sys.stderr, flush=True)
        return None


def _take(entry: Path, files: Mapping[str, str | Path]) -> dict[str, Any]:
    """Copy all files of an entry, or none."""
    for name in (ENTRY, *files):
        if entry.is_symlink() or not stat.S_ISREG((entry / name).lstat().st_mode):
            raise DamagedEntryError(f"{name} is no file in a folder of its own: links, pipes and devices are not read")
    known = read_json(entry / ENTRY)
    whole = isinstance(known, dict) and all(isinstance(known.get(key), dict) for key in ("files", "made"))
    if not whole or known["files"].keys() != files.keys() or not is_environment(known["made"]):
        raise DamagedEntryError(f"{ENTRY} does not tell of the files {', '.join(files)} and how they were made")
    with contextlib.ExitStack() as stack:
        for name, path in files.items():
            aside = stack.enter_context(write_aside(path))
            copy_file(entry / name, aside)
            if sha256_of(aside) != known["files"][name]:
                raise DamagedEntryError(f"{name} does not have the digest {known['files'][name]}")
    made: dict[str, Any] = known["made"]
    return made


def _put(entry: Path, files: Mapping[str, str | Path]) -> None:
    with write_aside(entry) as aside:
        aside.mkdir(parents=True)
        for name, path in files.items():
            copy_file(Path(path), aside / name)
        digests = {name: sha256_of(aside / name) for name in files}
        write_json(aside / ENTRY, {"files": digests, "made": environment()})
