"""Files of a Hugging Face hub: the list of a repository's files at a commit, and verified downloads that resume.

Everything goes through huggingface-hub, so `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` work as everywhere. This
module adds three things. An interrupted download resumes where it stopped, even after SIGKILL (the library discards its partial
file). A file counts as downloaded only if its bytes have the digest that the hub names. Malformed answers of the hub are
refused (`vidreason.sources.web`).
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vidreason.artifacts.digests import git_sha1_of, sha256_of, sha256_text
from vidreason.artifacts.disk import DiskFullError, explain_full_disk
from vidreason.artifacts.file_signatures import PAGE, check_signature
from vidreason.artifacts.locks import LockedError, lock_file
from vidreason.artifacts.path_checks import is_inside
from vidreason.sources import web

PARTIAL = ".partial"
"""Folder, below a source's own, for files that are not complete yet."""
RESERVED = (PARTIAL, ".unpacked", "fetched.json", "unpacked.json")
"""Names in a source's folder that no file of a repository may have."""

_MOST_SIZE = 10**15
"""Bytes of a file; no repository holds a larger one."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ODD = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\\]")
"""Characters that no path may contain: control characters, line ends, surrogates, backslashes."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(Exception):
    """A repository or a file of it cannot be fetched; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class HubRepo:
    """A repository on a hub.

    Attributes:
        name: Its name in the configuration; error messages begin with it.
        repo: `owner/name`.
        type: `model` or `dataset`.
    """

    name: str
    repo: str
    type: str

    @property
    def api(self) -> str:
        """Address for programs."""
        return f"{_endpoint()}/api/{self.type}s/{self.repo}"

    @property
    def page(self) -> str:
        """Address of the page for people."""
        return f"{_endpoint()}/{'datasets/' if self.type == 'dataset' else ''}{self.repo}"

    def __str__(self) -> str:
        return f"source {self.name} ({self.type} {self.repo})"


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file of a repository at a commit.

    Attributes:
        path: Path in the repository: relative, within it, and none of `RESERVED`.
        size: Bytes.
        sha256: Digest of the bytes; `""` if the hub names another one.
        git_sha1: Git's digest of the file as a blob, which the hub names for small files; `""` if it is not known.
    """

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""

    def __post_init__(self) -> None:
        """Refuse a path outside the folder, and an impossible size or digest."""
        path = self.path
        inside = isinstance(path, str) and is_inside(path) and not _ODD.search(path)
        if not inside or not {"", "."}.isdisjoint(path.split("/")) or path.split("/")[0] in RESERVED:
            raise ValueError(
                f"a file of a repository is called {str(path)[:200]!r}; allowed are relative paths without '..', backslashes "
                f"and control characters, and not {', '.join(RESERVED)}"
            )
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not 0 <= self.size <= _MOST_SIZE:
            raise ValueError(f"{path!r} has a size of {str(self.size)[:40]}; allowed: 0 to {_MOST_SIZE} bytes")
        known, digest = (_SHA256, self.sha256) if self.sha256 else (_COMMIT, self.git_sha1)
        if not isinstance(digest, str) or not known.fullmatch(digest):
            raise ValueError(
                f"{path!r} has the digest {str(digest)[:80]!r}; allowed: 64 (sha256) or 40 hex digits (git)"
            )

    @property
    def digest(self) -> str:
        """The known digest."""
        return self.sha256 or self.git_sha1

    def describes(self, path: Path) -> bool:
        """Whether a file on disk has this size and this digest."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return (sha256_of(path) == self.sha256) if self.sha256 else (git_sha1_of(path) == self.git_sha1)


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which never moves."""
    return _COMMIT.fullmatch(revision) is not None


