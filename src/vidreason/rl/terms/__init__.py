"""Reward terms: each gives one number for every completion of a group.

A term is made by a factory with the term's parameters from the configuration. Factories register themselves when their
module is imported, and every module of this folder is imported before a term is looked up: a new term is one new file.

docs/extending.md has an example of such a file. The annotations of the parameters become the schema of the configuration.
`weight` belongs to every term and is applied when terms are combined (`vidreason.rl.rewards`).
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from vidreason.config.settings import NO_VARIANCE
from vidreason.config.types import Parameters
from vidreason.records import check_name
from vidreason.rl.rollout_group import RolloutGroup

Term = Callable[[RolloutGroup], np.ndarray]
"""Group of G completions -> float64 [G]. Arrays and not tensors, so that the names and parameters of terms can be checked
where no torch is loaded; float64, so that totals are rounded to float32 once."""
Factory = Callable[..., Term]
AnyFactory = TypeVar("AnyFactory", bound=Factory)
WEIGHT = "weight"
"""Parameter of every term: its factor in the combination; 1 by default."""
RESERVED = (
    "kind", "step", "loss", "reward", "think_characters", "tokens", "finished", "kl", "entropy", "clip_fraction",
    "zero_variance", "temporal_fired", "resampled", "rollouts", "without_frames", "too_long", "left_out", "grad_norm", "lr",
)  # fmt: skip
"""Columns of the metrics that are no terms."""

_factories: dict[str, Factory] = {}
_contrasting: set[str] = set()


def register(name: str, contrasts: bool = False) -> Callable[[AnyFactory], AnyFactory]:
    """Register the factory of a term; its keyword arguments are the term's parameters.

    Args:
        name: Key of the configuration's `rewards.terms`, and column of the reward table.
        contrasts: Whether the term compares a group with its `contrast`, for which `views.shuffled` has to be above 0.

    Raises:
        ValueError: The name is not allowed (`check_name`), or another factory or a column of the metrics has it; or a
            parameter is called `weight`, has no annotation or no name that the configuration could use.
    """

    def add(factory: AnyFactory) -> AnyFactory:
        check_name("reward term", name)
        known = _factories.get(name, factory)
        if known is not factory:
            raise ValueError(
                f"reward term {name!r} is defined by {known.__module__} and by {factory.__module__}; allowed: once"
            )
        if name in RESERVED or name.endswith(NO_VARIANCE):
            raise ValueError(f"reward term {name!r}: the metrics have a column of this name; choose another")
        if WEIGHT in inspect.signature(factory).parameters:
            raise ValueError(f"reward term {name!r}: every term has a weight; the parameter needs another name")
        for parameter in inspect.signature(factory).parameters.values():
            _check_parameter(name, factory, parameter)
        _factories[name] = factory
        _contrasting.update([name] if contrasts else [])
        return factory

    return add


def _check_parameter(name: str, factory: Factory, parameter: inspect.Parameter) -> None:
    """Refuse a parameter that cannot become a field of the configuration's schema."""
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        defect = f"is {parameter.kind.description}"
    elif parameter.annotation is parameter.empty:
        defect = "has no annotation"
    else:
        return
    raise ValueError(
        f"reward term {name!r} of {factory.__module__}: the parameter {str(parameter)!r} {defect}; allowed: parameters that "
        f"can be given by name, each with an annotation"
    )


def discover() -> None:
    """Import every module of this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def factories() -> Mapping[str, Factory]:
    """Every term by its name, sorted; the keyword arguments of its factory are the term's parameters."""
    discover()
    return MappingProxyType(dict(sorted(_factories.items())))


def contrasting() -> list[str]:
    """Names of the terms that compare rollouts with those of shuffled frames, sorted."""
    discover()
    return sorted(_contrasting)


def modules_of(terms: Iterable[str]) -> list[str]:
    """Dotted names of the modules that define terms, for digests of the code that a training uses."""
    return sorted({_factory(name).__module__ for name in terms})


def make(name: str, parameters: Parameters) -> Term:
    """Make a term.

    Args:
        name: A registered name.
        parameters: From the configuration; `weight` is ignored here.

    Raises:
        ValueError: There is no such term or parameter, or a value is not allowed.
    """
    factory = _factory(name)
    allowed = [WEIGHT, *inspect.signature(factory).parameters]
    for key in parameters:
        if key not in allowed:
            raise ValueError(f"reward term {name!r}: unknown parameter {key!r}; allowed: {', '.join(allowed)}")
    return factory(**{key: value for key, value in parameters.items() if key != WEIGHT})


def weight_of(name: str, parameters: Parameters) -> float:
    """Weight of a term, 1 unless its parameters say otherwise.

    Raises:
        ValueError: The weight is not a number.
    """
    weight = parameters.get(WEIGHT, 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"reward term {name!r}: weight is {weight!r}; allowed: a number")
    return float(weight)


def _factory(name: str) -> Factory:
    discover()
    if name not in _factories:
        close = difflib.get_close_matches(name, _factories, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown reward term {name!r}; allowed: {', '.join(sorted(_factories))}{hint}")
    return _factories[name]
