"""What can be wrong with a run's configuration beyond its schema.

Each function yields a line for every problem, with the file, the key, the value and what is allowed.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidreason.artifacts.path_checks import is_there
from vidreason.config.arms import LIKE, TRAINED, parent_circles, training_of
from vidreason.config.messages import listing, schema_problems, show, unknown
from vidreason.config.paths import RESULTS, SOURCES, is_made
from vidreason.config.registered_names import Known
from vidreason.config.reward_files import function_problems
from vidreason.config.schema import method_schemas
from vidreason.config.settings import TEMPORAL
from vidreason.config.yaml_layers import Config, Layer, merge, problem_at
from vidreason.records import check_label

NEEDED = {
    "given": ("weights",),
    "sft": ("parent", "data"),
    "grpo": ("parent", "data"),
    "control": ("parent", "view"),
}
"""Method -> the keys that an arm of this method must have; null is as if the key were not there."""

TOKEN_MEANS = ("dapo", "cispo")
"""Objectives whose loss is a mean over tokens (vidreason.rl.objectives)."""

OPTIONAL = {"given": ("tokenizer", "processor"), "grpo": ("selection",)}
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
            yield from schema_problems(training, schemas[method], layers, ["arms", name])
            own = ["arms", name] if "rewards" in config["arms"][name] else ["methods", method]
            yield from _reward_problems(training, known, own, layers)
            yield from _objective_problems(training, name, layers)
    yield from parent_circles(config["arms"], layers)
    yield from _label_problems(config["arms"], layers)
    for name in config["evaluation"]["benchmarks"]:
        if name not in config["datasets"]:
            text = f"{show(name)} is not among the data sets; allowed: {listing(config['datasets'])}"
            yield problem_at(layers, ["evaluation", "benchmarks"], text)
    yield from _rule_problems(config, layers)
    yield from _scoring_problems(config, layers)
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
    arm, arms, path = config["arms"][name], config["arms"], ["arms", name]
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


def _label_problems(arms: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every label that an earlier arm has too: tables and legends would mix the two arms up."""
    first: dict[str, str] = {}
    for name, arm in arms.items():
        other = first.setdefault(" ".join(arm["label"].split()), name)
        if other != name:
            text = f"{show(arm['label'])} is the label of the arm {other} too; allowed: a label for {name} alone"
            yield problem_at(layers, ["arms", name, "label"], text)


def _reward_problems(training: Config, known: Known, path: Sequence[str], layers: Sequence[Layer]) -> Iterable[str]:
    """One line where the reward has no term, lacks some that its combination needs, or weighs one that it cannot."""
    if "rewards" not in training:
        return
    rewards = training["rewards"]
    combine, terms, functions = rewards["combine"], rewards["terms"], rewards["functions"]
    yield from function_problems(functions, known, path, layers)
    if not terms and not functions:
        text = f"{{}} is not allowed; allowed: one or more of {listing(known.terms)}"
        yield problem_at(layers, [*path, "rewards", "terms"], text)
        return
    if TEMPORAL in terms and not training["views"]["shuffled"]:
        text = f"{TEMPORAL} is not allowed where views.shuffled is 0: there is nothing to compare with; allowed: views.shuffled above 0"
        yield problem_at(layers, [*path, "rewards", "terms", TEMPORAL], text)
    lacking = [term for term in known.combinations.get(combine, ()) if term not in terms]
    if lacking:
        text = f"{combine} combines the terms {listing(known.combinations[combine])}; missing: {listing(lacking)}"
        yield problem_at(layers, [*path, "rewards", "terms"], text)
    for term in known.unweighted.get(combine, ()):
        parameters = terms.get(term)
        weight = parameters.get("weight", 1) if isinstance(parameters, Mapping) else 1
        if weight != 1:
            text = f"{show(weight)} is not allowed: {combine} does not weigh {term}; allowed: 1"
            yield problem_at(layers, [*path, "rewards", "terms", term, "weight"], text)


def _objective_problems(training: Config, name: str, layers: Sequence[Layer]) -> Iterable[str]:
    """One line where `token_mean_over` does not fit the objective or the number of rollouts of an arm."""
    objective = training.get("objective", {})
    part, path = objective.get("token_mean_over"), ["arms", name, "objective", "token_mean_over"]
    if part is None:
        return
    if objective["name"] not in TOKEN_MEANS:
        text = f"{part} is not allowed: {objective['name']} takes no mean over tokens (of {listing(TOKEN_MEANS)})"
        yield problem_at(layers, path, f"{text}; allowed: null")
    elif training["views"]["ordered"] % part:
        rollouts = training["views"]["ordered"]
        yield problem_at(layers, path, f"{part} is not allowed; allowed: a divisor of views.ordered, {rollouts}")


def _rule_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every number of a selection that contradicts another, the number of rollouts, or the strategy."""
    rollouts, rule = config["selection"]["generation"]["rollouts"], config["selection"]["rule"]
    own = [
        (["arms", name, "selection"], arm["selection"]) for name, arm in config["arms"].items() if "selection" in arm
    ]
    for path, changes in ((["selection", "rule"], rule), *own):
        whole = merge(rule, changes)
        low, high = whole["keep_min"], whole["keep_max"]
        if not low <= high <= rollouts:
            text = f"keep_min {low}, keep_max {high}: allowed: 0 <= keep_min <= keep_max <= {rollouts} rollouts"
            yield problem_at(layers, path, text)
        if whole["band"][0] > whole["band"][1]:
            text = f"{show(whole['band'])} is not allowed; allowed: the smaller share first"
            yield problem_at(layers, [*path, "band"], text)
        if whole["strategy"] == "top" and whole["limit"] is None and not any(whole["per_task"].values()):
            text = "the strategy top keeps as many as limit or per_task say, and there is neither; allowed: one of them"
            yield problem_at(layers, [*path, "strategy"], text)
    for path, changes in own:  # what is inherited is of use to other arms
        for key in ("limit", "per_task", "per_video"):
            if merge(rule, changes)["strategy"] == "all" and changes.get(key):
                text = f"{show(changes[key])} is not allowed with the strategy all, which keeps every question; allowed: null"
                yield problem_at(layers, [*path, key], text)


def _scoring_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line where random letters are asked for, and the code whose reading decides draws none."""
    scoring = config["evaluation"]["scoring"]
    if scoring["unparsed"] == "random" and scoring["parser"] not in ("strict", "upstream"):
        text = f"random is not allowed with parser {scoring['parser']}, whose code draws no letters; allowed: wrong"
        yield problem_at(layers, ["evaluation", "scoring", "unparsed"], text)


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
    places = [["evaluation", "generation"], *([*path, "sampling"] for path in sampled)]
    for path in places:
        tokens = functools.reduce(lambda node, key: node[key], path, config)["max_new_tokens"]
        if tokens >= room:
            text = (
                f"{tokens} is not allowed; allowed: less than {room}: of the base model's context of {model['context']} "
                f"tokens a clip takes {model['queries']}, and the question needs some too"
            )
            yield problem_at(layers, [*path, "max_new_tokens"], text)