def resolve_revision(repo: HubRepo, revision: str) -> str:
    """The full commit that a branch, a tag or a shortened commit currently stands for.

    Args:
        repo: The repository.
        revision: Revision named in the configuration.

    Returns:
        40 hexadecimal digits.

    Raises:
        HubError: The repository or the revision does not exist, or the hub cannot be reached or gives a malformed answer.
    """
    url = f"{repo.api}/revision/{quote(revision, safe='')}"
    with _explained(repo, revision):
        commit = str(web.get_json(url, dict).get("sha"))
        if not is_commit(commit):
            raise web.AnswerError(f"{url}: the commit is {commit[:80]!r}, which is not 40 hex digits")
        if is_commit(revision) and commit != revision:
            raise web.AnswerError(f"{url}: the answer is about another commit, {commit}")
    return commit


def list_files(repo: HubRepo, commit: str) -> list[HubFile]:
    """All files of a repository at a commit, sorted by path.

    Raises:
        HubError: The repository or the commit does not exist, or the hub cannot be reached or gives a malformed answer.
    """
    files: dict[str, HubFile] = {}
    with _explained(repo, commit):
        for url, entries in web.get_pages(f"{repo.api}/tree/{quote(commit, safe='')}?recursive=true"):
            for file in filter(None, (_listed(url, entry) for entry in entries)):
                if file.path in files:
                    raise web.AnswerError(f"{url}: {file.path!r} is listed twice")
                files[file.path] = file
    return [files[path] for path in sorted(files)]


def _listed(url: str, entry: Any) -> HubFile | None:
    """A file from an entry of a repository's tree; None for a folder or a submodule."""
    try:
        if entry["type"] != "file":
            return None
        large = entry.get("lfs")
        if large is not None:
            return HubFile(entry["path"], large["size"], sha256=large["oid"])
        return HubFile(entry["path"], entry["size"], git_sha1=entry["oid"])
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        shown = json.dumps(entry)[:200]
        raise web.AnswerError(f"{url}: an entry that describes no file ({error}): {shown}") from error


def bytes_left(repo: HubRepo, commit: str, file: HubFile, folder: Path) -> int:
    """Bytes of a file that are still to be downloaded: none if the hub cache has it, the rest of a partial download."""
    if _cached(repo, commit, file) is not None:
        return 0
    return max(0, file.size - _bytes_of(_partial(file, folder)))


def download(repo: HubRepo, commit: str, file: HubFile, folder: Path) -> None:
    """Put a file of a repository into a folder, under its own path, verified.

    It comes from the local hub cache (`HF_HOME`) or is downloaded. An interrupted download resumes.

    Args:
        repo: The repository.
        commit: Full commit.
        file: The file.
        folder: Folder to write to.

    Raises:
        HubError: It cannot be fetched, or its bytes do not have the digest that the hub names; then they are removed.
    """
    from huggingface_hub.constants import HF_HUB_OFFLINE

    target = folder / file.path
    with _explained(repo, commit, file):
        cached = _cached(repo, commit, file)
        if cached is not None and file.describes(cached):
            link(cached, target)
            return
        if HF_HUB_OFFLINE:
            raise HubError(
                f"{repo}: {file.path} is not in {folder}, and HF_HUB_OFFLINE forbids to download it. Fetch it on a machine "
                f"with a network, without HF_HUB_OFFLINE, or name a copy with VIDREASON_MIRROR"
            )
        partial = _partial(file, folder)
        with explain_full_disk(target):
            partial.parent.mkdir(parents=True, exist_ok=True)
            web.with_retries(lambda: _resume(repo, commit, file, partial), lambda: _bytes_of(partial))
        if not file.describes(partial):
            raise _corrupt(repo, file, partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)


def _partial(file: HubFile, folder: Path) -> Path:
    """Path of a partial download; two files of equal contents have different ones."""
    return folder / PARTIAL / sha256_text(f"{file.path}\0{file.digest}")


