"""The JSON schema of a run, derived from the settings: what checks a configuration, and what an editor can complete from.

The workflow derives it whenever it loads a configuration; `make schema` writes the file that editors use.
"""

import functools
from collections.abc import Mapping
from typing import Any

from vidreason.config.registered_names import ROLES, Known
from vidreason.config.settings import ArmKeys, GrpoMethod, RunSettings, SftMethod
from vidreason.config.types import Section

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SOURCE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"
ARM_NAME = r"^[a-z][a-z0-9_]{0,99}\Z"
TITLE = "vidreason run"
LIKE = {
    "type": "string",
    "description": "Arm whose entry is copied; keys that stand beside `like` are merged over the copy.",
}
STRATEGIES = "Which questions a grpo arm is trained on: a strategy, or a mapping with keys of selection.rule."


@functools.cache
def run_schema(known: Known) -> Schema:
    """The schema of a whole run, with all files of its configuration merged and `like` still in place.

    Args:
        known: Names of data sets and reward terms.
    """
    schema = schema_of(RunSettings)
    properties = schema["properties"]
    properties["datasets"] |= {
        "additionalProperties": False,
        "properties": {name: _titled(schema_of(ROLES[role]), name) for name, role in known.datasets.items()},
    }
    properties["evaluation"]["properties"]["benchmarks"] |= {
        "items": {"enum": [*known.benchmarks], "description": "Name of a benchmark."},
        "uniqueItems": True,
    }
    properties["evaluation"]["properties"]["sampling"]["properties"]["arms"]["uniqueItems"] = True
    source = properties["sources"]["additionalProperties"]["properties"]
    source["asked_by"] = {"enum": [*known.datasets, None], "description": source["asked_by"]["description"]}
    _name_terms(properties["methods"]["properties"]["grpo"]["properties"]["rewards"], known)
    _name_tasks(properties["selection"]["properties"]["rule"], known)
    properties["arms"]["additionalProperties"] = _arm(known)
    controls = properties["controls"]["additionalProperties"]["properties"]
    for key in ("style", "view", "options"):
        controls[key] = _without_null(controls[key])
    controls["of"]["uniqueItems"] = True
    for key in ("world", "base"):
        properties[key] = _without_null(properties[key])
    properties["seeds"]["uniqueItems"] = True
    properties["world"]["properties"]["broken"]["uniqueItems"] = True
    properties["sources"]["propertyNames"] = {"pattern": SOURCE_NAME}
    for key in ("arms", "controls"):
        properties[key]["propertyNames"] = {"pattern": ARM_NAME}
    return {"$schema": DIALECT, "title": TITLE, **schema}


@functools.cache
def method_schemas(known: Known) -> dict[str, Schema]:
    """The schema of each method with all of its keys, which is that of an arm's merged settings too."""
    grpo = schema_of(GrpoMethod)
    _name_terms(grpo["properties"]["rewards"], known)
    return {"sft": schema_of(SftMethod), "grpo": grpo}


def schema_of(section: type[Section]) -> Schema:
    """The schema of a section, without references and without the titles that pydantic makes of names."""
    schema = section.model_json_schema()
    plain = _plain(schema, schema.pop("$defs", {}))
    return dict(plain)


def partial(schema: Schema) -> Schema:
    """The schema of some of a section's keys: nothing is required, at any depth."""
    return {
        key: {name: partial(child) for name, child in value.items()} if key == "properties" else value
        for key, value in schema.items()
        if key != "required"
    }


def _arm(known: Known) -> Schema:
    """The schema of an arm's entry: its own keys, and the settings of its method that it overrides."""
    schema = schema_of(ArmKeys)
    method = partial(schema_of(GrpoMethod))
    _name_terms(method["properties"]["rewards"], known)
    schema["properties"] = {"like": LIKE, **schema["properties"], **method["properties"]}
    schema["properties"]["data"] |= {"enum": [*known.training_data]}
    for key in ("data", "parent", "view", "options"):  # a key that is not there is not given as null
        schema["properties"][key] = _without_null(schema["properties"][key])
    selection = partial(_without_null(schema["properties"]["selection"]))
    _name_tasks(selection, known)
    schema["properties"]["selection"] = {**selection, "description": STRATEGIES}
    return {**schema, "description": "One arm."}


def _name_terms(rewards: Schema, known: Known) -> None:
    """Write the registered terms and combinations into the schema of `Rewards`; null takes an inherited term or function out."""
    properties = rewards["properties"]
    properties["combine"] = {"enum": [*known.combinations], "description": properties["combine"]["description"]}
    properties["terms"] = {
        "type": "object",
        "description": properties["terms"]["description"],
        "additionalProperties": False,
        "properties": {name: _term(known, name) for name in known.terms},
    }
    properties["functions"]["additionalProperties"]["type"] = ["object", "null"]


def _name_tasks(rule: Schema, known: Known) -> None:
    """Write the registered answer types into the schema of `SelectionRule`."""
    budgets = rule["properties"]["per_task"]
    budget = budgets.pop("additionalProperties")
    budgets |= {"additionalProperties": False, "properties": dict.fromkeys(known.tasks, budget)}


def _term(known: Known, name: str) -> Schema:
    schema = schema_of(known.parameters_of(name))
    for key, parameter in schema["properties"].items():
        parameter.setdefault("description", f"Parameter {key} of the term {name}.")
    return {**schema, "type": ["object", "null"]}


def _titled(schema: Schema, name: str) -> Schema:
    return {**schema, "description": f"The data set {name}. {schema['description']}"}


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    """A part of pydantic's schema with references replaced, alternatives joined and names made by pydantic left out."""
    if isinstance(node, list):
        return [_plain(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _plain({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    schema = {
        key: {name: _plain(child, definitions) for name, child in value.items()}
        if key == "properties"
        else _plain(value, definitions)
        for key, value in node.items()
        if key not in ("title", "default")
    }
    if "anyOf" in schema:
        schema = _joined(schema)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "enum" in schema:
        schema.pop("type", None)
    names = schema.pop("propertyNames", {}).get("enum")
    if names:
        child = schema["additionalProperties"]
        schema |= {"additionalProperties": False, "properties": dict.fromkeys(names, child)}
    return schema


def _joined(schema: Schema) -> Schema:
    """Alternatives of different types as one schema with a list of types."""
    parts = schema.pop("anyOf")
    joined: Schema = {}
    for part in parts:
        joined |= {key: value for key, value in part.items() if key not in ("type", "enum")}
    enums = [part["enum"] for part in parts if "enum" in part]
    if enums:
        joined["enum"] = [*enums[0], None]
    else:
        joined["type"] = [part["type"] for part in parts]
    return {**joined, **schema}


def _without_null(schema: Schema) -> Schema:
    schema = dict(schema)
    if "enum" in schema:
        schema["enum"] = [value for value in schema["enum"] if value is not None]
        schema.pop("type", None)
    else:
        kinds = [kind for kind in schema["type"] if kind != "null"]
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
    return schema
