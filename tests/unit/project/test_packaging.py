"""Versions stand in three places (pyproject, lock, conda environments) and must agree."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(text.split("==") for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_as_in_the_lock() -> None:
    text = (ROOT / "requirements.lock").read_text()
    lock = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", text, re.MULTILINE))
    assert lock["torch"] == "2.13.0", "no local version: the CPU and the CUDA build share this one"
    locked = {normal(name): version for name, version in lock.items()}
    assert {normal(name): version for name, version in PINS.items()}.items() <= locked.items()
    for word in ("--hash", "index-url", "find-links", "://", " @ "):
        assert word not in text


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_have_the_same_versions(path: Path) -> None:
    entries = yaml.safe_load(path.read_text())["dependencies"]
    packages = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    for package in packages:
        name, _, version = package.partition("==")
        assert PINS[name] == version
    assert (path.with_suffix(".post-deploy.sh")).is_file(), "the package itself must be installed in each environment"


def test_outside_judges_have_the_same_versions() -> None:
    """The extra, the environment of `make judge`, and the page that names them."""
    lines = [line for line in (ROOT / "envs/judge.txt").read_text().splitlines() if not line.startswith("#")]
    judge = dict(line.split("==") for line in lines)
    assert PROJECT["optional-dependencies"]["inspect"] == [f"inspect-ai=={judge['inspect-ai']}"]
    page = " ".join((ROOT / "docs/outside_judges.md").read_text().split())
    assert f"lmms-eval {judge['lmms-eval']}" in page
    assert f"inspect_ai {judge['inspect-ai']}" in page
    assert f"{len(judge)} packages" in page
    assert not set(map(normal, judge)) & set(map(normal, PINS)), "these come from .venv"
    (group,) = PROJECT["entry-points"].values()
    module, _, name = group["vidreason"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_every_rule_has_its_script_and_every_script_its_rule() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    rules.remove("fetch_sources")  # a target: all sources of a run, which does nothing itself
    shared = {"train_sft": "train", "train_grpo": "train", "score_samples": "score"}
    scripts = {shared.get(rule, rule) for rule in rules}
    assert scripts == {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")} - {"_log"}


def test_ci_calls_the_readmes_test_command() -> None:
    assert "\nmake test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def outside_of_make() -> dict[str, str]:
    """The environment without what tells a make that `make test` started it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


@pytest.mark.parametrize("seed", ["010", "abc", "-1", "1 2", "1e3", "0x1F", "9" * 20, "7'; false '"])
def test_make_refuses_a_seed_that_is_no_whole_number(seed: str) -> None:
    """It names the folder of the run, and is said before anything is installed."""
    done = subprocess.run(
        ["make", "demo", f"SEED={seed}"], cwd=ROOT, capture_output=True, text=True, env=outside_of_make()
    )
    assert done.returncode != 0
    assert f"SEED={seed} is not allowed; allowed: a whole number" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("seed", ["", "0", "7", "9" * 18])
def test_make_takes_a_whole_number_as_seed(seed: str) -> None:
    assert (
        subprocess.run(
            ["make", "check_demo", f"SEED={seed}"], cwd=ROOT, capture_output=True, env=outside_of_make()
        ).returncode
        == 0
    )


@pytest.mark.parametrize("writable", [True, False])
def test_a_home_that_cannot_be_written(tmp_path: Path, writable: bool) -> None:
    """Snakemake makes its cache when it starts, and ends with a traceback where it cannot."""
    (tmp_path / "file").touch()
    home = tmp_path / ("home" if writable else "file/home")  # below a file not even root can make a folder
    names = ("XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR")
    environment = {key: value for key, value in outside_of_make().items() if key not in names} | {"HOME": str(home)}
    show = "show: ; @for name in {}; do printenv $$name || echo unset; done".format(" ".join(names))
    command = ["make", "--silent", f"--eval={show}", "show"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    cache = ROOT / ".snakemake/cache"
    mended = [str(cache), str(home / ".cache/huggingface"), str(cache / "matplotlib")]
    assert done.stdout.splitlines() == (["unset"] * 3 if writable else mended)


@pytest.mark.workflow
def test_the_picture_in_the_readme_is_the_graph() -> None:
    done = subprocess.run([sys.executable, "docs/draw_graph.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
