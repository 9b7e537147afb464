"""A small Hugging Face hub on 127.0.0.1, for tests and for trying the paper's run by hand.

It speaks what huggingface-hub 2.4.0 asks of the real one: information about a repository, its tree in pages, its refs,
and its files. As on the real hub, small files come from the hub itself, and large ones (LFS) from another origin (here
another port) that a redirect with a signed address leads to and that must never see the token; information about a gated
repository is open, its files are not.

    python -m tests.hub.replicas /tmp/hub
    python -m tests.hub.server /tmp/hub
"""

import argparse
import contextlib
import dataclasses
import fnmatch
import gzip
import hashlib
import hmac
import json
import posixpath
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub.repos import Repo, RepoFile, UnknownRevisionError, read_repos

HOST = "127.0.0.1"
TOKEN = "hf_miniature_hub_token"
PAGE = 10
"""Entries on a page of a tree; small, so that a client that reads only the first page is found out."""
SLOW_BYTES, SLOW_SECONDS = 1024, 0.2
"""A slow body comes in pieces of so many bytes, with so many seconds between them."""
WHEN = "2024-06-01T00:00:00.000Z"
WEB_PAGE = (
    b"<!doctype html>\n<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>\n"
)

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclasses.dataclass(frozen=True)
class Reply:
    """What is answered.

    Attributes:
        status: HTTP status.
        headers: Headers besides the length.
        content: The body.
        file: A file that is the body, in place of `content`.
    """

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    content: bytes = b""
    file: RepoFile | None = None


def refusal(status: int, message: str, code: str = "", **headers: str) -> Reply:
    """An error as the hub words it: in two headers and in the body."""
    coded = {"X-Error-Code": code} if code else {}
    told = {"X-Error-Message": message, "Content-Type": "application/json; charset=utf-8"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {**coded, **told, **given}, json.dumps({"error": message}).encode())


STATUS_FAULTS: Mapping[str, Reply] = {
    "unauthorized": refusal(401, "Invalid credentials in Authorization header"),
    "gated": refusal(
        403, "Access to this repository is restricted and you are not in the authorized list.", "GatedRepo"
    ),
    "no_revision": refusal(404, "Invalid rev id", "RevisionNotFound"),
    "too_many": refusal(429, "We had to rate limit you.", Retry_After="1"),
    "server_error": refusal(500, "Internal error, something broke on the miniature hub."),
}
"""Fault -> what is answered to any request, HEAD included."""
BODY_FAULTS = ("cut_short", "wrong_checksum", "slow", "web_page", "too_long", "endless", "compressed")
"""Faults of the body of a file, whose headers are right; `compressed` is gzip for whoever asks for the bytes as they are."""


