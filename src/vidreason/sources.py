"""What a run is made from: locking a source to a commit, fetching its files, unpacking its archives.

Three steps, each a rule, each of which can be killed and run again:

- `lock_source` asks the hub once what a source is: the full commit, size and digest of every file that is wanted.
- `fetch_source` has these files in `data/<name>/`, every byte verified against the lock.
- `unpack_source` unpacks what is needed of the archives.

With `VIDREASON_MIRROR` set nothing is asked of a hub: the files are taken, without copying them, from
`$VIDREASON_MIRROR/<owner>/<name>/`, and verified against the lock where there is one already.
"""

import dataclasses
import fnmatch
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vidreason import hub
from vidreason.archive_formats import ArchiveError
from vidreason.archives import looks_like_archive, unpack
from vidreason.config import SOURCES
from vidreason.files import is_inside, read_json, sha256_of, write_json
from vidreason.hub import PARTIAL, RESERVED, HubError, HubFile, HubRepo, is_commit
from vidreason.questions import read_questions

MIRROR = "VIDREASON_MIRROR"
"""Environment variable: folder with copies of repositories, `<owner>/<name>/`."""
FROM_HUB, FROM_MIRROR = "hub", "mirror"
UNPACKED = RESERVED[1]
"""Folder, below a source's own, with a list of what came out of each archive."""
DOWNLOADS = 4
"""Files downloaded at a time."""


class SourceError(Exception):
    """A source that cannot be used; the text names it, says why and what to do."""


EXPECTED = (HubError, SourceError, ArchiveError)
"""What can go wrong with a source; the text of each says what to do."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A model or data set that is fetched, as `config/sources.yaml` describes it.

    Attributes:
        name: Its key there, and its folder below `data/`.
        repo: `owner/name` on the hub.
        type: `model` or `dataset`.
        revision: Commit, tag or branch asked for.
        files: Patterns of the files needed; `*` also matches `/`.
        archives: Pattern of archives -> `into` (folder below the source's) and `members` (patterns).
        asked_by: Data set whose questions name the videos that are needed; None for all that match.
        expected_files: Files to fetch; None is not checked.
        expected_members: Files to unpack; None is not checked.
    """

    name: str
    repo: str
    type: str
    revision: str
    files: tuple[str, ...]
    archives: Mapping[str, Mapping[str, Any]]
    asked_by: str | None = None
    expected_files: int | None = None
    expected_members: int | None = None

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any]) -> "Source":
        """Take what matters from an entry of the configuration."""
        chosen = {field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name != "name"}
        return cls(name, **{**chosen, "files": tuple(chosen["files"])})

    @property
    def hub(self) -> HubRepo:
        """The repository."""
        return HubRepo(self.name, self.repo, self.type)

    def wants(self, path: str) -> bool:
        """Whether a file of the repository matches the patterns."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.files)

    def archive_rule(self, path: str) -> Mapping[str, Any] | None:
        """How an archive is unpacked; None for any other file."""
        return next((rule for pattern, rule in self.archives.items() if fnmatch.fnmatchcase(path, pattern)), None)


@dataclasses.dataclass(frozen=True)
class Lock:
    """What a source was when it was first asked for.

    Attributes:
        repo: `owner/name`.
        type: `model` or `dataset`.
        requested: The revision that the configuration named.
        patterns: The patterns that the configuration named.
        revision: The full commit; the one requested where the files come from a mirror, which cannot tell.
        origin: `hub` or `mirror`.
        files: Every file that is wanted, in order of the paths.
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
        """Raise `ValueError` for what no lock that was written can be: it may have been cut short or edited."""
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
        """Write a lock; digests that are not known are left out."""
        values = dataclasses.asdict(self)
        values["files"] = [{key: value for key, value in file.items() if value != ""} for file in values["files"]]
        write_json(path, values)

    def check(self, source: Source, path: str | Path) -> None:
        """See that a lock was made for the source as it is configured now.

        Raises:
            SourceError: It was made for another repository, revision or choice of files.
        """
        for key, locked, asked in (
            ("repo", self.repo, source.repo),
            ("type", self.type, source.type),
            ("revision", self.requested, source.revision),
            ("files", list(self.patterns), list(source.files)),
        ):
            if locked != asked:
                raise SourceError(
                    f"{path}: made for {key} {locked!r}, but sources.{source.name}.{key} is {asked!r}. Delete the lock to "
                    f"have it made again, or set the key back"
                )


