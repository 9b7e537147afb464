"""What can be wrong with a run's configuration beyond its schema.

Each function yields a line for every problem, with the file, the key, the value and what is allowed.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.path_checks import is_there
from vidreason.config.arms import LIKE, TRAINED, parent_circles, place_of, training_of
from vidreason.config.grpo_checks import selection_problems, training_problems
from vidreason.config.messages import listing, schema_problems, show, unknown
from vidreason.config.paths import RESULTS, SOURCES, is_made
from vidreason.config.registered_names import Known
from vidreason.config.schema import method_schemas
from vidreason.config.yaml_layers import Config, Layer, problem_at
from vidreason.records import check_label

NEEDED = {
    "given": ("weights",),
    "sft": ("parent", "data"),
    "grpo": ("parent", "data"),
    "control": ("parent", "view"),
}
"""Method -> the keys that an arm of this method must have; null is as if the key were not there."""

UNCHANGED = "published"
"""Options as they are published."""
TIMES_SHUFFLED = "times_shuffled"
"""The view in which prompts state the times of the frames in a random order (vidreason.media.views)."""
OPTIONAL = {"given": ("tokenizer", "processor"), "grpo": ("selection",), "control": ("options",)}
"""Method -> the keys that an arm of this method may have besides; null is as if the key were not there."""


def meaning_problems(config: Config, known: Known, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every mistake that the schema cannot express.

    Args:
        config: A configuration that fits the schema.
        known: Names of data sets and reward terms.
        layers: Where its values come from.
    """
    schemas = method_schemas(known)
    for name in config["arms"]:
        problems = [*_arm_problems(config, name, layers), *_data_problems(config, name, known, layers)]
        yield from problems
        method = config["arms"][name]["method"]
        if not problems and method in TRAINED:
            training = training_of(config, name)
            faults = list(schema_problems(training, schemas[method], layers, ["arms", name]))
            yield from faults
            if method == "grpo" and not faults:
                yield from training_problems(config, name, training, known, layers)
    yield from parent_circles(config["arms"], layers)
    yield from _label_problems(config, layers)
    for name in config["evaluation"]["benchmarks"]:
        if name not in config["datasets"]:
            text = f"{show(name)} is not among the data sets; allowed: {listing(config['datasets'])}"
            yield problem_at(layers, ["evaluation", "benchmarks"], text)
    yield from _sampling_problems(config, layers)
    yield from selection_problems(config, known, layers)
    yield from _scoring_problems(config, layers)
    yield from _control_problems(config, known, layers)
    if "base" in config:
        yield from _base_problems(config["base"], config["frames"]["count"], layers)
        yield from _context_problems(config, layers)
    if ("world" in config) != ("base" in config):
        has, lacks = ("world", "base") if "world" in config else ("base", "world")
        yield problem_at(
            layers, [has], f"a run with {has} also needs {lacks}: the one makes the videos, the other the weights"
        )


