"""Writing scenes as the kinds of files that real data sets publish.

Pictures are piped as raw RGB into ffmpeg (with ffmpeg-python; the system's binary, or imageio-ffmpeg's where that is missing
or too old). Every kind is written deterministically: one thread, no time stamps of writing, no random identifiers.

A clip has a multiple of `STEPS` frames, at least three per step. Only then do both rules that pick 16 frames, `uniform` and
`segments` (`vidreason.media.frame_rules`), pick each of the steps 0, 1, ..., 15 once.

Letters: N frames of the clip, S height and width in pixels.
"""

import dataclasses
import functools
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np

from vidreason.media.probe import FOLDER_FPS
from vidreason.world.scenes import STEPS, Scene, render
from vidreason.world.signs import Sign, render_sign

SIZE = 64
"""Height and width of a clip in pixels. A cell of the grid then has 16 pixels, and 8 in the subsampled chroma planes."""
RATES = (8, 5, 4, 10)
"""Frame rates of the clips; low, so that thousands of clips can be written in seconds."""
MIN_FRAMES_PER_STEP = 3
MAX_FRAMES_PER_STEP = 12
VARIABLE_TICKS = 4
VARIABLE_KEPT = (0, 1, 3)
"""Ticks of every `VARIABLE_TICKS` that a variable-rate clip keeps: its frames are shown for 1, 2 and 1 ticks."""

_X264: dict[str, str | int] = {"vcodec": "libx264", "preset": "ultrafast", "crf": 18}
KINDS: dict[str, dict[str, str | int]] = {
    "mp4": {"format": "mp4", **_X264},
    "variable": {"format": "mp4", **_X264, "fps_mode": "vfr"},
    "mkv": {"format": "matroska", **_X264},
    "webm": {"format": "webm", "vcodec": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8, "crf": 20, "b:v": 0},
    "avi": {"format": "avi", "vcodec": "mpeg4", "q:v": 2},
    "frames": {},
}
"""Kind of file -> ffmpeg's output options. `variable` is an mp4 with a varying frame rate, `frames` a folder of .jpg."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Frame rate and frames of a clip.

    Attributes:
        fps: Frames per second.
        per_step: Frames per step of the scene.
        before: Frames of other content before the scene.
        after: Frames of other content after the scene.
    """

    fps: float
    per_step: int
    before: int = 0
    after: int = 0

    @property
    def frames(self) -> int:
        """Number of frames of the whole clip."""
        return self.before + STEPS * self.per_step + self.after

    @property
    def duration(self) -> float:
        """Duration of the whole clip in seconds."""
        return self.frames / self.fps

    @property
    def bounds(self) -> tuple[float, float]:
        """Start and end of the scene in seconds."""
        return self.before / self.fps, (self.before + STEPS * self.per_step) / self.fps


