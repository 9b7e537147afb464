"""Frames in tables: every clip is decoded once, resized once, and stored without loss.

`extract_frames` writes one shard: a parquet file with one row per frame (clip, position among the frames taken, index in
the video, time stamp, SHA-256 of the pixels, height, width, the pixels) and a `Clip` row for every clip asked for,
readable or not. Each clip is a row group of its own, so `FrameStore` reads one clip without touching the others. The table
itself says how many frames a clip has.

Letters: F frames of a clip, S height and width.
"""

import collections
import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidreason.containers import TOO_SHORT, VideoError
from vidreason.decode import decode_frames
from vidreason.files import check_unchanged, read_jsonl, write_aside, write_jsonl
from vidreason.indices import FOREVER, segment_indices, uniform_indices
from vidreason.pixels import resize_frames
from vidreason.records import OK, Clip, Question
from vidreason.video import Scan, count_decodable, scan

SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("position", pa.int32()),
        ("index", pa.int64()),
        ("timestamp", pa.float64()),
        ("sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("pixels", pa.binary()),
    ]
)
FRAMES = b"frames"
"""Key of the number of frames a clip has, F, in a table's own metadata."""
COUNTED_SECONDS = 300.0
"""A video that is damaged where frames are taken, and no longer than this, is decoded whole to count its damaged packets."""
_VARIABLE = 1.25
"""A video whose longest frame is so many times its shortest has a variable frame rate."""


@dataclasses.dataclass(frozen=True)
class ClipFrames:
    """The frames taken from one clip.

    Attributes:
        clip: What the video is; frames are there only if its status is `ok`.
        indices: int64 [F], positions in the video, from 0.
        timestamps: float64 [F], seconds from the video's first frame.
        pixels: uint8 [F, S, S, 3], RGB.
    """

    clip: Clip
    indices: np.ndarray
    timestamps: np.ndarray
    pixels: np.ndarray


