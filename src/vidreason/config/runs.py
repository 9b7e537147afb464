"""The configuration of a run: read, merged, checked against a closed schema, resolved per arm.

A run is one or more YAML files merged in order (`config/config.yaml` is the paper's run, an overlay changes some of its
values), then values from the command line. Everything that can be wrong is found here, before the graph is built, and
is reported with the file, the key, the value and what is allowed.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.paths import is_there
from vidreason.config.annotations import find_annotations
from vidreason.config.layers import Config, ConfigError, Layer, merge, problem_at, read_command_line, read_layer
from vidreason.config.messages import OPTIONAL, key_problems, listing, meaning_problems, schema_problems

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

SOURCES = Path("data")
"""Folder of the sources, each in a folder of its name."""

RESULTS = Path("results")
"""Folder of the runs, each in a folder of its name."""


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
        key_problems(config, layers),
        schema_problems(config, schema, layers),
        meaning_problems(config, layers),
        _path_problems(config, layers),
    )
    problems: list[str] = next((lines for lines in map(list, checks) if lines), [])
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def load_runs(
    shipped: Sequence[Sequence[str]], entries: Sequence[str], configfiles: Sequence[str | Path], schema: str | Path
) -> tuple[dict[str, Config], dict[str, list[Layer]]]:
    """Load every run that can be named in a path: the shipped ones and the one that is configured now.

    Args:
        shipped: Files of each shipped run; runs whose files are not all here are left out.
        entries: Values of `--config`, each `key=value`.
        configfiles: Files of `--configfile`; they change the first shipped run, and `entries` change them.
        schema: File of the JSON schema.

    Returns:
        Run name -> configuration, and run name -> its layers. The run that is configured now stands last; it replaces
        a shipped one of the same name.

    Raises:
        ConfigError: A run cannot be used.
    """
    rules = read_layer(schema)[1]
    runs: dict[str, Config] = {}
    layers: dict[str, list[Layer]] = {}
    configured = [*map(read_layer, (*shipped[0], *configfiles)), read_command_line(entries)]
    whole = [files for files in shipped if all(Path(file).exists() for file in files)]
    for parts in (*([read_layer(file) for file in files] for files in whole), configured):
        run = load_run(parts, rules)
        name = run["run"]
        runs.pop(name, None)
        runs[name], layers[name] = run, parts
    return runs, layers


def _path_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every path that the graph should make and that leads elsewhere through `..`."""
    keys = [("data", name, key) for name in config["data"] for key in ("root", "annotations")]
    keys += [("benchmarks", name, "root") for name in config["benchmarks"]]
    keys += [
        ("arms", name, key)
        for name, arm in config["arms"].items()
        for key in ("weights", *OPTIONAL["given"])
        if arm.get(key)
    ]
    for key in keys:
        path = Path(str(value_at(config, ".".join(key))).replace("{run}", config["run"]))
        if ".." in path.parts and any(path.is_relative_to(folder) for folder in (SOURCES, RESULTS)):
            text = f"{path} is not allowed; allowed: a path without '..' where it begins with {path.parts[0]}/"
            yield problem_at(layers, key, text)
    for name, entry in config["data"].items():
        outside = ".." in Path(entry["annotations"]).parts and not is_there(Path(entry["annotations"]))
        root = entry["root"].replace("{run}", config["run"])
        if outside and is_made(config, root):
            text = f"{entry['annotations']} is not allowed; allowed: a file in {root}, or a path of its own that exists"
            yield problem_at(layers, ["data", name, "annotations"], text)


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
    if not is_made(config, path) and not is_there(Path(path)):
        text = (
            f"{path} does not exist or cannot be read; allowed: a file or folder on this machine (relative to {Path.cwd()}), or "
            f"{SOURCES}/<name> for a source that is fetched; sources: {listing(config['sources'])}"
        )
        raise ConfigError(problem_at(layers, key.split("."), text))
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
    if not is_made(config, root) and not is_made(config, name):
        try:
            find_annotations(root, name, dataset)
        except ValueError as error:
            text = f"{Path(root) / name} does not exist or cannot be read; allowed: a file in {root}, or a path of its own ({error})"
            raise ConfigError(problem_at(layers, ["data", dataset, "annotations"], text)) from error
    return name


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


def is_made(config: Config, path: str) -> bool:
    """Whether the graph makes a path, in the run's own results or in a source's folder."""
    return Path(path).is_relative_to(RESULTS / config["run"]) or source_at(config, path) is not None


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
        raise ConfigError(f"arms.{arm}: method {own['method']} is not trained; allowed: {listing(trained)}")
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