def lock_source(source: Source, path: str | Path) -> Lock:
    """Ask what a source is now, and write it down.

    Args:
        source: The source.
        path: The lock to write.

    Raises:
        HubError: The hub does not have it, or does not give it.
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
    """The source's folder in the mirror; None where no mirror is set.

    Raises:
        SourceError: A mirror is set and does not have the source.
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
    """The command that fills a source's folder of a mirror with what is needed, at the right revision."""
    included = " ".join(shlex.quote(pattern) for pattern in source.files)
    return (
        f"hf download {source.repo} --repo-type {source.type} --revision {revision or source.revision} "
        f"--include {included} --local-dir {folder}"
    )


def fetch_source(source: Source, lock_path: str | Path, folder: str | Path, out: str | Path) -> dict[str, Any]:
    """Have every file that is needed in `folder`, verified; what is there already is not fetched again.

    Args:
        source: The source.
        lock_path: Its lock.
        folder: Where the files go, under their paths in the repository.
        out: JSON to write when all is there: source, revision, origin, and the files with their digests.

    Returns:
        What was written.

    Raises:
        HubError: A file cannot be had.
        SourceError: The lock is of something else, the number of files is not the one expected, or there is no room.
    """
    folder = Path(folder)
    lock = Lock.load(lock_path)
    lock.check(source, lock_path)
    mirror = mirror_of(source)
    if mirror is not None and folder.exists() and folder.resolve() == mirror.resolve():
        raise SourceError(
            f"source {source.name}: {folder} is the mirror's own folder, which is never written to. Remove that link: the "
            f"mirror's files are linked into {folder} one by one"
        )
    needed = list(lock.files)
    if source.asked_by is not None:
        questions = [file for file in needed if Path(file.path).suffix == ".json"]
        _fetch_all(source, lock, questions, folder, mirror)
        needed = [*questions, *_asked_for(source, lock, folder)]
    if source.expected_files is not None and len(needed) != source.expected_files:
        raise SourceError(
            f"source {source.name}: {len(needed)} files are needed of {lock.repo} at {lock.revision}, expected are "
            f"{source.expected_files}. If that is right, set sources.{source.name}.expected_files to {len(needed)}; if not, "
            f"it is another revision, or a file is missing"
        )
    _fetch_all(source, lock, needed, folder, mirror)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    origin = lock.origin if mirror is None else FROM_MIRROR
    fetched = {
        "source": source.name,
        "repo": source.repo,
        "type": source.type,
        "revision": lock.revision,
        "origin": origin,
        "files": [{"path": file.path, "size": file.size, "digest": file.digest} for file in needed],
    }
    write_json(out, fetched)
    return fetched


def _asked_for(source: Source, lock: Lock, folder: Path) -> list[HubFile]:
    """The videos that the questions of the source's data set ask about, as far as the repository has them."""
    asked = {question.video for question in read_questions(str(source.asked_by), folder)}
    found = [file for file in lock.files if file.path in asked]
    absent = sorted(asked - {file.path for file in found})
    if absent:
        # Not an error here: a question without a video is a counted row of the benchmark.
        print(
            f"{source.name}: {len(absent)} of {len(asked)} videos asked about are not in it: {absent[:5]}", flush=True
        )
    return found


def _fetch_all(source: Source, lock: Lock, files: Sequence[HubFile], folder: Path, mirror: Path | None) -> None:
    """Fetch what is missing, a few files at a time."""
    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        there = list(pool.map(lambda file: _is_there(file, folder), files))
    missing = [file for file, found in zip(files, there, strict=True) if not found]
    if not missing:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"source {source.name}: the folder {folder} cannot be made ({error.strerror}). Is {SOURCES} a link to a disk that is "
            f"not there?"
        ) from error
    free = shutil.disk_usage(folder).free
    needed = 0 if mirror else sum(hub.bytes_left(source.hub, lock.revision, file, folder) for file in missing)
    if needed > free:
        raise SourceError(
            f"source {source.name}: {needed / 1e9:.2f} GB are still to be fetched, {free / 1e9:.2f} GB are free in {folder}. "
            f"Make room, or let `data` be a link to a larger disk"
        )
    print(
        f"{source.name}: {len(missing)} of {len(files)} files to fetch, {needed / 1e9:.3f} GB to download", flush=True
    )

    def fetch(file: HubFile) -> None:
        target = folder / file.path
        if target.is_dir():
            raise SourceError(f"source {source.name}: {target} is a folder where a file should be; move it away")
        if mirror is None:
            hub.download(source.hub, lock.revision, file, folder)
        else:
            _take_from_mirror(source, lock.revision, file, mirror, target)
        print(f"{source.name}: {file.path} ({file.size} bytes)", flush=True)

    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        jobs = [pool.submit(fetch, file) for file in missing]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _take_from_mirror(source: Source, revision: str, file: HubFile, mirror: Path, target: Path) -> None:
    """Link a file of the mirror if it is the one that was locked."""
    copy = mirror / file.path
    if not copy.is_file():
        raise SourceError(f"source {source.name}: {copy} is missing; {copy_command(source, mirror, revision)}")
    if not file.describes(copy):
        raise SourceError(
            f"source {source.name}: {copy} was refused: it has {copy.stat().st_size} bytes or another digest than the lock "
            f"says ({file.size} bytes, {file.digest}). Copy it again: {copy_command(source, mirror, revision)}"
        )
    hub.link(copy, target)


