"""The configuration of a run: read, merged, checked against a closed schema, resolved per arm.

A run is one or more YAML files merged in order (`config/config.yaml` is the paper's run, an overlay changes some of its
values), then values from the command line. Everything that can be wrong is found here, before the graph is built, and
is reported with the file, the key, the value and what is allowed.
"""

import difflib
import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Config = dict[str, Any]
Layer = tuple[str, Mapping[str, Any]]
"""Where values come from (a file's name, or `--config`) and the values."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same as `yaml.safe_load`, ten times faster where PyYAML was built with libyaml."""

COMMAND_LINE = "--config"
TRAINED = ("sft", "grpo")
OWN_KEYS = ("label", "method", "answer", "parent", "weights", "tokenizer", "processor", "data", "frames")
"""Keys of an arm that are not hyper-parameters."""
RUNNING_KEYS = (
    "micro_batch",
    "rollout_batch",
    "offload_reference",
    "gradient_checkpointing",
    "save_every",
    "save_minutes",
    "keep_states",
)
"""Keys of a method that say how its training runs on a machine, and not what it is: changing them trains nothing anew."""

NEEDED = {
    "given": ("weights",),
    "sft": ("parent", "data"),
    "grpo": ("parent", "data"),
    "control": ("parent", "frames"),
}
"""Method -> the keys that an arm of this method must have; it may have no other of `parent, weights, data, frames`."""

OPTIONAL = {"given": ("tokenizer", "processor")}
"""Method -> the keys that an arm of this method may have besides; null is as if the key were not there."""

SOURCES = Path("data")
"""Folder of the sources, each in a folder of its name."""


class ConfigError(ValueError):
    """The configuration cannot be used; the text names file, key, value and what is allowed."""


