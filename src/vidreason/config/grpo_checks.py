"""What can be wrong with a GRPO arm's training and selection beyond the schema: settings that contradict each other or have no effect.

Each function yields a line for every problem, with the file, the key, the value and what is allowed.

The file of a reward function is parsed here, not imported: it may need libraries that the graph does not load.
`vidreason.rl.own_functions` imports it where a training runs.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from vidreason.config.messages import listing, show
from vidreason.config.registered_names import Known
from vidreason.config.settings import NO_VARIANCE, Reading
from vidreason.config.yaml_layers import Config, Layer, merge, problem_at
from vidreason.records import check_name

Place = Callable[[str], list[str]]
"""A section of the training's settings -> the key above it: the arm that sets it, or its method."""
TOKEN_MEANS = ("dapo", "cispo")
"""Objectives whose loss is a mean over tokens (vidreason.rl.objectives)."""
BUDGETS = ("limit", "per_task", "per_video")
"""Keys of a selection that bound how many questions are kept."""
UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What `functions_in` raises; the last two where expressions are nested too deeply."""


def training_problems(
    config: Config, name: str, training: Config, known: Known, layers: Sequence[Layer]
) -> Iterable[str]:
    """One line for every setting of a GRPO training that contradicts another one, or that has no effect.

    Args:
        config: The whole configuration.
        name: The arm.
        training: All settings of its training (`vidreason.config.arms.training_of`), which fit the schema.
        known: Names of reward terms.
        layers: Where the values come from.
    """

    def place(section: str) -> list[str]:
        return ["arms", name] if section in config["arms"][name] else ["methods", "grpo"]

    yield from _reward_problems(training, known, place("rewards"), layers)
    yield from _reading_problems(training, config["arms"][name]["data"], known, place("rewards"), layers)
    yield from _view_problems(training, known, place, layers)
    yield from _limit_problems(training, place("rollout_limit"), layers)
    yield from _objective_problems(training, place("objective"), layers)


def _reward_problems(training: Config, known: Known, path: Sequence[str], layers: Sequence[Layer]) -> Iterable[str]:
    """One line where the reward has no term, lacks some that its combination needs, or has one with values that it cannot use."""
    rewards = training["rewards"]
    combine, terms, functions = rewards["combine"], rewards["terms"], rewards["functions"]
    path = [*path, "rewards"]
    yield from function_problems(functions, known, path[:-1], layers)
    if not terms and not functions:
        text = f"{{}} is not allowed; allowed: one or more of {listing(known.terms)}"
        yield problem_at(layers, [*path, "terms"], text)
        return
    lacking = [term for term in known.combinations.get(combine, ()) if term not in terms]
    if lacking:
        text = f"{combine} combines the terms {listing(known.combinations[combine])}; missing: {listing(lacking)}"
        yield problem_at(layers, [*path, "terms"], text)
    weights = {term: parameters.get("weight", 1) for term, parameters in terms.items()}
    for term in known.unweighted.get(combine, ()):
        if weights.get(term, 1) != 1:
            text = f"{show(weights[term])} is not allowed: {combine} does not weigh {term}; allowed: 1"
            yield problem_at(layers, [*path, "terms", term, "weight"], text)
    weights |= {function: entry.get("weight", 1) for function, entry in functions.items()}
    if not any(weights.values()):
        text = f"every weight is 0 ({listing(weights)}), so that every reward is; allowed: one weight above 0 or more"
        yield problem_at(layers, [*path, "terms"], text)
    for term, parameters in terms.items():
        try:
            known.terms[term](**{key: value for key, value in parameters.items() if key != "weight"})
        except ValueError as error:
            yield problem_at(layers, [*path, "terms", term], str(error))


def function_problems(
    functions: Mapping[str, Any], known: Known, path: Sequence[str], layers: Sequence[Layer]
) -> Iterable[str]:
    """One line for every reward function whose name is taken, or that its file does not have.

    Args:
        functions: The section `rewards.functions`.
        known: Names that reward terms and columns of the metrics have.
        path: Key of the section `rewards`.
        layers: Where its values come from.
    """
    for name, entry in functions.items():
        place = [*path, "rewards", "functions", name]
        try:
            check_name("reward function", name)
        except ValueError as error:
            yield problem_at(layers, place, str(error))
        if name in known.terms or name in known.columns or name.endswith(NO_VARIANCE):
            kind = "a reward term" if name in known.terms else "a column of the metrics"
            yield problem_at(layers, place, f"{show(name)} is the name of {kind}; allowed: another name")
        file, function = Path(entry["file"]), entry["function"]
        try:
            defined = functions_in(file)
        except UNREADABLE as error:
            reason = str(error) or "nested too deeply"
            text = f"{file} cannot be read as Python ({reason}); allowed: a Python file, relative to {Path.cwd()}"
            yield problem_at(layers, [*place, "file"], text)
            continue
        if function not in defined:
            text = f"{show(function)} is no function of {file}; allowed: {listing(defined) or 'none, as it defines no function'}"
            yield problem_at(layers, [*place, "function"], text)


def functions_in(file: Path) -> list[str]:
    """Names of the functions that a Python file defines at its top level.

    Raises:
        OSError: It cannot be read.
        SyntaxError: It is no Python.
        ValueError: It is no text, or its name does not end in `.py`, by which Python knows how to import it.
        RecursionError, MemoryError: Its expressions are nested too deeply.
    """
    if file.suffix != ".py":
        raise ValueError("its name must end in .py")
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _reading_problems(
    training: Config, data: str, known: Known, path: Sequence[str], layers: Sequence[Layer]
) -> Iterable[str]:
    """One line where no answer type of an arm's data set can be read by the rule that its rewards ask for."""
    reading, tasks = training["rewards"]["reading"], known.tasks_of.get(data, ())
    rules = [rule for rule in get_args(Reading) if any(rule in known.readings.get(task, ()) for task in tasks)]
    if reading is not None and rules and reading not in rules:
        text = f"{reading} is not allowed: no answer of {data} ({listing(tasks)}) can be read by it; allowed: {listing(rules)}, null"
        yield problem_at(layers, [*path, "rewards", "reading"], text)