def _is_there(file: HubFile, folder: Path) -> bool:
    """Whether a file need not be fetched: it is there, or it is an archive that was unpacked and then removed."""
    if file.describes(folder / file.path):
        return True
    contents = _Contents.of(folder, file.path)
    return contents is not None and contents.digest == file.digest and contents.is_whole(folder)


@dataclasses.dataclass(frozen=True)
class _Contents:
    """What came out of an archive.

    Attributes:
        archive: Path below the source's folder.
        digest: Of the archive.
        into: Folder below the source's.
        patterns: Of the members.
        members: Path below `into` -> bytes; None while it is being unpacked.
    """

    archive: str
    digest: str
    into: str
    patterns: list[str]
    members: dict[str, int] | None

    @classmethod
    def of(cls, folder: Path, archive: str) -> "_Contents | None":
        """Read the list of an archive's contents; None where there is none, or none that can be read."""
        path = cls.path(folder, archive)
        try:
            found = cls(**read_json(path)) if path.is_file() else None
        except (ValueError, TypeError):
            return None
        members = {} if found is None or found.members is None else found.members
        sound = isinstance(members, dict) and all(is_inside(name) for name in members)
        # A list that was damaged or edited is no list: the archive is unpacked again.
        return found if sound and (found is None or members or found.members is None) else None

    @staticmethod
    def path(folder: Path, archive: str) -> Path:
        """Where the list lies."""
        return folder / UNPACKED / f"{archive}.json"

    def is_whole(self, folder: Path) -> bool:
        """Whether everything came out, and is still there with its size."""
        if self.members is None:
            return False
        places = ((folder / self.into / name, size) for name, size in self.members.items())
        return all(place.is_file() and place.stat().st_size == size for place, size in places)


def unpack_source(
    source: Source, fetched: str | Path, folder: str | Path, out: str | Path, delete_archives: bool = False
) -> dict[str, Any]:
    """Unpack what is needed of a source's archives; what is unpacked already is not unpacked again.

    Args:
        source: The source.
        fetched: What `fetch_source` wrote.
        folder: The source's folder.
        out: JSON to write when all is there: archive -> files and bytes that came out of it.
        delete_archives: Remove the archives when all their files are there and counted.

    Returns:
        What was written.

    Raises:
        ArchiveError: An archive cannot be trusted or read.
        SourceError: An archive is gone, two hold the same file, or the number of files is not the one expected.
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
    source: Source, folder: Path, path: str, digest: str, rule: Mapping[str, Any], fetched: Sequence[str]
) -> _Contents:
    """Unpack one archive, or see that it is unpacked."""
    into, patterns = str(rule["into"]), [str(pattern) for pattern in rule["members"]]
    known = _Contents.of(folder, path)
    same = known is not None and (known.digest, known.into, known.patterns) == (digest, into, patterns)
    if known is not None and same and known.is_whole(folder):
        return known
    if not (folder / path).exists():
        raise SourceError(
            f"source {source.name}: {folder / path} is gone, and what came out of it is not whole. Delete "
            f"{folder / 'fetched.json'} to fetch it again"
        )
    # Neither a fetched file nor the pipeline's own lists may be overwritten by what is in an archive.
    taken = [folder / name for name in (*RESERVED, *fetched)]
    begun = _Contents(path, digest, into, patterns, None)
    write_json(_Contents.path(folder, path), dataclasses.asdict(begun))
    try:
        # Files of another archive, or of none that is known, may have the right size and the wrong content.
        found = unpack(folder / path, folder / into, patterns, keep=same, taken=taken)
    except ArchiveError as error:
        raise ArchiveError(f"source {source.name}: {error}") from error
    contents = dataclasses.replace(begun, members={member.name: member.size for member in found})
    if known is not None and known.into == into:
        for name in set(known.members or ()) - set(contents.members or ()):
            (folder / into / name).unlink(missing_ok=True)
    write_json(_Contents.path(folder, path), dataclasses.asdict(contents))
    return contents
