# The runs that can be asked for, and how rules get at their settings. No rule is defined here.

import os
import shlex
import sys
import uuid

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from vidreason.artifacts.files import remove_leftovers
from vidreason.artifacts.integrity import CALL_VARIABLE
from vidreason.artifacts.provenance import code_digest, file_digest
from vidreason.config import job_inputs, launcher, paths
from vidreason.config.rule_functions import RuleFunctions, one_of
from vidreason.config.run import Run
from vidreason.config.load_runs import load_runs
from vidreason.config.startup import StartError, check_start, drop_default_limit
from vidreason.config.world import VideoCounts
from vidreason.results.jobs import inputs as results
from vidreason.results.registry import FIGURES, TABLES
from vidreason.sources import prerequisites
from vidreason.sources.lock import SourceError
from vidreason.training import registered

REGISTERED = registered.registered()
PAPER = ("config/sources.yaml", "config/config.yaml")
SHIPPED = (PAPER, (*PAPER, "config/demo.yaml"))
OWN_PYTHON = None if workflow.deployment_settings.deployment_method else sys.executable
RESOURCES = workflow.resource_settings.overwrite_resources
os.environ.setdefault(CALL_VARIABLE, uuid.uuid4().hex)  # handed down to the jobs: what is large is compared once a run


try:
    launcher.check_resources(RESOURCES)
    RUNS = load_runs(SHIPPED, workflow.config_settings.config_args, workflow.overwrite_configfiles or [], REGISTERED)
    # The run that is configured by this call. What is fetched is shared by all runs, so this one describes it.
    RUN = list(RUNS.values())[-1]
    RUN.check_paths()
except ValueError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None
WORLDS = [name for name, run in RUNS.items() if run.world]
WORLD_DATASETS = tuple(VideoCounts.model_fields)
UNLOCKED = [source for source in RUN.sources if not prerequisites.is_locked(source)]

functions = RuleFunctions(RUNS, RUN, shlex.quote(OWN_PYTHON or "python"), (ValueError, SourceError), WorkflowError)
of_run, setting, uncompared = functions.of_run, functions.setting, functions.uncompared


wildcard_constraints:
    source=one_of(RUN.sources),
    run=one_of(RUNS),
    arm=one_of(arm for run in RUNS.values() for arm in run.arms),
    benchmark=one_of(REGISTERED.benchmarks),
    dataset=one_of(REGISTERED.datasets),
    seed=r"\d+",
    shard=r"\d+",


def start():
    """Check that this run can start here, and say what may surprise."""
    slurm = getattr(workflow.executor_plugin, "name", None) == "slurm"  # not known before a run starts
    try:
        for warning in check_start(OWN_PYTHON, workflow.workdir_init, slurm, RESOURCES.values()):
            logger.warning(warning)
    except StartError as error:
        raise WorkflowError(str(error)) from None
    drop_default_limit(workflow.scheduler)
