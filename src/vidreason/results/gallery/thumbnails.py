"""The frames of the shown clips as one small picture a clip: what page and gallery show, and a bundle holds.

A folder with the pictures, and with `index.jsonl`, which lists every clip that is asked about, those without a picture included.
"""

import io
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import read_jsonl, write_aside, write_jsonl
from vidreason.artifacts.integrity import check_unchanged
from vidreason.records import IMAGE, OK, KeptRollout, Question

if TYPE_CHECKING:
    from vidreason.media.frame_store import FrameStore

SIDE = 96
"""Greatest height and width of a frame in pixels."""
QUALITY = 80
EXAMPLES = 2
"""Questions of a benchmark that the page shows."""
INDEX = "index.jsonl"
_PICTURE = re.compile(r"\d+_\d+\.webp")

Clip = tuple[str, str]
"""Data set and key."""


@dataclass(frozen=True)
class Strip:
    """The frames of a clip.

    Attributes:
        dataset: Its data set.
        clip: Its key.
        file: Picture of all frames side by side, in the folder of the index; `""` without one.
        count: Frames in it.
        times: When each was taken, in seconds from the video's first frame.
        why: Why there is no picture; `""` where there is one.
        ratio: Width of a frame divided by its height.
    """

    FORMAT: ClassVar[str] = "strip/1"
    dataset: str
    clip: str
    file: str = ""
    count: int = 0
    times: tuple[float, ...] = ()
    why: str = ""
    ratio: float = 1.0


Strips = Mapping[Clip, Strip]


@dataclass(frozen=True)
class Sources:
    """What thumbnails are made from.

    Attributes:
        questions: JSON lines of `Question` of the benchmarks, in their order.
        frames: Frame tables in folders `.../{data set}/`; clips of data sets without one have no strip.
        selected: `selected.jsonl` of the GRPO arms: the questions that rollouts can be of.
        rollouts: `rollouts.jsonl` of the GRPO arms as far as they are there. Clips of other training questions are not shown.
    """

    questions: Sequence[str | Path]
    frames: Sequence[str | Path]
    selected: Sequence[str | Path] = ()
    rollouts: Sequence[str | Path] = ()


def make_thumbnails(sources: Sources, out: str | Path, seed: int, most: int) -> None:
    """Write the folder.

    Args:
        sources: Questions and frames.
        out: The folder.
        seed: Seed by which the page draws its examples. Their clips come first.
        most: Clips that get a picture. Of more, every data set gets an equal share, chosen by the digests of their names and so
            independent of the answers.
    """
    questions = [question for path in sources.questions for question in read_jsonl(path, Question)]
    kept = {one.question_id for path in sources.rollouts for one in read_jsonl(path, KeptRollout)}
    trained = [question for path in sources.selected for question in read_jsonl(path, Question) if question.id in kept]
    by_dataset: dict[str, dict[str, Question]] = {}
    for question in questions:
        by_dataset.setdefault(question.dataset, {})[question.id] = question
    drawn = draw_examples(by_dataset, seed)
    first = {(name, by_dataset[name][question].clip.key) for name, own in drawn.items() for question in own}
    clips = [(question.dataset, question.clip.key) for question in (*questions, *trained)]
    with write_aside(out) as folder:
        folder.mkdir()
        write_jsonl(folder / INDEX, write_strips(sources.frames, clips, most, folder, first))


def draw_examples(names: Mapping[str, Iterable[str]], seed: int, count: int = EXAMPLES) -> dict[str, list[str]]:
    """Questions of every benchmark that the page shows: drawn at random, independent of the answers.

    Args:
        names: Benchmark -> the ids of its questions. The order of the benchmarks counts.
        seed: Seed of the draw.
        count: Questions of a benchmark.
    """
    draw = random.Random(seed)
    drawn = {}
    for benchmark, own in names.items():
        ordered = sorted(own)
        drawn[benchmark] = sorted(draw.sample(ordered, min(count, len(ordered))))
    return drawn


