"""The registry of tables and figures: every entry is whole, and no other file lists them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vidreason.results.columns import COLUMNS
from vidreason.results.registry import FIGURES, TABLES, TEMPLATES, chosen, maker_of, modules_of

ROOT = Path(__file__).parents[3]
ITEMS = (*TABLES, *FIGURES)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
def test_every_entry_has_a_maker_a_title_and_a_caption(item) -> None:
    assert callable(maker_of(item))
    assert item.title
    assert (ROOT / f"workflow/report/{item.caption}.rst").read_text(encoding="utf-8").strip()


def test_names_are_unique_and_every_caption_is_used() -> None:
    for items in (TABLES, FIGURES):
        assert len({item.name for item in items}) == len({item.file for item in items}) == len(items)
    captions = {path.stem for path in (ROOT / "workflow/report").glob("*.rst")}
    assert captions == {item.caption for item in ITEMS}


def test_no_other_file_lists_the_tables_or_figures() -> None:
    """Rules, scripts, the report and its templates take them from the registry."""
    files = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "workflow/scripts").glob("*.py")]
    files += [ROOT / "src/vidreason/results/report.py", *TEMPLATES.iterdir()]
    names = "by_task|by_group|thinking|gains|temporal|accuracy|controls"
    listed = re.compile(rf"""["'/]({names})["'.]|^ +({names})=""", re.MULTILINE)
    assert [path.name for path in files if listed.search(path.read_text(encoding="utf-8"))] == []


def test_every_column_is_explained() -> None:
    assert set(COLUMNS) == {column for table in TABLES for column in table.columns}


def test_the_docs_list_what_is_registered() -> None:
    done = subprocess.run([sys.executable, "docs/list_tables.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_registry_is_light() -> None:
    command = "import sys, vidreason.results.registry as r; print(sorted({'pandas', 'matplotlib', 'torch', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_of_the_makers() -> None:
    assert "vidreason.results.tables" in modules_of(TABLES)
    assert "vidreason.results.plots.curves" in modules_of(FIGURES)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tables: unknown names \['mian'\]; allowed are \['main', "):
        chosen(TABLES, ["mian"], "tables")
