"""The frames of a clip as one small picture, shared by all questions about the clip."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidreason.artifacts.digests import sha256_text
from vidreason.records import IMAGE, OK

if TYPE_CHECKING:
    from vidreason.media.frame_store import FrameStore

SIDE = 96
"""Greatest height and width of a frame in pixels."""
QUALITY = 80


@dataclass(frozen=True)
class Strip:
    """The frames of a clip.

    Attributes:
        file: Picture of all frames side by side, relative to the gallery; `""` without one.
        count: Frames in it.
        times: When each was taken, in seconds from the video's first frame.
        why: Why there is no picture; `""` where there is one.
        ratio: Width of a frame divided by its height.
    """

    file: str = ""
    count: int = 0
    times: tuple[float, ...] = ()
    why: str = ""
    ratio: float = 1.0


def write_strips(
    frames: Sequence[str | Path], clips: Iterable[tuple[str, str]], most: int, folder: Path
) -> dict[tuple[str, str], Strip]:
    """Write the pictures of some clips.

    Args:
        frames: Frame tables in folders `.../{data set}/`; clips of data sets without one have no strip.
        clips: (data set, key) of the clips.
        most: Clips that get a picture. Of more, every data set gets an equal share, chosen by the digests of their names and so
            independent of the answers.
        folder: The gallery; pictures are written to its folder `frames`.

    Returns:
        (data set, key) -> strip.
    """
    by_dataset: dict[str, list[str]] = {}
    for dataset, key in dict.fromkeys(clips):
        by_dataset.setdefault(dataset, []).append(key)
    stores = {name: store for name in by_dataset if (store := frame_store(frames, name)) is not None}
    status = {(name, key): _status(store, key) for name, store in stores.items() for key in by_dataset[name]}
    readable = {name: [key for key in by_dataset[name] if status[name, key] == OK] for name in stores}
    chosen = _chosen(readable, most)
    strips = {}
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    for number, (name, store) in enumerate(stores.items()):
        for place, key in enumerate(by_dataset[name]):
            if status[name, key] != OK:
                strips[name, key] = Strip(why=f"the clip has none: {status[name, key]}")
            elif (name, key) in chosen:
                strips[name, key] = _written(store, key, folder, f"frames/{number}_{place:05d}.webp")
            else:
                why = f"the gallery shows those of {most} clips (gallery.clips), and this is none of them"
                strips[name, key] = Strip(times=tuple(store.times(key).tolist()), why=why)
    return strips


def _status(store: "FrameStore", key: str) -> str:
    """Status of a clip; tables of training clips may be there in part."""
    return store.status(key) if key in store.clips else "not in the frame tables that are there"


def _written(store: "FrameStore", key: str, folder: Path, file: str) -> Strip:
    """Write the picture of one clip; a still picture is one frame."""
    pixels = store.pixels(key)[: 1 if store.clips[key].codec == IMAGE else None]
    (folder / file).write_bytes(picture_of(pixels))
    times = tuple(store.times(key).tolist())[: len(pixels)]
    return Strip(file, len(pixels), times, ratio=pixels.shape[2] / pixels.shape[1])


def _chosen(readable: dict[str, list[str]], most: int) -> set[tuple[str, str]]:
    """The clips that get a picture: each data set an equal share, and what one does not use up goes to the others."""
    chosen: set[tuple[str, str]] = set()
    for left, name in enumerate(sorted(readable, key=lambda name: (len(readable[name]), name))):
        share = (most - len(chosen)) // (len(readable) - left)
        chosen |= {(name, key) for key in sorted(readable[name], key=sha256_text)[:share]}
    return chosen


def picture_of(pixels: Any) -> bytes:
    """Frames, uint8 [F, H, W, 3], side by side as WebP: small frames as they are without loss, large ones shrunk."""
    from PIL import Image

    height, width = pixels.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.new("RGB", (size[0] * len(pixels), size[1]))
    for place, frame in enumerate(pixels):
        one = Image.fromarray(frame)
        picture.paste(one if one.size == size else one.resize(size, Image.Resampling.BOX), (place * size[0], 0))
    stream = io.BytesIO()
    picture.save(stream, format="WEBP", lossless=scale == 1.0, quality=QUALITY, method=4)
    return stream.getvalue()


def frame_store(frames: Sequence[str | Path], dataset: str) -> "FrameStore | None":
    """The frames of one data set, if there are tables of it."""
    paths = [Path(path) for path in frames if Path(path).parent.name == dataset]
    if not paths:
        return None
    from vidreason.media.frame_store import FrameStore  # Without pictures no frame reader is needed.

    return FrameStore(paths)
