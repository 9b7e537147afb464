"""Tables of frames: every clip is decoded once, resized once, and stored without loss.

`extract_frames` writes one shard: a parquet file with one row per frame (clip, position among the chosen frames, index in
the video, time stamp, SHA-256 of the pixels, height, width, the pixels), and a `ClipStatus` row for every clip, readable or
not. Each clip is a row group of its own, so that `vidreason.media.frame_store.FrameStore` reads one clip without touching the
others. A picture has one row, although it is shown F times. The table's metadata says how many frames a clip has.

Letters: F frames of a clip, S height and width.
"""

import collections
import contextlib
import dataclasses
import math
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidreason.artifacts.digests import sha256_bytes
from vidreason.artifacts.files import read_jsonl, write_aside, write_jsonl
from vidreason.artifacts.integrity import content_digest
from vidreason.artifacts.provenance import digest
from vidreason.media.containers import TOO_SHORT, VideoError
from vidreason.media.decode import decode_frames
from vidreason.media.frame_rules import FOREVER, segment_indices, uniform_indices
from vidreason.media.frame_store import FRAMES, SCHEMA, ClipFrames
from vidreason.media.pictures import read_still
from vidreason.media.probe import Scan, count_decodable, scan
from vidreason.media.resize import resize_frames
from vidreason.records import FRAME_RULES, IMAGE, OK, ClipRef, ClipStatus, Question

COUNTED_SECONDS = 300.0
"""A damaged video of at most this length is decoded in full to count its damaged packets."""
_VARIABLE = 1.25
"""Ratio of the longest to the shortest frame beyond which a video counts as having a variable frame rate."""


@dataclasses.dataclass(frozen=True)
class FrameSpec:
    """Which frames a table holds.

    Clips are sorted by key. Shard i takes the clips i, i + shards, i + 2 shards ...

    Attributes:
        count: Frames per clip, F.
        size: Height and width of a frame, S, in pixels.
        shard: Number of the shard, from 0.
        shards: Number of shards.
    """

    count: int
    size: int
    shard: int = 0
    shards: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that no table can have."""
        if self.count < 1 or self.size < 1:
            raise ValueError(f"count {self.count}, size {self.size}; both must be at least 1")
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"shard {self.shard} of {self.shards}; allowed: 0 <= shard < shards")


def extract_frames(
    questions: Sequence[str | Path],
    root: str | Path,
    frames_path: str | Path,
    clips_path: str | Path,
    spec: FrameSpec,
    threads: int = 2,
) -> dict[str, int]:
    """Decode the clips of one shard.

    Args:
        questions: Files of `Question` records, whose different clips are decoded.
        root: Folder that `ClipRef.path` is relative to.
        frames_path: Parquet file to write.
        clips_path: JSON lines to write, one `ClipStatus` per clip of this shard.
        spec: Number and size of the frames, and the shard.
        threads: Videos decoded at the same time; the result does not depend on it.

    Returns:
        Status -> number of clips.

    Raises:
        ValueError: Two questions want different frames under the same key.
    """
    statuses = []
    schema = SCHEMA.with_metadata({FRAMES: str(spec.count)})
    with write_aside(frames_path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for clip_frames in _decoded_in_order(shard_questions(questions, spec), Path(root), spec, threads):
            statuses.append(clip_frames.clip)
            if clip_frames.clip.status == OK:
                writer.write_table(_as_table(clip_frames))
    write_jsonl(clips_path, statuses)
    return dict(collections.Counter(status.status for status in statuses))


def shard_questions(questions: Sequence[str | Path], spec: FrameSpec) -> list[Question]:
    """One question for every clip of a shard, sorted by the clips' keys; raises as `unique_clips` does."""
    return [question for _, question in sorted(unique_clips(questions).items())[spec.shard :: spec.shards]]


