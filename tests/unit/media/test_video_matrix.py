"""Containers x codecs x quirks, made with FFmpeg: every frame, reached alone and among others, is the one that decoding in
order from the start gives. `pytest -s` prints the table of cells."""

import dataclasses
import functools
import itertools
import subprocess
from collections.abc import Callable

import av
import numpy as np
import pytest

from vidreason.media import decode
from vidreason.media import extract_frames as frames
from vidreason.media import probe as video
from vidreason.records import OK, ClipRef, Question
from vidreason.world.encode import ffmpeg_binary

AT_LEAST = 40
"""Cells that a run has to hold, whatever encoders the binary lacks."""
SIZE = "64x64"

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-pix_fmt", "yuv420p")
H264_NO_B, H264_B = (*X264, "-bf", "0"), (*X264, "-bf", "3")
H264_OPEN = (*H264_B, "-x264-params", "open-gop=1")
H264_PYRAMID = (*X264, "-x264-params", "b-pyramid=normal:bframes=5")
H264_LACED = (*H264_B, "-flags", "+ildct+ilme")
H264_REFRESH = (*X264, "-x264-params", "intra-refresh=1:keyint=20")
H264_444 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "3", "-pix_fmt", "yuv444p")
H264_LOSSLESS = (
    "-c:v",
    "libx264",
    "-g",
    "12",
    "-qp",
    "0",
    "-x264-params",
    "cabac=0:partitions=i8x8:8x8dct=1",
    "-pix_fmt",
    "yuv444p",
)
HEVC = ("-c:v", "libx265", "-preset", "fast", "-x265-params", "keyint=12:bframes=3:open-gop=0:log-level=none")
HEVC_OPEN = ("-c:v", "libx265", "-preset", "fast", "-x265-params", "keyint=12:bframes=3:open-gop=1:log-level=none")
MPEG4, MPEG4_B = ("-c:v", "mpeg4", "-g", "12"), ("-c:v", "mpeg4", "-g", "12", "-bf", "2")
XVID = ("-c:v", "libxvid", "-g", "12", "-bf", "2")
MPEG1, MPEG2 = ("-c:v", "mpeg1video", "-g", "12", "-bf", "2"), ("-c:v", "mpeg2video", "-g", "12", "-bf", "2")
ALTREF = ("-auto-alt-ref", "1", "-lag-in-frames", "10", "-deadline", "good", "-cpu-used", "5", "-g", "20")
VP8, VP9 = ("-c:v", "libvpx", *ALTREF), ("-c:v", "libvpx-vp9", *ALTREF)
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-g", "15")
MJPEG, THEORA, FLV1 = ("-c:v", "mjpeg"), ("-c:v", "libtheora", "-g", "12"), ("-c:v", "flv", "-g", "12")
WMV1, WMV2, H263 = ("-c:v", "wmv1", "-g", "12"), ("-c:v", "wmv2", "-g", "12"), ("-c:v", "h263", "-g", "12")
MSMPEG4, SVQ1, RV20 = ("-c:v", "msmpeg4", "-g", "12"), ("-c:v", "svq1", "-g", "12"), ("-c:v", "rv20", "-g", "12")
FFV1 = ("-c:v", "ffv1")

VARIABLE = ("-vf", "select='not(eq(mod(n,7),3)+eq(mod(n,11),5))'", "-fps_mode", "passthrough")
SOUND = ("-f", "lavfi", "-i", "sine=duration=4")


def copied(*before, after=()):
    """A step that copies packets into a file of the same kind."""

    def step(path):
        source = path.rename(path.with_stem("source"))
        ffmpeg(*before, "-i", source, "-c", "copy", *after, path)

    return step


def edited(change: Callable[[bytes], bytes]):
    """A step that changes a file's bytes."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def all_key(content):
    """An AVI whose index calls every frame a key frame."""
    data, at = bytearray(content), content.rindex(b"idx1")
    for entry in range(at + 8, at + 8 + int.from_bytes(content[at + 4 : at + 8], "little"), 16):
        data[entry + 4] |= 0x10
    return bytes(data)


def old_x264(content):
    """A stream that names, once at the start, a build of x264 whose lossless 4:4:4 decoders predict in another way.

    Coded by CAVLC: arithmetic coding of that build differs as well, and to read this stream so is an error.
    """
    at = content.index(b"x264 - core ")
    return content[:at] + b"x264 - core 120" + content[at + 15 :]


def without_rate(content):
    """A Matroska file that does not tell how long a frame is shown: the element becomes one of padding."""
    at = content.index(b"\x23\xe3\x83")
    length = content[at + 3] & 0x7F
    return content[:at] + bytes([0xEC, 0x80 | (length + 2)]) + bytes(length + 2) + content[at + 4 + length :]


def wrong_rate(content):
    """A Matroska file whose frames last a millisecond each by its header, the unit of its clock."""
    at = content.index(b"\x23\xe3\x83")
    length = content[at + 3] & 0x7F
    return content[: at + 4] + (1_000_000).to_bytes(length, "big") + content[at + 4 + length :]


def later_packets(size):
    """The file from a fifth of its length on, cut between packets of the container."""
    return lambda content: content[len(content) // size // 5 * size :]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One file to make.

    Attributes:
        kind: Suffix, which chooses the container.
        codec: Arguments of the encoder.
        quirk: What is odd about the file, in words.
        more: Further arguments of FFmpeg.
        rate, size, count: Of the pictures.
        step: What is done to the file after that.
        turned: Quarter turns, against the clock, in which it is shown.
    """

    kind: str
    codec: tuple[str, ...]
    quirk: str = ""
    more: tuple[str, ...] = ()
    rate: str = "25"
    size: str = SIZE
    count: int = 45
    step: Callable | None = None
    turned: int = 0

    def __str__(self):
        return "-".join(filter(None, (self.kind, self.codec[1], self.quirk.replace(" ", "_"))))


