"""Bundles: what is in them, the same bytes out of them, and everything that was changed in them refused by its name."""

import csv
import json
import os
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rocrate.rocrate import ROCrate

from tests.support.configs import ROOT
from tests.support.finished_run import CHANGES, small_run, write_finished
from tests.support.gallery_run import use_store
from vidreason.artifacts.digests import sha256_bytes, sha256_of
from vidreason.artifacts.files import read_json, read_jsonl, write_json, write_jsonl
from vidreason.artifacts.integrity import ChangedError, sidecar_of
from vidreason.config import job_inputs
from vidreason.config.run import Run
from vidreason.records import Completion, Prediction
from vidreason.results.registry import TABLES
from vidreason.results.release import bundle as bundles
from vidreason.results.release.bundle import (
    PAGE_DIGESTS,
    BundleError,
    check,
    differing_results,
    pack,
    read_configuration,
    unpack,
)
from vidreason.results.release.crate import citation, metadata
from vidreason.results.release.rebuild import NotFinishedError, pages_of, rebuild, required_files, results_of

ANSWERS = "predict/r1/seed0/mlvu/shard0.jsonl"


def clone(folder: Path) -> Path:
    """What a run needs of the repository."""
    folder.mkdir(parents=True)
    (folder / "config").mkdir()
    for name in ("workflow/report", "CITATION.cff", "config/published.tsv", "config/demo_base"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a finished run and its bundle; tests leave it as it is."""
    place = clone(tmp_path_factory.mktemp("run") / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run = small_run()
        write_finished(run)
        rebuild(run)
        pack(run, "small.zip")
    return place


@pytest.fixture
def zipped(finished: Path) -> Path:
    return finished / "small.zip"


@pytest.fixture
def spare(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the clone, which is the current folder."""
    place = tmp_path / "spare"
    shutil.copytree(finished, place, symlinks=True)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone, which is the current folder."""
    place = clone(tmp_path / "other")
    monkeypatch.chdir(place)
    return place


def contents(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(bundle: Path, change: Callable[[dict[str, bytes]], None], target: Path) -> Path:
    """A copy of a bundle with other contents, its checksums as they were."""
    files = contents(bundle)
    change(files)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def with_digests(files: dict[str, bytes]) -> None:
    """Make the list of digests fit to the files, as somebody could who changes a bundle with care."""
    names = sorted(files.keys() - {"SHA256SUMS"})
    files["SHA256SUMS"] = "".join(f"{sha256_bytes(files[name])}  {name}\n" for name in names).encode()


def test_a_bundle_gives_the_same_scores_and_tables_elsewhere(finished: Path, zipped: Path, other: Path) -> None:
    run = unpack(zipped)
    assert run.model_dump() == small_run().model_dump()
    made = rebuild(run)
    tables = [path for path in made if path.endswith(".csv")]
    assert len(tables) == sum(table.file.endswith(".csv") for table in TABLES)
    cards = [path for path in made if path.endswith("README.md")]
    assert cards == [f"results/small/write_card/{arm}/seed0/README.md" for arm in ("coldstart", "r1")]
    assert "# r1 of the run small" in Path(cards[1]).read_text()
    for path in (*tables, *cards, *results_of(run)):
        assert (other / path).read_bytes() == (finished / path).read_bytes(), path
    assert differing_results(run) == []
    assert "mlvu,v.mp4,nextqa,v.mp4,name," in (other / "results/small/tables/leaks.csv").read_text()
    assert (other / "results/small/report/gallery/index.html").is_file()
    assert 'href="gallery/index.html' in (other / "results/small/report/index.html").read_text()


def test_a_bundle_gives_the_same_figures_page_and_gallery_elsewhere(finished: Path, zipped: Path, other: Path) -> None:
    """Times, folders and the machine are in none of them."""
    run = unpack(zipped)
    rebuild(run)
    shown = pages_of(run)
    names = {Path(path).relative_to("results/small").as_posix() for path in shown}
    assert {"figures/accuracy.png", "report/index.html", "report/gallery/index.html"} < names
    assert {"report/gallery/frames/1_00003.webp", "report/gallery/data/groups_2_0_00000010.js"} < names
    for path in shown:
        assert (other / path).read_bytes() == (finished / path).read_bytes(), path
    assert differing_results(run, PAGE_DIGESTS) == []
    page = Path("results/small/report/index.html").read_text()
    assert page.count("url(data:image/webp;base64,") + page.count("No frames: the clip has none: truncated") == 4
    Path("results/small/report/gallery/frames/1_00003.webp").write_bytes(b"another")
    assert differing_results(run, PAGE_DIGESTS) == ["report/gallery/frames/1_00003.webp"]
    assert differing_results(run) == []


def test_thumbnails_are_made_of_frames_where_there_are_none(spare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run from before thumbnails were kept; without frames, page and gallery do without."""
    run, folder = small_run(), Path("results/small/thumbnails")
    shutil.rmtree(folder)
    sidecar_of(folder).unlink()
    rebuild(run)
    assert not folder.exists()
    assert "data:image/webp" not in Path("results/small/report/index.html").read_text()
    pack(run, "without.zip")
    assert not [name for name in contents(Path("without.zip")) if name.startswith("thumbnails")]
    use_store(monkeypatch)
    for path in (*job_inputs.benchmark_frames(run), *job_inputs.all_training_frames(run)):
        Path(path).write_bytes(b"frames")
        sidecar_of(path).unlink()
    assert str(folder) in rebuild(run)
    inputs = read_json(sidecar_of(folder))["inputs"]
    assert {*job_inputs.benchmark_frames(run), *job_inputs.frames(run, "nextqa")} <= inputs.keys()
    assert "data:image/webp" in Path("results/small/report/index.html").read_text()
    before = (folder / "index.jsonl").stat().st_mtime_ns
    assert str(folder) not in rebuild(run)
    assert (folder / "index.jsonl").stat().st_mtime_ns == before


def test_a_thumbnail_that_was_changed_is_not_packed(spare: Path) -> None:
    picture = Path("results/small/thumbnails/0_00001.webp")
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    with pytest.raises(ChangedError, match="results/small/thumbnails: changed since it was made"):
        pack(small_run(), "x.zip")


def test_a_result_that_comes_out_differently_is_named(zipped: Path, spare: Path) -> None:
    run = unpack(zipped)
    assert differing_results(run) == []
    table = Path("results/small/tables/main.csv")
    table.write_text(table.read_text().replace("Cold start", "Warm start"))
    Path("results/small/tables/gains.csv").unlink()
    assert differing_results(run) == ["tables/gains.csv", "tables/main.csv"]
    assert "c" * 40 in bundles.code_of(run)


def test_a_bundle_holds_what_is_needed_and_no_more(zipped: Path) -> None:
    files = contents(zipped)
    about = {"configuration.json", "CITATION.cff", "ro-crate-metadata.json", "SHA256SUMS"}
    about |= {"tables.sha256", "pages.sha256"}
    run = small_run()
    needed = {name.removeprefix("results/small/") for name in required_files(run)} | {
        "benchmarks/train_grpo/r1/seed0.tsv",
        "train_grpo/r1/seed0/timing.jsonl",
        "train_grpo/r1/seed0/rollouts.jsonl",
        "thumbnails/index.jsonl",
        *(f"thumbnails/{number}_{place:05d}.webp" for number in (0, 1) for place in (1, 2, 3)),
    }
    specs = {f"specs/{arm}/seed0.json" for arm in ("coldstart", "r1")}
    assert {name for name in files if not name.endswith(".provenance.json")} == needed | specs | about
    assert ANSWERS in files
    assert f"{ANSWERS}.provenance.json" in files
    assert "thumbnails.provenance.json" in files
    assert "train_grpo/r1/seed0/checkpoint.provenance.json" in files
    assert not [name for name in files if name.endswith((".parquet", ".safetensors"))]
    assert not [name for name in files if name.startswith(("score/", "tables/", "figures/", "report/"))]


def test_without_any_required_file_nothing_is_made(spare: Path) -> None:
    run = small_run()
    for path in required_files(run):
        hidden = Path(path).rename("hidden")
        with pytest.raises(NotFinishedError, match=f"results/small: {path}: no such file"):
            rebuild(run)
        hidden.rename(path)


def test_results_made_again_know_costs_and_missing_videos(spare: Path) -> None:
    rows = csv.DictReader(Path("results/small/tables/ablations.csv").read_text().splitlines())
    assert "12.5" in {row["seconds_training"] for row in rows if row["arm"] == "r1"}
    steps = csv.DictReader(Path("results/small/tables/reflection_steps.csv").read_text().splitlines())
    assert [(row["step"], row["with_marker"]) for row in steps] == [("0", "2"), ("10", "0")]
    times = csv.DictReader(Path("results/small/tables/timing.csv").read_text().splitlines())
    assert [(row["phase"], row["seconds"]) for row in times] == [
        ("step", "2.0000"),
        ("sample", "1.0000"),
        ("other", "1.0000"),
    ]
    for path in sorted(Path("results/small/predict").rglob("mlvu/shard0.jsonl")):
        answers = read_jsonl(path, Prediction)
        write_jsonl(path, [replace(answers[0], status="missing", completion=Completion("", 0, True)), *answers[1:]])
    with pytest.raises(ValueError, match="mlvu"):
        rebuild(small_run())
    shards = {"shards": {"predict": 2}}
    rebuild(small_run(datasets={"video_mme": shards, "mlvu": {**shards, "known_missing": {"order": 1}}}))
    assert read_json("results/small/score/r1/seed0/mlvu.score.json")["with_frames"] == 7


def test_the_same_results_give_the_same_bytes(spare: Path, zipped: Path) -> None:
    for path in Path("results").rglob("*"):
        os.utime(path, (1, 1))
    pack(small_run(), "again.zip")
    assert Path("again.zip").read_bytes() == zipped.read_bytes()


def test_sha256sum_accepts_what_was_unpacked(zipped: Path, other: Path) -> None:
    unpack(zipped)
    folder = Path("results/small")
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for _, name in lines} == files - {"SHA256SUMS"}
    assert all(sha256_of(folder / name) == digest for digest, name in lines)