def unique_clips(questions: Sequence[str | Path]) -> dict[str, Question]:
    """Clip's key -> one question about it, for every different clip in the files.

    Raises:
        ValueError: Two questions about the same clip pick their frames by different rules, or take the file for different
            things.
    """
    clips: dict[str, Question] = {}
    for path in questions:
        for question in read_jsonl(path, Question):
            known = clips.setdefault(question.clip.key, question)
            if known.clip.kind != question.clip.kind:
                raise ValueError(
                    f"{path}: questions {known.id!r} and {question.id!r} take clip {question.clip.key!r} for different things "
                    f"({known.clip.kind}, {question.clip.kind}); a file is one of them"
                )
            if known.clip.frame_rule != question.clip.frame_rule:
                raise ValueError(
                    f"{path}: questions {known.id!r} and {question.id!r} ask for clip {question.clip.key!r} by different rules "
                    f"({known.clip.frame_rule}, {question.clip.frame_rule}); give one of them bounds of its own"
                )
    return clips


def _decoded_in_order(questions: Sequence[Question], root: Path, spec: FrameSpec, threads: int) -> Iterator[ClipFrames]:
    """Decode clips in several threads, a few ahead of the one that is yielded."""
    ahead = 4 * max(1, threads)
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for begin in range(0, len(questions), ahead):
            yield from pool.map(
                lambda question: take_frames(question, root, spec.count, spec.size), questions[begin : begin + ahead]
            )


def take_frames(question: Question, root: str | Path, count: int, size: int) -> ClipFrames:
    """Decode and resize the frames that a question looks at.

    Args:
        question: Names the video, the bounds and the rule.
        root: Folder that `question.clip.path` is relative to.
        count: Frames to take, F. A shorter video repeats frames, as the rules do; a picture is repeated F times.
        size: Height and width to resize to, S, in pixels.

    Returns:
        The frames; none, and the reason in `clip.status`, when the video cannot be used.
    """
    path = Path(root) / question.clip.path
    scanned = scan_clip(question.clip, root)
    clip, indices, pictures = _decode(
        question, path, count, scanned, lambda picture: resize_frames(picture[None], size)
    )
    if clip.status != OK:
        return ClipFrames(clip, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0, 0, 3), np.uint8))
    return ClipFrames(clip, indices, scanned.times[indices], np.concatenate(pictures))


def check_clip(question: Question, root: str | Path, count: int, scanned: Scan | None = None) -> ClipStatus:
    """The status that `take_frames` gives a clip, video or picture; damaged packets are counted by decoding the whole video.

    Args:
        question: As for `take_frames`.
        root: As for `take_frames`.
        count: As for `take_frames`.
        scanned: Result of `scan_clip`, where the clip was scanned before.
    """
    path = Path(root) / question.clip.path
    scanned = scanned or scan_clip(question.clip, root)
    clip, *_ = _decode(question, path, count, scanned, lambda picture: picture[:0].copy())  # the pixels are not needed
    if clip.status != OK or question.clip.kind == IMAGE:
        return clip
    return dataclasses.replace(clip, detail=_damage(path, scanned))


def scan_clip(clip: ClipRef, root: str | Path) -> Scan:
    """Scan the file of a clip (`vidreason.media.probe.scan`). A picture is one frame that lasts for no time.

    Args:
        clip: The clip.
        root: Folder that `clip.path` is relative to.
    """
    if clip.kind == IMAGE:
        return Scan(ClipStatus(clip.key, OK, frames=1, codec=IMAGE), np.zeros(1))
    return scan(Path(root) / clip.path, clip.key)


def _damage(path: Path, scanned: Scan, met: Sequence[str] = ()) -> str:
    """Number of packets that cannot be decoded, in words: in the whole video, or in a long one among those decoded."""
    if not met or (scanned.clip.duration or 0.0) <= COUNTED_SECONDS:
        # The chosen frames were decoded; the rest of the video may be too damaged to be counted.
        with contextlib.suppress(VideoError):
            return count_decodable(path, scanned)[1]
    return f"{len(met)} packets on the way cannot be decoded, the first at {met[0]}" if met else ""


