"""The arms of a run as they are written, and resolved.

`like` copies another arm, a control makes one of every arm that it names, and a method's settings lie below an arm's own.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidreason.config.messages import show, unknown
from vidreason.config.registered_names import Known
from vidreason.config.settings import ArmKeys
from vidreason.config.yaml_layers import Config, Layer, merge, problem_at

TRAINED = ("sft", "grpo")
CONTROLS = "controls"
ASKED = {"style": "", "view": "ordered", "options": "published"}
"""What a control can change -> its value for an arm that does not say; every arm says its style."""
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


def without_dropped_controls(config: Config, layers: Sequence[Layer]) -> Config:
    """The configuration without the controls that a later layer sets to null; a null that drops nothing stays, as for arms."""
    if config.get(CONTROLS) is None:
        return {key: value for key, value in config.items() if key != CONTROLS}
    if not isinstance(config[CONTROLS], Mapping):
        return config
    entries = [values[CONTROLS] for _, values in layers if isinstance(values.get(CONTROLS), Mapping)]
    written = {name for entry in entries for name, control in entry.items() if isinstance(control, Mapping)}
    kept = {name: entry for name, entry in config[CONTROLS].items() if entry is not None or name not in written}
    return {**config, CONTROLS: kept}


def control_problems(config: Config, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every control that names no arm, changes nothing of one, or makes an arm whose name or label is taken.

    Args:
        config: A configuration that fits the schema, without `like`.
        layers: Where its values come from.
    """
    arms, controls = config["arms"], config.get(CONTROLS, {})
    made: dict[str, str] = {}
    labels: dict[str, str] = {}
    for control, entry in controls.items():
        path = [CONTROLS, control]
        for name in entry["of"]:
            if name not in arms:
                text = f"{show(name)} is no arm; {unknown(name, arms)}; or {control}: null takes the control out"
                yield problem_at(layers, [*path, "of"], text)
                continue
            form = _form_of(entry, arms[name])
            if form == _form_of({}, arms[name]):
                text = (
                    f"changes nothing of {name}, which has {_in_words(form)}; allowed: another style, view or options, or "
                    f"{control}: null to take it out"
                )
                yield problem_at(layers, path, text)
            whole = f"{name}_{control}"
            if other := ("is an arm already" if whole in arms else made.get(whole)):
                text = f"makes of {name} an arm {whole}, which {other}; allowed: a name of its own for every arm"
                yield problem_at(layers, path, text)
            made.setdefault(whole, f"the control {control} makes of {name}")
        if other := labels.get(entry["label"]):
            text = (
                f"{show(entry['label'])} is the label of the control {other} too; allowed: a label for {control} alone"
            )
            yield problem_at(layers, [*path, "label"], text)
        labels.setdefault(entry["label"], control)


def with_controls(config: Config) -> Config:
    """The configuration with the arms that its controls make behind those that are written, in the order of the arms they ask."""
    arms = dict(config["arms"])
    for name, arm in config["arms"].items():
        for control, entry in config.get(CONTROLS, {}).items():
            if name in entry["of"]:
                label = {"label": f"{arm['label']}, {entry['label']}"}
                arms[f"{name}_{control}"] = label | {"method": "control", "parent": name} | _form_of(entry, arm)
    return {**config, "arms": arms}


def place_of(config: Config, arm: str) -> list[str]:
    """Where an arm is written: its own entry, or that of the control that makes it."""
    made = {f"{name}_{control}": control for control, entry in config.get(CONTROLS, {}).items() for name in entry["of"]}
    return [CONTROLS, made[arm]] if arm in made else ["arms", arm]


def _form_of(entry: Mapping[str, Any], arm: Mapping[str, Any]) -> Config:
    """How the weights of an arm are asked by a control: what the control says, else what the arm has."""
    return {key: entry.get(key) or arm.get(key) or default for key, default in ASKED.items()}


def _in_words(form: Config) -> str:
    return ", ".join(f"{key} {value}" for key, value in form.items())


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