def test_the_package_rocrate_reads_a_bundle(zipped: Path, other: Path) -> None:
    unpack(zipped)
    crate = ROCrate(Path("results/small"))
    assert crate.metadata.version == "1.1"
    files = {entity.id: entity for entity in crate.data_entities}
    assert files[ANSWERS]["sha256"] == sha256_of(f"results/small/{ANSWERS}")
    assert crate.get("#weights-r1-seed0")["sha256"] == "ab" * 32
    assert crate.get("#dataset-mlvu")["citation"].startswith("Zhou et al., MLVU")
    software = crate.get("#vidreason")
    assert "c" * 40 in software["version"]
    assert "#package-numpy" in {entity.id for entity in software["softwareRequirements"]}
    assert crate.get("#run")["result"].id == "./"
    assert crate.root_dataset["license"].id == "https://www.apache.org/licenses/LICENSE-2.0"
    assert crate.root_dataset["author"]["name"] == "The vidreason developers"
    graph = read_json("results/small/ro-crate-metadata.json")["@graph"]
    single = [
        (one["@id"], key) for one in graph for key, value in one.items() if isinstance(value, list) and len(value) == 1
    ]
    assert single == [], "the specification prefers one value to a list of one"


def test_a_bundle_is_cited_with_its_data_and_weights(zipped: Path) -> None:
    cited = yaml.safe_load(contents(zipped)["CITATION.cff"])
    assert cited["cff-version"] == "1.2.0"
    assert cited["title"].startswith("Results of the run small of vidreason")
    titles = [entry["title"] for entry in cited["references"]]
    assert {"MLVU", "Video-MME", "NextQA", "Weights results/small/train_grpo/r1/seed0/checkpoint"} <= set(titles)
    assert all(entry.get("authors") for entry in cited["references"])


