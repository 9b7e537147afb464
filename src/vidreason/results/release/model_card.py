"""The model card of a checkpoint: what it was trained from, with which settings, and how it scored, from what its run recorded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vidreason.artifacts.integrity import check_unchanged, sidecar_of
from vidreason.config import paths
from vidreason.data.registry import discover, title_of
from vidreason.evaluation.score_record import Score, headline_metric, read_score
from vidreason.results.markdown import Block, Bullets, Grid, Heading, Paragraph, to_markdown
from vidreason.results.number_format import percent
from vidreason.results.release.arm_weights import ArmFolder, arm_folder

NO_LICENSE = "other"
"""License in the card where none is given: that of the weights and data below it is not recorded."""
METHODS = {"sft": "supervised fine-tuning", "grpo": "group relative policy optimization"}
DEVIATIONS = "docs/deviations.md"
LARGEST = 2**20
"""Bytes of a card that is read from a file."""


SYNTHETIC = (
    "Its videos and questions are generated: a small synthetic world written in the layouts of the published data sets. The names "
    "of data sets and benchmarks here mean these layouts, and no number can be compared with a published one."
)


class CardError(ValueError):
    """No card can be written about a folder."""


def model_card(
    folder: str | Path,
    license_name: str = NO_LICENSE,
    repo: str | None = None,
    scores: Sequence[str | Path] | None = None,
) -> str:
    """The README.md of a checkpoint.

    Args:
        folder: The checkpoint. Of one that no run has made, the card says so; one that was removed may have its sidecar alone.
        license_name: The hub's name of a license.
        repo: Where the checkpoint will be found, for the example; the folder's name by default.
        scores: Files of the arm's scores; by default all that its run has for its seed.

    Raises:
        CardError: The folder is no checkpoint.
        ChangedError: It is not what its sidecar records.
        ValueError: A score of its run cannot be read.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder.exists() or not sidecar_of(folder).is_file()):
        raise CardError(f"{folder}: no config.json in it; allowed: a checkpoint folder")
    check_unchanged(folder)
    known = arm_folder(folder)
    front = {
        "library_name": "vidreason",
        "pipeline_tag": "video-text-to-text",
        "license": license_name,
        "tags": ["video", "reasoning"],
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    usage = _usage(repo, folder.absolute().name, known)
    above, below = (
        list(_about(known)),
        [*_scores(_read_scores(known, scores)), *_training(known), *_provenance(known), *_license(license_name)],
    )
    return "\n".join(lines) + to_markdown(above) + f"\n{usage}\n" + to_markdown(below)


def read_card(path: str | Path) -> str:
    """The text of a card, for instance one that a run has made and a person has edited.

    Raises:
        CardError: It is no Markdown file with the block between `---` that a hub reads.
    """
    try:
        with Path(path).open("rb") as stream:
            text = stream.read(LARGEST + 1).decode("utf-8")
    except OSError as error:
        raise CardError(f"{path}: {(error.strerror or type(error).__name__).lower()}; allowed: a model card") from error
    except UnicodeDecodeError as error:
        raise CardError(f"{path}: not a text in UTF-8; allowed: a model card") from error
    if len(text.encode()) > LARGEST:
        raise CardError(f"{path}: more than {LARGEST:,} bytes; allowed: a model card")
    before, _, after = text.replace("\r\n", "\n").partition("---\n")
    front, end, _ = after.partition("\n---\n")
    try:
        keys = yaml.safe_load(front) if end and not before else None
    except yaml.YAMLError:
        keys = None
    if not isinstance(keys, dict):
        raise CardError(f"{path}: no keys in YAML between two lines of --- at its beginning; allowed: a model card")
    return text


def _about(known: ArmFolder | None) -> Iterator[Block]:
    """What the checkpoint is."""
    if known is None or not known.sidecar:
        yield Heading("A video model that answers questions", 1)
        yield Paragraph("No run has recorded how this checkpoint was made.")
        return
    yield Heading(f"{known.arm} of the run {known.run.name}", 1)
    params = _params(known)
    method = METHODS.get(str(params.get("method")))
    if method is None:
        yield Paragraph("Given weights, checked and stored by vidreason without training.")
    else:
        yield Paragraph(
            f"Trained by {method} from the weights of the arm {params.get('parent')} on {_title(params.get('data'))}, seed "
            f"{params.get('seed')}; it answers in style {params.get('style')}."
        )
    if _is_synthetic(known):
        yield Paragraph(SYNTHETIC)


def _is_synthetic(known: ArmFolder) -> bool:
    """Whether the run has generated its data."""
    return (known.run / Path(paths.WORLD).name).is_dir()


def _title(data: object) -> str:
    """Title and citation of a data set."""
    dataset = discover().get(str(data))
    return str(data) if dataset is None else f"{dataset.title} ({dataset.citation})"


def _usage(repo: str | None, name: str, known: ArmFolder | None) -> str:
    """The example in Python. A repository's name has no quote or line break in it, and of a folder's `repr` makes text."""
    style = ", style='option'" if known and known.style == "option" else ""
    where = f"snapshot_download({repo!r})" if repo else repr(name)
    return (
        f"```python\n{'from huggingface_hub import snapshot_download' + chr(10) if repo else ''}import vidreason\n\n"
        f"model = vidreason.load({where}{style})\n"
        'print(model.ask("clip.mp4", "Which thing comes first?", options=["a red ball", "a blue box"]))\n```\n'
    )


def _scores(scores: Sequence[Score]) -> Iterator[Block]:
    """A row a benchmark, where the run has answered any."""
    if not scores:
        return
    yield Heading("Scores")
    header = ("benchmark", "metric", "value, %", "95% interval", "chance, %", "questions", "with frames")
    rows = [
        (
            title_of(score.benchmark),
            headline_metric(score.benchmark).title + (" (mean over categories)" if score.is_macro else ""),
            percent(score.estimate.mean),
            f"{percent(score.estimate.low)} to {percent(score.estimate.high)}",
            percent(score.chance),
            str(score.n),
            str(score.with_frames),
        )
        for score in scores
    ]
    yield Grid(header, rows)
    rules = sorted({(score.rules.parser, score.rules.unparsed) for score in scores})
    yield Paragraph(
        f"Answers are read by the rule {', '.join(parser for parser, _ in rules)}; one that cannot be read counts as "
        f"{', '.join(sorted({unparsed for _, unparsed in rules}))}. A question without frames counts as wrong. Intervals are "
        f"clustered by video."
    )


def _read_scores(known: ArmFolder | None, given: Sequence[str | Path] | None) -> list[Score]:
    """Scores of the arm and seed; of given weights, which have no seed, those of every seed."""
    if given is None and known is not None:
        seed = "*" if known.seed is None else str(known.seed)
        given = sorted((known.run / "score" / known.arm).glob(f"seed{seed}/*.score.json"))
    return [read_score(path) for path in given or ()]


def _training(known: ArmFolder | None) -> Iterator[Block]:
    """The settings, and where they and the code differ from the article."""
    params = _params(known)
    if known is None or str(params.get("method")) not in METHODS:
        return
    yield Heading("Training")
    yield Grid(
        ("setting", "value"), list(_flat({"protocol": params.get("protocol"), **_as_dict(params.get("settings"))}))
    )
    yield Heading("Deviations")
    yield Paragraph(
        f"The protocol {params.get('protocol')} decides wherever the published code and the article disagree; every such place, "
        f"and every place where this implementation does otherwise on purpose, is listed in {DEVIATIONS} of vidreason at the "
        f"commit below."
    )


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value of everything in nested settings."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _provenance(known: ArmFolder | None) -> Iterator[Block]:
    """The commit, the versions and the digests."""
    if known is None or not known.sidecar:
        return
    yield Heading("Provenance")
    facts = {
        "commit": "vidreason at commit",
        "code": "digest of the code",
        "sha256": "digest of the weights",
    }
    items = [f"{words}: {known.sidecar[key]}" for key, words in facts.items() if known.sidecar.get(key)]
    versions = _as_dict(known.sidecar.get("versions"))
    inputs = _as_dict(known.sidecar.get("inputs"))
    yield Bullets(
        [
            *items,
            f"versions: {', '.join(f'{name} {version}' for name, version in versions.items())}",
            *(f"made from {_without_home(str(name))}, sha256 {digest}" for name, digest in inputs.items()),
        ]
    )


def _without_home(path: str) -> str:
    """A path as the run names it; of an absolute one, which tells about the machine, the name alone."""
    return Path(path).name if Path(path).is_absolute() else path


def _license(license_name: str) -> Iterator[Block]:
    yield Heading("License")
    if license_name == NO_LICENSE:
        yield Paragraph(
            "Not stated. The licenses of the weights and the data that it was made from hold; config/sources.yaml names those of published sources."
        )
    else:
        yield Paragraph(license_name)


def _params(known: ArmFolder | None) -> dict[str, Any]:
    return _as_dict(known.sidecar.get("params")) if known else {}


def _as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