def extract_frames(
    questions: Sequence[str | Path],
    root: str | Path,
    frames_path: str | Path,
    clips_path: str | Path,
    *,
    count: int,
    size: int,
    shard: int = 0,
    shards: int = 1,
    threads: int = 2,
) -> dict[str, int]:
    """Decode the clips of one shard.

    Clips are put in one global order (by key) and dealt out like cards: shard i takes clips i, i + shards, ...

    Args:
        questions: Files of `Question` records; the unique clips they ask for are extracted.
        root: Folder that `Question.video` is relative to.
        frames_path: Parquet file to write.
        clips_path: JSON lines to write, one `Clip` per clip of this shard.
        count: Frames per clip, F.
        size: Height and width to resize to, S, in pixels.
        shard: Number of this shard, from 0.
        shards: Number of shards.
        threads: Videos decoded at the same time; the result does not depend on it.

    Returns:
        Status -> number of clips.

    Raises:
        ValueError: The shard does not exist, or two questions want different frames under the same key.
    """
    if count < 1 or size < 1:
        raise ValueError(f"count {count}, size {size}; both must be at least 1")
    clips = []
    schema = SCHEMA.with_metadata({FRAMES: str(count)})
    with write_aside(frames_path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for taken in _taken_in_order(asked_clips(questions, shard, shards), Path(root), count, size, threads):
            clips.append(taken.clip)
            if taken.clip.status == OK:
                writer.write_table(_as_table(taken))
    write_jsonl(clips_path, clips)
    return dict(collections.Counter(clip.status for clip in clips))


def asked_clips(questions: Sequence[str | Path], shard: int, shards: int) -> list[Question]:
    """A question for every clip of a shard.

    Raises:
        ValueError: The shard does not exist, or `unique_clips` finds fault with a file.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards}; allowed: 0 <= shard < shards")
    return [question for _, question in sorted(unique_clips(questions).items())[shard::shards]]


def unique_clips(questions: Sequence[str | Path]) -> dict[str, Question]:
    """One question for every different clip that the files ask for.

    Raises:
        ValueError: Two questions about the same clip pick their frames by different rules.
    """
    clips: dict[str, Question] = {}
    for path in questions:
        for question in read_jsonl(path, Question):
            known = clips.setdefault(question.clip, question)
            if known.indexing != question.indexing:
                raise ValueError(
                    f"{path}: questions {known.id!r} and {question.id!r} ask for clip {question.clip!r} by different rules "
                    f"({known.indexing}, {question.indexing}); give one of them bounds of its own"
                )
    return clips


def _taken_in_order(asked: Sequence[Question], root: Path, count: int, size: int, threads: int) -> Iterator[ClipFrames]:
    """Decode clips in several threads, a few ahead of the one that is yielded."""
    ahead = 4 * max(1, threads)
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for begin in range(0, len(asked), ahead):
            yield from pool.map(lambda question: take_frames(question, root, count, size), asked[begin : begin + ahead])


def take_frames(question: Question, root: str | Path, count: int, size: int) -> ClipFrames:
    """Decode and resize the frames that a question looks at.

    Args:
        question: Names the video, the bounds and the rule.
        root: Folder that `question.video` is relative to.
        count: Frames to take, F. A shorter video repeats frames, as the rules do.
        size: Height and width to resize to, S, in pixels.

    Returns:
        The frames; none, and the reason in `clip.status`, when the video cannot be used.
    """
    path = Path(root) / question.video
    clip, scanned, indices, pictures = _decode(question, path, count)
    if clip.status != OK:
        return ClipFrames(clip, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0, 0, 3), np.uint8))
    pixels = np.concatenate([resize_frames(picture[None], size) for picture in pictures])
    return ClipFrames(clip, indices, scanned.times[indices], pixels)


def judge_clip(question: Question, root: str | Path, count: int) -> Clip:
    """What `take_frames` says of a clip; all of it is decoded to count its damaged packets."""
    path = Path(root) / question.video
    clip, scanned, *_ = _decode(question, path, count)
    if clip.status != OK:
        return clip
    return dataclasses.replace(clip, detail=_damage(path, scanned))


def _damage(path: Path, scanned: Scan, met: Sequence[str] = ()) -> str:
    """How many packets of a video cannot be decoded, in words: of the whole of it, or if it is long of those met."""
    if not met or (scanned.clip.duration or 0.0) <= COUNTED_SECONDS:
        # The frames to take are there, whatever the rest is like.
        with contextlib.suppress(VideoError):
            return count_decodable(path, scanned)[1]
    return f"{len(met)} packets on the way cannot be decoded, the first at {met[0]}" if met else ""


def _decode(question: Question, path: Path, count: int) -> tuple[Clip, Scan, np.ndarray, list[np.ndarray]]:
    """The clip and, if its status is `ok`, the positions of the frames to take and the decoded pictures."""
    scanned = scan(path, question.clip)
    clip, nothing = scanned.clip, np.zeros(0, np.int64)
    if clip.status != OK:
        return clip, scanned, nothing, []
    try:
        indices = frame_indices(question, scanned, count)
        damage: list[str] = []
        pictures = decode_frames(path, indices.tolist(), scanned, damage)
        if damage:
            clip = dataclasses.replace(clip, detail=_damage(path, scanned, damage))
    except VideoError as error:
        return dataclasses.replace(clip, status=error.status, detail=error.detail), scanned, nothing, []
    return clip, scanned, indices, pictures


def frame_indices(question: Question, scanned: Scan, count: int) -> np.ndarray:
    """Positions of the frames that a question looks at: int64 [F], from 0.

    Bounds in seconds become frames by the average rate, as in MVBench's reader, and by the time stamps where the frame
    rate varies.

    Differs from the source: positions beyond the ends are moved to the nearest frame instead of failing.

    Raises:
        VideoError: The part that the question looks at begins when the last frame is over.
    """
    times, clip = scanned.times, scanned.clip
    bound = _bounds(question, clip.duration or float(times[-1]))
    if question.indexing == "uniform":
        if bound is None:
            return uniform_indices(len(times), count)
        first = min(int(np.searchsorted(times, bound[0], side="left")), len(times) - 1)
        last = max(first, int(np.searchsorted(times, bound[1], side="right")) - 1)
        return uniform_indices(last - first + 1, count) + first
    if question.indexing != "segments":
        raise ValueError(f"question {question.id!r}: indexing {question.indexing!r}; allowed: uniform, segments")
    # Pictures in folders are counted from 1 and the last one counts; frames of files from 0, as MVBench's readers do.
    one_based = int(clip.codec == "frames")
    fps = clip.fps or 1.0
    if bound is not None and is_variable(times):
        bound, fps = (float(np.searchsorted(times, bound[0])), float(np.searchsorted(times, bound[1]))), 1.0
    found = segment_indices(len(times) - 1 + one_based, fps, count, bound=bound, first=one_based)
    return np.clip(found - one_based, 0, len(times) - 1)


def _bounds(question: Question, duration: float) -> tuple[float, float] | None:
    """Start and end of the part that a question looks at, in seconds; None for the whole clip.

    Raises:
        VideoError: They are not numbers, or the part begins when the last frame is over.
    """
    if question.start is None or question.end is None:
        return None
    start, end = question.start, question.end
    if math.isnan(start) or math.isnan(end):
        raise VideoError(TOO_SHORT, f"the part to look at goes from {start:g} s to {end:g} s, which are not numbers")
    if start >= duration:
        raise VideoError(
            TOO_SHORT, f"the part to look at starts at {start:g} s, the last frame ends at {duration:.2f} s"
        )
    return max(start, -FOREVER), min(end, FOREVER)


def is_variable(times: np.ndarray) -> bool:
    """Whether frames are shown for clearly different times."""
    gaps = np.diff(times)
    return len(gaps) > 1 and float(gaps.max()) > _VARIABLE * float(gaps.min())


def _as_table(taken: ClipFrames) -> pa.Table:
    """The rows of one clip."""
    pixels = [picture.tobytes() for picture in taken.pixels]
    frames, height, width, _ = taken.pixels.shape
    columns = [
        [taken.clip.clip] * frames,
        list(range(frames)),
        taken.indices,
        taken.timestamps,
        [hashlib.sha256(picture).hexdigest() for picture in pixels],
        [height] * frames,
        [width] * frames,
        pixels,
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


class FrameStore:
    """Reads the shards that `extract_frames` wrote, one clip at a time.

    Example:
        `FrameStore(["shard0.parquet", "shard1.parquet"]).pixels("videos/a.mp4")` is uint8 [F, S, S, 3].
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """Read which clips the shards hold; no pixels yet.

        Args:
            paths: Parquet files; beside each lies its `.clips.jsonl`.

        Raises:
            ChangedError: A shard or its list is not what its sidecar tells of.
            ValueError: A shard is no frame table, lacks a clip that its list calls readable or frames of one, or two shards
                hold the same clip or another number of frames.
        """
        self.clips: dict[str, Clip] = {}
        self.count: int | None = None
        """Frames of a clip, F; None as long as no clip has any."""
        self._place: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, Any] = {}
        for path in map(Path, paths):
            self._add(path)

    def _add(self, path: Path) -> None:
        """Take one shard into the index."""
        check_unchanged(path)
        listed = read_jsonl(clips_path_of(path), Clip)
        held: dict[str, int] = {}
        with _as_damaged(path):
            file = pq.ParquetFile(path)
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError(
                    f"{path}: not a frame table: its columns are {dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))}"
                )
            self._open[path] = file
            told = (file.schema_arrow.metadata or {}).get(FRAMES)
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["clip", "position"]).to_pydict()
                key = self._checked_clip(path, rows, int(told) if told else None)
                if key in held:
                    raise ValueError(
                        f"{path}: clip {key!r} is in it twice; remove the table to have it extracted again"
                    )
                held[key] = group
        readable = {clip.clip for clip in listed if clip.status == OK}
        if readable != set(held):
            odd = sorted(readable ^ set(held))[:5]
            raise ValueError(
                f"{path}: its clips and {clips_path_of(path).name} disagree, for example on {odd}; extract them again"
            )
        for one in listed:
            if one.clip in self.clips:
                raise ValueError(
                    f"{path}: clip {one.clip!r} is in another shard too; shards of different runs were mixed"
                )
            self.clips[one.clip] = one
            if one.clip in held:
                self._place[one.clip] = (path, held[one.clip])

    def _checked_clip(self, path: Path, rows: Mapping[str, Sequence[Any]], told: int | None) -> str:
        """Name of the clip of a row group, whose frames must be F, in order."""
        names, positions = sorted(set(map(str, rows["clip"]))), list(rows["position"])
        if self.count is None:
            self.count = told or len(positions)
        wanted = self.count
        if len(names) != 1 or positions != list(range(wanted)) or told not in (None, wanted):
            raise ValueError(
                f"{path}: the frames of clip {', '.join(map(repr, names[:3]))} are numbered {_abridged(positions)}; needed are "
                f"{_abridged(range(wanted))}, all of one clip{f', and the table tells of {told}' if told else ''}. Remove the "
                "table to have it extracted again"
            )
        return names[0]

    def status(self, clip: str) -> str:
        """Status of a clip: `ok` or why it has no frames.

        Raises:
            KeyError: The clip was never asked for.
        """
        return self._known(clip).status

    def frames(self, clip: str) -> ClipFrames:
        """All that is stored of a clip, checked against the hashes.

        Raises:
            KeyError: The clip was never asked for, or has no frames.
            ValueError: The pixels are not those that were stored.
        """
        known = self._known(clip)
        if clip not in self._place:
            raise KeyError(f"clip {clip!r} has no frames: {known.status} ({known.detail})")
        path, group = self._place[clip]
        with _as_damaged(path):
            columns = self._open[path].read_row_group(group).to_pydict()
        shape = (len(columns["pixels"]), columns["height"][0], columns["width"][0], 3)
        for position in range(shape[0]):
            own = {name: column[position] for name, column in columns.items()}
            sound = None not in own.values() and (own["height"], own["width"]) == shape[1:3]
            sound = sound and len(own["pixels"]) == shape[1] * shape[2] * shape[3]
            if not sound or hashlib.sha256(own["pixels"]).hexdigest() != own["sha256"]:
                raise ValueError(f"{path}: frame {position} of clip {clip!r} is not what was stored; extract it again")
        pixels = np.frombuffer(b"".join(columns["pixels"]), dtype=np.uint8).reshape(shape)
        return ClipFrames(known, np.array(columns["index"]), np.array(columns["timestamp"]), pixels)

    def pixels(self, clip: str) -> np.ndarray:
        """Frames of a clip: uint8 [F, S, S, 3], as `resize_frames` left them; raises as `frames` does."""
        return self.frames(clip).pixels

    def _known(self, clip: str) -> Clip:
        """The clip's row."""
        if clip not in self.clips:
            raise KeyError(f"clip {clip!r} is in none of the {len(self._open)} shards; extract its frames first")
        return self.clips[clip]


def _abridged(numbers: Sequence[Any]) -> str:
    """A few numbers of a row: the first three and the last.

    Example:
        >>> _abridged([0, 1, 2, 3]), _abridged(range(16))
        ('0, 1, 2, 3', '0, 1, 2 ... 15')
    """
    shown = ", ".join(map(str, numbers if len(numbers) < 5 else numbers[:3]))
    return shown if len(numbers) < 5 else f"{shown} ... {numbers[-1]}"


@contextlib.contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into an error that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: not a whole frame table ({error}); extract it again") from error


def clips_path_of(frames_path: str | Path) -> Path:
    """The list of clips beside a shard: `shard0.parquet` -> `shard0.clips.jsonl`."""
    return Path(frames_path).with_suffix(".clips.jsonl")
