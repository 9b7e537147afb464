"""A run's results in one file: everything that `vidreason.results.release.rebuild` reads, with digests, as an RO-Crate in a zip.

Layout of a bundle, which is that of `results/{run}/` besides:

    configuration.json         the configuration, all files merged
    questions/, predict/, ...  what `rebuild` reads, and sidecars: those beside it, and those of weights and frames
    thumbnails/, train_grpo/   what page and gallery show besides, as far as the run has it: frames of clips, rollouts
    specs/                     what decides the weights of every arm
    repository/                files of the repository that the run was made with: published numbers, locks of sources
    tables.sha256              digests of the scores and tables that must come out
    pages.sha256               digests of figures, page and gallery, which also depend on the versions that draw them
    ro-crate-metadata.json, CITATION.cff
    SHA256SUMS                 digests of all other files, as `sha256sum --check` reads them

The same results give the same bytes: names are sorted, and no entry has a time of its own.
"""

import contextlib
import itertools
import json
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from vidreason.artifacts import strict_json
from vidreason.artifacts.digests import sha256_bytes, sha256_of, sha256_parts
from vidreason.artifacts.files import read_json, write_aside
from vidreason.artifacts.integrity import SIDECAR, check_unchanged, sidecar_of
from vidreason.artifacts.path_checks import is_inside
from vidreason.config import job_inputs, paths
from vidreason.config.load_runs import load_run
from vidreason.config.messages import show
from vidreason.config.run import Run
from vidreason.config.yaml_layers import ConfigError
from vidreason.results.release.crate import CITATION, METADATA, Packed, citation, metadata, read_made
from vidreason.results.release.digest_lists import digest_lines, read_digests
from vidreason.results.release.rebuild import check_finished, optional_files, pages_of, required_files, results_of
from vidreason.training.registered import registered

