"""Functions of wildcards as Snakemake calls them, and the checks at a run's start."""

import contextlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from snakemake.iocontainers import Wildcards

from tests.support.configs import demo, paper
from vidreason.config import job_inputs, startup
from vidreason.config.rule_functions import RuleFunctions
from vidreason.config.run import Run
from vidreason.config.startup import StartError, check_start, interpreter_warning, refuse_beside_orphans


class RefusalError(Exception):
    """Stands for Snakemake's WorkflowError."""


@pytest.fixture
def functions() -> RuleFunctions:
    return RuleFunctions({"paper": paper(), "demo": demo()}, demo(), "python", (ValueError,), RefusalError)


def wildcards(**values: str) -> Any:
    """Wildcards as Snakemake makes them: a list with names."""
    return Wildcards(fromdict=values)


def test_a_function_gets_the_run_its_wildcards_and_fixed_values(functions: RuleFunctions) -> None:
    frames = functions.of_run(job_inputs.frames, "dataset")
    assert frames(wildcards(run="demo", dataset="mmvu")) == ["results/demo/extract_frames/mmvu/shard0.parquet"]
    root = functions.of_run(Run.root, dataset="nextqa")
    assert root(wildcards(run="demo")) == "results/demo/make_world/nextqa"
    assert root(wildcards(source="MLVU")) == "results/demo/make_world/nextqa", "without `run`: the configured one"


def test_a_setting_may_be_named_by_wildcards(functions: RuleFunctions) -> None:
    shards = functions.setting("datasets.{dataset}.shards.frames")
    assert shards(wildcards(run="paper", dataset="mmvu")) == 4
    assert functions.setting("arms.{arm}.shown_view")(wildcards(run="demo", arm="r1_gray")) == "gray"
    sampling = functions.setting("selection.generation")(wildcards(run="paper"))["sampling"]
    assert sampling == {"temperature": 1.0, "top_k": 50, "top_p": None, "max_new_tokens": 512}, (
        "plain values, which Snakemake compares"
    )


def test_what_is_wrong_is_said_as_the_workflow_says_it(functions: RuleFunctions) -> None:
    with pytest.raises(
        RefusalError, match="results/paper: r1_grey is no arm of this run; allowed: base, sft, coldstart, r1"
    ):
        functions.of_run(job_inputs.weights, "arm", "seed")(wildcards(run="paper", arm="r1_grey", seed="0"))
    with pytest.raises(RefusalError, match="results/demo: r1 would train on 3 GPUs, which its batch_size of 8"):
        functions.launch(wildcards(run="demo", arm="r1", seed="0"), {"gpu": 3})
    with pytest.raises(RefusalError, match="for one process"):
        functions.single_gpu(wildcards(run="demo"), {"gpu": 3})


def test_what_is_not_compared_takes_the_resources(functions: RuleFunctions) -> None:
    """Snakemake leaves parameters out of its comparison whose functions take the resources."""
    value = functions.uncompared(functions.of_run(job_inputs.runtime, "arm"))
    for function in (value, functions.launch, functions.single_gpu, functions.interpreter):
        assert "resources" in inspect.signature(function).parameters
    assert '"micro_batch":1' in value(wildcards(run="paper", arm="r1"), None)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(startup, "_held", contextlib.ExitStack())
    monkeypatch.setattr(startup, "visible_gpus", lambda: ["GPU-aa"])
    (tmp_path / ".snakemake").mkdir()
    (warning,) = check_start("/usr/bin/python", str(tmp_path), slurm=False, resources=[{}])
    assert "This machine has 1 GPUs, and no job was asked to use one" in warning
    assert (tmp_path / ".snakemake/launched-on").read_text().strip()
    with pytest.raises(StartError, match="This folder is in use by process "):
        startup.hold_folder()
    startup._held.close()
    assert check_start("/usr/bin/python", str(tmp_path), slurm=False, resources=[{"gpu": 1}]) == []
    startup._held.close()


def test_a_folder_where_the_machine_is_recorded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake/launched-on").mkdir(parents=True)
    with pytest.raises(StartError, match=r"is a folder, where a file is written; remove it: rm -r \.snakemake"):
        startup.record_machine()


def test_an_interpreter_that_snakemake_cannot_start() -> None:
    assert interpreter_warning("/home/me/.venv/bin/python3.11") is None
    for path in ("/a b/python", "/$(touch x)/python", "/caf\u00e9'/python"):
        assert path in str(interpreter_warning(path))


RUN_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_jobs_of_an_earlier_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("bin", "here", "elsewhere", ".snakemake/slurm_logs"):
        (tmp_path / folder).mkdir(parents=True)
    tool = tmp_path / "bin/squeue"
    tool.write_text(
        f"#!/bin/sh\necho '7|{RUN_ID}|RUNNING|{tmp_path / where}'\necho '8|other|RUNNING|{tmp_path}/here'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if where == "elsewhere":
        assert refuse_beside_orphans(str(tmp_path / "here"), slurm=True) is None
        return
    with pytest.raises(StartError, match=f"job 7, name {RUN_ID}, RUNNING\n(.|\n)*scancel --name {RUN_ID}"):
        refuse_beside_orphans(str(tmp_path / "here"), slurm=False)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert refuse_beside_orphans(str(tmp_path / "here"), slurm=False) is None
