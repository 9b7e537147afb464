"""Locking a source to a commit: its files and their digests are requested from the hub once and stored.

With `VIDREASON_MIRROR` set no hub is used. Files are linked from `$VIDREASON_MIRROR/<owner>/<name>/` without copying them, and
verified against the lock if there is one.
"""

import dataclasses
import fnmatch
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidreason.artifacts.digests import sha256_of
from vidreason.artifacts.files import read_json, write_json
from vidreason.config.datasets import Archive
from vidreason.sources import hub
from vidreason.sources.archive_formats import ArchiveError
from vidreason.sources.hub import HubError, HubFile, HubRepo, is_commit

MIRROR = "VIDREASON_MIRROR"
"""Environment variable: folder with copies of repositories, `<owner>/<name>/`."""


FROM_HUB, FROM_MIRROR = "hub", "mirror"


class SourceError(Exception):
    """A source cannot be used; the message names it and says why and what to do."""


EXPECTED = (HubError, SourceError, ArchiveError)
"""Errors of sources. Their messages are complete, so scripts print them without a traceback."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A model or data set that is fetched, as `config/sources.yaml` describes it.

    Attributes:
        name: Its key there, and its folder below `data/`.
        repo: `owner/name` on the hub.
        type: `model` or `dataset`.
        revision: Commit, tag or branch as configured.
        files: Patterns of the files needed; `*` also matches `/`.
        archives: Pattern of archives -> how they are unpacked.
        asked_by: Data set whose questions name the videos that are needed; None for all that match.
        expected_files: Number of files to fetch; None is not checked.
        expected_members: Number of files to unpack; None is not checked.
    """

    name: str
    repo: str
    type: str
    revision: str
    files: tuple[str, ...]
    archives: Mapping[str, Archive]
    asked_by: str | None = None
    expected_files: int | None = None
    expected_members: int | None = None

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any]) -> "Source":
        """Build a source from its entry in the configuration, of which a script gets the keys that decide the files."""
        chosen = {field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name != "name"}
        archives = {pattern: Archive.model_validate(rule) for pattern, rule in chosen["archives"].items()}
        return cls(name, **{**chosen, "files": tuple(chosen["files"]), "archives": archives})

    @property
    def hub(self) -> HubRepo:
        """The repository."""
        return HubRepo(self.name, self.repo, self.type)

    def wants(self, path: str) -> bool:
        """Whether a file of the repository matches the patterns."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.files)

    def archive_rule(self, path: str) -> Archive | None:
        """How an archive is unpacked; None for any other file."""
        return next((rule for pattern, rule in self.archives.items() if fnmatch.fnmatchcase(path, pattern)), None)


@dataclasses.dataclass(frozen=True)
class Lock:
    """The commit and files that a source is locked to.

    Attributes:
        repo: `owner/name`.
        type: `model` or `dataset`.
        requested: Revision in the configuration.
        patterns: Patterns in the configuration.
        revision: The full commit; for a mirror, which does not know it, the requested revision.
        origin: `hub` or `mirror`.
        files: Every file that matches, sorted by path.
    """

    repo: str
    type: str
    requested: str
    patterns: tuple[str, ...]
    revision: str
    origin: str
    files: tuple[HubFile, ...]

    @classmethod
    def load(cls, path: str | Path) -> "Lock":
        """Read a lock.

        Raises:
            SourceError: The file is not a lock.
        """
        try:
            values = read_json(path)
            files = tuple(HubFile(**file) for file in values.pop("files"))
            lock = cls(**{**values, "patterns": tuple(values["patterns"]), "files": files})
            lock._check_itself()
            return lock
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise SourceError(f"{path}: not a lock ({error}); delete it to have it made again") from error

    def _check_itself(self) -> None:
        """Raise `ValueError` for a lock that was truncated or edited."""
        texts = (self.repo, self.type, self.requested, self.revision, self.origin)
        if not all(isinstance(text, str) and text for text in texts):
            raise ValueError("repo, type, requested, revision and origin must be texts")
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file stands in it twice")
        if self.origin == FROM_HUB and not is_commit(self.revision):
            raise ValueError(f"the revision {self.revision!r} is not 40 hex digits")
        empty = [pattern for pattern in self.patterns if not fnmatch.filter(paths, pattern)]
        odd = [path for path in paths if not any(fnmatch.fnmatchcase(path, pattern) for pattern in self.patterns)]
        if empty or odd:
            raise ValueError(f"no file matches {empty[:3]}" if empty else f"no pattern matches {odd[:3]}")

    def save(self, path: str | Path) -> None:
        """Write a lock, without unknown digests."""
        values = dataclasses.asdict(self)
        values["files"] = [{key: value for key, value in file.items() if value != ""} for file in values["files"]]
        write_json(path, values)

    def check(self, source: Source, path: str | Path) -> None:
        """Check that a lock was made for the source as it is configured now.

        Raises:
            SourceError: It was made for another repository, revision or choice of files.
        """
        for key, locked, configured in (
            ("repo", self.repo, source.repo),
            ("type", self.type, source.type),
            ("revision", self.requested, source.revision),
            ("files", list(self.patterns), list(source.files)),
        ):
            if locked != configured:
                raise SourceError(
                    f"{path}: made for {key} {locked!r}, but sources.{source.name}.{key} is {configured!r}. Delete the lock to "
                    f"have it made again, or set the key back"
                )


def lock_source(source: Source, path: str | Path) -> Lock:
    """Look up a source's commit and files, and write them to a lock.

    Args:
        source: The source.
        path: The lock to write.

    Raises:
        HubError: The hub does not have it, or refuses it.
        SourceError: A pattern of the source matches no file.
    """
    mirror = mirror_of(source)
    if mirror is not None:
        names = (file.relative_to(mirror).as_posix() for file in sorted(mirror.rglob("*")) if file.is_file())
        # A download tool leaves its records in hidden folders.
        wanted = [name for name in names if source.wants(name) and not f"/{name}".count("/.")]
        try:
            files = [HubFile(name, (mirror / name).stat().st_size, sha256_of(mirror / name)) for name in wanted]
        except ValueError as error:
            raise SourceError(f"source {source.name}: {mirror}: {error}") from error
        revision, origin, place = source.revision, FROM_MIRROR, str(mirror)
    else:
        revision = hub.resolve_revision(source.hub, source.revision)
        files = [file for file in hub.list_files(source.hub, revision) if source.wants(file.path)]
        origin, place = FROM_HUB, f"{source.hub.page}/tree/{revision}"
    absent = [pattern for pattern in source.files if not fnmatch.filter([file.path for file in files], pattern)]
    if absent:
        raise SourceError(
            f"source {source.name}: nothing in {place} is called or matches {absent}. Is it another revision "
            f"(sources.{source.name}.revision is {source.revision!r}), or another layout?"
        )
    lock = Lock(source.repo, source.type, source.revision, source.files, revision, origin, tuple(files))
    lock.save(path)
    if origin == FROM_MIRROR:
        print(f"{source.name}: locked to the files of {place}, whose commit cannot be known; commit {path}", flush=True)
    elif not is_commit(source.revision):
        print(f"{source.name}: {source.revision!r} is {revision} from now on; commit {path} to keep it so", flush=True)
    return lock


def mirror_of(source: Source) -> Path | None:
    """The source's folder in the mirror; None if no mirror is set.

    Raises:
        SourceError: A mirror is set but does not have the source.
    """
    root = os.environ.get(MIRROR, "")
    if not root:
        return None
    folder = Path(root) / source.repo
    if not folder.is_dir():
        raise SourceError(
            f"source {source.name}: {folder} is no folder, and {MIRROR} is set, so nothing is asked of a hub. Copy the "
            f"files there ({copy_command(source, folder)}), or unset {MIRROR}"
        )
    return folder


def copy_command(source: Source, folder: Path, revision: str = "") -> str:
    """Command that copies the needed files, at the right revision, into a source's folder of a mirror."""
    included = " ".join(shlex.quote(pattern) for pattern in source.files)
    return (
        f"hf download {source.repo} --repo-type {source.type} --revision {revision or source.revision} "
        f"--include {included} --local-dir {folder}"
    )