def read_strips(folder: str | Path) -> dict[Clip, Strip]:
    """The strips of a folder that `make_thumbnails` wrote.

    Raises:
        ChangedError: The folder was changed after it was made.
        ValueError: The index is malformed, or names a picture that is not in the folder.
    """
    folder = Path(folder)
    check_unchanged(folder)
    strips = read_jsonl(folder / INDEX, Strip)
    for strip in strips:
        whole = strip.count > 0 and len(strip.times) == strip.count and strip.ratio > 0
        if strip.file and not (whole and _PICTURE.fullmatch(strip.file) and (folder / strip.file).is_file()):
            raise ValueError(
                f"{folder / INDEX}: clip {strip.clip[:200]!r} of {strip.dataset[:200]!r}: {strip.file[:200]!r} with {strip.count} frames, "
                f"{len(strip.times)} times and ratio {strip.ratio}; needed is a picture in this folder, such as '0_00012.webp', with as many "
                f"times as frames. Remove the folder to have it made again"
            )
    return {(strip.dataset, strip.clip): strip for strip in strips}


def write_strips(
    frames: Sequence[str | Path], clips: Iterable[Clip], most: int, folder: Path, first: Iterable[Clip] = ()
) -> list[Strip]:
    """Write the pictures of some clips.

    Args:
        frames: Frame tables in folders `.../{data set}/`; clips of data sets without one have no strip.
        clips: The clips.
        most: Clips that get a picture.
        folder: Where to write them.
        first: Clips that get one before all others of their data set.
    """
    by_dataset: dict[str, list[str]] = {}
    for dataset, key in dict.fromkeys(clips):
        by_dataset.setdefault(dataset, []).append(key)
    stores = {name: store for name in by_dataset if (store := frame_store(frames, name)) is not None}
    status = {(name, key): _status(store, key) for name, store in stores.items() for key in by_dataset[name]}
    readable = {name: [key for key in by_dataset[name] if status[name, key] == OK] for name in stores}
    chosen = _chosen(readable, most, set(first))
    strips = []
    for number, (name, store) in enumerate(stores.items()):
        for place, key in enumerate(by_dataset[name]):
            if status[name, key] != OK:
                strips.append(Strip(name, key, why=f"the clip has none: {status[name, key]}"))
            elif (name, key) in chosen:
                strips.append(_written(store, (name, key), folder, f"{number}_{place:05d}.webp"))
            else:
                why = f"those of {most} clips are shown (gallery.clips), and this is none of them"
                strips.append(Strip(name, key, times=tuple(store.times(key).tolist()), why=why))
    return strips


def _status(store: "FrameStore", key: str) -> str:
    """Status of a clip; tables of training clips may be there in part."""
    return store.status(key) if key in store.clips else "not in the frame tables that are there"


def _written(store: "FrameStore", clip: Clip, folder: Path, file: str) -> Strip:
    """Write the picture of one clip; a still picture is one frame."""
    dataset, key = clip
    pixels = store.pixels(key)[: 1 if store.clips[key].codec == IMAGE else None]
    (folder / file).write_bytes(picture_of(pixels))
    times = tuple(store.times(key).tolist())[: len(pixels)]
    return Strip(dataset, key, file, len(pixels), times, ratio=pixels.shape[2] / pixels.shape[1])


def _chosen(readable: Mapping[str, Sequence[str]], most: int, first: set[Clip]) -> set[Clip]:
    """The clips that get a picture: each data set an equal share, and what one does not use up goes to the others."""
    chosen: set[Clip] = set()
    for left, name in enumerate(sorted(readable, key=lambda name: (len(readable[name]), name))):
        share = (most - len(chosen)) // (len(readable) - left)
        ordered = sorted(readable[name], key=lambda key: ((name, key) not in first, sha256_text(key)))
        chosen |= {(name, key) for key in ordered[:share]}
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
