"""Records from plain JSON objects, every field checked against its annotation.

JSON knows fewer types than a dataclass, and a file that was edited by hand or by another program may hold any of them: a 7
where a truth value belongs counts as seven right answers when it is added up.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")
WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    types.NoneType: "null",
}
"""What a type is called in JSON."""


def record_of(record_type: type[Record], row: Mapping[str, Any], where: str) -> Record:
    """Make a frozen dataclass of a JSON object.

    Args:
        record_type: The dataclass. Its fields are texts, numbers (whole ones from 0), truth values, tuples of these, or may be None.
        row: The object; a list becomes a tuple where the field is one.
        where: File and line, for the message.

    Raises:
        ValueError: A field is unknown, absent, of another type, or below 0.
    """
    dataclass: Any = record_type  # which mypy does not take for hashable
    kinds = _kinds(dataclass)
    unknown = sorted(set(row) - set(kinds))
    if unknown:
        raise ValueError(f"{where}: unknown fields {unknown}; {record_type.__name__} has {sorted(kinds)}")
    for name, value in row.items():
        if not is_a(value, kinds[name]):
            shown = "null" if value is None else repr(value)[:80]
            raise ValueError(f"{where}: {name} is {shown}; {record_type.__name__} needs {in_words(kinds[name])} there")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{where}: {name} is {value}; {record_type.__name__} counts from 0")
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    try:
        return record_type(**fields)
    except TypeError as error:  # a field is absent
        raise ValueError(f"{where}: {error}") from error


@functools.cache
def _kinds(record_type: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record_type)
    return {field.name: hints[field.name] for field in dataclasses.fields(record_type)}


def is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type: true is no number, 1.0 no whole one, and nan and infinity are none at all.

    Example:
        >>> is_a(True, int), is_a(3, float), is_a(None, float | None), is_a(["a", 1], tuple[str, ...])
        (False, True, True, False)
    """
    if isinstance(kind, types.UnionType):
        return any(is_a(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(is_a(item, typing.get_args(kind)[0]) for item in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def in_words(kind: Any) -> str:
    """A type in the words of an error.

    Example:
        >>> in_words(float | None), in_words(tuple[str, ...])
        ('a number or null', 'a list, each item a text')
    """
    if isinstance(kind, types.UnionType):
        return " or ".join(in_words(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"a list, each item {in_words(typing.get_args(kind)[0])}"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