CELLS = [
    *(Cell(kind, H264_NO_B, "no B-frames") for kind in ("mp4", "avi", "flv")),
    *(Cell(kind, H264_B, "B-frames") for kind in ("mp4", "mov", "3gp", "mkv", "avi", "ts", "flv", "asf", "nut", "mxf")),
    Cell("mpg", H264_B, "B-frames without stamps", ("-f", "vob")),
    *(Cell(kind, H264_OPEN, "open GOP") for kind in ("mp4", "mkv", "avi", "ts")),
    Cell("mkv", H264_PYRAMID, "pyramid"),
    *(Cell(kind, H264_LACED, "interlaced") for kind in ("mp4", "avi", "ts")),
    Cell("mkv", H264_REFRESH, "intra refresh"),
    Cell("mp4", H264_444, "4:4:4, odd size", size="63x65"),
    *(
        Cell(kind, H264_LOSSLESS, "4:4:4 of an old x264", size="128x96", step=edited(old_x264))
        for kind in ("mp4", "mkv")
    ),
    Cell("mp4", (*X264[:4], "-g", "250", "-bf", "3", *X264[6:]), "long GOP", count=60),
    *(Cell(kind, H264_B, "variable rate", VARIABLE) for kind in ("mp4", "mkv", "avi", "ts", "flv", "asf")),
    *(Cell(kind, H264_B, "23.976", rate="24000/1001") for kind in ("mp4", "avi", "flv")),
    Cell("mp4", H264_B, "sound is longer", ("-c:a", "aac")),
    *(Cell(kind, H264_B, "sound is longer", ("-c:a", "mp2")) for kind in ("avi", "ts")),
    Cell("asf", H264_B, "sound is longer", ("-c:a", "wmav2")),
    *(Cell(kind, H264_B, "cut by copying", step=copied("-ss", "0.7")) for kind in ("mp4", "mov", "mkv", "avi", "ts")),
    *(Cell(kind, H264_B, "hidden by an edit list", step=copied("-itsoffset", "-0.8")) for kind in ("mp4", "mov")),
    *(Cell(kind, H264_OPEN, "open GOP, cut by copying", step=copied("-ss", "0.7")) for kind in ("mp4", "ts")),
    *(Cell("ts", codec, "begins between keys", step=edited(later_packets(188))) for codec in (H264_B, MPEG2)),
    Cell("mpg", MPEG2, "begins between keys", step=edited(later_packets(2048))),
    *(Cell("ts", codec, "clock starts again", step=edited(lambda content: 2 * content)) for codec in (H264_B, MPEG2)),
    *(Cell(kind, H264_B, "starts late", ("-output_ts_offset", "5.3")) for kind in ("mp4", "mkv", "ts")),
    *(Cell(kind, H264_B, "one frame", count=1) for kind in ("mp4", "avi", "ts")),
    Cell("mp4", H264_B, "turned", step=copied("-display_rotation", "90"), turned=1),
    *(
        Cell(kind, H264_B, "stamps of decoding", step=copied(after=("-bsf:v", "setts=pts=DTS")))
        for kind in ("mp4", "mkv")
    ),
    Cell("mkv", H264_NO_B, "stamps that come twice", step=copied(after=("-bsf:v", "setts=ts=floor(N/2)*80"))),
    *(Cell(kind, HEVC) for kind in ("mp4", "mkv", "ts")),
    Cell("mp4", HEVC_OPEN, "open GOP, cut by copying", step=copied("-ss", "0.7")),
    *(Cell(kind, MPEG4_B, "B-frames") for kind in ("mp4", "mkv", "avi", "ts", "asf", "3gp")),
    Cell("avi", MPEG4_B, "variable rate", VARIABLE),
    Cell("avi", MPEG4, "all called key", step=edited(all_key)),
    Cell("avi", MPEG4_B, "all called key, B-frames", step=edited(all_key)),
    Cell("avi", MPEG4, "no B-frames"),
    Cell("avi", XVID, "two frames in a packet"),
    *(Cell(kind, MPEG2, "B-frames") for kind in ("mpg", "ts", "mxf", "asf", "avi")),
    Cell("mpg", MPEG1, "B-frames"),
    Cell("mpg", MPEG2, "sound is longer", ("-c:a", "mp2")),
    Cell("webm", VP8, "alternate frames"),
    Cell("webm", VP8, "variable rate", VARIABLE),
    Cell("webm", VP8, "no rate in the header", rate="90", step=edited(without_rate)),
    Cell("webm", VP8, "wrong rate in the header", rate="90", step=edited(wrong_rate)),
    Cell("webm", VP9, "alternate frames"),
    Cell("avi", VP9, "alternate frames"),
    *(Cell(kind, AV1) for kind in ("mp4", "mkv")),
    *(Cell(kind, MJPEG) for kind in ("avi", "mov")),
    Cell("ogv", THEORA),
    Cell("mkv", THEORA),
    *(Cell(kind, WMV2) for kind in ("wmv", "avi")),
    *(
        Cell(kind, codec)
        for kind, codec in (("asf", WMV1), ("avi", MSMPEG4), ("mov", SVQ1), ("rm", RV20), ("nut", FFV1))
    ),
    Cell("flv", FLV1),
    Cell("3gp", H263, size="128x96"),
]


