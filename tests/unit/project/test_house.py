"""The layout of the project: rooms, the direction of imports, and how much of what is counted there may be."""

import pytest

from tests import house

LIMITS = {
    "files over the limit of lines": (house.long_files, 0),
    "functions with more than 7 parameters": (house.wide_functions, 0),
    "lines of Python in the rules": (house.rule_python_lines, 150),
    "lines of common.smk": (house.common_lines, 90),
    "lines of the Snakefile beside its comment": (house.snakefile_lines, 40),
    "parameters that are a mapping of anything": (house.untyped_mappings, 5),
    "files that name the think and answer tags": (lambda: house.files_with(house.TAGS), 1),
    "files outside models/ that name the model's class": (lambda: house.files_with("TinyLlava", outside="models"), 0),
}
"""What is counted -> how, and the most that is allowed."""


def test_every_module_stands_in_a_room():
    rooms = {room for floor in house.FLOORS for room in floor}
    assert {name.removesuffix(".py") for name in house.entries(house.SRC)} <= rooms | {"__init__"}
    assert len(house.entries(house.SRC)) <= 17


def test_no_folder_is_crowded():
    assert house.crowded_folders() == {}


def test_imports_go_down_and_none_is_of_snakemake():
    assert house.upward_imports() == []


@pytest.mark.parametrize("name", LIMITS)
def test_counts(name):
    count, most = LIMITS[name]
    value = count()
    number = value if isinstance(value, int) else len(value)
    assert number <= most, value


def test_an_import_that_goes_up_is_found(tmp_path, monkeypatch):
    room = tmp_path / "src/vidreason/media"
    room.mkdir(parents=True)
    (room / "up.py").write_text("def f():\n    from vidreason.training import trainer\n    import snakemake.script\n")
    (room / "down.py").write_text("from vidreason.artifacts import files\nfrom vidreason.media import up\n")
    monkeypatch.setattr(house, "ROOT", tmp_path)
    monkeypatch.setattr(house, "SRC", tmp_path / "src/vidreason")
    assert house.upward_imports() == [
        "src/vidreason/media/up.py imports vidreason.training.trainer",
        "src/vidreason/media/up.py imports snakemake.script",
    ]


def test_python_of_rules_is_counted(tmp_path, monkeypatch):
    rules = tmp_path / "workflow/rules"
    rules.mkdir(parents=True)
    (rules / "train.smk").write_text(
        '"""Rules.\n\nSome.\n"""\n\nNAMES = [\n    1,\n]\n\n\ndef f(x):\n\n    return x\n\n\nrule a:\n    input:\n        f,\n'
    )
    (tmp_path / "Snakefile").write_text("# Paths.\ninclude: 'x'\nfor name in NAMES:\n    f(name)\n")
    monkeypatch.setattr(house, "ROOT", tmp_path)
    assert house.rule_python_lines() == 7
    assert house.snakefile_lines() == 3