CONFIGURATION, DIGESTS = "configuration.json", "SHA256SUMS"
TABLE_DIGESTS, PAGE_DIGESTS = "tables.sha256", "pages.sha256"
PUBLISHED = "config/published.tsv"
REPOSITORY = "repository"
"""Folder of a bundle with files that lie outside of the run's results."""
LARGEST = 16 * 2**30
"""Bytes that a bundle may unpack to."""
_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state."""
_MODE, _UNIX, _CHUNK = stat.S_IFREG | 0o644, 3, 2**20
_ABSENT = object()
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
)  # fmt: skip
"""What reading a damaged zip raises."""


class BundleError(ValueError):
    """A bundle cannot be packed or used; the message names the file."""


def pack(run: Run, bundle: str | Path) -> int:
    """Pack the results of a finished run whose tables have been made.

    Args:
        run: The run.
        bundle: Where to write the zip.

    Returns:
        How many files are in it.

    Raises:
        NotFinishedError: A file that is needed is not there.
        BundleError: The results were made with another configuration.
        ChangedError: A file was changed after it was made.
    """
    check_finished(run)
    _check_configuration(run)
    if absent := [path for path in (*results_of(run), *pages_of(run)) if not Path(path).is_file()]:
        raise BundleError(f"{absent[0]}: no such file; a bundle records what must come out. Make it with: make tables")
    files = _files(run)
    for path in (*files.values(), Path(paths.THUMBNAILS.format(run=run.run))):
        check_unchanged(path)
    made = [read_made(path) for path in files.values() if path.name.endswith(SIDECAR)]
    texts = {
        CONFIGURATION: _configuration(run),
        TABLE_DIGESTS: digest_lines({_name(run, path): sha256_of(path) for path in results_of(run)}),
        PAGE_DIGESTS: digest_lines({_name(run, path): sha256_of(path) for path in pages_of(run)}),
        CITATION: citation(run, made),
    }
    contents: dict[str, Path | bytes] = {**files, **{name: text.encode() for name, text in texts.items()}}
    packed = [_described(name, contents[name]) for name in sorted(contents)]
    described = metadata(run, packed, made).encode()
    packed.append(_described(METADATA, described))
    contents[METADATA] = described
    contents[DIGESTS] = digest_lines({one.name: one.sha256 for one in packed}).encode()
    with write_aside(bundle) as aside:
        _write_zip(aside, contents)
        if check(aside).model_dump() != run.model_dump():  # their layers differ
            raise BundleError(f"results/{run.run}: its configuration cannot be written as JSON; a bundle needs that")
    return len(contents)


def check(bundle: str | Path) -> Run:
    """Read a bundle whole, and write nothing.

    Returns:
        Its run.

    Raises:
        BundleError: The file is no bundle, or one that was changed.
    """
    with _opened(Path(bundle)) as archive:
        return _checked(archive, Path(bundle))[0]


def unpack(bundle: str | Path) -> Run:
    """Check a bundle, and put its files into `results/{run}/` of the current folder. Files that are there stay as they are.

    Returns:
        Its run.

    Raises:
        BundleError: As `check`; or a file with other bytes is there.
    """
    bundle = Path(bundle)
    with _opened(bundle) as archive:
        run, digests = _checked(archive, bundle)
        target = paths.RESULTS / run.run
        there = [name for name in digests if (target / name).is_file()]
        for name in there:
            if sha256_of(target / name) != digests[name]:
                raise BundleError(
                    f"{target / name}: is there with other bytes than in {bundle}; move {target} away, or unpack in a fresh clone"
                )
        _refuse_other_numbers(bundle, digests)
        if not target.exists():
            with write_aside(target) as aside:
                for name in digests:
                    _extract(archive, name, aside / name)
        elif len(there) < len(digests):
            for name in digests:  # sorted: a sidecar comes after its file, whose writing removes it
                with write_aside(target / name) as aside:
                    _extract(archive, name, aside)
    return run


def read_configuration(path: str | Path) -> Run:
    """The run of a configuration that a bundle has brought.

    Raises:
        ConfigError: It is none, or not one of this version of the code.
    """
    return _run_of(read_json(path), str(path))


def differing_results(run: Run, digests: str = TABLE_DIGESTS) -> list[str]:
    """Results of an unpacked run, made again, whose bytes are not those that its bundle recorded: scores and tables, or `PAGE_DIGESTS`."""
    folder = paths.RESULTS / run.run
    listed = folder / digests
    known = read_digests(listed.read_bytes(), str(listed))
    made = {name for name in known if (folder / name).is_file()}
    return [name for name in known if name not in made or sha256_of(folder / name) != known[name]]


def code_of(run: Run) -> str:
    """Commits of the code that made an unpacked run, as its bundle names them; `unknown` where it names none."""
    graph = read_json(paths.RESULTS / run.run / METADATA)["@graph"]
    found = [entity.get("version") for entity in graph if entity.get("@id") == "#vidreason"]
    return next((str(version) for version in found if version), "unknown")


def _files(run: Run) -> dict[str, Path]:
    """Name in the bundle -> file, for everything that is packed as it is."""
    trained = [(arm, seed) for arm in run.arms_by("sft", "grpo") for seed in run.seeds]
    specs = [paths.SPEC.format(run=run.run, arm=arm, seed=seed) for arm, seed in trained]
    packed = [Path(path) for path in (*required_files(run), *optional_files(run), *specs)]
    # Weights and frames stay where they are; their sidecars say which they were.
    weights = [job_inputs.weights(run, arm, seed) for arm in run.arms for seed in run.seeds]
    frames = [path for name in run.used_datasets() for path in job_inputs.frames(run, name)]
    locks = [Path(paths.LOCK.format(source=source)) for source in run.used_sources()]
    thumbnails = paths.THUMBNAILS.format(run=run.run)
    beside = [sidecar_of(path) for path in (*map(str, packed), *weights, *frames, thumbnails)]
    present = [*packed, *(path for path in (*beside, *locks) if path.is_file())]
    return {_name(run, path): path for path in present}


def _name(run: Run, path: str | Path) -> str:
    """Where a file lies in the bundle."""
    own = paths.RESULTS / run.run
    return Path(path).relative_to(own).as_posix() if Path(path).is_relative_to(own) else f"{REPOSITORY}/{path}"


def _check_configuration(run: Run) -> None:
    """Refuse results of another configuration: specs and answers record the settings that they were made with."""
    advice = (
        "Name the configuration that these results were made with, take the version of the code that made them, or run "
        "snakemake first"
    )
    for arm in run.arms_by("sft", "grpo"):
        for seed in run.seeds:
            spec = Path(paths.SPEC.format(run=run.run, arm=arm, seed=seed))
            if not spec.is_file():
                raise BundleError(f"{spec}: no such file; it says how {arm} was trained. Run snakemake first")
            for different in _differences(read_json(spec), job_inputs.training_spec(run, arm, seed)):
                raise BundleError(f"{spec}: trained with {different}. {advice}")
    settings = run.evaluation.generation.model_dump(mode="json")
    for arm, own in run.arms.items():
        shown = {"style": own.style, "view": own.shown_view}
        answered = shown | {"settings": settings, "options": job_inputs.option_edit(run, arm)}
        is_sampled = arm in run.sampled_arms()
        sampled = shown | {"settings": job_inputs.answer_sampling(run)} if is_sampled else {}
        for seed, benchmark in itertools.product(run.seeds, run.evaluation.benchmarks):
            for path in job_inputs.predictions(run, arm, seed, benchmark):
                _check_answers(path, answered, advice)
            for path in job_inputs.samples(run, arm, seed, benchmark) if is_sampled else []:
                _check_answers(path, sampled, advice)


def _check_answers(path: str, wanted: Mapping[str, object], advice: str) -> None:
    """Compare the parameters of the rule that answered, as a sidecar records them, with the configuration."""
    known = read_json(sidecar_of(path)) if sidecar_of(path).is_file() else {}
    used = known.get("params") if isinstance(known, dict) else None
    for key, value in wanted.items():
        if isinstance(used, dict) and key in used and used[key] != value:
            raise BundleError(f"{path}: answered with {next(_differences(used[key], value, key))}. {advice}")


def _differences(recorded: object, configured: object, key: str = "") -> Iterator[str]:
    """Where a recorded value is not the configured one."""
    if isinstance(recorded, dict) and isinstance(configured, dict):
        for name in dict.fromkeys([*recorded, *configured]):
            inner = recorded.get(name, _ABSENT), configured.get(name, _ABSENT)
            yield from _differences(*inner, f"{key}.{name}" if key else name)
    elif recorded != configured:
        shown = ["nothing" if value is _ABSENT else show(value) for value in (recorded, configured)]
        yield f"{key or 'a value'}: {shown[0]}, where the configuration has {shown[1]}"


def _configuration(run: Run) -> str:
    return json.dumps(run.merged_layers(), indent=2, ensure_ascii=False) + "\n"


def _run_of(values: object, where: str) -> Run:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected keys and values, found {type(values).__name__}")
    return load_run([(where, values)], registered())


def _described(name: str, content: Path | bytes) -> Packed:
    if isinstance(content, bytes):
        return Packed(name, sha256_bytes(content), len(content))
    return Packed(name, sha256_of(content), content.stat().st_size)


def _write_zip(bundle: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Write a zip whose bytes depend on names and contents alone."""
    with zipfile.ZipFile(bundle, "w") as archive:
        for name in sorted(contents):
            content = contents[name]
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, _UNIX, _MODE << 16
            entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with archive.open(entry, "w") as stream:
                if isinstance(content, bytes):
                    stream.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, stream, _CHUNK)