def _view_problems(training: Config, known: Known, place: Place, layers: Sequence[Layer]) -> Iterable[str]:
    """One line where a term compares with shuffled rollouts that there are none of, or where nothing compares with them.

    With a reward function of the user's own nothing is refused: it may compare with them.
    """
    terms, functions = training["rewards"]["terms"], training["rewards"]["functions"]
    shuffled = training["views"]["shuffled"]
    comparing = [term for term in terms if term in known.contrasting]
    if not shuffled:
        for term in comparing:
            text = f"{term} is not allowed where views.shuffled is 0: there is nothing to compare with; allowed: views.shuffled above 0"
            yield problem_at(layers, [*place("rewards"), "rewards", "terms", term], text)
    elif not comparing and not functions:
        text = (
            f"{shuffled} is not allowed with the reward terms {listing(terms)}, none of which compares with shuffled rollouts; "
            f"allowed: 0, or one of the terms {listing(known.contrasting)}, or a reward function of your own"
        )
        yield problem_at(layers, [*place("views"), "views", "shuffled"], text)


def _limit_problems(training: Config, path: Sequence[str], layers: Sequence[Layer]) -> Iterable[str]:
    """One line where a training would end by its number of rollouts within its first step."""
    limit, least = training["rollout_limit"], training["batch_size"] * training["views"]["ordered"]
    if limit is not None and limit < least:
        text = (
            f"{limit} is not allowed: one step of {training['batch_size']} questions (batch_size) samples {least} rollouts or more "
            f"({training['views']['ordered']} of each, views.ordered); allowed: {least} or more, or null"
        )
        yield problem_at(layers, [*path, "rollout_limit"], text)


def _objective_problems(training: Config, path: Sequence[str], layers: Sequence[Layer]) -> Iterable[str]:
    """One line where `token_mean_over` does not fit the objective or the number of rollouts of an arm."""
    objective, path = training["objective"], [*path, "objective", "token_mean_over"]
    part, rollouts = objective["token_mean_over"], training["views"]["ordered"]
    if part is None:
        return
    if objective["name"] not in TOKEN_MEANS:
        text = f"{part} is not allowed: {objective['name']} takes no mean over tokens (of {listing(TOKEN_MEANS)})"
        yield problem_at(layers, path, f"{text}; allowed: null")
    elif rollouts % part:
        yield problem_at(layers, path, f"{part} is not allowed; allowed: a divisor of views.ordered, {rollouts}")


def selection_problems(config: Config, known: Known, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every number of a selection that contradicts another, the number of rollouts, or the strategy."""
    rollouts, rule = config["selection"]["generation"]["rollouts"], config["selection"]["rule"]
    arms = {name: arm for name, arm in config["arms"].items() if arm["method"] == "grpo"}
    own = [(["arms", name, "selection"], arm["selection"]) for name, arm in arms.items() if "selection" in arm]
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
    strategies = [merge(rule, arm.get("selection", {}))["strategy"] for arm in arms.values()]
    if strategies and set(strategies) == {"all"}:  # else what is inherited is of use to other arms
        own = [(["selection", "rule"], rule), *own]
    for path, changes in own:
        for key in BUDGETS:
            if merge(rule, changes)["strategy"] == "all" and changes.get(key):
                text = f"{show(changes[key])} is not allowed with the strategy all, which keeps every question; allowed: null"
                yield problem_at(layers, [*path, key], text)
    for name, arm in arms.items():
        yield from _budget_problems(name, arm, known, layers)


def _budget_problems(name: str, arm: Mapping[str, Any], known: Known, layers: Sequence[Layer]) -> Iterable[str]:
    """One line for every answer type that an arm's own budget names and its data set does not hold."""
    tasks = known.tasks_of.get(arm.get("data", ""))
    for task, budget in arm.get("selection", {}).get("per_task", {}).items():
        if tasks is not None and budget is not None and task not in tasks:
            text = f"{budget} is not allowed: {arm['data']} holds no question of this type; allowed: {listing(tasks)}"
            yield problem_at(layers, ["arms", name, "selection", "per_task", task], text)
