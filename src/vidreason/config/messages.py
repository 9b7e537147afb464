"""How mistakes in a configuration are worded, and those that a schema finds.

Each function yields a line for every problem, with the file, the key, the value and what is allowed.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jsonschema

from vidreason.config.yaml_layers import Config, Layer, problem_at


def show(value: Any) -> str:
    """A value as JSON, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 80 else text[:77] + "..."


def listing(names: Iterable[Any]) -> str:
    """Names, separated by commas."""
    return ", ".join(str(name) for name in names)


def unknown(name: Any, allowed: Iterable[str]) -> str:
    """The allowed names, and which of them is nearest to a name that is not one."""
    allowed = list(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1)
    return f"allowed: {listing(allowed)}" + (f" (did you mean {near[0]}?)" if near else "")


def key_problems(node: Mapping[Any, Any], layers: Sequence[Layer], path: tuple[Any, ...] = ()) -> Iterable[str]:
    """One line for every key that is not a text."""
    for key, value in node.items():
        if not isinstance(key, str):
            yield problem_at(layers, [*path, key], f"the key {show(key)} is not allowed; allowed: a text (in quotes)")
        elif isinstance(value, Mapping):
            yield from key_problems(value, layers, (*path, key))


def _is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: Any, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)
"""JSON schema in which 1.0 is not an integer (it would appear in file names), and nan and infinity are not numbers."""


def schema_problems(
    config: Config, schema: Mapping[str, Any], layers: Sequence[Layer], above: Sequence[str] = ()
) -> Iterable[str]:
    """One line for every violation of the schema, in the order of the keys.

    Args:
        config: The configuration, or a part of it.
        schema: JSON schema of it.
        layers: Where its values come from.
        above: Path of the part.
    """
    validator = Validator(dict(schema))
    for error in sorted(validator.iter_errors(config), key=lambda error: [str(key) for key in error.absolute_path]):
        path = [*above, *error.absolute_path]
        value = error.instance
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for key in sorted(set(value) - set(allowed), key=str):
                yield problem_at(
                    layers, [*path, key], f"unknown key (value {show(value[key])}); {unknown(key, allowed)}"
                )
            continue
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in value and repr(key) in error.message)
            expected = error.schema.get("properties", {}).get(missing, {}).get("description", "")
            yield problem_at(layers, [*path, missing], f"missing; {expected}".rstrip("; "))
            continue
        yield problem_at(layers, path, f"{show(value)} is not allowed; {_allowed(error)}")


def _allowed(error: jsonschema.ValidationError) -> str:
    """What the schema allows at the place of an error."""
    limit = error.validator_value
    match error.validator:
        case "enum":
            return unknown(error.instance, ("null" if value is None else str(value) for value in limit))
        case "type":
            types = [limit] if isinstance(limit, str) else limit
            keys = error.schema.get("properties")
            if "object" in types and keys:
                return f"allowed: a section with keys among {listing(keys)}"
            return f"allowed: {' or '.join(types)}{_type_hint(error.instance, types)}"
        case "minimum":
            return f"allowed: {limit} or more"
        case "maximum":
            return f"allowed: {limit} or less"
        case "exclusiveMinimum":
            return f"allowed: more than {limit}"
        case "exclusiveMaximum":
            return f"allowed: less than {limit}"
        case "minLength":
            return "allowed: a text that is not empty"
        case "minItems" | "minProperties":
            return f"allowed: {limit} entries or more"
        case "maxItems":
            return f"allowed: {limit} entries or fewer"
        case "uniqueItems":
            return "allowed: every entry once"
        case "pattern":
            return f"allowed: a text that matches {limit}"
        case _:
            return str(error.message)


def _type_hint(value: Any, types: Sequence[str]) -> str:
    """How to write the value that was probably meant, where a value has the wrong type."""
    if "string" in types and isinstance(value, bool | int | float):
        return " (in quotes it is a text)"
    if not isinstance(value, str):
        return ""
    if "boolean" in types:
        return " (true or false)"
    if "number" in types and (parts := re.fullmatch(r"([+-]?\d+)(\.\d+)?[eE]([+-]?\d+)", value)):
        return f" (for YAML this is text; write {parts[1]}{parts[2] or '.0'}e{int(parts[3]):+})"
    if {"integer", "number"}.intersection(types) and re.search(r"\d", value):
        return " (this is text: a number has no quotes, and decimal digits without zeros in front, ':' and '_')"
    return ""