@dataclasses.dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: A key of `STATUS_FAULTS` or one of `BODY_FAULTS`.
        path_glob: Pattern of the decoded path of the requests it befalls; `*` also matches `/`.
        times: How many requests it still befalls; None for all. It counts down to 0.
    """

    kind: str
    path_glob: str = "*"
    times: int | None = 1

    def __post_init__(self) -> None:
        allowed = (*STATUS_FAULTS, *BODY_FAULTS)
        if self.kind not in allowed:
            raise ValueError(f"fault {self.kind!r}; allowed: {', '.join(allowed)}")


@dataclasses.dataclass(frozen=True)
class Request:
    """A line of the log.

    Attributes:
        method: HTTP method.
        path: Decoded path, without the query.
        status: HTTP status that was answered.
        authorized: Whether there was an Authorization header; never what was in it.
        range: The Range header, `""` for none.
        encoding: The Accept-Encoding header.
    """

    method: str
    path: str
    status: int
    authorized: bool
    range: str = ""
    encoding: str = ""


class Hub:
    """The hub, while it is entered.

    Example:
        with Hub(root) as hub:
            hub.faults.append(Fault("cut_short", "*/resolve/*/NextQA.zip"))
            snapshot_download("owner/name", repo_type="dataset", endpoint=hub.url, token=hub.token)

    Attributes:
        root: Folder that `tests.hub.replicas` wrote.
        token: The one token that opens gated repositories.
        repos: `datasets/owner/name` or `models/owner/name` -> repository.
        faults: What goes wrong from now on; append to it at any time. The first that fits a request befalls it.
        forged: Pattern of a decoded path -> what answers in place of the hub, given the query.
        poured: Bytes of endless bodies that were sent.
        log: Requests in the order of their answers.
    """

    def __init__(self, root: str | Path, token: str = TOKEN, port: int = 0, verbose: bool = False) -> None:
        self.root = Path(root)
        self.token = token
        self.repos: dict[str, Repo] = read_repos(self.root)
        self.faults: list[Fault] = []
        self.forged: dict[str, Callable[[Mapping[str, str]], Reply]] = {}
        self.log: list[Request] = []
        self.poured = 0
        self.verbose = verbose
        self.stopping = threading.Event()
        self._secret = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._ports = (port, 0)
        self._servers: list[_Server] = []

    def __enter__(self) -> "Hub":
        self.stopping.clear()
        for port in self._ports:
            server = _Server((HOST, port), self)
            self._servers.append(server)
            # The default interval would make every test wait half a second for the end.
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
            server.close_connections()
        self._servers.clear()

    @property
    def url(self) -> str:
        """Address of the hub, for `endpoint=` and HF_ENDPOINT."""
        return self._address(0)

    @property
    def cdn_url(self) -> str:
        """Address of the origin of large files."""
        return self._address(1)

    def _address(self, number: int) -> str:
        if not self._servers:
            raise RuntimeError("the hub has no address before it is entered")
        return f"http://{HOST}:{self._servers[number].server_address[1]}"

    def signature(self, path: str) -> str:
        """What an address of the second origin must carry."""
        return hmac.new(self._secret, path.encode(), "sha256").hexdigest()

    def note(self, request: Request) -> None:
        """Write to the log."""
        with self._lock:
            self.log.append(request)

    def strike(self, path: str, kinds: Iterable[str]) -> str | None:
        """The kind of fault that befalls a request, if any, counted down."""
        with self._lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.times != 0 and fnmatch.fnmatchcase(path, fault.path_glob):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault.kind
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        super().__init__(address, _Handler)
        self.hub = hub
        self.connections: set[socket.socket] = set()
        self.lock = threading.Lock()

    def close_connections(self) -> None:
        """End the kept-alive ones too: the port may soon be another hub's, and a pooled connection would still reach this."""
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no error of the server's.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Refused(Exception):  # noqa: N818 (it is an answer)
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are sent apart; without this the body waits for the client to acknowledge the head.
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.lock:
            self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.hub.verbose:
            super().log_message(format, *args)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        posted = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        path = unquote(address.path)
        struck = hub.strike(path, STATUS_FAULTS)
        try:
            forger = next((make for glob, make in hub.forged.items() if fnmatch.fnmatchcase(path, glob)), None)
            if forger:
                reply = forger(query)
            else:
                reply = STATUS_FAULTS[struck] if struck else self._route(address.path, path, query, posted)
        except _Refused as refused:
            reply = refused.reply
        self._send(path, reply)

    # --- What is asked for -------------------------------------------------------------------------------------------

    def _route(self, raw: str, path: str, query: Mapping[str, str], posted: bytes) -> Reply:
        # Cut before decoding: a branch may hold an encoded slash.
        parts = [unquote(part) for part in raw.strip("/").split("/")]
        get = self.command in ("GET", "HEAD")
        match parts:
            case ["api", "whoami-v2"] if get:
                return self._whoami()
            case ["api", ("models" | "datasets") as kind, owner, name, *rest]:
                return self._api(self._repo(kind, owner, name), rest, query, posted)
            case ["cdn", "datasets", owner, name, "resolve", revision, *rest] if get and rest:
                return self._signed(self._repo("datasets", owner, name), revision, "/".join(rest), path, query)
            case ["cdn", owner, name, "resolve", revision, *rest] if get and rest:
                return self._signed(self._repo("models", owner, name), revision, "/".join(rest), path, query)
            case ["datasets", owner, name, "resolve", revision, *rest] if get and rest:
                return self._resolve(self._repo("datasets", owner, name), revision, "/".join(rest))
            case [owner, name, "resolve", revision, *rest] if get and rest:
                return self._resolve(self._repo("models", owner, name), revision, "/".join(rest))
        raise _Refused(refusal(404, f"The miniature hub knows no {self.command} {path}"))

    def _repo(self, kind: str, owner: str, name: str) -> Repo:
        found = self.server.hub.repos.get(f"{kind}/{owner}/{name}")
        if found is None:
            raise _Refused(refusal(404, "Repository not found", "RepoNotFound"))
        return found

    def _commit(self, repo: Repo, revision: str) -> str:
        try:
            return repo.resolve(revision)
        except UnknownRevisionError:
            raise _Refused(refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")) from None

    def _file(self, repo: Repo, commit: str, path: str) -> RepoFile:
        found = repo.files(commit).get(path)
        if found is None:
            raise _Refused(refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit))
        return found

    def _has_token(self) -> bool:
        sent = self.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode(), f"Bearer {self.server.hub.token}".encode())

    def _check_access(self, repo: Repo) -> None:
        if not repo.gated or self._has_token():
            return
        restricted = f"Access to {repo.type} {repo.id} is restricted"
        if "Authorization" in self.headers:
            asked = (
                f"{restricted} and you are not in the authorized list. Visit {self.server.hub.url}/{repo.key} to ask."
            )
            raise _Refused(refusal(403, asked, "GatedRepo"))
        raise _Refused(refusal(401, f"{restricted}. You must have access to it and be authenticated.", "GatedRepo"))

    def _whoami(self) -> Reply:
        if not self._has_token():
            raise _Refused(refusal(401, "Invalid credentials in Authorization header"))
        return _json({"type": "user", "id": "0" * 24, "name": "reader", "fullname": "A Reader", "orgs": []})

    def _api(self, repo: Repo, rest: Sequence[str], query: Mapping[str, str], posted: bytes) -> Reply:
        match [self.command, *rest]:
            case ["GET"]:
                return self._info(repo, self._commit(repo, "main"), query)
            case ["GET", "revision", revision]:
                return self._info(repo, self._commit(repo, revision), query)
            case ["GET", "tree", revision, *folder]:
                return self._tree(repo, revision, "/".join(folder), query)
            case ["POST", "paths-info", revision]:
                form = parse_qs(posted.decode())
                return self._paths_info(repo, self._commit(repo, revision), form.get("paths", []), form.get("expand"))
            case ["GET", "refs"]:
                return self._refs(repo)
            case ["GET", "auth-check"]:
                self._check_access(repo)
                return _json({"ok": True})
        raise _Refused(refusal(404, f"The miniature hub knows no {self.command} {'/'.join(rest)} of a repository"))

    def _info(self, repo: Repo, commit: str, query: Mapping[str, str]) -> Reply:
        files = repo.files(commit).values()
        information: dict[str, Any] = {
            "_id": commit[:24],
            "id": repo.id,
            "author": repo.id.split("/")[0],
            "sha": commit,
            "createdAt": WHEN,
            "lastModified": WHEN,
            "private": False,
            "gated": "auto" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [_sibling(file, _said(query.get("blobs"))) for file in files],
        }
        return _json(information)

    def _tree(self, repo: Repo, revision: str, folder: str, query: Mapping[str, str]) -> Reply:
        commit = self._commit(repo, revision)
        entries = _entries(repo.files(commit), commit, _said(query.get("expand")))
        prefix = f"{folder.strip('/')}/" if folder else ""
        if folder and entries.get(folder.strip("/"), {}).get("type") != "directory":
            raise _Refused(refusal(404, f"{folder} does not exist on {revision!r}", "EntryNotFound"))
        below = [entry for path, entry in entries.items() if path.startswith(prefix)]
        if not _said(query.get("recursive")):
            below = [entry for entry in below if "/" not in entry["path"][len(prefix) :]]
        first = int(query.get("cursor", 0))
        reply = _json(below[first : first + PAGE])
        if first + PAGE >= len(below):
            return reply
        kept = "&".join(f"{name}={quote(value)}" for name, value in query.items() if name != "cursor")
        following = f"{self.server.hub.url}{urlsplit(self.path).path}?{kept}&cursor={first + PAGE}"
        return dataclasses.replace(reply, headers={**reply.headers, "Link": f'<{following}>; rel="next"'})

    def _paths_info(self, repo: Repo, commit: str, paths: Sequence[str], expand: Sequence[str] | None) -> Reply:
        entries = _entries(repo.files(commit), commit, _said((expand or [""])[-1]))
        # Unknown paths are left out, as the hub does.
        return _json([entries[path] for path in paths if path in entries])

    def _refs(self, repo: Repo) -> Reply:
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit} for name, commit in repo.commits.items()
        ]
        return _json({"branches": branches, "converts": [], "tags": [], "pullRequests": []})

    def _resolve(self, repo: Repo, revision: str, path: str) -> Reply:
        self._check_access(repo)
        commit = self._commit(repo, revision)
        file = self._file(repo, commit, path)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if not file.sha256:
            headers["Content-Disposition"] = f'inline; filename="{posixpath.basename(path)}"'
            return Reply(200, {**headers, "Content-Type": "text/plain; charset=utf-8"}, file=file)
        # Everything after /cdn is as on the hub, so that one pattern of a fault fits both.
        place = f"/cdn/{'datasets/' if repo.type == 'dataset' else ''}{repo.id}/resolve/{commit}/{path}"
        hub = self.server.hub
        location = f"{hub.cdn_url}{quote(place)}?signature={hub.signature(place)}"
        linked = {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.etag}"', "Location": location}
        return Reply(
            302, {**headers, **linked, "Content-Type": "text/plain"}, f"Found. Redirecting to {place}".encode()
        )

    def _signed(self, repo: Repo, commit: str, path: str, place: str, query: Mapping[str, str]) -> Reply:
        if not hmac.compare_digest(query.get("signature", ""), self.server.hub.signature(place)):
            raise _Refused(Reply(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>"))
        file = self._file(repo, commit, path)
        headers = {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        return Reply(200, headers, file=file)

    # --- How it is sent ----------------------------------------------------------------------------------------------

    def _send(self, path: str, reply: Reply) -> None:
        fault = None
        if reply.file is not None:
            if self.command == "GET":
                fault = self.server.hub.strike(path, BODY_FAULTS)
            file = reply.file
            reply = _with_body(reply, file, self.headers.get("Range", "") if self.command == "GET" else "")
            reply = _spoilt(reply, file, fault)
        content = reply.content
        authorized, asked = "Authorization" in self.headers, self.headers.get("Range", "")
        encoding = self.headers.get("Accept-Encoding", "")
        self.server.hub.note(Request(self.command, path, reply.status, authorized, asked, encoding))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if fault == "endless":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "cut_short":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "slow":
            self._trickle(content)
        elif fault == "endless":
            self._pour(content)
        else:
            self.wfile.write(content)

    def _pour(self, content: bytes) -> None:
        """Send the content, and then zeros until the other side hangs up."""
        self.close_connection = True
        piece = content
        with contextlib.suppress(ConnectionError):
            while not self.server.hub.stopping.is_set():
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.server.hub.poured += len(piece)
                piece = bytes(1 << 16)

    def _trickle(self, content: bytes) -> None:
        for begin in range(0, len(content), SLOW_BYTES):
            if begin and self.server.hub.stopping.wait(SLOW_SECONDS):
                self.close_connection = True
                return
            self.wfile.write(content[begin : begin + SLOW_BYTES])


def _with_body(reply: Reply, file: RepoFile, asked: str) -> Reply:
    """The reply with the bytes of its file, or with the part of them that a Range header asks for."""
    content = file.source.read_bytes()
    size = len(content)
    ranged = _RANGE.fullmatch(asked)
    if ranged is None or ranged.groups() == ("", ""):
        return dataclasses.replace(reply, content=content)
    first, last = ranged.groups()
    begin, end = (int(first), int(last) if last else size - 1) if first else (max(0, size - int(last)), size - 1)
    if begin >= size or end < begin:
        return Reply(416, {**reply.headers, "Content-Range": f"bytes */{size}"})
    end = min(end, size - 1)
    headers = {**reply.headers, "Content-Range": f"bytes {begin}-{end}/{size}"}
    return Reply(206, headers, content[begin : end + 1])


def _spoilt(reply: Reply, file: RepoFile, fault: str | None) -> Reply:
    """The reply, a file or a part of it, under a fault that changes its bytes."""
    if fault == "web_page":
        kept = {name: value for name, value in reply.headers.items() if name != "Content-Range"}
        return Reply(200, {**kept, "Content-Type": "text/html; charset=utf-8"}, WEB_PAGE)
    if fault == "wrong_checksum":
        content = bytearray(reply.content)
        middle = len(content) // 2
        content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
        return dataclasses.replace(reply, content=bytes(content))
    if fault == "too_long":
        return dataclasses.replace(reply, content=reply.content + b"more" * 100_000)
    if fault == "compressed":
        # Of a part, what servers with a cache of compressed files send: that part of the compressed whole.
        first = int(reply.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0])
        content = gzip.compress(file.source.read_bytes())[first:]
        return dataclasses.replace(reply, headers={**reply.headers, "Content-Encoding": "gzip"}, content=content)
    return reply


def _json(value: Any) -> Reply:
    return Reply(200, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode())


def _said(value: str | None) -> bool:
    """Whether a parameter of a query says yes."""
    return (value or "").lower() in ("true", "1")


def _sibling(file: RepoFile, blobs: bool) -> dict[str, Any]:
    """A file as the information about a repository lists it."""
    if not blobs:
        return {"rfilename": file.path}
    listed: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": file.blob}
    if file.sha256:
        listed["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return listed


def _entries(files: Mapping[str, RepoFile], commit: str, expand: bool) -> dict[str, dict[str, Any]]:
    """Files and folders as the tree lists them, by path, sorted."""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        for parent in Path(path).parents:
            if str(parent) != ".":
                # Not git's digest of the folder, which nothing asks for, but as different for different folders.
                oid = hashlib.sha1(f"{commit}:{parent}".encode(), usedforsecurity=False).hexdigest()
                entries[parent.as_posix()] = {"type": "directory", "oid": oid, "size": 0, "path": parent.as_posix()}
        entry: dict[str, Any] = {"type": "file", "oid": file.blob, "size": file.size, "path": path}
        if file.sha256:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
        entries[path] = entry
    if expand:
        safe = {"status": "safe", "avScan": {"virusFound": False, "virusNames": None}, "pickleImportScan": None}
        for entry in entries.values():
            entry["lastCommit"] = {"id": commit, "title": "Upload", "date": WHEN}
            if entry["type"] == "file":
                entry["securityFileStatus"] = safe
    return dict(sorted(entries.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub.server", description="Serve a miniature hub.")
    parser.add_argument("root", type=Path, help="folder that python -m tests.hub.replicas wrote")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has its background jobs ignore
    with Hub(chosen.root, port=chosen.port, verbose=True) as hub:
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={hub.token} NO_PROXY=127.0.0.1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            hub.stopping.wait()


if __name__ == "__main__":
    main()
