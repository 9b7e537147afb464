"""Reading tables of frames: a parquet file per shard, a row per frame, a row group per clip, and beside it the list of clips.

A picture has one row, which is read as F equal frames.

`vidreason.media.extract_frames` writes them. The table's metadata says how many frames a clip has.

Letters: F frames of a clip, S height and width.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vidreason.artifacts.digests import sha256_bytes
from vidreason.artifacts.files import read_jsonl
from vidreason.artifacts.integrity import check_unchanged
from vidreason.records import IMAGE, OK, ClipStatus

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
"""Key of the number of frames per clip, F, in a table's metadata."""


@dataclasses.dataclass(frozen=True)
class ClipFrames:
    """The frames of one clip.

    Attributes:
        clip: Status of the video; there are frames only if it is `ok`.
        indices: int64 [F], positions in the video, from 0.
        timestamps: float64 [F], seconds from the video's first frame.
        pixels: uint8 [F, S, S, 3], RGB.
    """

    clip: ClipStatus
    indices: np.ndarray
    timestamps: np.ndarray
    pixels: np.ndarray


def clips_path_of(frames_path: str | Path) -> Path:
    """The list of clips beside a shard: `shard0.parquet` -> `shard0.clips.jsonl`."""
    return Path(frames_path).with_suffix(".clips.jsonl")


