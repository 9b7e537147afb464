"""The configuration of a run: read, merged, checked, resolved.

A run is one or more YAML files merged in order (`config/config.yaml` is the paper's run, an overlay changes some of its
values), then values from the command line. Everything that can be wrong is found here, before the graph is built, and
is reported with the file, the key, the value and what is allowed.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydantic

from vidreason.config.arms import (
    control_problems,
    like_problems,
    resolved,
    with_controls,
    with_strategies,
    without_dropped_arms,
    without_dropped_controls,
    without_like,
)
from vidreason.config.messages import key_problems, schema_problems, show
from vidreason.config.registered_names import Known
from vidreason.config.renamed_keys import renamed_problems
from vidreason.config.run import Run
from vidreason.config.schema import run_schema
from vidreason.config.semantic_checks import meaning_problems, path_problems
from vidreason.config.yaml_layers import Config, ConfigError, Layer, merge, problem_at, read_command_line, read_layer


def load_run(layers: Sequence[Layer], known: Known) -> Run:
    """Merge the layers of one run and check the result.

    Args:
        layers: In order; later ones win.
        known: Names of data sets and reward terms.

    Raises:
        ConfigError: The first kind of mistakes that there is: keys, `like`, schema, meaning (controls included), paths.
    """
    layers = [with_strategies(layer) for layer in layers]
    config = functools.reduce(merge, (values for _, values in layers), Config())
    config = without_dropped_controls(without_dropped_arms(config, layers), layers)
    for check in (key_problems, renamed_problems, like_problems):
        _refuse(check(config, layers))
    config = without_like(config)
    _refuse(schema_problems(config, run_schema(known), layers))
    problems = list(control_problems(config, layers))
    config = with_controls(config)
    _refuse([*problems, *meaning_problems(config, known, layers)])
    _refuse(path_problems(config, layers))
    try:
        return Run.of(resolved(config, known), layers)
    except pydantic.ValidationError as error:
        lines = [
            problem_at(layers, detail["loc"], f"{show(detail['input'])} is not allowed; {detail['msg']}")
            for detail in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error


def _refuse(problems: Iterable[str]) -> None:
    lines = list(dict.fromkeys(problems))  # arms that share a setting share its mistake
    if lines:
        raise ConfigError("\n".join(lines))


def load_runs(
    shipped: Sequence[Sequence[str]], entries: Sequence[str], configfiles: Sequence[str | Path], known: Known
) -> dict[str, Run]:
    """Load every run that can be named in a path: the shipped ones and the one that is configured now.

    Args:
        shipped: Files of each shipped run; runs whose files are not all here are left out.
        entries: Values of `--config`, each `key=value`.
        configfiles: Files of `--configfile`; they change the first shipped run, and `entries` change them.
        known: Names of data sets and reward terms.

    Returns:
        Run name -> run. The run that is configured now stands last; it replaces a shipped one of the same name.

    Raises:
        ConfigError: A run cannot be used.
    """
    runs: dict[str, Run] = {}
    configured = [*map(read_layer, (*shipped[0], *configfiles)), read_command_line(entries)]
    whole = [files for files in shipped if all(Path(file).exists() for file in files)]
    for layers in (*([read_layer(file) for file in files] for files in whole), configured):
        run = load_run(layers, known)
        runs.pop(run.run, None)
        runs[run.run] = run
    return runs
