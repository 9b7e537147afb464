"""Where the annotation files of the training data are looked for. Light: rules ask when the graph is built."""

from collections.abc import Mapping
from pathlib import Path

from vidreason.artifacts.paths import is_there

BUCKET = "0_30_s_nextqa"
NAMES: Mapping[str, tuple[str, ...]] = {
    "nextqa": (f"{BUCKET}/{BUCKET}_mc_qa_processed.json", f"{BUCKET}_mc_qa_processed.json", "nextqa_0-30s.jsonl"),
    "coldstart": ("nextqa-coldstart-16.json",),
}
"""Data set -> published names of its annotation file below the root, in the order in which they are tried."""


def find_annotations(root: str | Path, annotations: str | Path | None, dataset: str) -> Path:
    """Find the annotation file: the one given (absolute, below the root, or as it stands), else a published name.

    Raises:
        ValueError: There is none; the message lists where it was looked for.
    """
    root = Path(root)
    if annotations is None:
        places = [root / name for name in NAMES[dataset]]
    else:
        places = [root / annotations, root / BUCKET / annotations, Path(annotations)]
    for place in places:
        if is_there(place) and place.is_file():
            return place
    raise ValueError(f"no annotation file; looked for {', '.join(str(place) for place in places)}")