def ffmpeg(*words):
    """Run ffmpeg; the last word is the file."""
    subprocess.run([ffmpeg_binary(), "-y", "-v", "error", *map(str, words)], check=True)


@functools.cache
def encoders():
    """Names of the encoders that the binary has."""
    listed = subprocess.run([ffmpeg_binary(), "-v", "error", "-encoders"], check=True, capture_output=True, text=True)
    return {words[1] for words in map(str.split, listed.stdout.splitlines()) if len(words) > 1}


def make(cell, folder):
    """The file of a cell."""
    path = folder / f"clip.{cell.kind}"
    pictures = ("-f", "lavfi", "-i", f"testsrc2=size={cell.size}:rate={cell.rate}")
    sound = SOUND if "-c:a" in cell.more else ()
    ffmpeg(*pictures, *sound, *cell.codec, *cell.more, "-threads", "1", "-frames:v", cell.count, path)
    if cell.step:
        cell.step(path)
    return path


def in_order(path, turned=0):
    """All frames of a film, decoded from the start by PyAV alone, as they are shown."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return [np.rot90(frame.to_ndarray(format="rgb24"), turned) for frame in container.decode(stream)]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_frame_is_that_of_decoding_in_order(cell, tmp_path):
    if cell.codec[1] not in encoders():
        pytest.skip(f"FFmpeg was built without {cell.codec[1]}")
    path = make(cell, tmp_path)
    whole = in_order(path, cell.turned)
    assert len(whole) > cell.count / 3
    alike = sum((one == other).all() for one, other in itertools.pairwise(whole))
    assert alike <= len(whole) / 2, "frames cannot be told apart"
    scanned = video.scan(path)
    assert (scanned.clip.status, scanned.clip.frames, len(scanned.times)) == (OK, len(whole), len(whole)), scanned.clip
    assert (np.diff(scanned.times) > 0).all()
    spread = np.linspace(0, len(whole) - 1, 16, dtype=int).tolist()
    for wanted in [*([index] for index in range(len(whole))), spread]:
        for index, picture in zip(wanted, decode.decode_frames(path, wanted, scanned), strict=True):
            np.testing.assert_array_equal(picture, whole[index], err_msg=f"frame {index} of {wanted}")
    way = "counted from the start" if scanned.in_order else "sought"
    print(f"\n| {cell.kind} | {cell.codec[1]} | {cell.quirk} | {len(whole)} | all equal | {way} |", end="")


def test_there_are_enough_cells():
    assert len(set(map(str, CELLS))) == len(CELLS)
    runnable = [cell for cell in CELLS if cell.codec[1] in encoders()]
    assert len(runnable) >= AT_LEAST
    assert len({cell.kind for cell in runnable}) >= 12
    assert len({cell.codec[1] for cell in runnable}) >= 12


@pytest.mark.parametrize("header", [without_rate, wrong_rate])
@pytest.mark.parametrize("rule", ["uniform", "segments"])
def test_bounds_are_looked_up_by_the_true_rate(tmp_path, header, rule):
    """90 frames a second, in a file that says nothing or 1000: from 0.25 s to 0.75 s are frames 22.5 to 67.5."""
    path = make(Cell("webm", VP8, rate="90", count=90, step=edited(header)), tmp_path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == (1000 if header is wrong_rate else None)
    scanned = video.scan(path)
    assert scanned.clip.fps == pytest.approx(90, rel=0.01)
    question = Question(
        "q",
        "mvbench",
        "multiple_choice",
        "?",
        ClipRef(path.name, start=0.25, end=0.75, frame_rule=rule),
        ("a", "b"),
        "A",
    )
    found = frames.frame_indices(question, scanned, 9)
    if rule == "uniform":
        assert (found[0], found[-1]) == (23, 67)  # the first that begins after 0.25 s and the last before 0.75 s
    else:
        # Nine segments of five frames: the middle of the first, of the last.
        assert found[0] == pytest.approx(22.5 + 2.5, abs=1)
        assert found[-1] == pytest.approx(67.5 - 2.5, abs=1)