class FrameStore:
    """Reads the shards that `extract_frames` wrote, one clip at a time.

    Example:
        `FrameStore(["shard0.parquet", "shard1.parquet"]).pixels("videos/a.mp4")` is uint8 [F, S, S, 3].
    """

    def __init__(self, paths: Sequence[str | Path]) -> None:
        """Read the lists of clips, without pixels.

        Args:
            paths: Parquet files, each with its `.clips.jsonl` beside it.

        Raises:
            ChangedError: A shard or its list was changed after it was made.
            ValueError: A shard is no frame table or lacks a readable clip or frames of one, or two shards hold the same clip or
                different numbers of frames.
        """
        self.clips: dict[str, ClipStatus] = {}
        self.count: int | None = None
        """Frames per clip, F; None as long as no clip has any."""
        self._place: dict[str, tuple[Path, int]] = {}
        self._times: dict[str, np.ndarray] = {}
        self._open: dict[Path, Any] = {}
        for path in map(Path, paths):
            self._add(path)

    def _add(self, path: Path) -> None:
        """Add one shard to the index."""
        check_unchanged(path)
        listed = read_jsonl(clips_path_of(path), ClipStatus)
        stills = {clip.key for clip in listed if clip.codec == IMAGE}
        row_groups: dict[str, int] = {}
        with _as_damaged(path):
            file = pq.ParquetFile(path)
            if not file.schema_arrow.equals(SCHEMA):
                raise ValueError(
                    f"{path}: not a frame table: its columns are {dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))}"
                )
            self._open[path] = file
            declared = (file.schema_arrow.metadata or {}).get(FRAMES, b"0")
            if not declared.isdigit():
                raise ValueError(
                    f"{path}: its number of frames a clip is {declared!r}; remove the table to have it extracted again"
                )
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["clip", "position", "timestamp"]).to_pydict()
                key = self._checked_clip(path, rows, int(declared) or None, stills)
                if key in row_groups:
                    raise ValueError(
                        f"{path}: clip {key!r} is in it twice; remove the table to have it extracted again"
                    )
                row_groups[key] = group
                self._times[key] = np.array(rows["timestamp"], dtype=np.float64)
        readable = {clip.key for clip in listed if clip.status == OK}
        if readable != set(row_groups):
            odd = sorted(readable ^ set(row_groups))[:5]
            raise ValueError(
                f"{path}: its clips and {clips_path_of(path).name} disagree, for example on {odd}; extract them again"
            )
        for clip in listed:
            if clip.key in self.clips:
                raise ValueError(
                    f"{path}: clip {clip.key!r} is in another shard too; shards of different runs were mixed"
                )
            self.clips[clip.key] = clip
            if clip.key in row_groups:
                self._place[clip.key] = (path, row_groups[clip.key])

    def _checked_clip(
        self, path: Path, rows: Mapping[str, Sequence[Any]], declared: int | None, stills: Collection[str]
    ) -> str:
        """Key of a row group's clip, whose F frames have to be complete and in order; of a still one there is one."""
        names, positions = sorted(set(map(str, rows["clip"]))), list(rows["position"])
        if self.count is None:
            self.count = declared or len(positions)
        wanted = 1 if names[0] in stills else self.count
        if len(names) != 1 or positions != list(range(wanted)) or declared not in (None, self.count):
            also = f", and the table declares {declared} frames a clip" if declared else ""
            raise ValueError(
                f"{path}: the frames of clip {', '.join(map(repr, names[:3]))} are numbered {_abridged(positions)}; needed are "
                f"{_abridged(range(wanted))}, all of one clip{also}. Remove the table to have it extracted again"
            )
        return names[0]

    def status(self, clip: str) -> str:
        """Status of a clip: `ok` or why it has no frames.

        Raises:
            KeyError: No shard knows the clip.
        """
        return self._known(clip).status

    def frames(self, clip: str) -> ClipFrames:
        """Frames of a clip, checked against their digests; a picture F times, without copies.

        Raises:
            KeyError: No shard knows the clip, or it has no frames.
            ValueError: The pixels were changed.
        """
        known = self._known(clip)
        if clip not in self._place:
            raise KeyError(f"clip {clip!r} has no frames: {known.status} ({known.detail})")
        path, group = self._place[clip]
        with _as_damaged(path):
            columns = self._open[path].read_row_group(group).to_pydict()
        shape = (len(columns["pixels"]), columns["height"][0], columns["width"][0], 3)
        for position in range(shape[0]):
            row = {name: column[position] for name, column in columns.items()}
            sound = None not in row.values() and (row["height"], row["width"]) == shape[1:3]
            sound = sound and len(row["pixels"]) == shape[1] * shape[2] * shape[3]
            if not sound or sha256_bytes(row["pixels"]) != row["sha256"]:
                raise ValueError(f"{path}: frame {position} of clip {clip!r} is not what was stored; extract it again")
        pixels = np.frombuffer(b"".join(columns["pixels"]), dtype=np.uint8).reshape(shape)
        indices, times = np.array(columns["index"]), np.array(columns["timestamp"])
        if known.codec == IMAGE:
            repeats = self.count or 1
            pixels = np.broadcast_to(pixels, (repeats, *shape[1:]))
            indices, times = np.repeat(indices, repeats), np.repeat(times, repeats)
        return ClipFrames(known, indices, times, pixels)

    def pixels(self, clip: str) -> np.ndarray:
        """Frames of a clip: uint8 [F, S, S, 3], as `resize_frames` left them; raises as `frames` does."""
        return self.frames(clip).pixels

    def times(self, clip: str) -> np.ndarray:
        """When the frames of a clip were taken: float64 [F], seconds from the video's first frame.

        Raises:
            KeyError: No shard knows the clip, or it has no frames.
        """
        known = self._known(clip)
        if clip not in self._times:
            raise KeyError(f"clip {clip!r} has no frames: {known.status} ({known.detail})")
        return self._times[clip]

    def _known(self, clip: str) -> ClipStatus:
        """The clip's row."""
        if clip not in self.clips:
            raise KeyError(f"clip {clip!r} is in none of the {len(self._open)} shards; extract its frames first")
        return self.clips[clip]


def _abridged(numbers: Sequence[Any]) -> str:
    """Numbers in short: the first three and the last.

    Example:
        >>> _abridged([0, 1, 2, 3]), _abridged(range(16))
        ('0, 1, 2, 3', '0, 1, 2 ... 15')
    """
    shown = ", ".join(map(str, numbers if len(numbers) < 5 else numbers[:3]))
    return shown if len(numbers) < 5 else f"{shown} ... {numbers[-1]}"


@contextlib.contextmanager
def _as_damaged(path: Path) -> Iterator[None]:
    """Turn pyarrow's errors about a damaged file into one that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: not a whole frame table ({error}); extract it again") from error