def test_hostile_texts_of_a_configuration_stay_texts(spare: Path) -> None:
    """A label is data of JSON and YAML: it starts no formula, no markup, no other key, and turns no line around."""
    label = '=HYPERLINK("x") <script>alert(1)</script> - a: &b | \\u202e'
    licence = f"{label}\u202egpj.\u2028x"
    sources = {"MLVU": {"licence": licence}}
    datasets = {"mlvu": {"root": "data/MLVU/MLVU", "shards": {"predict": 2}}}
    run = small_run(arms={**CHANGES["arms"], "r1": {"label": label}}, sources=sources, datasets=datasets)
    text, cited = metadata(run, [], []), citation(run, [])
    names = {one["@id"]: one.get("name") for one in json.loads(text)["@graph"]}
    assert names["#weights-r1-seed0"] == f"Weights of {label}, seed 0"
    notes = [one["notes"] for one in yaml.safe_load(cited)["references"] if one["title"] == "MLVU (dataset)"]
    assert notes == [f"{label}\ufffdgpj.\u2028x"]
    assert not re.search("[\u202a-\u202e]", text + cited)


@pytest.mark.parametrize(
    "name",
    [
        ANSWERS,
        "thumbnails/1_00003.webp",
        "train_grpo/r1/seed0/rollouts.jsonl",
        "configuration.json",
        "ro-crate-metadata.json",
        "CITATION.cff",
        "SHA256SUMS",
    ],
)
def test_a_changed_byte_is_refused_by_the_files_name(zipped: Path, other: Path, name: str) -> None:
    def flip(files: dict[str, bytes]) -> None:
        files[name] = bytes([files[name][0] ^ 1]) + files[name][1:]

    changed = rewritten(zipped, flip, other / "changed.zip")
    named = "CITATION.cff" if name == "SHA256SUMS" else name  # whose digest is the first of the list
    with pytest.raises(BundleError, match=rf"changed\.zip: {named}: changed since it was packed"):
        unpack(changed)
    assert not Path("results/small").exists()


