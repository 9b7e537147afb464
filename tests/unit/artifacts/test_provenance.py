"""Code digests and sidecars."""

import importlib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidreason.artifacts import integrity, provenance
from vidreason.artifacts.files import read_json, write_json, write_text
from vidreason.artifacts.integrity import ChangedError, check_unchanged, content_digest, sidecar_of
from vidreason.artifacts.provenance import code_digest, digest, file_digest, write_sidecar


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of the same name with a few modules: top -> sub.low -> base; alone."""
    root = tmp_path / "vidreason"
    (root / "sub").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "sub/__init__.py").write_text("")
    (root / "base.py").write_text("A = 1\n")
    (root / "sub/low.py").write_text("from vidreason.base import A\n")
    (root / "top.py").write_text("import os\n\n\ndef run():\n    from .sub import low\n\n    return low\n")
    (root / "alone.py").write_text("B = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", root)
    _forget()
    yield root
    _forget()


def _forget() -> None:
    code_digest.cache_clear()
    provenance._module_digest.cache_clear()
    provenance._known_digests.cache_clear()


def digests() -> dict[str, str]:
    _forget()
    return {name: code_digest(f"vidreason.{name}") for name in ("base", "sub.low", "top", "alone")}


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("base.py", "A = 2\n", {"base", "sub.low", "top"}),
        ("sub/low.py", "from vidreason.base import A\n\nC = A\n", {"sub.low", "top"}),
        ("top.py", "def run():\n    return 1\n", {"top"}),
        ("sub/__init__.py", "X = 1\n", {"sub.low", "top"}),
        ("__init__.py", "X = 1\n", {"base", "sub.low", "top", "alone"}),
        ("base.py", '"""Now documented."""\n\nA = 1  # and commented\n', set()),
    ],
)
def test_an_edit_changes_the_digests_of_its_users_only(package: Path, file: str, text: str, changed: set[str]) -> None:
    before = digests()
    (package / file).write_text(text)
    after = digests()
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize("table", ["as it was written", "damaged", "absent"])
def test_digests_are_known_in_the_next_process(package: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", table == "absent")
    before = digests()
    (found,) = (package / "__pycache__").glob("*") if table != "absent" else (None,)
    if table == "damaged":
        found.write_text(found.read_text()[:-9])
    parsed: list[str] = []
    parse = provenance.ast.parse
    monkeypatch.setattr(
        provenance.ast, "parse", lambda *words, **more: parsed.append(words[0]) or parse(*words, **more)
    )
    assert digests() == before
    assert bool(parsed) == (table != "as it was written")


def test_an_unknown_module_is_refused(package: Path) -> None:
    with pytest.raises(ValueError, match=r"vidreason\.nope: not a module"):
        code_digest("vidreason.nope")


def test_a_digest_imports_nothing(package: Path) -> None:
    (package / "heavy.py").write_text("raise RuntimeError('imported')\n")
    assert len(code_digest("vidreason.heavy")) == 16


def test_every_digest_of_the_rules_exists() -> None:
    _forget()
    assert len(code_digest("vidreason.artifacts.provenance", "vidreason.config.load_runs")) == 16


def test_sidecar(tmp_path: Path) -> None:
    made, source = tmp_path / "made.jsonl", tmp_path / "source.txt"
    made.write_text("x\n")
    source.write_text("y\n")
    path = write_sidecar(
        made, [source], {"n": 1, "where": tmp_path, "more": {"a": (1, 2)}}, ["vidreason.artifacts.files"]
    )
    assert path == sidecar_of(made) == tmp_path / "made.jsonl.provenance.json"
    content = read_json(path)
    assert content["sha256"] == content_digest(made)
    assert content["inputs"] == {str(source): content_digest(source)}
    assert content["params"] == {"n": 1, "where": str(tmp_path), "more": {"a": [1, 2]}}
    assert content["code"] == code_digest("vidreason.artifacts.files")
    assert content["python"].startswith("3.")


def test_a_folders_digest_is_its_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = content_digest(folder)
    (folder / ".snakemake_timestamp").write_text("")
    assert content_digest(folder) == first
    (folder / "a").rename(folder / "b")
    assert content_digest(folder) != first


def test_a_stale_sidecar_is_not_believed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_text("1")
    write_sidecar(made, [], {}, ["vidreason.artifacts.files"])
    first = content_digest(made)
    made.write_text("2")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "weights").write_text("1")
    write_sidecar(folder, [], {}, ["vidreason.artifacts.files"])
    known = read_json(sidecar_of(folder))
    write_json(sidecar_of(folder), known | {"sha256": "known"})
    (folder / ".snakemake_timestamp").touch()
    assert content_digest(folder) == "known"
    second = content_digest(made)
    assert second != first
    for file in (made, folder / "weights"):
        os.utime(file, (10**9, 10**9))  # as `cp -p` puts there what is old
    assert content_digest(made) == second
    assert content_digest(folder) != "known"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """An artifact with its sidecar."""
    path = tmp_path / "made.jsonl"
    path.write_text("1")
    write_sidecar(path, [], {}, ["vidreason.artifacts.files"])
    return path


def test_what_was_changed_since_it_was_made_is_refused(made: Path) -> None:
    check_unchanged(made)
    before = made.stat()
    made.write_text("2")
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))  # neither size nor time tells
    with pytest.raises(ChangedError) as caught:
        check_unchanged(made)
    told = str(caught.value)
    created = read_json(sidecar_of(made))["created"]
    assert told.startswith(f"{made}: changed since it was made ({created})")
    assert f"Remove it to have it made again, or remove {sidecar_of(made)} to use it as it is" in told


def test_what_has_no_sidecar_may_be_anything(made: Path, tmp_path: Path) -> None:
    made.write_text("2")
    sidecar_of(made).unlink()
    check_unchanged(made)
    check_unchanged(tmp_path / "absent")


@pytest.mark.parametrize("told", [[], {}, {"sha256": None}, {"sha256": 7}])
def test_a_sidecar_without_a_digest_is_named(made: Path, told: object) -> None:
    write_json(sidecar_of(made), told)
    with pytest.raises(ValueError, match=rf"{sidecar_of(made).name}: no sha256 of made.jsonl in it; remove it to use"):
        check_unchanged(made)


def test_a_copy_with_other_times_is_what_was_made(made: Path, tmp_path: Path) -> None:
    os.utime(made, (1, 1))
    check_unchanged(made)


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_a_folder_is_compared_file_by_file(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    write_sidecar(folder, [], {}, ["vidreason.artifacts.files"])
    (folder / ".snakemake_timestamp").touch()
    check_unchanged(folder)
    if change == "edited":
        (folder / "a").write_text("x")
    elif change == "added":
        (folder / "c").touch()
    elif change == "removed":
        (folder / "a").unlink()
    else:
        (folder / "a").rename(folder / "c")
    with pytest.raises(ChangedError, match="checkpoint: changed since it was made"):
        check_unchanged(folder)


def test_who_replaces_an_artifact_removes_what_told_of_the_old_one(made: Path) -> None:
    write_text(made, "new")
    assert not sidecar_of(made).exists()


def test_large_artifacts_are_read_wholly_once_a_run(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "LARGE", 0)
    read: list[Path] = []
    digest = integrity.sha256_of
    monkeypatch.setattr(integrity, "sha256_of", lambda path: read.append(Path(path)) or digest(path))

    def reads(run: str) -> int:
        read.clear()
        monkeypatch.setenv(integrity.CALL_VARIABLE, run)
        monkeypatch.setattr(integrity, "_checked", set())  # another process
        check_unchanged(made)
        check_unchanged(made)
        assert content_digest(made) == read_json(sidecar_of(made))["sha256"]
        return read.count(made)

    assert [reads(run) for run in ("one", "one", "two", "two")] == [1, 0, 1, 0]
    os.utime(made, (1, 1))
    assert [reads("two"), reads("two")] == [1, 0]
    before = made.stat()
    made.write_text("2")
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ChangedError):
        reads("two")


def test_small_ones_are_read_wholly_by_every_process(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_unchanged(made)
    assert [path.name for path in made.parent.iterdir() if path.name.startswith(".")] == []
    made.write_text("2")
    with pytest.raises(ChangedError):
        check_unchanged(made)


def test_identity_and_scripts(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("1")
    code = ["vidreason.records"]
    first = digest({"b": 1, "a": 2}, [source], code)
    assert digest({"a": 2, "b": 1}, [source], code) == first
    assert digest({"a": 2, "b": 2}, [source], code) != first
    assert digest({"a": 2, "b": 1}, [source], ["vidreason.data.options"]) != first
    script_digest = file_digest(source)
    source.write_text("2")
    assert digest({"a": 2, "b": 1}, [source], code) != first
    assert file_digest(source) != script_digest


def test_importing_published_weights_is_no_part_of_training_or_answering() -> None:
    """A word changed in an error about published weights must not retrain anything."""
    for module in ("vidreason.training.grpo", "vidreason.evaluation.predict"):
        before = code_digest(module)
        assert before == code_digest(module, "vidreason.models.tinyllava")
        assert before != code_digest(module, "vidreason.models.tinyllava.import_published")


def test_a_setting_in_better_words_runs_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are compared as parameters and specs; the modules that declare them are part of no digest."""
    read: set[str] = set()
    digest_of = provenance._module_digest
    monkeypatch.setattr(provenance, "_module_digest", lambda name: read.add(name) or digest_of(name))
    provenance._code_digest(["vidreason.training.grpo", "vidreason.evaluation.predict", "vidreason.world.pretraining"])
    assert "vidreason.rl.losses" in read
    assert not provenance.DECLARATIONS & read


@pytest.mark.parametrize("name", sorted(provenance.DECLARATIONS))
def test_declarations_of_settings_hold_no_functions(name: str) -> None:
    module = importlib.import_module(name)
    assert [key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == name] == []