def _arm_problems(config: Config, name: str, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every key that an arm lacks or must not have, and every name in it that does not exist."""
    arm, arms, path = config["arms"][name], config["arms"], place_of(config, name)
    method = arm["method"]
    for key in NEEDED[method]:
        if arm.get(key) is None:
            place, found = ([*path, key], "null is not allowed; ") if key in arm else (path, "")
            yield problem_at(layers, place, f"{found}method {method} needs the key {key}")
    settings = config["methods"].get(method, {})
    allowed = [LIKE, "label", "method", "style", *NEEDED[method], *OPTIONAL.get(method, ()), *settings]
    for key in arm:
        if key not in allowed:
            text = f"not a key of method {method} (value {show(arm[key])}); {unknown(key, allowed)}"
            yield problem_at(layers, [*path, key], text)
    try:
        check_label(arm["label"], "label")
        if not arm["label"].strip():
            raise ValueError("the label is blank; allowed: one line of text")
    except ValueError as error:
        yield problem_at(layers, [*path, "label"], str(error))
    if "parent" in arm and arm["parent"] not in arms:
        text = f"{show(arm['parent'])} is no arm; {unknown(arm['parent'], [key for key in arms if key != name])}"
        yield problem_at(layers, [*path, "parent"], text)


def _data_problems(config: Config, name: str, known: Known, layers: Sequence[Layer]) -> Iterable[str]:
    """One line where an arm's data set is not configured, or its method cannot learn from it."""
    arm = config["arms"][name]
    data, path = arm.get("data"), ["arms", name, "data"]
    if data is None:
        return
    allowed = known.filtered if arm["method"] == "grpo" else known.training_data
    there = [dataset for dataset in config["datasets"] if dataset in allowed]
    if data not in config["datasets"]:
        text = f"{show(data)} is not among the data sets; allowed: {listing(there)}, or an entry datasets.{data}"
        yield problem_at(layers, path, text)
    elif data not in allowed:
        text = f"{show(data)} holds {known.datasets[data]}, which method {arm['method']} cannot learn from; allowed: {listing(there)}"
        yield problem_at(layers, path, text)


def _label_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every label that an earlier arm has too: tables and legends would mix the two arms up."""
    first: dict[str, str] = {}
    for name, arm in config["arms"].items():
        other = first.setdefault(" ".join(arm["label"].split()), name)
        if other != name:
            text = f"{show(arm['label'])} is the label of the arm {other} too; allowed: a label for {name} alone"
            yield problem_at(layers, [*place_of(config, name), "label"], text)


def _sampling_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every name among the arms to sample from that is no arm, or one that is asked with other options."""
    sampling = config["evaluation"]["sampling"] or {}
    for place, name in enumerate(sampling.get("arms") or ()):
        if name not in config["arms"]:
            path = ["evaluation", "sampling", "arms", place]
            yield problem_at(layers, path, f"{show(name)} is no arm; {unknown(name, config['arms'])}")
        elif (config["arms"][name].get("options") or UNCHANGED) != UNCHANGED:
            text = (
                f"{show(name)} is asked with other options, and samples are of the published ones; allowed: another arm"
            )
            yield problem_at(layers, ["evaluation", "sampling", "arms", place], text)


def _scoring_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line where random letters are asked for, and the code whose reading decides draws none."""
    scoring = config["evaluation"]["scoring"]
    if scoring["unparsed"] == "random" and scoring["parser"] not in ("strict", "upstream"):
        text = f"random is not allowed with parser {scoring['parser']}, whose code draws no letters; allowed: wrong"
        yield problem_at(layers, ["evaluation", "scoring", "unparsed"], text)


def _control_problems(config: Config, known: Known, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every control that would repeat its parent: no benchmark's prompts state times, or none have options."""
    benchmarks = config["evaluation"]["benchmarks"]
    tasks = {task for name in benchmarks for task in known.tasks_of.get(name, ())}
    for name, arm in config["arms"].items():
        view, options = arm.get("view"), arm.get("options") or UNCHANGED
        if view == TIMES_SHUFFLED and not tasks.intersection(known.timed):
            text = (
                f"{TIMES_SHUFFLED} is not allowed: the prompts of no benchmark ({listing(benchmarks)}) state times; allowed: another "
                f"view, or a benchmark with questions of the type {' or '.join(known.timed)}"
            )
            yield problem_at(layers, [*place_of(config, name), "view"], text)
        if options != UNCHANGED and not tasks.intersection(known.choices):
            text = (
                f"{options} is not allowed: the questions of no benchmark ({listing(benchmarks)}) have options; allowed: "
                f"{UNCHANGED}, null in the place of the control, or a benchmark with questions of the type "
                f"{' or '.join(known.choices)}"
            )
            yield problem_at(layers, [*place_of(config, name), "options"], text)


def path_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every path that the graph should make and that leads elsewhere through `..`."""
    keys = [
        ("datasets", name, key)
        for name, entry in config["datasets"].items()
        for key in ("root", "annotations")
        if key in entry
    ]
    keys += [
        ("arms", name, key)
        for name, arm in config["arms"].items()
        for key in ("weights", *OPTIONAL["given"])
        if arm.get(key)
    ]
    for key in keys:
        value = functools.reduce(lambda node, part: node[part], key, config)
        path = Path(str(value).replace("{run}", config["run"]))
        if ".." in path.parts and any(path.is_relative_to(folder) for folder in (SOURCES, RESULTS)):
            text = f"{path} is not allowed; allowed: a path without '..' where it begins with {path.parts[0]}/"
            yield problem_at(layers, key, text)
    for name, entry in config["datasets"].items():
        annotations = entry.get("annotations")
        if annotations and ".." in Path(annotations).parts and not is_there(Path(annotations)):
            root = entry["root"].replace("{run}", config["run"])
            if is_made(root, config["run"], config["sources"]):
                text = f"{annotations} is not allowed; allowed: a file in {root}, or a path of its own that exists"
                yield problem_at(layers, ["datasets", name, "annotations"], text)


def _base_problems(base: Mapping[str, Any], frames: int, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every size of the base model that contradicts another one, and every stage without exercises."""
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
    sampled = [["methods", "grpo"], ["selection", "generation"]]
    sampled += [["arms", name] for name, arm in config["arms"].items() if "max_new_tokens" in arm.get("sampling", {})]
    if config["evaluation"]["sampling"]:
        sampled.append(["evaluation", "sampling"])
    places = [["evaluation", "generation"], *([*path, "sampling"] for path in sampled)]
    for path in places:
        tokens = functools.reduce(lambda node, key: node[key], path, config)["max_new_tokens"]
        if tokens >= room:
            text = (
                f"{tokens} is not allowed; allowed: less than {room}: of the base model's context of {model['context']} "
                f"tokens a clip takes {model['queries']}, and the question needs some too"
            )
            yield problem_at(layers, [*path, "max_new_tokens"], text)