class OnceLoader(LOADER):  # type: ignore[misc, valid-type]
    """Refuses a key that stands twice in one mapping; YAML's own rule, which PyYAML does not enforce."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return dict(super().construct_mapping(node, deep))


def read_layer(path: str | Path) -> Layer:
    """Read one YAML file of a configuration.

    Raises:
        ConfigError: The file is missing, not YAML, or not a mapping.
    """
    try:
        value = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=OnceLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(value).__name__}")
    return str(path), value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Merge `over` into `base`: mappings key by key, anything else replaced whole.

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


def load_run(layers: Sequence[Layer], schema: Mapping[str, Any]) -> Config:
    """Merge the layers of one run and check the result.

    Args:
        layers: In order; later ones win.
        schema: JSON schema of a whole run (`workflow/schemas/config.schema.yaml`).

    Returns:
        The run's configuration.

    Raises:
        ConfigError: The first thing that is wrong (schema before meaning).
    """
    config = functools.reduce(merge, (values for _, values in layers), Config())
    checks = (
        _key_problems(config, layers),
        _schema_problems(config, schema, layers),
        _meaning_problems(config, schema, layers),
    )
    problems: list[str] = next((found for found in map(list, checks) if found), [])
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def load_runs(
    shipped: Sequence[Sequence[str]], configured: Mapping[str, Any], given: Sequence[str | Path], schema: str | Path
) -> tuple[dict[str, Config], dict[str, list[Layer]]]:
    """Load every run that can be asked for by name: the shipped ones and the one that is configured now.

    Args:
        shipped: Files of each shipped run; runs whose files are not all here are left out.
        configured: The configuration as merged by the workflow system, command line included. It replaces a shipped
            run of the same name.
        given: Files that were named on the command line; the rest of `configured` stands in the first shipped run's.
        schema: File of the JSON schema.

    Returns:
        Run name -> configuration, and run name -> its layers.

    Raises:
        ConfigError: A run cannot be used.
    """
    rules = read_layer(schema)[1]
    runs, layers = {}, {}
    for files in shipped:
        if all(Path(file).exists() for file in files):
            parts = [read_layer(file) for file in files]
            run = load_run(parts, rules)
            runs[run["run"]], layers[run["run"]] = run, parts
    parts = [read_layer(file) for file in (*shipped[0], *given) if Path(file).exists()]
    known = functools.reduce(merge, (values for _, values in parts), Config())
    parts.append((COMMAND_LINE, _difference(configured, known)))
    run = load_run(parts, rules)
    runs[run["run"]], layers[run["run"]] = run, parts
    return runs, layers


def _difference(values: Mapping[str, Any], known: Mapping[str, Any]) -> Config:
    """The part of `values` that `known` does not hold: what the command line changed."""
    found: Config = {}
    for key, value in values.items():
        old = known.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = _difference(value, old)
            if inner:
                found[key] = inner
        elif key not in known or old != value:
            found[key] = _typed(value)
    return found


def _typed(value: Any) -> Any:
    """A value of the command line: Snakemake leaves numbers inside `seeds=[7]` or `arms={r1: {beta: 0}}` as text."""
    if isinstance(value, Mapping):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError:
        return value


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


def _problem(layers: Sequence[Layer], path: Sequence[Any], text: str) -> str:
    return f"{_where(layers, path)}: {'.'.join(map(str, path)) or 'top level'}: {text}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 80 else text[:77] + "..."


def _listing(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)


def _unknown(name: Any, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    near = difflib.get_close_matches(str(name), allowed, n=1)
    return f"allowed: {_listing(allowed)}" + (f" (did you mean {near[0]}?)" if near else "")


def _key_problems(node: Mapping[Any, Any], layers: Sequence[Layer], path: tuple[Any, ...] = ()) -> Iterable[str]:
    """One line for every key that is no text."""
    for key, value in node.items():
        if not isinstance(key, str):
            yield _problem(layers, [*path, key], f"the key {_show(key)} is not allowed; allowed: a text (in quotes)")
        elif isinstance(value, Mapping):
            yield from _key_problems(value, layers, (*path, key))


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


def _schema_problems(config: Config, schema: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every violation of the schema, in the order of the keys."""
    validator = Validator(dict(schema))
    for error in sorted(validator.iter_errors(config), key=lambda error: [str(key) for key in error.absolute_path]):
        path = list(error.absolute_path)
        value = error.instance
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for key in sorted(set(value) - set(allowed), key=str):
                yield _problem(
                    layers, [*path, key], f"unknown key (value {_show(value[key])}); {_unknown(key, allowed)}"
                )
            continue
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in value and repr(key) in error.message)
            expected = error.schema.get("properties", {}).get(missing, {}).get("description", "")
            yield _problem(layers, [*path, missing], f"missing; {expected}".rstrip("; "))
            continue
        yield _problem(layers, path, f"{_show(value)} is not allowed; {_allowed(error)}")


def _allowed(error: jsonschema.ValidationError) -> str:
    """What the schema allows where a value breaks it."""
    limit = error.validator_value
    match error.validator:
        case "enum":
            return _unknown(error.instance, map(str, limit))
        case "type":
            types = [limit] if isinstance(limit, str) else limit
            # Snakemake reads YAML 1.1: a number with an exponent has a point and the exponent's sign.
            parts = "number" in types and re.fullmatch(r"([+-]?\d+)(\.\d+)?[eE]([+-]?\d+)", str(error.instance))
            hint = f" (for YAML this is text; write {parts[1]}{parts[2] or '.0'}e{int(parts[3]):+})" if parts else ""
            return f"allowed: {' or '.join(types)}{hint}"
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


