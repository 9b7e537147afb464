"""The profiles that Snakemake reads: real files, of keys that the rules know."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
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
