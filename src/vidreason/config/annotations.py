"""Where the annotation files of the training data are looked for. Light: rules ask when the graph is built."""

from collections.abc import Sequence
from pathlib import Path

from vidreason.artifacts.path_checks import is_there

BUCKET = "0_30_s_nextqa"


def find_annotations(root: str | Path, annotations: str | Path | None, names: Sequence[str] = ()) -> Path:
    """Find the annotation file: the one given (absolute, below the root, or as it stands), else a published name.

    Args:
        root: Folder of the data set.
        annotations: The file given; None looks for the published names.
        names: Published names below the root, in the order in which they are tried.

    Raises:
        ValueError: There is none; the message lists where it was looked for.
    """
    root = Path(root)
    if annotations is None:
        places = [root / name for name in names]
    else:
        places = [root / annotations, root / BUCKET / annotations, Path(annotations)]
    for place in places:
        if is_there(place) and place.is_file():
            return place
    raise ValueError(f"no annotation file; looked for {', '.join(str(place) for place in places)}")


def existing_annotations(root: str | Path, annotations: str | Path | None, names: Sequence[str] = ()) -> list[Path]:
    """As `find_annotations`; empty where there is none: the reader says where it was looked for."""
    try:
        return [find_annotations(root, annotations, names)]
    except ValueError:
        return []