def _decode(
    question: Question, path: Path, count: int, scanned: Scan, shrink: Callable[[np.ndarray], np.ndarray]
) -> tuple[ClipStatus, np.ndarray, list[np.ndarray]]:
    """Status of a clip and, if it is `ok`, positions and shrunk pictures of the chosen frames."""
    clip, nothing = scanned.clip, np.zeros(0, np.int64)
    if clip.status != OK:
        return clip, nothing, []
    try:
        if question.clip.kind == IMAGE:
            return clip, np.zeros(count, np.int64), [shrink(read_still(path))] * count
        indices = frame_indices(question, scanned, count)
        damage: list[str] = []
        pictures = decode_frames(path, indices.tolist(), scanned, damage, shrink)
        if damage:
            clip = dataclasses.replace(clip, detail=_damage(path, scanned, damage))
    except VideoError as error:
        return dataclasses.replace(clip, status=error.status, detail=error.detail), nothing, []
    return clip, indices, pictures


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
    if question.clip.frame_rule == "uniform":
        if bound is None:
            return uniform_indices(len(times), count)
        first = min(int(np.searchsorted(times, bound[0], side="left")), len(times) - 1)
        last = max(first, int(np.searchsorted(times, bound[1], side="right")) - 1)
        return uniform_indices(last - first + 1, count) + first
    if question.clip.frame_rule != "segments":
        raise ValueError(
            f"question {question.id!r}: frame_rule {question.clip.frame_rule!r}; allowed: {', '.join(FRAME_RULES)}"
        )
    # Pictures in folders are counted from 1 and the last one counts; frames of files from 0, as MVBench's readers do.
    one_based = int(clip.codec == "frames")
    fps = clip.fps or 1.0
    if bound is not None and is_variable(times):
        bound, fps = (float(np.searchsorted(times, bound[0])), float(np.searchsorted(times, bound[1]))), 1.0
    found = segment_indices(len(times) - 1 + one_based, fps, count, bound=bound, first=one_based)
    return np.clip(found - one_based, 0, len(times) - 1)


def _bounds(question: Question, duration: float) -> tuple[float, float] | None:
    """Start and end, in seconds, of the part of the video that a question is about; None for the whole video.

    Raises:
        VideoError: They are not numbers, or the part begins after the last frame ends.
    """
    if question.clip.start is None or question.clip.end is None:
        return None
    start, end = question.clip.start, question.clip.end
    if math.isnan(start) or math.isnan(end):
        raise VideoError(TOO_SHORT, f"the part to look at goes from {start:g} s to {end:g} s, which are not numbers")
    if start >= duration:
        raise VideoError(
            TOO_SHORT, f"the part to look at starts at {start:g} s, the last frame ends at {duration:.2f} s"
        )
    return max(start, -FOREVER), min(end, FOREVER)


def is_variable(times: np.ndarray) -> bool:
    """Whether the frame rate varies."""
    gaps = np.diff(times)
    return len(gaps) > 1 and float(gaps.max()) > _VARIABLE * float(gaps.min())


def _as_table(clip_frames: ClipFrames) -> pa.Table:
    """The rows of one clip."""
    frames, height, width, _ = clip_frames.pixels.shape
    if clip_frames.clip.codec == IMAGE:
        frames = 1
    pixels = [picture.tobytes() for picture in clip_frames.pixels[:frames]]
    columns = [
        [clip_frames.clip.key] * frames,
        list(range(frames)),
        clip_frames.indices[:frames],
        clip_frames.timestamps[:frames],
        [sha256_bytes(picture) for picture in pixels],
        [height] * frames,
        [width] * frames,
        pixels,
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def frames_digest(questions: Sequence[str | Path], root: str | Path, spec: FrameSpec, threads: int = 2) -> str:
    """Digest of everything that decides the pixels of a shard: its clips, the contents of their videos, and the code.

    Reads every video that exists once. Arguments as for `extract_frames`.
    """
    selected = shard_questions(questions, spec)
    videos = sorted({question.clip.path for question in selected})
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        contents = pool.map(lambda video: _content(Path(root) / video), videos)
    clips = [dataclasses.astuple(question.clip) for question in selected]
    files = list(zip(videos, contents, strict=True))
    decisive = {"clips": clips, "videos": files, "count": spec.count, "size": spec.size}
    return digest(decisive, [], ["vidreason.media.extract_frames"])


def _content(video: Path) -> str | None:
    """Digest of a video file or a folder of frames; None for a path that is absent or whose reading may not end (a pipe)."""
    try:
        if not stat.S_ISREG(video.stat().st_mode) and not video.is_dir():
            return None
        return content_digest(video)
    except (FileNotFoundError, NotADirectoryError):
        return None
