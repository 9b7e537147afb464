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
FORMAT = "format"
"""Key of the name and version of a record's format, first in its line."""


def row_of(record: Any) -> Any:
    """A dataclass as a plain JSON object, its format first if it has one; anything else as it is."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return record
    name = format_of(type(record))
    return ({FORMAT: name} if name else {}) | dataclasses.asdict(record)


def format_of(record_type: Any) -> str | None:
    """Name and version of a record's format, `question/2` for instance; None for a type that does not say one."""
    return getattr(record_type, "FORMAT", None)


def record_of(record_type: type[Record], row: Mapping[str, Any], where: str) -> Record:
    """Make a frozen dataclass of a JSON object.

    Args:
        record_type: The dataclass. Its fields are texts, numbers (whole ones from 0), truth values, other dataclasses,
            tuples of these, mappings from texts to them, or may be None. A `FORMAT` of its own must be the object's.
        row: The object; a list becomes a tuple where the field is one.
        where: File and line, for the message.

    Raises:
        ValueError: The object has another format, or a field is unknown, absent, of another type, or below 0.
    """
    wanted, given = format_of(record_type), row.get(FORMAT)
    if wanted is not None:
        if given != wanted:
            raise ValueError(
                f"{where}: {'no format is given' if given is None else f'the format is {str(given)[:40]!r}'}, and this "
                f"version of vidreason reads {wanted!r}: remove the file and run again, so that it is made anew"
            )
        row = {name: value for name, value in row.items() if name != FORMAT}
    value: Record = _built(record_type, row, where, record_type.__name__, "")
    return value


def _built(record_type: Any, row: Mapping[str, Any], where: str, owner: str, prefix: str) -> Any:
    """Make a dataclass of an object that stands at `prefix` of a line."""
    kinds = _kinds(record_type)
    unknown = sorted(set(row) - set(kinds))
    if unknown:
        raise ValueError(f"{where}: unknown fields {unknown}; {record_type.__name__} has {sorted(kinds)}")
    absent = [name for name in _required(record_type) if name not in row]
    if absent:
        raise ValueError(f"{where}: {', '.join(f'{prefix}{name}' for name in absent)} missing; {owner} needs it")
    fields = {name: _value_of(kinds[name], value, where, owner, f"{prefix}{name}") for name, value in row.items()}
    try:
        return record_type(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _value_of(kind: Any, value: Any, where: str, owner: str, name: str) -> Any:
    """A field's value; `name` is its place in the line."""
    own = _dataclass_in(kind)
    if own is not None and isinstance(value, dict):
        return _built(own, value, where, owner, f"{name}.")
    if typing.get_origin(kind) is Mapping and isinstance(value, dict):
        item = typing.get_args(kind)[1]
        return {key: _value_of(item, given, where, owner, f"{name}.{key}") for key, given in value.items()}
    if typing.get_origin(kind) is tuple and isinstance(value, list) and _dataclass_in(typing.get_args(kind)[0]):
        item = typing.get_args(kind)[0]
        return tuple(_value_of(item, given, where, owner, f"{name}.{place}") for place, given in enumerate(value))
    if not is_a(value, kind):
        shown = "null" if value is None else repr(value)[:80]
        raise ValueError(f"{where}: {name} is {shown}; {owner} needs {in_words(kind)} there")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"{where}: {name} is {value}; {owner} counts from 0")
    return _as_tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _dataclass_in(kind: Any) -> Any:
    """The dataclass that a type is, or that it is unless it is None."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return next((one for one in kinds if dataclasses.is_dataclass(one)), None)


@functools.cache
def _kinds(record_type: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record_type)
    return {field.name: hints[field.name] for field in dataclasses.fields(record_type)}


def _required(record_type: Any) -> list[str]:
    """Fields without a default."""
    fields = dataclasses.fields(record_type)
    nothing = dataclasses.MISSING
    return [field.name for field in fields if field.default is nothing and field.default_factory is nothing]


def is_a(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type: true is no number, 1.0 no whole one, and nan and infinity are none at all.

    Example:
        >>> is_a(True, int), is_a(3, float), is_a(None, float | None), is_a(["a", 1], tuple[str, ...])
        (False, True, True, False)
    """
    if isinstance(kind, types.UnionType):
        return any(is_a(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return False
        items = typing.get_args(kind)
        if items[-1] is Ellipsis:
            return all(is_a(item, items[0]) for item in value)
        return len(value) == len(items) and all(map(is_a, value, items))
    if typing.get_origin(kind) is Mapping or dataclasses.is_dataclass(kind):
        return False  # an object is built field by field
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and _is_finite(value)
    return isinstance(value, kind)


def _is_finite(number: float) -> bool:
    """Whether a number is a finite double; a whole number of JSON may have more digits than a double can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def in_words(kind: Any) -> str:
    """A type in the words of an error.

    Example:
        >>> in_words(float | None), in_words(tuple[str, ...])
        ('a number or null', 'a list, each item a text')
        >>> in_words(tuple[float, float])
        'a list of 2 items (a number, a number)'
    """
    if isinstance(kind, types.UnionType):
        return " or ".join(in_words(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        items = typing.get_args(kind)
        if items[-1] is Ellipsis:
            return f"a list, each item {in_words(items[0])}"
        return f"a list of {len(items)} items ({', '.join(map(in_words, items))})"
    if typing.get_origin(kind) is Mapping or dataclasses.is_dataclass(kind):
        return "an object"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
