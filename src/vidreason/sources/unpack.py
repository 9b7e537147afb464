"""Unpacking the needed members of a source's archives. A run that was killed resumes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json, write_json
from vidreason.artifacts.path_checks import is_inside
from vidreason.config.datasets import Archive
from vidreason.sources.archive_formats import ArchiveError
from vidreason.sources.archives import looks_like_archive, unpack
from vidreason.sources.hub import RESERVED
from vidreason.sources.lock import Source, SourceError

UNPACKED = RESERVED[1]
"""Folder, below a source's own, with a list of the members unpacked from each archive."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """The members unpacked from an archive.

    Attributes:
        archive: Path below the source's folder.
        digest: Digest of the archive.
        into: Folder below the source's.
        patterns: Patterns of the members.
        members: Path below `into` -> bytes; None while the archive is being unpacked.
    """

    archive: str
    digest: str
    into: str
    patterns: list[str]
    members: dict[str, int] | None

    @classmethod
    def of(cls, folder: Path, archive: str) -> "Contents | None":
        """Read the list of an archive's members; None if there is none that can be read."""
        path = cls.path(folder, archive)
        try:
            contents = cls(**read_json(path)) if path.is_file() else None
        except (ValueError, TypeError):
            return None
        members = {} if contents is None or contents.members is None else contents.members
        sound = isinstance(members, dict) and all(is_inside(name) for name in members)
        # A damaged or edited list does not count: the archive is unpacked again.
        return contents if sound and (contents is None or members or contents.members is None) else None

    @staticmethod
    def path(folder: Path, archive: str) -> Path:
        """Path of the list."""
        return folder / UNPACKED / f"{archive}.json"

    def is_whole(self, folder: Path) -> bool:
        """Whether every member was unpacked and still exists with its size."""
        if self.members is None:
            return False
        places = ((folder / self.into / name, size) for name, size in self.members.items())
        return all(place.is_file() and place.stat().st_size == size for place, size in places)


def unpack_source(
    source: Source, fetched: str | Path, folder: str | Path, out: str | Path, delete_archives: bool = False
) -> dict[str, Any]:
    """Unpack the needed members of a source's archives, except those that are unpacked already.

    Args:
        source: The source.
        fetched: JSON that `fetch_source` wrote.
        folder: The source's folder.
        out: JSON to write at the end: archive -> number of files and bytes unpacked from it.
        delete_archives: Remove the archives once all their files exist and are counted.

    Returns:
        The contents of `out`.

    Raises:
        ArchiveError: An archive is refused or cannot be read.
        SourceError: An archive is missing, two hold the same file, or the number of files is not the expected one.
    """
    folder = Path(folder)
    listed = {str(file["path"]): str(file["digest"]) for file in read_json(fetched)["files"]}
    owners: dict[str, str] = {}
    archives: dict[str, dict[str, int]] = {}
    for path, digest in listed.items():
        rule = source.archive_rule(path)
        if rule is None:
            if looks_like_archive(path):
                print(f"{source.name}: {path} is left packed: no pattern of sources.{source.name}.archives names it")
            continue
        contents = _unpack_one(source, folder, path, digest, rule, list(listed))
        members = contents.members or {}
        for name in members:
            place = str(Path(contents.into) / name)
            if place in owners:
                raise SourceError(f"source {source.name}: {path} and {owners[place]} both hold {place}")
            owners[place] = path
        archives[path] = {"files": len(members), "bytes": sum(members.values())}
        print(f"{source.name}: {path}: {archives[path]['files']} files", flush=True)
    if source.expected_members is not None and len(owners) != source.expected_members:
        raise SourceError(
            f"source {source.name}: {len(owners)} files were unpacked, expected are {source.expected_members}. If that is "
            f"right, set sources.{source.name}.expected_members to {len(owners)}; if not, an archive is missing or of "
            f"another revision"
        )
    unpacked = {"source": source.name, "revision": read_json(fetched)["revision"], "archives": archives}
    write_json(out, unpacked)
    if delete_archives:
        for path in archives:
            (folder / path).unlink(missing_ok=True)
    return unpacked


def _unpack_one(
    source: Source, folder: Path, path: str, digest: str, rule: Archive, fetched: Sequence[str]
) -> Contents:
    """Unpack one archive, if it is not unpacked already."""
    into, patterns = rule.into, list(rule.members)
    known = Contents.of(folder, path)
    same = known is not None and (known.digest, known.into, known.patterns) == (digest, into, patterns)
    if known is not None and same and known.is_whole(folder):
        return known
    if not (folder / path).exists():
        raise SourceError(
            f"source {source.name}: {folder / path} is gone, and what came out of it is not whole. Delete "
            f"{folder / 'fetched.json'} to fetch it again"
        )
    # No member may overwrite a fetched file or a list of the pipeline.
    taken = [folder / name for name in (*RESERVED, *fetched)]
    begun = Contents(path, digest, into, patterns, None)
    write_json(Contents.path(folder, path), dataclasses.asdict(begun))
    try:
        # Unless the archive is the same as before, files of the right size may have the wrong contents.
        found = unpack(folder / path, folder / into, patterns, keep=same, taken=taken)
    except ArchiveError as error:
        raise ArchiveError(f"source {source.name}: {error}") from error
    contents = dataclasses.replace(begun, members={member.name: member.size for member in found})
    if known is not None and known.into == into:
        for name in set(known.members or ()) - set(contents.members or ()):
            (folder / into / name).unlink(missing_ok=True)
    write_json(Contents.path(folder, path), dataclasses.asdict(contents))
    return contents
