"""Do videos of a benchmark also occur among the training videos? By name, by equal frames, and by frames that look alike.

A pair that is found is a reason to look at both videos, not a verdict: short names such as `0.mp4` are given twice, and two dark
videos look alike. Not found are parts of a video that are cut out, mirrored or cropped, because frames are compared in order.

Letters: A clips of the benchmark, B training clips, F frames of a clip.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.digests import sha256_bytes
from vidreason.media.frame_store import FrameStore
from vidreason.media.perceptual_hash import difference_hashes
from vidreason.records import IMAGE, OK

ALIKE = 3.0
"""Greatest mean distance, in bits of 64 a frame, at which two clips look alike.

Measured on the demo's videos: other codecs, sizes, frame rates and a missing first 0.7 s move a clip by at most 1.7 bits, and the
nearest two different clips are 3.8 bits apart. Its pictures have few edges; those of filmed videos have more, and differ in more bits.
"""
NAME, FRAMES, HASH = "name", "frames", "hash"
WAYS = (NAME, FRAMES, HASH)
"""By what a pair is found, the words of the column `found_by`."""
LEAKS = ("benchmark", "clip", "data", "training_clip", "found_by", "distance")
COUNTS = ("benchmark", "data", "clips", "training_clips", "by_name", "by_frames", "by_hash", "found", "nearest")
_BOUNDS = re.compile(r"#-?[\d.]+(e[+-]\d+)?--?[\d.]+(e[+-]\d+)?$")
"""What `ClipRef.key` adds to a path."""


@dataclass(frozen=True)
class Fingerprints:
    """What the clips of one data set are recognized by, in the order of their keys.

    Attributes:
        data: Name of the data set.
        keys: Keys of all clips.
        stems: File names without folder and ending.
        digests: SHA-256 of a clip's stored frames; `""` where it has none.
        readable: int [R], numbers of the clips that have frames.
        hashes: uint64 [R, F], perceptual hashes of their frames.
    """

    data: str
    keys: tuple[str, ...]
    stems: tuple[str, ...]
    digests: tuple[str, ...]
    readable: np.ndarray
    hashes: np.ndarray


@dataclass(frozen=True)
class Leak:
    """A clip of a benchmark that is also a training clip, or looks like one.

    Attributes:
        clip: Key of the benchmark's clip.
        training_clip: Key of the training clip.
        found_by: Some of `WAYS`.
        distance: Mean distance of their frames in bits of 64; infinite where one of the two has no frames, or none with an edge.
    """

    clip: str
    training_clip: str
    found_by: tuple[str, ...]
    distance: float


def check_leaks(
    benchmarks: Mapping[str, Sequence[str | Path]],
    training: Mapping[str, Sequence[str | Path]],
    leaks: str | Path,
    counts: str | Path,
) -> None:
    """Compare every clip of every benchmark with every clip of every training set.

    Args:
        benchmarks: Benchmark -> its frame tables.
        training: Training set -> its frame tables.
        leaks: CSV with `LEAKS`, a row for every pair that is found; `distance` is empty where it is infinite.
        counts: CSV with `COUNTS`, a row for every benchmark and training set: how many of the benchmark's clips are found, and the
            distance of the nearest pair.

    Raises:
        ValueError: A frame table is damaged, or two data sets have different numbers of frames a clip.
    """
    known = [fingerprints(name, paths) for name, paths in training.items()]
    found: list[Sequence[object]] = []
    numbers: list[Sequence[object]] = []
    for name, paths in benchmarks.items():
        own = fingerprints(name, paths)
        for other in known:
            pairs, nearest = compare(own, other)
            found += [
                (name, one.clip, other.data, one.training_clip, "+".join(one.found_by), _bits(one.distance))
                for one in pairs
            ]
            by_way = [len({one.clip for one in pairs if way in one.found_by}) for way in WAYS]
            clips = len({one.clip for one in pairs})
            numbers.append((name, other.data, len(own.keys), len(other.keys), *by_way, clips, _bits(nearest)))
    write_csv(leaks, LEAKS, found)
    write_csv(counts, COUNTS, numbers)


def fingerprints(data: str, paths: Sequence[str | Path]) -> Fingerprints:
    """Read the frame tables of a data set, one clip at a time."""
    store = FrameStore(paths)
    keys = tuple(sorted(store.clips))
    digests, hashes = [], []
    readable = [number for number, key in enumerate(keys) if store.status(key) == OK]
    for key in keys:
        if store.status(key) != OK:
            digests.append("")
            continue
        pixels = store.pixels(key)
        different = pixels[:1] if store.clips[key].codec == IMAGE else pixels
        digests.append(sha256_bytes(different.tobytes()))
        hashes.append(np.broadcast_to(difference_hashes(different), len(pixels)))
    return Fingerprints(
        data,
        keys,
        tuple(Path(_BOUNDS.sub("", key)).stem for key in keys),
        tuple(digests),
        np.array(readable, np.int64),
        np.array(hashes, np.uint64).reshape(len(readable), store.count or 0),
    )


def compare(own: Fingerprints, other: Fingerprints) -> tuple[list[Leak], float]:
    """Pairs of clips that are found, in the order of their keys, and the distance of the two nearest clips.

    Raises:
        ValueError: The two have different numbers of frames a clip.
    """
    if len(own.hashes) and len(other.hashes) and own.hashes.shape[1] != other.hashes.shape[1]:
        raise ValueError(
            f"{own.data} has {own.hashes.shape[1]} frames a clip, {other.data} has {other.hashes.shape[1]}; allowed: the same number. "
            f"Extract the frames of both again"
        )
    by_stem, by_digest = _places(other.stems), _places(other.digests)
    hashes_of = dict(zip(own.readable.tolist(), own.hashes, strict=True))
    leaks: list[Leak] = []
    nearest = np.inf
    for number, key in enumerate(own.keys):
        # One clip at a time: all distances between two large data sets do not fit into memory.
        distances = np.full(len(other.keys), np.inf)
        if number in hashes_of and len(other.hashes):
            distances[other.readable] = distances_to(hashes_of[number], other.hashes)
            nearest = min(nearest, float(distances.min()))
        ways = {
            NAME: by_stem.get(own.stems[number], ()),
            FRAMES: by_digest.get(own.digests[number], ()) if own.digests[number] else (),
            HASH: np.flatnonzero(distances <= ALIKE).tolist(),
        }
        for place in sorted({place for places in ways.values() for place in places}):
            found_by = tuple(way for way, places in ways.items() if place in places)
            leaks.append(Leak(key, other.keys[place], found_by, float(distances[place])))
    return leaks, nearest


def _places(values: Sequence[str]) -> dict[str, list[int]]:
    """Value -> where it stands."""
    places: dict[str, list[int]] = {}
    for number, value in enumerate(values):
        places.setdefault(value, []).append(number)
    return places


def distances_to(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean Hamming distance between a clip's frames and those at the same places of other clips.

    Frames that are without any edge in both clips do not count; where that are all, the distance is infinite.

    Args:
        hashes: uint64 [F].
        others: uint64 [B, F].

    Returns:
        float64 [B], bits of 64.
    """
    different = np.bitwise_count(hashes ^ others).sum(axis=1, dtype=np.float64)
    counted = np.count_nonzero(hashes | others, axis=1)
    return np.where(counted > 0, different / np.maximum(counted, 1), np.inf)


def _bits(distance: float) -> str:
    """A distance as a cell."""
    return "" if np.isinf(distance) else f"{distance:.2f}"
