"""What can be wrong with a run's configuration: its schema, and what no schema can say.

Each function yields a line for every problem, with the file, the key, the value and what is allowed.
"""

import difflib
import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jsonschema

from vidreason.config.layers import Config, Layer, problem_at
from vidreason.records import check_label

NEEDED = {
    "given": ("weights",),
    "sft": ("parent", "data"),
    "grpo": ("parent", "data"),
    "control": ("parent", "frames"),
}
"""Method -> the keys that an arm of this method must have; it may have no other of `parent, weights, data, frames`."""

OPTIONAL = {"given": ("tokenizer", "processor")}
"""Method -> the keys that an arm of this method may have besides; null is as if the key were not there."""


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 80 else text[:77] + "..."


def listing(names: Iterable[Any]) -> str:
    """Names with commas between them."""
    return ", ".join(str(name) for name in names)


def _unknown(name: Any, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1)
    return f"allowed: {listing(allowed)}" + (f" (did you mean {near[0]}?)" if near else "")


def key_problems(node: Mapping[Any, Any], layers: Sequence[Layer], path: tuple[Any, ...] = ()) -> Iterable[str]:
    """One line for every key that is no text."""
    for key, value in node.items():
        if not isinstance(key, str):
            yield problem_at(layers, [*path, key], f"the key {_show(key)} is not allowed; allowed: a text (in quotes)")
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
"""JSON schema, in which 1.0 is no integer (it would stand in file names) and nan and infinity are no numbers."""


def schema_problems(config: Config, schema: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every violation of the schema, in the order of the keys."""
    validator = Validator(dict(schema))
    for error in sorted(validator.iter_errors(config), key=lambda error: [str(key) for key in error.absolute_path]):
        path = list(error.absolute_path)
        value = error.instance
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for key in sorted(set(value) - set(allowed), key=str):
                yield problem_at(
                    layers, [*path, key], f"unknown key (value {_show(value[key])}); {_unknown(key, allowed)}"
                )
            continue
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in value and repr(key) in error.message)
            expected = error.schema.get("properties", {}).get(missing, {}).get("description", "")
            yield problem_at(layers, [*path, missing], f"missing; {expected}".rstrip("; "))
            continue
        yield problem_at(layers, path, f"{_show(value)} is not allowed; {_allowed(error)}")


def _allowed(error: jsonschema.ValidationError) -> str:
    """What the schema allows where a value breaks it."""
    limit = error.validator_value
    match error.validator:
        case "enum":
            return _unknown(error.instance, map(str, limit))
        case "type":
            types = [limit] if isinstance(limit, str) else limit
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
        case "uniqueItems":
            return "allowed: every entry once"
        case "pattern":
            return f"allowed: a text that matches {limit}"
        case _:
            return str(error.message)


def _type_hint(value: Any, types: Sequence[str]) -> str:
    """How to write what was probably meant, where a value is of another type."""
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


def meaning_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for everything that the schema cannot say."""
    arms: Mapping[str, Any] = config["arms"]
    methods: Mapping[str, Any] = config["methods"]
    for name, arm in arms.items():
        path, method = ["arms", name], arm["method"]
        for key in NEEDED[method]:
            if key not in arm:
                yield problem_at(layers, path, f"method {method} needs the key {key}")
        hyper = methods.get(method, {})
        allowed = ["label", "method", "answer", *NEEDED[method], *OPTIONAL.get(method, ()), *hyper]
        for key in arm:
            if key not in allowed:
                text = f"not a key of method {method} (value {_show(arm[key])}); {_unknown(key, allowed)}"
                yield problem_at(layers, [*path, key], text)
        try:
            check_label(arm["label"], "label")
            if not arm["label"].strip():
                raise ValueError("the label is blank; allowed: one line of text")
        except ValueError as error:
            yield problem_at(layers, [*path, "label"], str(error))
        if method == "grpo" and arm.get("data", "nextqa") != "nextqa":
            text = f"{_show(arm['data'])}: questions are selected by variance from nextqa alone; allowed: 'nextqa'"
            yield problem_at(layers, [*path, "data"], text)
        if "parent" in arm and arm["parent"] not in arms:
            text = f"{_show(arm['parent'])} is no arm; {_unknown(arm['parent'], [key for key in arms if key != name])}"
            yield problem_at(layers, [*path, "parent"], text)
    yield from _cycles(arms, layers)
    rule, rollouts = config["selection"]["rule"], config["selection"]["generation"]["rollouts"]
    if not rule["keep_min"] <= rule["keep_max"] <= rollouts:
        text = f"keep_min {rule['keep_min']}, keep_max {rule['keep_max']}: allowed: 0 <= keep_min <= keep_max <= {rollouts} rollouts"
        yield problem_at(layers, ["selection", "rule"], text)
    if "base" in config:
        yield from _base_problems(config["base"], config["frames"]["count"], layers)
        yield from _context_problems(config, layers)
    if ("world" in config) != ("base" in config):
        has, lacks = ("world", "base") if "world" in config else ("base", "world")
        yield problem_at(
            layers, [has], f"a run with {has} also needs {lacks}: the one makes the videos, the other the weights"
        )


def _base_problems(base: Mapping[str, Any], frames: int, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every size of the base model that does not fit another, and every stage without exercises."""
    model = base["model"]
    fits = (
        ("width", 2 * model["heads"], "a multiple of 2 x heads"),
        ("vision_width", model["heads"], "a multiple of heads"),
        ("heads", model["kv_heads"], "a multiple of kv_heads"),
        ("queries", model["groups"], "a multiple of groups"),
    )
    for key, divisor, allowed in fits:
        if model[key] % divisor:
            yield problem_at(
                layers, ["base", "model", key], f"{model[key]} is not allowed; allowed: {allowed} ({divisor})"
            )
    if model["groups"] > frames:
        text = f"{model['groups']} is not allowed; allowed: at most frames.count ({frames})"
        yield problem_at(layers, ["base", "model", "groups"], text)
    for number, stage in enumerate(base["stages"]):
        if not any(stage["mix"].values()):
            yield problem_at(
                layers, ["base", "stages", number, "mix"], "all shares are 0; allowed: one above 0 or more"
            )


def _context_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every length of answers that does not fit into the base model's context beside a clip."""
    model = config["base"]["model"]
    room = model["context"] - model["queries"]
    places: list[list[str]] = [["methods", "grpo"], ["selection", "generation"], ["evaluation", "generation"]]
    places += [["arms", name] for name, arm in config["arms"].items() if "max_new_tokens" in arm]
    for path in places:
        tokens = functools.reduce(lambda node, key: node[key], path, config)["max_new_tokens"]
        if tokens >= room:
            text = (
                f"{tokens} is not allowed; allowed: less than {room}: of the base model's context of {model['context']} "
                f"tokens a clip takes {model['queries']}, and the question needs some too"
            )
            yield problem_at(layers, [*path, "max_new_tokens"], text)


def _cycles(arms: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every circle of parents."""
    reported: set[str] = set()
    for name in arms:
        chain = [name]
        while (parent := arms.get(chain[-1], {}).get("parent")) in arms and parent not in chain:
            chain.append(parent)
        if parent in chain and not reported.intersection(chain):
            circle = [*chain[chain.index(parent) :], parent]
            reported.update(circle)
            text = f"the parents go round in a circle: {' -> '.join(circle)}; one of these arms must start from given weights"
            yield problem_at(layers, ["arms", parent, "parent"], text)