@contextlib.contextmanager
def _opened(bundle: Path) -> Iterator[zipfile.ZipFile]:
    """Open a bundle."""
    if not bundle.is_file():
        raise BundleError(f"{bundle}: no such file; a bundle is made by: make bundle RUN=...")
    try:
        archive = zipfile.ZipFile(bundle)
    except _UNREADABLE as error:
        raise BundleError(f"{bundle}: not a zip that can be read ({error}); get it again") from error
    with archive:
        yield archive


def _checked(archive: zipfile.ZipFile, bundle: Path) -> tuple[Run, dict[str, str]]:
    """Read every file of a bundle; return its run, and the digests of all files in the order of their names."""
    names = _check_names(archive, bundle)
    if absent := [
        name for name in (DIGESTS, METADATA, CONFIGURATION, TABLE_DIGESTS, PAGE_DIGESTS) if name not in names
    ]:
        raise BundleError(f"{bundle}: {absent[0]}: not there; a bundle made by `make bundle` has one")
    with _naming(bundle, DIGESTS):
        listed = archive.read(DIGESTS)
        digests = read_digests(listed, DIGESTS)
    for name in sorted({*digests, *names} - {DIGESTS}):
        if name not in names:
            raise BundleError(f"{bundle}: {name}: listed in {DIGESTS} and not there; get the bundle again")
        if name not in digests:
            raise BundleError(f"{bundle}: {name}: not listed in {DIGESTS}; it was added to the bundle, get it again")
        with _naming(bundle, name), archive.open(name) as stream:
            found = sha256_parts(iter(lambda: stream.read(_CHUNK), b""))
        if found != digests[name]:
            raise BundleError(
                f"{bundle}: {name}: changed since it was packed: its sha256 was {digests[name][:16]}... and is "
                f"{found[:16]}... now; get the bundle again"
            )
    with _naming(bundle, METADATA):
        _check_crate(archive.read(METADATA), digests)
    with _naming(bundle, CONFIGURATION):
        values = strict_json.loads(archive.read(CONFIGURATION))
    try:
        run = _run_of(values, CONFIGURATION)
    except ConfigError as error:
        raise BundleError(
            f"{bundle}: this version of the code does not take its configuration; take the version that its {CITATION} names:\n"
            f"{error}"
        ) from error
    for name in (TABLE_DIGESTS, PAGE_DIGESTS):
        with _naming(bundle, name):
            read_digests(archive.read(name), name)
    return run, dict(sorted({**digests, DIGESTS: sha256_bytes(listed)}.items()))