def _meaning_problems(config: Config, schema: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for everything that the schema cannot say."""
    arms: Mapping[str, Any] = config["arms"]
    methods: Mapping[str, Any] = config["methods"]
    for name, arm in arms.items():
        path, method = ["arms", name], arm["method"]
        for key in NEEDED[method]:
            if key not in arm:
                yield _problem(layers, path, f"method {method} needs the key {key}")
        hyper = methods.get(method, {})
        allowed = ["label", "method", "answer", *NEEDED[method], *OPTIONAL.get(method, ()), *hyper]
        for key in arm:
            if key not in allowed:
                text = f"not a key of method {method} (value {_show(arm[key])}); {_unknown(key, allowed)}"
                yield _problem(layers, [*path, key], text)
        if method == "grpo" and arm.get("data", "nextqa") != "nextqa":
            text = f"{_show(arm['data'])}: questions are selected by variance from nextqa alone; allowed: 'nextqa'"
            yield _problem(layers, [*path, "data"], text)
        if "parent" in arm and arm["parent"] not in arms:
            text = f"{_show(arm['parent'])} is no arm; {_unknown(arm['parent'], [key for key in arms if key != name])}"
            yield _problem(layers, [*path, "parent"], text)
    yield from _cycles(arms, layers)
    rule, rollouts = config["selection"]["rule"], config["selection"]["generation"]["rollouts"]
    if not rule["keep_min"] <= rule["keep_max"] <= rollouts:
        text = f"keep_min {rule['keep_min']}, keep_max {rule['keep_max']}: allowed: 0 <= keep_min <= keep_max <= {rollouts} rollouts"
        yield _problem(layers, ["selection", "rule"], text)
    if "base" in config:
        yield from _base_problems(config["base"], config["frames"]["count"], layers)
    if ("world" in config) != ("base" in config):
        has, lacks = ("world", "base") if "world" in config else ("base", "world")
        yield _problem(
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
            yield _problem(
                layers, ["base", "model", key], f"{model[key]} is not allowed; allowed: {allowed} ({divisor})"
            )
    if model["groups"] > frames:
        text = f"{model['groups']} is not allowed; allowed: at most frames.count ({frames})"
        yield _problem(layers, ["base", "model", "groups"], text)
    for number, stage in enumerate(base["stages"]):
        if not any(stage["mix"].values()):
            yield _problem(layers, ["base", "stages", number, "mix"], "all shares are 0; allowed: one above 0 or more")


def _cycles(arms: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every circle of parents."""
    told: set[str] = set()
    for name in arms:
        chain = [name]
        while (parent := arms.get(chain[-1], {}).get("parent")) in arms and parent not in chain:
            chain.append(parent)
        if parent in chain and not told.intersection(chain):
            circle = [*chain[chain.index(parent) :], parent]
            told.update(circle)
            text = f"the parents go round in a circle: {' -> '.join(circle)}; one of these arms must start from given weights"
            yield _problem(layers, ["arms", parent, "parent"], text)


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """Value at a dotted key, `value_at(config, "data.nextqa.root")`."""
    return functools.reduce(lambda node, part: node[part], key.split("."), config)


def path_at(config: Config, key: str, layers: Sequence[Layer]) -> str:
    """Path at a dotted key, with `{run}` replaced by the run's name.

    What lies in the run's own results or in a source's folder is made by the graph; anything else must be on disk.

    Raises:
        ConfigError: The path must exist and does not.
    """
    path = str(value_at(config, key)).replace("{run}", config["run"])
    if not _is_made(config, path) and not Path(path).exists():
        text = (
            f"{path} does not exist; allowed: a file or folder on this machine (relative to {Path.cwd()}), or "
            f"{SOURCES}/<name> for a source that is fetched; sources: {_listing(config['sources'])}"
        )
        raise ConfigError(_problem(layers, key.split("."), text))
    return path


def annotations_at(config: Config, dataset: str, layers: Sequence[Layer]) -> str | None:
    """Name of a data set's annotation file; None for a benchmark, whose files have fixed names.

    Raises:
        ConfigError: The file must exist and does not.
    """
    if dataset not in config["data"]:
        return None
    name = str(config["data"][dataset]["annotations"])
    root = path_at(config, f"data.{dataset}.root", layers)
    if not _is_made(config, root) and not _is_made(config, name) and not _annotations_exist(root, name):
        text = f"{Path(root) / name} does not exist; allowed: a file in {root}, or a path of its own"
        raise ConfigError(_problem(layers, ["data", dataset, "annotations"], text))
    return name


def _annotations_exist(root: str, name: str) -> bool:
    """Whether an annotation file is in its root, or stands elsewhere by itself."""
    return (Path(root) / name).is_file() or Path(name).is_file()


def source_at(config: Config, path: str) -> str | None:
    """Name of the source that a path lies in; None for a path that is not fetched."""
    parts = Path(path).parts
    inside = len(parts) > len(SOURCES.parts) and Path(path).is_relative_to(SOURCES)
    return parts[len(SOURCES.parts)] if inside and parts[len(SOURCES.parts)] in config["sources"] else None


def sources_of(config: Config) -> list[str]:
    """Names of the sources that a run reads, in the order of the configuration."""
    paths = [entry[key] for entry in config["data"].values() for key in ("root", "annotations")]
    paths += [entry["root"] for entry in config["benchmarks"].values()]
    given = [arm for arm in config["arms"].values() if arm["method"] == "given"]
    paths += [arm[key] for arm in given for key in ("weights", *OPTIONAL["given"]) if arm.get(key)]
    used = {source_at(config, str(path)) for path in paths}
    return [name for name in config["sources"] if name in used]


def ready_at(config: Config, path: str) -> str:
    """What has to be there before a path can be read: the last file of its source's preparation, or the path itself."""
    source = source_at(config, path)
    if source is None:
        return path
    return f"{SOURCES}/{source}/{'unpacked' if config['sources'][source]['archives'] else 'fetched'}.json"


def _is_made(config: Config, path: str) -> bool:
    """Whether the graph makes a path."""
    return Path(path).is_relative_to(f"results/{config['run']}") or source_at(config, path) is not None


def weights_arm(config: Config, arm: str) -> str:
    """The arm whose weights `arm` uses: itself, or for a control the first ancestor that is not one."""
    while config["arms"][arm]["method"] == "control":
        arm = config["arms"][arm]["parent"]
    return arm


def resolve_arm(config: Config, arm: str, seed: int) -> Config:
    """Everything that decides the weights of a trained arm, and nothing else.

    Labels, evaluation and selection are left out: what they change is another file that training reads, or nothing. So is
    how much a device holds at a time (`running_of`): a run that was short of memory goes on with other settings.

    Args:
        config: The run.
        arm: Name of an arm with method `sft` or `grpo`.
        seed: Seed of this replicate.

    Returns:
        The method's hyper-parameters with the arm's own over them, and arm, seed, method, answer, data, parent, protocol.

    Raises:
        ConfigError: The arm is not trained.
    """
    own = config["arms"][arm]
    if own["method"] not in TRAINED:
        trained = [name for name, other in config["arms"].items() if other["method"] in TRAINED]
        raise ConfigError(f"arms.{arm}: method {own['method']} is not trained; allowed: {_listing(trained)}")
    hyper = {key: value for key, value in own.items() if key not in OWN_KEYS}
    facts = {
        "arm": arm,
        "seed": seed,
        "method": own["method"],
        "answer": own["answer"],
        "data": own["data"],
        "parent": weights_arm(config, own["parent"]),
        "protocol": config["protocol"],
    }
    merged = merge(merge(config["methods"][own["method"]], hyper), facts)
    return {key: value for key, value in merged.items() if key not in RUNNING_KEYS}


def running_of(config: Config, arm: str) -> Config:
    """How a trained arm's training runs on a machine: the `RUNNING_KEYS` of its method, with the arm's own over them.

    Args:
        config: The run.
        arm: Name of an arm with method `sft` or `grpo`.
    """
    own = config["arms"][arm]
    merged = merge(config["methods"][own["method"]], own)
    return {key: value for key, value in merged.items() if key in RUNNING_KEYS}