def test_no_flipped_byte_of_the_zip_itself_gets_another_content_through(zipped: Path, other: Path) -> None:
    whole, expected, draw = zipped.read_bytes(), contents(zipped), random.Random(0)
    damaged, passed = other / "damaged.zip", 0
    for place in draw.sample(range(len(whole)), 150):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        try:
            check(damaged)
        except BundleError as error:
            assert "damaged.zip: " in str(error)  # noqa: PT017
        else:
            passed += 1  # a time or an attribute of an entry
            assert contents(damaged) == expected
    assert passed < 75


def test_a_missing_and_an_added_file_are_refused(zipped: Path, other: Path) -> None:
    without = rewritten(zipped, lambda files: files.pop(ANSWERS) and None, other / "without.zip")
    with pytest.raises(BundleError, match=f"{ANSWERS}: listed in SHA256SUMS and not there"):
        unpack(without)
    added = rewritten(zipped, lambda files: files.update({"predict/more.jsonl": b""}), other / "added.zip")
    with pytest.raises(BundleError, match=r"predict/more\.jsonl: not listed in SHA256SUMS"):
        unpack(added)
    assert not Path("results").exists() or not list(Path("results").iterdir())


@pytest.mark.parametrize(
    "name", ["../escaped.txt", "/tmp/escaped.txt", "predict/../../escaped.txt", "a\\..\\escaped.txt"]
)
def test_a_path_that_leads_elsewhere_is_refused_even_if_it_is_listed(zipped: Path, other: Path, name: str) -> None:
    def add(files: dict[str, bytes]) -> None:
        files[name] = b"escaped"
        with_digests(files)

    with pytest.raises(BundleError, match=r"escaped\.txt': leads out of the folder"):
        unpack(rewritten(zipped, add, other / "slip.zip"))
    assert not list(other.parent.rglob("escaped.txt"))


