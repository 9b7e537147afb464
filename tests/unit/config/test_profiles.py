"""The profiles that Snakemake reads: real files, of keys that the rules know."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

ROOT = Path(__file__).parents[3]
RULES = set(re.findall(r"^rule (\w+):", "".join(f.read_text() for f in (ROOT / "workflow/rules").glob("*.smk")), re.M))


def test_the_slurm_profile_is_found_as_typed_and_names_rules_that_exist():
    """`snakemake --profile slurm` looks for a folder of that name where it is started."""
    profile = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    assert profile["executor"] == "slurm"
    assert len(RULES) > 10
    assert set(profile["set-resources"]) <= RULES
    assert set(profile["set-threads"]) <= RULES


def test_no_key_of_the_slurm_profile_is_taken_back_by_the_profile_of_every_call():
    """Snakemake reads both, and where both have a key the workflow's own profile wins."""
    slurm, always = (
        yaml.safe_load((ROOT / path / "config.yaml").read_text()) for path in ("slurm", "profiles/default")
    )
    assert not set(slurm) & set(always)


class Resources(dict):
    """Resources of a job as Snakemake has them: by key and by attribute."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("rule", ["train_sft", "train_grpo"])
def test_the_gpus_of_a_training_are_asked_for_on_one_node(rule):
    """`--gpus` alone is a total, which a cluster may share out over nodes; torchrun starts all ranks on the first."""
    given = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text(encoding="utf-8"))["set-resources"][rule]
    job = SimpleNamespace(resources=Resources(given), threads=2, is_group=lambda: False)
    said = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir"), "x")
    command = get_submit_command(job, said) + set_gres_string(job)
    assert f"--gpus={given['gpu']}" in command
    assert "--nodes=1 " in command
    rules = (ROOT / "workflow/rules/train.smk").read_text(encoding="utf-8")
    (own,) = re.findall(rf"^rule {rule}:.*?^    resources:\n(.*?)^    params:", rules, re.M | re.S)
    assert "nodes=1," in own  # --set-resources on the command line takes the place of the whole profile's