def _cached(repo: HubRepo, commit: str, file: HubFile) -> Path | None:
    """Path of the file at this commit in huggingface-hub's own cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo.repo, file.path, revision=commit, repo_type=repo.type)
    return Path(path) if isinstance(path, str) else None


def _resume(repo: HubRepo, commit: str, file: HubFile, partial: Path) -> None:
    """Download the rest of a partial file."""
    from huggingface_hub import hf_hub_url

    if _bytes_of(partial) > file.size:
        partial.unlink()
    with partial.open("ab") as stream:
        try:
            lock_file(stream, partial)
        except LockedError as error:
            raise HubError(f"{repo}: another process is downloading {file.path} here; wait for it") from error
        web.fetch(hf_hub_url(repo.repo, file.path, repo_type=repo.type, revision=commit), stream, file.size)


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _corrupt(repo: HubRepo, file: HubFile, partial: Path) -> HubError:
    """Remove a download whose digest is wrong, so that the next run starts over, and return the error for it."""
    signature, size = check_signature(partial), partial.stat().st_size
    partial.unlink()
    text = f"; it begins with {signature.head[:40]!r}: a web page?" if signature and signature.kind == PAGE else ""
    came = f"more than the {file.size} bytes" if size > file.size else f"{size} of {file.size} bytes"
    return HubError(
        f"{repo}: {file.path} was refused: what came is not what the hub promises ({came}, "
        f"{'sha256' if file.sha256 else 'git sha1'} {file.digest}){text}. Run again to download it anew; if it happens "
        f"again, a proxy or {_endpoint()} changes the file"
    )


def link(source: Path, target: Path) -> None:
    """Make `target` the file `source` without copying its bytes: a hard link, or a symbolic one across file systems."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        target.symlink_to(source)


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextlib.contextmanager
def _explained(repo: HubRepo, revision: str, file: HubFile | None = None) -> Iterator[None]:
    """Turn errors of the library and the system into a `HubError` that says what to do."""
    from huggingface_hub import errors

    about = f"{repo}{f', {file.path}' if file else ''}"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{about}: HF_HUB_OFFLINE forbids to ask the hub; unset it, or set VIDREASON_MIRROR") from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{about}: access is gated. Accept its conditions at {repo.page} with your account, then set HF_TOKEN to a token "
            f"of that account ({_endpoint()}/settings/tokens); {_token_state()}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{about}: there is no revision {revision!r}. {_what_exists(repo)}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise HubError(f"{about}: this file is not in the repository at {revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{about}: no such {repo.type} at {repo.page}, or it is private and needs a token: {_token_state()}"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            advice = f"{_token_state()}. A token that is mistyped or expired is refused even where none is needed"
        elif status == 403:
            advice = f"it refuses access; {_token_state()}. See {repo.page}"
        elif status in web.TRANSIENT:
            advice = f"also at the last of {len(web.WAITS) + 1} tries. Run again later: what is complete is kept"
        else:
            advice = f"which is not expected. Is {_endpoint()} a hub?"
        raise HubError(f"{about}: the hub answered {status}; {advice}") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]
        raise HubError(
            f"{about}: {_endpoint()} cannot be reached or breaks off ({type(error).__name__}: {error}). Is HF_ENDPOINT right, "
            f"and does this machine have a network? Run again, and it goes on where it stopped; or set VIDREASON_MIRROR"
        ) from error
    except DiskFullError as error:
        raise HubError(f"{about}: {error.words}") from error
    except OSError as error:
        raise HubError(
            f"{about}: {error.filename or 'a file'} cannot be read or written: {error.strerror or error}"
        ) from error
    except ValueError as error:
        raise HubError(f"{about}: {error}") from error


def _token_state() -> str:
    """Whether a token is set, in words, without the token."""
    from huggingface_hub import get_token

    return "a token is set, but it gives no access" if get_token() else "no token is set"


def _what_exists(repo: HubRepo) -> str:
    """Branches and tags of a repository, for the message about a revision that does not exist."""
    from huggingface_hub import errors

    try:
        refs = web.get_json(f"{repo.api}/refs", dict)
        named = [f"{ref['name']} ({ref['targetCommit'][:12]})" for kind in ("branches", "tags") for ref in refs[kind]]
    except (errors.HTTPError, OSError, ValueError, TypeError, KeyError):  # type: ignore[attr-defined]
        return f"See {repo.page}/commits/main"
    return f"Existing: {', '.join(named) or 'nothing'}; all commits: {repo.page}/commits/main"
