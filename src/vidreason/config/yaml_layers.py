"""The layers of a configuration: YAML files and values from the command line, read and merged.

Scalars are read as in YAML 1.2: a number is written in decimal digits, with a point or an exponent if need be, and `true` and
`false` are the only booleans. Other scalars that YAML 1.1 takes for numbers and booleans (`010` is 8 there, `1:30` is 90, `no` is
false) are text here; the schema refuses a text where it wants a number.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

Config = dict[str, Any]
Layer = tuple[str, Mapping[str, Any]]
"""Name of a layer (its file, or `--config`), and its values."""

COMMAND_LINE = "--config"
MOST_VALUES = 100_000
"""Limit of the values of a file with its aliases expanded; the paper's configuration has some 700."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times faster
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?|"
    r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_SCALARS = (
    ("null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", re.compile(rf"({_INTEGER.pattern})\Z"), list("-+0123456789")),
    ("float", re.compile(rf"({_FLOAT.pattern})\Z"), list("-+.0123456789")),
    ("merge", re.compile(r"<<\Z"), ["<"]),
)
"""Types of scalars without quotes: name of the type, pattern, first characters. Any other scalar is text."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text names file, key, value and what is allowed."""


class LayerLoader(_BASE):
    """Reads scalars as in YAML 1.2, and refuses a key that occurs twice in one mapping."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: build
        for tag, build in _BASE.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "str", "seq", "map")
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping. YAML demands that its keys differ, which PyYAML does not check."""
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in keys:
                    raise _refusal(f"the key {key.value!r} stands twice", key)
                keys.add(key.value)
        return dict(super().construct_mapping(node, deep))

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Build a number, also where a tag such as `!!int` declares one."""
        text = str(self.construct_scalar(node))
        if _INTEGER.fullmatch(text):
            return int(text) if node.tag.endswith("int") else float(text)
        if node.tag.endswith("float") and _FLOAT.fullmatch(text):
            return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        raise _refusal(f"{text!r} is no number in decimal digits", node)


for _name, _pattern, _first in _SCALARS:
    LayerLoader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)
for _name in ("int", "float"):
    LayerLoader.add_constructor(f"{_TAG}{_name}", LayerLoader.construct_number)


def _refusal(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def read_layer(path: str | Path) -> Layer:
    """Read one YAML file of a configuration.

    Raises:
        ConfigError: The file is missing, not YAML, or not a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    value = _parse(text, str(path))
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(value).__name__}")
    return str(path), value


def read_command_line(entries: Sequence[str]) -> Layer:
    """Read the values of `--config` by the same rules as a file.

    Snakemake's own parser is not used: it reads `seed=010` and `seed=1_0` as 10, and numbers in lists as text.

    Args:
        entries: Texts `key=value`.

    Raises:
        ConfigError: A value is not YAML.

    Example:
        >>> read_command_line(["run=demo-seed7", "seeds=[7]", "methods={grpo: {beta: 0}}"])[1]
        {'run': 'demo-seed7', 'seeds': [7], 'methods': {'grpo': {'beta': 0}}}
    """
    values: Config = {}
    for entry in entries:
        key, _, text = entry.partition("=")
        values = merge(values, {key: _parse(text, f"{COMMAND_LINE} {entry}")})
    return COMMAND_LINE, values


def _parse(text: str, name: str) -> Any:
    """Parse a YAML text."""
    loader = LayerLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {}, set())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        words = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ConfigError(f"{name}: not YAML: {words}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: values are nested too deeply") from error
    except (ValueError, KeyError) as error:  # more than the 4,300 digits that Python takes for a number; `!!bool maybe`
        raise ConfigError(f"{name}: a value cannot be read: {error}") from error
    finally:
        loader.dispose()


def _count_values(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Number of values of a node with its aliases expanded.

    Args:
        node: The node.
        known: Counts of the nodes visited so far, by identity: an alias is the same object as the node that it names.
        above: The nodes that contain this one.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in above:
        raise _refusal("a value holds itself through an alias (*); write it out", node)
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(part,) for part in node.value]
        inside = above | {id(node)}
        known[id(node)] = 1 + sum(_count_values(part, known, inside) for pair in pairs for part in pair)
        if known[id(node)] > MOST_VALUES:
            raise _refusal(f"aliases (*) multiply to more than {MOST_VALUES:,} values; write them out", node)
    return known[id(node)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Merge `over` into `base`: mappings key by key; any other value replaces the old one.

    Keys keep the order in which they first appear: it is the order of the tables' rows and columns.

    Example:
        >>> merge({"b": {"x": 1, "y": 2}, "a": 0}, {"c": 1, "b": {"y": 3}})
        {'b': {'x': 1, 'y': 3}, 'a': 0, 'c': 1}
    """
    merged: Config = {}
    for key in (*base, *(key for key in over if key not in base)):
        old = base.get(key)
        value = over.get(key, old)
        if isinstance(value, Mapping):
            value = merge(old if isinstance(old, Mapping) and key in over else {}, value)
        merged[key] = value
    return merged


def _where(layers: Sequence[Layer], path: Sequence[Any]) -> str:
    """Name of the last layer that sets the key at `path`, or the deepest part of it that any layer sets."""
    for length in range(len(path), 0, -1):
        for name, values in reversed(layers):
            node: Any = values
            for key in path[:length]:
                if not (
                    key in node if isinstance(node, Mapping) else isinstance(node, list) and key in range(len(node))
                ):
                    break
                node = node[key]
            else:
                return name
    return layers[-1][0] if layers else COMMAND_LINE


def problem_at(layers: Sequence[Layer], path: Sequence[Any], text: str) -> str:
    """A line that says what is wrong with the key at `path`, with the name of its layer."""
    return f"{_where(layers, path)}: {'.'.join(map(str, path)) or 'top level'}: {text}"
