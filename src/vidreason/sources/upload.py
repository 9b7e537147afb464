"""Publishing a checkpoint on the hub: what would be uploaded, and the upload as one commit."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidreason.artifacts.integrity import check_unchanged

CARD = "README.md"
SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Endings of the files of a checkpoint. Pickles, hidden files and whatever else lies in the folder stay here."""


class PushError(ValueError):
    """A checkpoint cannot be published."""


@dataclass(frozen=True)
class Upload:
    """A checkpoint on its way to a repository.

    Attributes:
        repo: `owner/name`.
        files: Files of the checkpoint, by name.
        card: Text of its README.md.
        left_out: Names of files in the folder that are not uploaded.
    """

    repo: str
    files: tuple[Path, ...]
    card: str
    left_out: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Name in the repository -> bytes."""
        return {CARD: len(self.card.encode()), **{path.name: path.stat().st_size for path in self.files}}


def plan_upload(folder: str | Path, repo: str, card: str) -> Upload:
    """What an upload would consist of.

    Args:
        folder: A checkpoint.
        repo: `owner/name` on the hub.
        card: Text of its README.md, which takes the place of one in the folder.

    Raises:
        PushError: The repository's name is not allowed, or the folder holds no weights.
        ChangedError: The folder is not what its sidecar records.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    folder = Path(folder)
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise PushError(f"repository {repo!r} is not allowed: {' '.join(str(error).split())}") from error
    if repo.count("/") != 1:
        raise PushError(f"repository {repo!r} is not allowed; allowed: owner/name")
    check_unchanged(folder)
    there = sorted(path for path in folder.glob("*") if path.name != CARD) if folder.is_dir() else []
    files = tuple(
        path for path in there if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith(".")
    )
    if not any(path.suffix == ".safetensors" for path in files):
        raise PushError(f"{folder}: no weights (*.safetensors) in it; allowed: a checkpoint folder")
    return Upload(repo, files, card, tuple(path.name for path in there if path not in files))


def push(upload: Upload, private: bool = False) -> str:
    """Upload everything as one commit, into a repository that is made if there is none.

    Args:
        upload: See `plan_upload`.
        private: Whether a repository that is made is private.

    Returns:
        The commit's address.

    Raises:
        PushError: The hub refuses or cannot be reached; the message does not hold the token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    parts: dict[str, str | bytes] = {CARD: upload.card.encode(), **{path.name: str(path) for path in upload.files}}
    with _explained(upload.repo):
        api.create_repo(upload.repo, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=part) for name, part in parts.items()]
        done = api.create_commit(upload.repo, operations, commit_message="A checkpoint of vidreason with its card")
    return str(done.commit_url)


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn errors of the library into one sentence."""
    from huggingface_hub import errors, get_token

    token = "a token is set" if get_token() else "no token is set; `hf auth login` or HF_TOKEN sets one"
    try:
        yield
    except errors.LocalTokenNotFoundError as error:
        raise PushError(f"{repo}: {token}") from error
    except errors.OfflineModeIsEnabled as error:
        raise PushError(f"{repo}: HF_HUB_OFFLINE forbids to ask the hub; unset it") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise PushError(f"{repo}: the hub answered {status}; {token}, which needs the right to write there") from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise PushError(
            f"{repo}: the hub cannot be reached or breaks off ({type(error).__name__}); run again"
        ) from error
