"""Requests to a hub. Its answers are not trusted: their size and number are limited, and no page on another host is requested.

Requests go through huggingface-hub's own session, so its settings and its token apply, and a redirect to another host does not
get the token. The limits are set here because the library reads answers of any size.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar
from urllib.parse import urljoin, urlsplit

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between tries. A longer Retry-After of the hub is respected, up to `LONGEST_WAIT`."""
LONGEST_WAIT = 120.0
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which another try may succeed."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as lost."""
MOST_BYTES = 64 << 20
"""Largest JSON answer in bytes; a page of a thousand files has about 300,000."""
MOST_PAGES = 2_000
"""Most pages of one list; the hub puts a thousand files on each."""

Result = TypeVar("Result")


class AnswerError(ValueError):
    """A hub's answer is malformed; the message names the address."""


def with_retries(call: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
    """Call a function, and try again a few times while the hub is busy, failing or unreachable.

    Args:
        call: The function.
        progress: Returns the number of bytes received so far. If a failed call has added some, the count of tries restarts at 0.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    tries, before = 0, progress()
    while True:
        retry_after = ""
        try:
            return call()
        except HfHubHTTPError as error:
            if tries == len(WAITS) or error.response.status_code not in TRANSIENT:
                raise
            retry_after = error.response.headers.get("Retry-After", "")
        except HTTPError:
            now = progress()
            tries, before = (0 if now > before else tries), now
            if tries == len(WAITS):
                raise
        seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        time.sleep(min(max(WAITS[tries], seconds), LONGEST_WAIT))
        tries += 1


def get_json(url: str, expected: type[Result]) -> Result:
    """Request JSON from a hub.

    Raises:
        AnswerError: The answer is not JSON, is not of type `expected`, or is too long.
        HTTPError: The hub cannot be reached, or refuses.
    """
    return with_retries(lambda: _get(url, expected))[0]


def get_pages(url: str) -> Iterator[tuple[str, list[Any]]]:
    """Request a list that comes in pages; yield the address and the entries of each page.

    Raises:
        AnswerError: A page is not a JSON list, the next page is on another host or was requested before, or there are too many.
        HTTPError: The hub cannot be reached, or refuses.
    """
    visited: set[str] = set()
    while url:
        if url in visited or len(visited) == MOST_PAGES:
            fault = (
                "a page leads back to one before it" if url in visited else f"a list of more than {MOST_PAGES} pages"
            )
            raise AnswerError(f"{url}: {fault}")
        visited.add(url)
        entries, following = with_retries(functools.partial(_get, url, list))
        yield url, entries
        if following and not entries:
            raise AnswerError(f"{url}: an empty page with another one after it")
        if following and _origin(following) != _origin(url):
            # The other host would get the token.
            raise AnswerError(
                f"{url}: the next page would be on another host, {following[:200]!r}; it is not asked for"
            )
        url = following


def fetch(url: str, stream: IO[bytes], size: int) -> None:
    """Append the rest of a download to a file. At most one byte more than `size` is written, which shows a file that is too long.

    Args:
        url: Address of the whole file.
        stream: The file, open for appending.
        size: Bytes of the whole file.

    Raises:
        HTTPError: The hub cannot be reached, refuses, or ends the transfer early.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    received = stream.tell()
    if received >= size:
        return
    # A download that is compressed could not be resumed.
    headers = {
        **build_hf_headers(),
        "Accept-Encoding": "identity",
        **({"Range": f"bytes={received}-"} if received else {}),
    }
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        _raise_for_status(response)
        if response.status_code != 206:
            _empty(stream)
        try:
            for chunk in response.iter_bytes():
                room = size + 1 - stream.tell()
                stream.write(chunk[:room])
                if len(chunk) >= room:
                    return
        except errors.HTTPError:  # type: ignore[attr-defined]
            # The answer is compressed nevertheless. A range of a compressed file cannot be unpacked, so start over.
            if response.headers.get("Content-Encoding", "identity") != "identity":
                _empty(stream)
            raise


def _empty(stream: IO[bytes]) -> None:
    stream.truncate(0)
    stream.seek(0)


def _get(url: str, expected: type[Result]) -> tuple[Result, str]:
    """The JSON answer, and the address of the next page or `""`."""
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    content = bytearray()
    with get_session().stream("GET", url, headers=build_hf_headers(), timeout=TIMEOUT) as response:
        _raise_for_status(response)
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MOST_BYTES:
                raise AnswerError(f"{url}: an answer of more than {MOST_BYTES} bytes")
        following = str(response.links.get("next", {}).get("url") or "")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"{url}: the answer is not JSON; it begins with {bytes(content[:40])!r}") from error
    if not isinstance(value, expected):
        raise AnswerError(f"{url}: the answer is of type {type(value).__name__}, expected {expected.__name__}")
    return value, urljoin(url, following) if following else ""


def _raise_for_status(response: Any) -> None:
    """Raise the library's error for a refusal, without the answer's body, which the library would read to its end."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    if response.status_code >= 400:
        headers = {
            name: value
            for name, value in response.headers.items()
            if name.lower().startswith(("x-", "retry-after", "ratelimit"))
        }
        hf_raise_for_status(type(response)(response.status_code, headers=headers, request=response.request))


def _origin(url: str) -> tuple[str, str]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()