def _check_names(archive: zipfile.ZipFile, bundle: Path) -> set[str]:
    """Refuse names that lead out of a folder, stand twice or for both a file and a folder, and more than a disk should hold."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in archive.infolist():
        if not is_inside(entry.filename) or "\\" in entry.filename or entry.filename != entry.orig_filename:
            raise BundleError(
                f"{bundle}: {entry.orig_filename!r}: leads out of the folder it is unpacked to; nothing was unpacked"
            )
    names = {entry.filename for entry in entries}
    for entry in entries:
        above = {parent.as_posix() for parent in Path(entry.filename).parents}
        if above & names or Path(entry.filename).as_posix() != entry.filename:
            raise BundleError(f"{bundle}: {entry.filename}: the name of no single file; nothing was unpacked")
    if len(names) < len(entries):
        twice = next(name for name, count in Counter(entry.filename for entry in entries).items() if count > 1)
        raise BundleError(f"{bundle}: {twice}: stands twice in the zip; nothing was unpacked")
    if (size := sum(entry.file_size for entry in entries)) > LARGEST:
        raise BundleError(f"{bundle}: unpacks to {size:,} bytes; allowed: {LARGEST:,}")
    return names


def _check_crate(text: bytes, digests: Mapping[str, str]) -> None:
    """Refuse metadata that describe other files than those of the bundle."""
    try:
        graph = strict_json.loads(text)["@graph"]
        described = {entity["@id"]: entity["sha256"] for entity in graph if entity["@type"] == "File"}
    except (KeyError, TypeError) as error:
        raise ValueError(f"no metadata of an RO-Crate: {error!r}") from error
    for name in sorted({*described, *digests} - {METADATA}):
        if described.get(name) != digests.get(name):
            raise ValueError(f"describes {name} with another digest than {DIGESTS}")


def _refuse_other_numbers(bundle: Path, digests: Mapping[str, str]) -> None:
    """Refuse a bundle whose tables would be compared with other published numbers."""
    name = f"{REPOSITORY}/{PUBLISHED}"
    if name in digests and (not Path(PUBLISHED).is_file() or sha256_of(PUBLISHED) != digests[name]):
        raise BundleError(
            f"{PUBLISHED}: not the published numbers that {bundle} was made with; take the version of the code that its "
            f"{CITATION} names"
        )


def _extract(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, _CHUNK)


@contextlib.contextmanager
def _naming(bundle: Path, name: str) -> Iterator[None]:
    """Name bundle and file in whatever reading them raises."""
    try:
        yield
    except _UNREADABLE as error:
        raise BundleError(f"{bundle}: {name}: cannot be read: {error}; get the bundle again") from error
