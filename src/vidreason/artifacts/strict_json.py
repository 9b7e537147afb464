"""JSON, refused where a key comes twice in one object."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


class RepeatedKeyError(ValueError):
    """A JSON object has a key twice. Python's own reader would silently keep the last."""


def read(path: str | Path) -> Any:
    """Read a JSON file, without a look at its sidecar.

    Raises:
        ValueError: The file is not JSON, or an object has a key twice; the message names the file and the place.
    """
    try:
        return loads(Path(path).read_bytes())
    except RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}). Was it cut short, or is it a web page?") from error


def loads(content: bytes) -> Any:
    """Decode JSON in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises:
        RepeatedKeyError: A key comes twice in one object; the message names the object.
        ValueError: It is not JSON.
    """
    repeated: list[tuple[dict[str, Any], str]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated.append((value, next(key for key, count in counts.items() if count > 1)))
        return value

    value = json.loads(content, object_pairs_hook=build)
    for holder, key in repeated:
        path = _path_to(holder, value)
        if path is None:  # dropped with the first value of a repeated key, which is reported instead
            continue
        if isinstance(value, list):
            path[0] = f"record {path[0] + 1} (counted from 1)"
        place = "".join(f"{part}, " for part in path).removesuffix(", ")
        raise RepeatedKeyError(
            f"{f'{abridged(place)}: ' if place else ''}the key {abridged(repr(key))} comes twice in one object; "
            "keep the one that is meant"
        )
    return value


def abridged(text: str) -> str:
    """A text for an error message: of a long one, the beginning and the end.

    Example:
        >>> abridged("short"), len(abridged(1000 * "long"))
        ('short', 905)
    """
    return text if len(text) <= 900 else f"{text[:700]} ... {text[-200:]}"


def _path_to(wanted: Any, value: Any) -> list[Any] | None:
    """Keys and indices that lead to an object within a JSON value; None if the value does not contain it."""
    if value is wanted:
        return []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        path = _path_to(wanted, part)
        if path is not None:
            return [key, *path]
    return None
