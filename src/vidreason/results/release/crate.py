"""What a bundle of results says about itself: RO-Crate metadata and a citation, which name data, weights and versions of the code.

Source: the RO-Crate 1.1 specification, https://w3id.org/ro/crate/1.1, written by the package `rocrate`.
Differs from the source: the time of publication is that of the newest result and not of the writing, so that the same results give
the same bytes.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vidreason import __version__
from vidreason.artifacts.control_characters import visible
from vidreason.artifacts.files import read_json
from vidreason.config import job_inputs, paths
from vidreason.config.run import Run
from vidreason.data.registry import dataset_of
from vidreason.sources.lock import Lock

METADATA, CITATION = "ro-crate-metadata.json", "CITATION.cff"
_MEDIA = {
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".cff": "application/yaml",
    ".webp": "image/webp",
    ".sha256": "text/plain",
}
_WHAT = {
    "questions": "Questions of a data set",
    "predict": "Answers of an arm to a benchmark",
    "make_world": "What the generated world knows about its clips",
    "extract_frames": "What decoding the clips of a data set gave",
    "filter_questions": "What the filter of a training set kept and dropped",
    "read_questions": "Records of a data set that cannot be used",
    "select_by_variance": "Selection of an arm's training questions",
    "train_sft": "Measurements of a supervised training",
    "train_grpo": "Measurements and rollouts of a GRPO training",
    "thumbnails": "Frames of the clips that page and gallery show",
    "check_leaks": "Benchmark videos among the training videos",
    "import_weights": "Provenance of given weights",
    "specs": "Everything that decides an arm's weights",
    "benchmarks": "Time and memory of a job",
    "repository": "File of the repository that the run was made with",
    "configuration.json": "The configuration of the run, all files merged",
    "tables.sha256": "Digests of the scores and tables that are made of this crate",
    "pages.sha256": "Digests of the figures, the page and the gallery that are made of this crate",
    CITATION: "How to cite these results",
}
"""Folder or file of a bundle -> what is in it."""


@dataclass(frozen=True)
class Packed:
    """A file of a bundle.

    Attributes:
        name: Its path in the bundle.
        sha256: Its digest.
        size: Bytes.
    """

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Made:
    """What a sidecar says of an artifact; `""` for what it does not say.

    Attributes:
        artifact: Its path.
        sha256: Its digest.
        commit: Commit of the code that made it.
        versions: Package -> version.
        created: When it was made.
    """

    artifact: str
    sha256: str
    commit: str
    versions: Mapping[str, str]
    created: str


def read_made(sidecar: Path) -> Made:
    """Read a sidecar.

    Raises:
        ValueError: It is none.
    """
    known = read_json(sidecar)
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        raise ValueError(f"{sidecar}: no sidecar of a result; remove it to use the result beside it as it is")
    artifact, commit, created, python = (
        str(known.get(key) or "") for key in ("artifact", "commit", "created", "python")
    )
    versions = known.get("versions")
    named = {str(name): str(version) for name, version in versions.items()} if isinstance(versions, dict) else {}
    return Made(artifact, known["sha256"], commit, {"python": python, **named}, created)


@dataclass(frozen=True)
class Published:
    """A model or data set of a hub that a run was made from.

    Attributes:
        name: Its name in the configuration.
        url: Its page.
        owner: Whose it is.
        version: Its commit; the configured revision where no lock is there.
        licence: Its licence as the configuration states it.
        type: `model` or `dataset`.
    """

    name: str
    url: str
    owner: str
    version: str
    licence: str
    type: str


def published_sources(run: Run) -> list[Published]:
    """The models and data sets of a hub that a run reads."""
    found = []
    for name in run.used_sources():
        entry, lock = run.sources[name], Path(paths.LOCK.format(source=name))
        version = Lock.load(lock).revision if lock.is_file() else entry.revision
        url = f"https://huggingface.co/{'datasets/' if entry.type == 'dataset' else ''}{entry.repo}"
        found.append(Published(name, url, entry.repo.split("/")[0], version, entry.licence, entry.type))
    return found


def metadata(run: Run, files: Sequence[Packed], made: Sequence[Made], software: str | Path = CITATION) -> str:
    """The text of `ro-crate-metadata.json`.

    Args:
        run: The run.
        files: All other files that the crate describes, in the order in which it lists them.
        made: Sidecars of the packed files, and of the weights and frames that they were made from.
        software: The software's own citation, which names the authors.

    Raises:
        ValueError: The software's citation is no mapping in YAML.
    """
    from rocrate.model.contextentity import ContextEntity  # needed by nobody who only reads bundles
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "https://schema.org/sha256"

    def add(identity: str, kind: str, **properties: Any) -> dict[str, str]:
        known = {key: _shown(_unwrapped(value)) for key, value in properties.items() if value not in ("", None, [])}
        crate.add(ContextEntity(crate, identity, properties={"@type": kind, **known}))
        return {"@id": identity}

    for file in files:
        crate.add_file(None, file.name, properties=_described(file))
    sources = {source.name: add(source.url, "Dataset", **_of_source(source)) for source in published_sources(run)}
    datasets = [_add_dataset(run, name, sources, add) for name in run.used_datasets()]
    weights = _add_weights(run, sources, {one.artifact: one for one in made}, add)
    code = _add_code(made, add)
    root = crate.root_dataset
    times = sorted(one.created for one in made if one.created)
    run_action = {"name": f"The run {run.run}", "instrument": [code], "object": [*datasets, *sources.values()]}
    span = {"startTime": times[0], "endTime": times[-1]} if times else {}
    done = add("#run", "CreateAction", **run_action, **span, result=[{"@id": root.id}])
    crate.name = f"Results of the vidreason run {run.run}"
    crate.description = (
        "Configuration, questions, answers, counts and small frames of a run, of which `make tables BUNDLE=...` of vidreason makes its "
        "tables, figures, page and gallery again, without weights, videos or a network. Sidecars (.provenance.json) say what each file was made from."
    )
    root["license"] = add(
        "https://www.apache.org/licenses/LICENSE-2.0",
        "CreativeWork",
        name="Apache License 2.0",
        description="For all but the questions and frames, which are under the licence of their data set (see isBasedOn).",
    )
    authors = _software(software).get("authors") or []
    root["author"] = _unwrapped([_add_author(author, number, add) for number, author in enumerate(authors)])
    root["isBasedOn"] = [*sources.values(), *datasets, *weights]
    root["mentions"] = [done, code]
    # RO-Crate requires a date. Where no sidecar has a time, it is the earliest that a zip can state.
    root["datePublished"] = times[-1] if times else "1980-01-01T00:00:00+00:00"
    return json.dumps(crate.metadata.generate(), indent=2, ensure_ascii=False) + "\n"


def _shown(value: Any) -> Any:
    """The same value without control characters in its texts, those that turn the direction of a line included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return list(map(_shown, value))
    return {key: _shown(item) for key, item in value.items()} if isinstance(value, dict) else value