def test_a_name_of_two_files_is_refused(zipped: Path, other: Path) -> None:
    shutil.copy(zipped, "twice.zip")
    with zipfile.ZipFile("twice.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(ANSWERS, b"")
    with pytest.raises(BundleError, match=f"{ANSWERS}: stands twice in the zip"):
        unpack("twice.zip")

    def nest(files: dict[str, bytes]) -> None:
        files[f"{ANSWERS}/inner"] = b""
        with_digests(files)

    with pytest.raises(BundleError, match=f"{ANSWERS}/inner: the name of no single file"):
        unpack(rewritten(zipped, nest, other / "nested.zip"))


def test_metadata_that_describe_other_files_are_refused(zipped: Path, other: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[ANSWERS] += b"\n"
        with_digests(files)

    with pytest.raises(BundleError, match=f"ro-crate-metadata.json: .*describes {ANSWERS} with another digest"):
        unpack(rewritten(zipped, change, other / "careful.zip"))


def test_what_is_no_bundle_is_refused(zipped: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("text.zip").write_text("no zip")
    with zipfile.ZipFile("plain.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    Path("short.zip").write_bytes(zipped.read_bytes()[:-100])
    for name, words in (
        ("absent.zip", "no such file; a bundle is made by: make bundle"),
        ("text.zip", "not a zip that can be read"),
        ("short.zip", "not a zip that can be read"),
        ("plain.zip", "SHA256SUMS: not there"),
    ):
        with pytest.raises(BundleError, match=f"{name}: {words}"):
            unpack(name)
    monkeypatch.setattr(bundles, "LARGEST", 1000)
    with pytest.raises(BundleError, match=r"unpacks to .* bytes; allowed: 1,000"):
        unpack(zipped)


def test_a_configuration_of_another_version_is_refused_with_its_key(zipped: Path, other: Path) -> None:
    def rename(files: dict[str, bytes]) -> None:
        values = json.loads(files["configuration.json"])
        values["framez"] = values.pop("frames")
        files["configuration.json"] = json.dumps(values).encode()
        crate = json.loads(files["ro-crate-metadata.json"])
        for entity in crate["@graph"]:
            if entity["@id"] == "configuration.json":
                entity["sha256"] = sha256_bytes(files["configuration.json"])
        files["ro-crate-metadata.json"] = json.dumps(crate).encode()
        with_digests(files)

    with pytest.raises(BundleError, match=r"(?s)take the version that its CITATION.cff names:.*framez"):
        unpack(rewritten(zipped, rename, other / "renamed.zip"))


def test_a_file_that_is_there_is_never_replaced(zipped: Path, other: Path) -> None:
    unpack(zipped)
    answers = Path("results/small") / ANSWERS
    before = answers.stat()
    Path("results/small/questions/mlvu.jsonl").unlink()
    unpack(zipped)
    assert Path("results/small/questions/mlvu.jsonl").is_file()
    assert Path("results/small/questions/mlvu.jsonl.provenance.json").is_file()
    assert read_configuration("results/small/configuration.json").run == "small"
    assert answers.stat().st_size == before.st_size
    answers.write_text("mine\n")
    with pytest.raises(BundleError, match=f"results/small/{ANSWERS}: is there with other bytes than in .*small.zip"):
        unpack(zipped)
    assert answers.read_text() == "mine\n"


def test_results_of_another_configuration_are_not_packed(spare: Path) -> None:
    run = small_run(methods={"grpo": {"objective": {"beta": 0.5}}})
    with pytest.raises(BundleError, match=r"specs/r1/seed0\.json: trained with settings\.objective\.beta: .*has 0\.5"):
        pack(run, "x.zip")
    longer = small_run(evaluation={"benchmarks": ["video_mme", "mlvu"], "generation": {"max_new_tokens": 5}})
    with pytest.raises(BundleError, match=r"shard0\.jsonl: answered with settings\.max_new_tokens: 72, where .* has 5"):
        pack(longer, "x.zip")
    hotter = small_run(evaluation={"benchmarks": ["video_mme", "mlvu"], "sampling": {"answers": 3}})
    with pytest.raises(
        BundleError, match=r"sample_answers/.*jsonl: answered with settings\.answers: \d+, where .* has 3"
    ):
        pack(hotter, "x.zip")
    sidecar = sidecar_of(f"results/small/{ANSWERS}")
    before = sidecar.read_text()
    write_json(sidecar, read_json(sidecar) | {"params": {"options": {"name": "permuted", "seed": 0}}})
    with pytest.raises(
        BundleError,
        match=r"r1/seed0/mlvu/shard0\.jsonl: answered with options\.name: \"permuted\", where .* has \"published\"",
    ):
        pack(small_run(), "x.zip")
    sidecar.write_text(before)
    table = Path("results/small/tables/main.csv").rename("main.csv")
    with pytest.raises(BundleError, match=r"tables/main\.csv: no such file; .* make tables"):
        pack(small_run(), "x.zip")
    table.rename("results/small/tables/main.csv")
    spec = Path("results/small/specs/r1/seed0.json")
    spec.unlink()
    with pytest.raises(BundleError, match=r"seed0\.json: no such file; it says how r1 was trained"):
        pack(small_run(), "x.zip")
    assert not Path("x.zip").exists()


def test_an_answer_that_was_edited_is_not_packed(spare: Path) -> None:
    path = Path("results/small") / ANSWERS
    path.write_text(path.read_text().replace("ok", "no", 1))
    with pytest.raises(ChangedError, match=f"{ANSWERS}: changed since it was made"):
        pack(small_run(), "x.zip")
    assert not Path("x.zip").exists()


def test_other_published_numbers_are_refused(spare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_papers(run: Run) -> str:
        return "config/published.tsv"

    monkeypatch.setattr("vidreason.config.job_inputs.published", of_papers)
    pack(small_run(), "papers.zip")
    bundle = spare / "papers.zip"
    monkeypatch.chdir(clone(tmp_path / "other"))
    assert "repository/config/published.tsv" in contents(bundle)
    assert check(bundle).run == "small"
    Path("config/published.tsv").unlink()
    Path("config/published.tsv").write_text("arm\n")
    with pytest.raises(
        BundleError, match=r"config/published\.tsv: not the published numbers that .*papers.zip was made"
    ):
        unpack(bundle)


def test_fetched_sources_are_named_with_their_locked_commit(finished: Path, spare: Path) -> None:
    from vidreason.results.release.crate import published_sources

    run = small_run(datasets={"mlvu": {"root": "data/MLVU/MLVU", "shards": {"predict": 2}}})
    (source,) = published_sources(run)
    assert (source.name, source.url) == ("MLVU", f"https://huggingface.co/datasets/{run.sources['MLVU'].repo}")
    assert source.version == run.sources["MLVU"].revision
    entry = run.sources["MLVU"]
    lock = {
        "repo": entry.repo, "type": entry.type, "requested": entry.revision, "patterns": list(entry.files),
        "revision": "d" * 40, "origin": "hub",
        "files": [{"path": pattern.replace("[1-7]", "1").replace("*", "1"), "size": 1, "sha256": "e" * 64} for pattern in entry.files],
    }  # fmt: skip
    write_json("config/locks/MLVU.json", lock)
    assert published_sources(run)[0].version == "d" * 40
    assert published_sources(small_run()) == []
    assert read_json("config/locks/MLVU.json")["revision"] == "d" * 40
