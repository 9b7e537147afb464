# The runs that can be asked for, and how rules get at their settings. No rule is defined here.

import os
import re
import shlex
import sys
import uuid

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from vidreason.artifacts.files import remove_leftovers
from vidreason.artifacts.integrity import CALL_VARIABLE, content_digest
from vidreason.artifacts.provenance import code_digest, file_digest
from vidreason.config import graph, launcher, paths, startup
from vidreason.config.run import Run
from vidreason.config.runs import load_runs
from vidreason.config.world import VideoCounts
from vidreason.results.registry import FIGURES, TABLES, TEMPLATES, modules_of
from vidreason.sources import ready
from vidreason.sources.lock import SourceError
from vidreason.training.registered import registered

REGISTERED = registered()
PAPER = ("config/sources.yaml", "config/config.yaml")
SHIPPED = (PAPER, (*PAPER, "config/demo.yaml"))
PYTHON = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
RESOURCES = workflow.resource_settings.overwrite_resources
SLURM = getattr(workflow.executor_plugin, "name", None) == "slurm"
os.environ.setdefault(CALL_VARIABLE, uuid.uuid4().hex)  # handed down to the jobs: what is large is compared once a run


try:
    launcher.check_resources(RESOURCES)
    RUNS = load_runs(SHIPPED, workflow.config_settings.config_args, workflow.overwrite_configfiles or [], REGISTERED)
except ValueError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None
# The run that is configured by this call. What is fetched is shared by all runs, so this one describes it.
RUN = list(RUNS.values())[-1]
WORLD_DATASETS = tuple(VideoCounts.model_fields)
WORLDS = [name for name, run in RUNS.items() if run.world]
UNLOCKED = [source for source in RUN.sources if not ready.is_locked(source)]


def one_of(names):
    """Regular expression for one of the names; matches nothing when there is none."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


wildcard_constraints:
    source=one_of(RUN.sources),
    run=one_of(RUNS),
    arm=one_of(arm for run in RUNS.values() for arm in run.arms),
    benchmark=one_of(REGISTERED.benchmarks),
    dataset=one_of(REGISTERED.datasets),
    seed=r"\d+",
    shard=r"\d+",


def of_run(function, *names, **fixed):
    """An input or parameter: a function of the run that a file belongs to, of some of its wildcards and of fixed values."""

    def value(wildcards):
        run = RUNS[wildcards.run] if "run" in wildcards.keys() else RUN
        try:
            return function(run, *(wildcards[name] for name in names), **fixed)
        except (ValueError, SourceError) as error:
            raise WorkflowError(str(error)) from None

    return value


def setting(key):
    """The setting at a dotted key, `datasets.{dataset}.shards.frames` for instance."""

    def value(wildcards):
        return of_run(graph.value_at, key=key.format(**wildcards))(wildcards)

    return value


def uncompared(value):
    """A parameter whose change runs nothing again: Snakemake compares none that depends on the resources."""

    def with_resources(wildcards, resources):
        return value(wildcards)

    return with_resources


def python(wildcards, resources):
    """The interpreter, for a shell: another one runs nothing again."""
    return PYTHON


def launch(wildcards, resources):
    """How a training is started on its GPUs and nodes: more of them retrain nothing."""
    own = {"python": PYTHON, "resources": dict(resources.items())}
    return of_run(graph.training_command, "arm", **own)(wildcards)


def single_card(wildcards, resources):
    """GPUs of a job that is one process."""
    return of_run(graph.single_card, resources=dict(resources.items()))(wildcards)


def start():
    """Check that this run can start here, and say what may surprise."""
    try:
        startup.hold_folder()
        startup.record_machine()
        idle = None if SLURM else startup.idle_gpus_warning(RESOURCES.values())
        orphans = startup.refuse_beside_orphans(workflow.workdir_init, SLURM)
    except startup.StartError as error:
        raise WorkflowError(str(error)) from None
    unsafe = None if workflow.deployment_settings.deployment_method else startup.interpreter_warning(sys.executable)
    for warning in filter(None, (unsafe, idle, orphans)):
        logger.warning(warning)
