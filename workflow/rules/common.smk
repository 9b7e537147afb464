# The runs that can be asked for, and the helpers of the rules. No rule is defined here.

import json
import os
import re
import sys

from snakemake.exceptions import WorkflowError

from vidreason.config.runs import (
    annotations_at,
    is_made,
    load_runs,
    path_at,
    ready_at,
    resolve_arm,
    running_of,
    sources_of,
    weights_arm,
)
from vidreason.config.layers import ConfigError
from vidreason.sources.own_files import annotation_files, checkpoint_files, fingerprint, video_digest
from vidreason.artifacts.integrity import content_digest
from vidreason.artifacts.provenance import code_digest, file_digest
from vidreason.results.registry import FIGURES, TABLES, TEMPLATES, modules_of
from vidreason.sources.fetch import Lock, Source, SourceError

SCHEMA = os.path.join(os.path.dirname(workflow.current_basedir), "schemas/config.schema.yaml")
PAPER = ("config/sources.yaml", "config/config.yaml")
SHIPPED = (PAPER, (*PAPER, "config/demo.yaml"))
BENCHMARKS = ("video_mme", "mvbench", "mlvu", "mmvu")
DATASETS = ("nextqa", "coldstart", *BENCHMARKS)


try:
    given = workflow.overwrite_configfiles or []
    RUNS, LAYERS = load_runs(SHIPPED, workflow.config_settings.config_args, given, SCHEMA)
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be used.\n{error}") from None
# Snakemake takes `run=007` for a number.
RUN = list(RUNS)[-1]

WORLDS = [run for run, settings in RUNS.items() if "world" in settings]
# What is fetched is shared by all runs, so it is described by the configuration of this call alone.
SOURCES = RUNS[RUN]["sources"]
# A lock that is there is a file like any other, which nothing makes again: a source is asked for once.
UNLOCKED = [source for source in SOURCES if not os.path.exists(f"config/locks/{source}.json")]


def one_of(names):
    """Regular expression for one of the names; matches nothing when there is none."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


wildcard_constraints:
    source=one_of(SOURCES),
    run=one_of(RUNS),
    arm=one_of(arm for settings in RUNS.values() for arm in settings["arms"]),
    benchmark=one_of(BENCHMARKS),
    dataset=one_of(DATASETS),
    seed=r"\d+",
    shard=r"\d+",


def run_of(wildcards):
    """Configuration of the run that a file belongs to."""
    return RUNS[wildcards.run]


def setting(path):
    """Function of the wildcards that gives the value at a path of the run's configuration, `arms/{arm}/answer` for instance.

    In place of Snakemake's `lookup`, which walks through the whole configuration of all runs for every value.
    """

    def value(wildcards):
        node = run_of(wildcards)
        for key in path.split("/"):
            node = node[key.format(**wildcards)]
        return node

    return value


def arm_of(wildcards):
    """Settings of the arm that a file belongs to."""
    arms = run_of(wildcards)["arms"]
    if wildcards.arm not in arms:
        raise WorkflowError(
            f"results/{wildcards.run}: {wildcards.arm} is no arm of this run; allowed: {', '.join(arms)}"
        )
    return arms[wildcards.arm]


def path_of(wildcards, key):
    """Path at a key of the run's configuration; it must exist unless the run makes it."""
    try:
        return path_at(run_of(wildcards), key, LAYERS[wildcards.run])
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def reader_protocol(wildcards):
    """Protocol of a reader that has one; MVBench's alone differs between paper and published code."""
    return run_of(wildcards)["protocol"] if wildcards.dataset == "mvbench" else None


def questions_asked_about(wildcards):
    """Question files whose clips are decoded together."""
    names = ["nextqa", "validation"] if wildcards.dataset == "nextqa" else [wildcards.dataset]
    return expand("results/{run}/questions/{dataset}.jsonl", run=wildcards.run, dataset=names)


def frame_tables(wildcards, dataset):
    """All frame tables of a data set."""
    shards = range(run_of(wildcards)["frames"]["shards"][dataset])
    path = "results/{run}/extract_frames/{dataset}/shard{shard}.parquet"
    return expand(path, run=wildcards.run, dataset=dataset, shard=shards)


def benchmark_clips(wildcards):
    """What decoding the clips of a benchmark gave."""
    return [path.replace(".parquet", ".clips.jsonl") for path in frame_tables(wildcards, wildcards.benchmark)]


def known_missing(wildcards):
    """Questions, by task, whose video is not distributed."""
    return run_of(wildcards)["benchmarks"][wildcards.benchmark]["known_missing"] or {}


def missing_allowed(wildcards, resources):
    """How many questions may be without frames before an arm is asked anything.

    Takes the resources, so it is no part of what Snakemake compares: allowing more answers nothing again.
    """
    allowed = run_of(wildcards)["evaluation"]["scoring"]["max_missing_fraction"]
    return {"allowed": allowed, "known": known_missing(wildcards)}


def benchmark_frames(wildcards):
    """Frame tables of the benchmark that is asked."""
    return frame_tables(wildcards, wildcards.benchmark)


def nextqa_frames(wildcards):
    """Frame tables of the training questions."""
    return frame_tables(wildcards, "nextqa")


def nextqa_clips(wildcards):
    """What decoding the training clips gave."""
    return [path.replace(".parquet", ".clips.jsonl") for path in frame_tables(wildcards, "nextqa")]


def training_questions(wildcards):
    """Questions that an SFT arm is taught."""
    return f"results/{wildcards.run}/questions/{arm_of(wildcards)['data']}.jsonl"


def training_frames(wildcards):
    """Frame tables of an arm's questions."""
    return frame_tables(wildcards, arm_of(wildcards)["data"])


def selected_questions(wildcards):
    """Questions that the arm's parent answers sometimes right and sometimes wrong."""
    parent = weights_arm(run_of(wildcards), arm_of(wildcards)["parent"])
    return f"results/{wildcards.run}/select_by_variance/{parent}/seed{wildcards.seed}/selected.jsonl"


def spec_of(wildcards):
    """Everything that decides an arm's weights."""
    arm_of(wildcards)
    return resolve_arm(run_of(wildcards), wildcards.arm, int(wildcards.seed))


def running_settings(wildcards, resources):
    """How much of a training a device holds at a time; takes the resources, so that Snakemake does not compare it."""
    return json.dumps(running_of(run_of(wildcards), wildcards.arm))


def truth_of(wildcards):
    """What the world knows about its clips; nothing for real data."""
    return f"results/{wildcards.run}/make_world/truth.jsonl" if wildcards.run in WORLDS else []


def view_of(wildcards):
    """How an arm is shown the frames."""
    return arm_of(wildcards).get("frames", "ordered")