def _unwrapped(value: Any) -> Any:
    """A list of one entry as that entry, which the specification prefers."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _add_author(author: Mapping[str, str], number: int, add: Any) -> dict[str, str]:
    """Describe an author as a citation names one: an organization has a name, a person has several."""
    if "name" in author:
        organization: dict[str, str] = add(f"#author-{number}", "Organization", name=author["name"])
        return organization
    names = {"givenName": author.get("given-names", ""), "familyName": author.get("family-names", "")}
    person: dict[str, str] = add(f"#author-{number}", "Person", name=" ".join(filter(None, names.values())), **names)
    return person


def _described(file: Packed) -> dict[str, str]:
    """What a crate says of a file."""
    sidecar = file.name.endswith(".provenance.json")
    what = "Provenance" if sidecar else _WHAT.get(file.name.split("/")[0], "")
    known = {
        "name": file.name,
        "description": what,
        "encodingFormat": _MEDIA.get(Path(file.name).suffix, ""),
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }
    return {key: value for key, value in known.items() if value}


def _of_source(source: Published) -> dict[str, str]:
    return {
        "name": source.name,
        "url": source.url,
        "version": source.version,
        "license": source.licence,
        "additionalType": source.type,
    }


def _description(run: Run, name: str) -> str:
    """What a data set is, or which one a generated one imitates."""
    dataset, root = dataset_of(name), Path(run.datasets[name].root.replace("{run}", run.run))
    generated = run.world is not None and root.is_relative_to(paths.WORLD.format(run=run.run))
    return f"Synthetic videos in the layout of {dataset.title}" if generated else dataset.description


def _add_dataset(run: Run, name: str, sources: Mapping[str, dict[str, str]], add: Any) -> dict[str, str]:
    """Describe a data set that the run uses, with the source that its files are from."""
    dataset, entry = dataset_of(name), run.datasets[name]
    read = {run.source_of(str(path)) for path in (entry.root, getattr(entry, "annotations", None)) if path}
    described: dict[str, str] = add(
        f"#dataset-{name}",
        "Dataset",
        name=dataset.title,
        description=_description(run, name),
        citation=dataset.citation,
        isBasedOn=[sources[source] for source in sources if source in read],
    )
    return described


def _add_weights(
    run: Run, sources: Mapping[str, dict[str, str]], made: Mapping[str, Made], add: Any
) -> list[dict[str, str]]:
    """Describe the weights of every arm by their digests."""
    added = []
    for arm, settings in run.arms.items():
        if run.weights_arm(arm) != arm:  # a control uses another arm's
            continue
        source = sources.get(run.source_of(str(settings.weights)) or "")
        for seed in run.seeds if settings.method != "given" else run.seeds[:1]:
            path, of_seed = job_inputs.weights(run, arm, seed), settings.method != "given"
            one = made.get(path)
            added.append(
                add(
                    f"#weights-{arm}-seed{seed}" if of_seed else f"#weights-{arm}",
                    "CreativeWork",
                    name=f"Weights of {settings.label}{f', seed {seed}' if of_seed else ''}",
                    identifier=path,
                    sha256=one.sha256 if one else "",
                    dateCreated=one.created if one else "",
                    version=one.commit if one else "",
                    isBasedOn=[source] if source else [],
                )
            )
    return added


def _add_code(made: Sequence[Made], add: Any) -> dict[str, str]:
    """Describe this software and the packages whose versions can change a number."""
    versions: dict[str, set[str]] = {}
    for one in made:
        for name, version in one.versions.items():
            versions.setdefault(name, set()).add(version)
    packages = [
        add(f"#package-{name}", "SoftwareApplication", name=name, softwareVersion=", ".join(sorted(found - {""})))
        for name, found in sorted(versions.items())
        if name != "vidreason" and found - {""}
    ]
    described: dict[str, str] = add(
        "#vidreason",
        "SoftwareApplication",
        name="vidreason",
        softwareVersion=", ".join(sorted(versions.get("vidreason", set()) - {""})) or __version__,
        version=", ".join(commits(made)),
        license="Apache-2.0",
        softwareRequirements=packages,
    )
    return described


def commits(made: Sequence[Made]) -> list[str]:
    """Commits of the code that made some artifacts, sorted; none where it was no repository."""
    return sorted({one.commit for one in made if one.commit})


def citation(run: Run, made: Sequence[Made], software: str | Path = CITATION) -> str:
    """The text of a `CITATION.cff` for the results of a run: that of the software, with commit, data and weights.

    Args:
        run: The run.
        made: Sidecars of what it made.
        software: The software's own citation.

    Raises:
        ValueError: The software's citation is no mapping in YAML.
    """
    known = _software(software)
    data = [
        {
            "type": "data",
            "title": dataset_of(name).title,
            "authors": [{"name": dataset_of(name).citation}],
            "notes": _description(run, name),
        }
        for name in run.used_datasets()
    ]
    fetched = [
        {
            "type": "generic" if source.type == "model" else "data",
            "title": f"{source.name} ({source.type})",
            "authors": [{"name": source.owner}],
            "version": source.version,
            "notes": source.licence,
            "url": source.url,
        }
        for source in published_sources(run)
    ]
    weights = [
        {
            "type": "generic",
            "title": f"Weights {one.artifact}",
            "authors": copy.deepcopy(known.get("authors", [])),  # YAML would write a reference
            "identifiers": [{"type": "other", "value": f"sha256:{one.sha256}"}],
        }
        for one in sorted(made, key=lambda one: one.artifact)
        if Path(one.artifact).name == "checkpoint"
    ]
    found = commits(made)
    newest = max((one.created for one in made), default="")
    cited = {
        **known,
        "title": f"Results of the run {run.run} of {known.get('title', 'vidreason')}",
        "type": "dataset",
        **({"commit": found[0].removesuffix("+changes")} if len(found) == 1 else {}),
        **({"date-released": newest[:10]} if newest else {}),
        "references": [
            *known.get("references", []),
            *data,
            *({key: value for key, value in entry.items() if value} for entry in fetched),
            *weights,
        ],
    }
    return yaml.safe_dump(_shown(cited), sort_keys=False, allow_unicode=True, width=120)


def _software(path: str | Path) -> dict[str, Any]:
    """The software's own citation."""
    try:
        known = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(known, dict):
        raise ValueError(f"{path}: expected keys and values, found {type(known).__name__}")
    return known
