"""What the documents claim about the code."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support.configs import known, paper, papers_layers
from vidreason.config.job_inputs import value_at
from vidreason.config.load_runs import load_run

ROOT = Path(__file__).parents[3]
DEVIATIONS = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
ROWS = [line for line in DEVIATIONS.splitlines() if line.startswith("| ") and not line.startswith("| What")]


def test_there_are_rows():
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_deviation_is_pinned_by_a_test_that_exists(row):
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
    assert named
    for file, name in named:
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        assert any(re.search(rf"def {name}\(", text) for text in texts), f"{file}::{name}"


def test_every_switch_is_a_key_of_the_configuration():
    run = paper()
    switches = re.findall(r"`((?:protocol|evaluation|methods)[\w.*]*)", DEVIATIONS)
    assert len(switches) > 8
    for switch in switches:
        for method in ("sft", "grpo") if "*" in switch else ("",):
            value_at(run, switch.replace("*", method))  # AttributeError or KeyError where there is none


@pytest.mark.parametrize("page", ["docs/paper.md", "docs/hardware.md", "config/README.md", "README.md"])
def test_every_overlay_in_the_documents_is_a_configuration(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        load_run(papers_layers((page, yaml.safe_load(block))), known())


def test_every_link_between_the_documents_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "config/README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page.name}: {target}"