def timing(duration: float, kind: str) -> Timing:
    """Choose a frame rate and a number of frames close to a duration.

    Args:
        duration: Target duration in seconds.
        kind: Key of `KINDS`.

    Returns:
        The timing with the nearest duration; of several the one whose rate comes first in `RATES`.

    Example:
        >>> timing(12.0, "mp4").duration
        12.0
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of video {kind!r}; allowed: {', '.join(KINDS)}")
    rates = (FOLDER_FPS,) if kind == "frames" else RATES
    allowed = (len(VARIABLE_KEPT),) if kind == "variable" else range(MIN_FRAMES_PER_STEP, MAX_FRAMES_PER_STEP + 1)
    if kind == "variable":
        # Every step is VARIABLE_TICKS ticks long, so any duration can be met exactly.
        return Timing(STEPS * len(VARIABLE_KEPT) / duration, len(VARIABLE_KEPT))
    options = [Timing(rate, per_step) for rate in rates for per_step in allowed]
    return min(options, key=lambda option: abs(option.duration - duration))


def with_surroundings(clip: Timing, before: float, after: float) -> Timing:
    """Place a clip inside a longer video, with `before` and `after` seconds of other content around it."""
    return dataclasses.replace(clip, before=round(before * clip.fps), after=round(after * clip.fps))


def encode(
    scene: Scene | Sign, path: Path, clip: Timing, kind: str, around: Scene | None = None, size: int = SIZE
) -> None:
    """Write a scene or a sign as a video.

    Args:
        scene: The scene; all its steps are shown equally long.
        path: File (or folder, for `frames`) to write; its parent must exist.
        clip: Frame rate and frames; see `timing`.
        kind: Key of `KINDS`.
        around: Scene shown before and after, if `clip` has frames for it.
        size: Height and width in pixels.

    Raises:
        RuntimeError: ffmpeg failed; the message ends with its last output.
    """
    pictures = picture_sequence(scene, clip, around, size)
    if kind == "frames":
        _write_folder(pictures, path)
    elif kind == "variable":
        ticks = np.repeat(pictures[:: clip.per_step], VARIABLE_TICKS, axis=0)
        keep = "+".join(f"eq(mod(n,{VARIABLE_TICKS}),{tick})" for tick in VARIABLE_KEPT)
        _run_ffmpeg(ticks, clip.fps * VARIABLE_TICKS / clip.per_step, path, KINDS[kind], select=keep)
    else:
        _run_ffmpeg(pictures, clip.fps, path, KINDS[kind])


def picture_at(scene: Scene | Sign, step: int, size: int) -> np.ndarray:
    """Draw the picture of one step of a scene or a sign: uint8 [S, S, 3]."""
    return render_sign(scene, step, size) if isinstance(scene, Sign) else render(scene, step, size)


def picture_sequence(scene: Scene | Sign, clip: Timing, around: Scene | None = None, size: int = SIZE) -> np.ndarray:
    """All frames of a clip: uint8 [N, S, S, 3]."""
    story = np.repeat([picture_at(scene, step, size) for step in range(STEPS)], clip.per_step, axis=0)
    if not clip.before and not clip.after:
        return story
    if around is None:
        raise ValueError(
            f"a clip with {clip.before} + {clip.after} frames around the scene needs a scene to show there"
        )
    other = [render(around, step, size) for step in range(STEPS)]
    before = [other[(index // clip.per_step) % STEPS] for index in range(clip.before)]
    after = [other[(index // clip.per_step) % STEPS] for index in range(clip.after)]
    return np.concatenate([part for part in (np.array(before), story, np.array(after)) if len(part)])


def _write_folder(pictures: np.ndarray, path: Path) -> None:
    """Write 1-based `%05d.jpg` pictures."""
    from PIL import Image

    path.mkdir()
    for number, picture in enumerate(pictures, start=1):
        Image.fromarray(picture).save(path / f"{number:05d}.jpg", quality=92)


@functools.cache
def ffmpeg_binary() -> str:
    """Path of the system's ffmpeg if it can write all `KINDS`, or else of imageio-ffmpeg's.

    Raises:
        RuntimeError: Neither is installed.
    """
    binary = shutil.which("ffmpeg")
    if binary and can_write_all_kinds(binary):
        return binary
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def can_write_all_kinds(binary: str) -> bool:
    """Whether an ffmpeg has the encoders of `KINDS` and the option `-fps_mode` (from release 5.1)."""
    command = [binary, "-hide_banner", "-loglevel", "error"]
    outputs = [
        subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=False).stdout
        for words in (["-encoders"], ["-h", "full"])
    ]
    encoders = {kind["vcodec"] for kind in KINDS.values() if "vcodec" in kind}
    return encoders <= set(outputs[0].split()) and "-fps_mode" in outputs[1]


def _run_ffmpeg(
    pictures: np.ndarray, fps: float, path: Path, options: dict[str, str | int], select: str | None = None
) -> None:
    """Pipe raw frames, uint8 [N, S, S, 3], through ffmpeg into a file."""
    import ffmpeg

    _, height, width, _ = pictures.shape
    rate = _ratio(fps)
    stream = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=rate, threads=1)
    if select is not None:
        stream = stream.filter("select", select)
    # swscale and decoders both assume BT.601 for a small picture without tags.
    output = ffmpeg.output(
        stream,
        str(path),
        pix_fmt="yuv420p",
        threads=1,
        map_metadata=-1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact"},
        **options,
    )
    try:
        output.global_args("-loglevel", "error", "-nostdin", "-filter_threads", "1").overwrite_output().run(
            cmd=ffmpeg_binary(), input=np.ascontiguousarray(pictures).tobytes(), quiet=True
        )
    except ffmpeg.Error as error:
        raise RuntimeError(
            f"ffmpeg could not write {path}: {error.stderr.decode('utf-8', 'replace').strip()[-400:]}"
        ) from error


def _ratio(fps: float) -> str:
    """A frame rate as ffmpeg reads it, exact for the rates of `timing`."""
    if math.isclose(fps, round(fps)):
        return str(round(fps))
    return f"{round(fps * 1_000_000)}/1000000"
