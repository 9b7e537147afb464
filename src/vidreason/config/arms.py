"""The arms of a run as they are written, and resolved: `like` copies another arm, and a method's settings lie below an arm's own."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidreason.config.messages import show, unknown
from vidreason.config.registered_names import Known
from vidreason.config.settings import ArmKeys
from vidreason.config.yaml_layers import Config, Layer, merge, problem_at

TRAINED = ("sft", "grpo")
LIKE = "like"


def with_strategies(layer: Layer) -> Layer:
    """A layer in which `selection: random` of an arm is written out as `selection: {strategy: random}`."""
    name, values = layer
    arms = values.get("arms")
    if not isinstance(arms, Mapping):
        return layer
    return name, {**values, "arms": {key: _with_strategy(arm) for key, arm in arms.items()}}


def _with_strategy(arm: Any) -> Any:
    if isinstance(arm, Mapping) and "selection" in arm and not isinstance(arm["selection"], Mapping):
        return {**arm, "selection": {"strategy": arm["selection"]}}
    return arm


def without_dropped_arms(config: Config, layers: Sequence[Layer]) -> Config:
    """The configuration without the arms that a later layer sets to null.

    A null that no earlier layer has an entry for stays: the schema refuses it, so that a misspelt name does not pass.
    """
    arms = config.get("arms")
    if not isinstance(arms, Mapping):
        return config
    entries = [values["arms"] for _, values in layers if isinstance(values.get("arms"), Mapping)]
    written = {name for entry in entries for name, arm in entry.items() if isinstance(arm, Mapping)}
    kept = {name: arm for name, arm in arms.items() if arm is not None or name not in written}
    return {**config, "arms": kept}


def like_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every `like` that names no arm, goes round in a circle, or copies another arm's label."""
    arms = _entries(config)
    for name, arm in arms.items():
        source = arm.get(LIKE)
        if LIKE not in arm:
            continue
        if not isinstance(source, str) or source not in arms:
            others = [key for key in arms if key != name]
            yield problem_at(layers, ["arms", name, LIKE], f"{show(source)} is no arm; {unknown(source, others)}")
        elif "label" not in arm:
            yield problem_at(layers, ["arms", name, "label"], f"missing; an arm like {source} needs words of its own")
    for circle in _circles(arms, LIKE):
        text = f"the arms are like each other in a circle: {' -> '.join(circle)}; one of them must stand alone"
        yield problem_at(layers, ["arms", circle[0], LIKE], text)


def parent_circles(arms: Mapping[str, Any], layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every circle of parents."""
    for circle in _circles(arms, "parent"):
        text = (
            f"the parents go round in a circle: {' -> '.join(circle)}; one of these arms must start from given weights"
        )
        yield problem_at(layers, ["arms", circle[-1], "parent"], text)


def _circles(arms: Mapping[str, Any], key: str) -> Iterable[list[str]]:
    """Every circle that following a key from arm to arm ends in, its first arm repeated at the end."""
    reported: set[str] = set()
    for name in arms:
        chain = [name]
        while isinstance(following := arms.get(chain[-1], {}).get(key), str) and following not in chain:
            chain.append(following)
        if following in chain and not reported.intersection(chain):
            circle = chain[chain.index(following) :]
            reported.update(circle)
            yield [*circle, following]


def without_like(config: Config) -> Config:
    """The configuration with every arm's `like` replaced by what it copies."""
    arms = _entries(config)

    def whole(name: str) -> Config:
        own = {key: value for key, value in arms[name].items() if key != LIKE}
        return merge(whole(arms[name][LIKE]), own) if LIKE in arms[name] else own

    return {**config, "arms": {**config["arms"], **{name: whole(name) for name in arms}}} if arms else config


def _entries(config: Config) -> dict[str, Mapping[str, Any]]:
    arms = config.get("arms")
    if not isinstance(arms, Mapping):
        return {}
    return {name: arm for name, arm in arms.items() if isinstance(arm, Mapping)}


def training_of(config: Config, name: str) -> Config:
    """All settings of a trained arm: its method's, with the arm's own over them, without the reward terms that it takes out."""
    arm = config["arms"][name]
    own = {key: value for key, value in arm.items() if key not in ArmKeys.model_fields}
    return without_dropped_terms(merge(config["methods"][arm["method"]], own))


def without_dropped_terms(training: Config) -> Config:
    """Settings of a method without the reward terms and functions that are set to null."""
    if "rewards" not in training:
        return training
    rewards = training["rewards"]
    kept = {
        key: {name: value for name, value in rewards[key].items() if value is not None}
        for key in ("terms", "functions")
    }
    return {**training, "rewards": {**rewards, **kept}}


def _with_defaults(training: Config, known: Known) -> Config:
    """Settings of a method with all parameters of its reward terms, so that a default that is written out changes nothing."""
    if "rewards" not in training:
        return training
    terms = {
        name: known.parameters_of(name).model_validate(parameters, strict=False).model_dump(mode="json")
        for name, parameters in training["rewards"]["terms"].items()
    }
    return {**training, "rewards": {**training["rewards"], "terms": terms}}


def resolved(config: Config, known: Known) -> Config:
    """The checked configuration with every arm's training and selection written out, as `RunSettings` takes it."""
    arms = {}
    for name, arm in config["arms"].items():
        entry = {key: value for key, value in arm.items() if key in ArmKeys.model_fields}
        if arm["method"] in TRAINED:
            entry["training"] = _with_defaults(training_of(config, name), known)
        if arm["method"] == "grpo":
            entry["selection"] = merge(config["selection"]["rule"], arm.get("selection", {}))
        arms[name] = entry
    methods = {name: _with_defaults(without_dropped_terms(method), known) for name, method in config["methods"].items()}
    return {**config, "arms": arms, "methods": methods}


def weights_arm(arms: Mapping[str, Any], name: str) -> str:
    """The arm whose weights an arm uses: itself, or for a control the first ancestor that is not one."""
    return functools.reduce(lambda arm, _: arms[arm].parent if arms[arm].method == "control" else arm, arms, name)
