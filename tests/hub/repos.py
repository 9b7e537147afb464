"""The repositories of the miniature hub: folders of files, described by one `repos.json` beside them.

On disk, below a root:

    repos.json                      type, id, commits, gated, lfs and folders of every repository
    datasets/<owner>/<name>/...     files of a data set
    models/<owner>/<name>/...       files of a model
    commits/<sha>/...               files of a commit that differs from the others, where `folders` says so
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import read_json, write_json

INDEX = "repos.json"
LFS = (".zip", ".gz", ".mp4", ".MP4", ".mkv", ".webm", ".avi", ".parquet", ".safetensors")
"""Suffixes of the files that a repository keeps outside git, unless it says otherwise."""
SHORTEST_SHA = 7
_HEX = re.compile(r"[0-9a-f]+")


class UnknownRevisionError(LookupError):
    """No branch and no commit of the repository is meant."""


@dataclasses.dataclass(frozen=True)
class RepoFile:
    """One file of a repository at a commit.

    Attributes:
        path: Path in the repository.
        source: Where its bytes are.
        size: Bytes.
        blob: Git's SHA-1 of what git itself stores: the bytes, or the pointer that stands for them.
        sha256: SHA-256 of the bytes; `""` for a file that git stores itself.
        pointer_size: Bytes of the pointer; 0 where there is none.
    """

    path: str
    source: Path
    size: int
    blob: str
    sha256: str = ""
    pointer_size: int = 0

    @property
    def etag(self) -> str:
        """What the hub calls the content."""
        return self.sha256 or self.blob


@dataclasses.dataclass
class Repo:
    """One repository. A test may change it while it is served, to move a branch, say.

    Attributes:
        type: `dataset` or `model`.
        id: `owner/name`.
        root: Folder of its files.
        commits: Branch or tag -> 40 hexadecimal digits.
        gated: Whether only the hub's token opens its files.
        lfs: Suffixes of files kept outside git.
        folders: Commit -> folder of its files, for the commits whose files are not those in `root`.
    """

    type: str
    id: str
    root: Path
    commits: dict[str, str]
    gated: bool = False
    lfs: tuple[str, ...] = LFS
    folders: dict[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """`datasets/owner/name` or `models/owner/name`: its folder below the root, its place in `Hub.repos`."""
        return f"{self.type}s/{self.id}"

    def resolve(self, revision: str) -> str:
        """The commit that a branch, a whole commit or its unambiguous beginning means.

        Raises:
            UnknownRevisionError: There is none, or several begin so.
        """
        if revision in self.commits:
            return self.commits[revision]
        known = sorted({*self.commits.values(), *self.folders})
        fitting = [commit for commit in known if commit.startswith(revision)]
        if len(revision) < SHORTEST_SHA or not _HEX.fullmatch(revision) or len(fitting) != 1:
            raise UnknownRevisionError(revision)
        return fitting[0]

    def files(self, commit: str) -> dict[str, RepoFile]:
        """The files of a commit by their paths, sorted."""
        folder = self.folders.get(commit, self.root)
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {file.path: file for file in (self._file(folder, path) for path in found)}

    def _file(self, folder: Path, source: Path) -> RepoFile:
        path = source.relative_to(folder).as_posix()
        stat = source.stat()
        sha256, git_sha1 = _digests(source, stat.st_size, stat.st_mtime_ns)
        if not path.endswith(self.lfs):
            return RepoFile(path, source, stat.st_size, git_sha1)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {stat.st_size}\n".encode()
        return RepoFile(path, source, stat.st_size, git_blob_sha1(pointer), sha256, len(pointer))


@functools.cache
def _digests(path: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    """SHA-256 and git's SHA-1 of a file; its size and time are there so that a changed file is hashed anew."""
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest(), git_blob_sha1(content)


def git_blob_sha1(content: bytes) -> str:
    """What `git hash-object` prints for a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def read_repos(root: Path) -> dict[str, Repo]:
    """The repositories below a root, by `Repo.key`."""
    repos = {}
    for row in read_json(root / INDEX):
        folders = {commit: root / folder for commit, folder in row["folders"].items()}
        own = root / f"{row['type']}s" / row["id"]
        repo = Repo(row["type"], row["id"], own, row["commits"], row["gated"], tuple(row["lfs"]), folders)
        repos[repo.key] = repo
    return repos


def write_repos(root: Path, repos: Iterable[Repo]) -> None:
    """Describe repositories whose files lie below a root."""
    rows: list[dict[str, Any]] = [
        {
            "type": repo.type,
            "id": repo.id,
            "commits": repo.commits,
            "gated": repo.gated,
            "lfs": list(repo.lfs),
            "folders": {commit: folder.relative_to(root).as_posix() for commit, folder in repo.folders.items()},
        }
        for repo in repos
    ]
    write_json(root / INDEX, rows)
