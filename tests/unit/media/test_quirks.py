"""Files as cameras, editors and attackers make them: the film that is in them, or a row that says why there is none."""

import contextlib
import dataclasses
import errno
import os
import struct
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.support.field_pictures import field_pictures
from tests.support.filtering import filter_rules
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.data.filter_questions import Decoding, check_clips
from vidreason.media import containers, decode
from vidreason.media import extract_frames as frames
from vidreason.media import probe as video
from vidreason.media.extract_frames import FrameSpec, check_clip, extract_frames, take_frames
from vidreason.records import OK, ClipRef, ClipStatus, Question
from vidreason.world.encode import ffmpeg_binary

FRAMES = 50
ASK = Question("q", "mvbench", "multiple_choice", "What?", ClipRef("a.mp4"), ("x", "y"), "A")
PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25")
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12")


def ffmpeg(*words):
    """Run ffmpeg; the last word is the file."""
    subprocess.run([ffmpeg_binary(), "-y", "-v", "error", *map(str, words)], check=True)
    return Path(words[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A film of 50 frames and a cover picture."""
    folder = tmp_path_factory.mktemp("quirks")
    ffmpeg(*PICTURES, "-frames:v", FRAMES, *H264, folder / "film.mp4")
    ffmpeg("-f", "lavfi", "-i", "mandelbrot=size=64x64", "-frames:v", 1, folder / "cover.jpg")
    return folder


def in_order(path, stream=0):
    """All frames of a stream, decoded from the start by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams[stream])]


def filtered(path, frame_count=16):
    """Status that the filter of training data gives a file."""
    question = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name))
    return check_clips([question], path.parent, filter_rules(max_seconds=100), Decoding(frame_count))[path.name]


def check_readable(path, frames, expected=None):
    """Every stage calls a file readable, and every frame is the one of `expected`."""
    scanned = video.scan(path)
    assert (scanned.clip.status, scanned.clip.frames, len(scanned.times)) == (OK, frames, frames), scanned.clip
    assert video.probe(path, decode=True).status == OK
    assert filtered(path).status == OK
    assert (
        take_frames(
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name)), path.parent, 16, 8
        ).clip.status
        == OK
    )
    if expected is not None:
        for wanted in (range(frames), [frames - 1], [frames // 2]):
            found = decode.decode_frames(path, wanted, scanned)
            for picture, index in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(picture, expected[index])


def check_row(path, status, words=""):
    """Every stage gives a row with the same status."""
    clips = [
        video.scan(path).clip,
        video.probe(path, decode=True),
        filtered(path),
        take_frames(
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name)), path.parent, 16, 8
        ).clip,
    ]
    assert [clip.status for clip in clips] == [status] * len(clips), clips
    for clip in clips:
        assert words in clip.detail


class TestTheFilmIsFound:
    """B.4: FFmpeg's own choice among several streams, covers left out."""

    def test_behind_a_cover(self, folder):
        """In an MP4 a cover comes first if the tags stand before the tracks."""
        path = folder / "cover_first.mp4"
        inputs = ("-i", folder / "film.mp4", "-i", folder / "cover.jpg", "-map", "0", "-map", "1")
        ffmpeg(*inputs, "-c", "copy", "-disposition:v:1", "attached_pic", path)
        path.write_bytes(tags_before_tracks(path.read_bytes()))
        with av.open(str(path)) as container:
            assert [stream.codec_context.name for stream in container.streams] == ["mjpeg", "h264"]
        check_readable(path, FRAMES, in_order(folder / "film.mp4"))
        assert not video.scan(path).alone

    def test_behind_a_preview(self, folder):
        path = folder / "preview.mkv"
        inputs = ("-i", folder / "cover.jpg", "-i", folder / "film.mp4", "-map", "0", "-map", "1")
        ffmpeg(*inputs, "-c", "copy", path)
        check_readable(path, FRAMES, in_order(folder / "film.mp4"))

    def test_a_cover_alone_is_none(self, folder):
        path = folder / "song.m4a"
        inputs = ("-f", "lavfi", "-i", "sine=duration=2", "-i", folder / "cover.jpg", "-map", "0", "-map", "1")
        ffmpeg(*inputs, "-c:v", "copy", "-disposition:v:0", "attached_pic", path)
        check_row(path, video.NOT_A_VIDEO, "only a cover picture")

    def test_a_second_decoder_is_not_asked(self, folder, monkeypatch):
        """It chooses a stream by itself."""

        def fail(*_):
            raise containers.VideoError(video.UNREADABLE, "no")

        monkeypatch.setattr(decode, "_decode_with_av", fail)
        scanned = video.scan(folder / "film.mp4")
        with pytest.raises(containers.VideoError):
            decode.decode_frames(folder / "film.mp4", [0], dataclasses.replace(scanned, alone=False))


def tags_before_tracks(content):
    """An MP4 whose index holds the tags before the tracks."""

    def boxes(data):
        while data:
            (length,) = struct.unpack(">I", data[:4])
            yield data[4:8], data[:length]
            data = data[length:]

    parts = []
    for kind, box in boxes(content):
        inner = sorted(boxes(box[8:]), key=lambda part: part[0] == b"trak") if kind == b"moov" else ()
        parts.append(box[:8] + b"".join(part for _, part in inner) if inner else box)
    return b"".join(parts)


class TestWholeFilesAreWhole:
    """B.5"""

    @pytest.mark.parametrize("suffix", ["webm", "mkv", "avi", "ivf"])
    def test_frames_that_are_never_shown_do_not_count(self, folder, suffix):
        """VP8 with alternate reference frames: more packets than frames."""
        source = folder / "alternate.webm"
        if not source.exists():
            coding = (
                "-c:v",
                "libvpx",
                "-auto-alt-ref",
                "1",
                "-lag-in-frames",
                "16",
                "-b:v",
                "200k",
                "-arnr-maxframes",
                "7",
            )
            for number in (1, 2):
                log = ("-pass", number, "-passlogfile", folder / "pass")
                ffmpeg(*PICTURES, "-frames:v", "120", *coding, "-threads", "1", *log, source)
        path = source if suffix == "webm" else ffmpeg("-i", source, "-c", "copy", folder / f"alternate.{suffix}")
        with av.open(str(path)) as container:
            assert sum(packet.size > 0 for packet in container.demux(video=0)) > 120
        check_readable(path, 120, in_order(path))

    @pytest.mark.parametrize("suffix", ["mts", "mp4", "mkv"])
    def test_two_fields_are_one_frame(self, folder, suffix):
        raw = folder / "fields.h264"
        raw.write_bytes(field_pictures([20 + 4 * number for number in range(FRAMES)], key_every=10))
        path = ffmpeg(
            "-i", raw, "-c", "copy", *(["-f", "mpegts"] if suffix == "mts" else []), folder / f"fields.{suffix}"
        )
        with av.open(str(path)) as container:
            assert sum(packet.size > 0 for packet in container.demux(video=0)) == 2 * FRAMES
        check_readable(path, FRAMES, in_order(path))
        found = decode.decode_frames(path, range(FRAMES), video.scan(path))
        assert all(np.diff([picture.mean() for picture in found]) > 2)  # each brighter than the one before
        clip = video.scan(path).clip
        assert clip.fps * clip.duration == pytest.approx(FRAMES)

    @pytest.mark.parametrize("flags", [("+ilme+ildct",), ("+cgop",)])
    def test_interlaced_frames_of_one_packet_count_once(self, folder, flags):
        path = folder / f"interlaced{len(flags[0])}.mts"
        ffmpeg(*PICTURES, "-frames:v", 2 * FRAMES, "-vf", "interlace", *H264, "-bf", "2", "-flags", *flags, path)
        check_readable(path, 2 * FRAMES, in_order(path))

    @pytest.mark.parametrize(("suffix", "codec"), [("asf", "msmpeg4v3"), ("wmv", "wmv2"), ("wtv", "mpeg2video")])
    def test_sound_may_go_on_after_the_last_picture(self, folder, suffix, codec):
        path = folder / f"long_sound.{suffix}"
        sound = ("-f", "lavfi", "-i", "sine=duration=5")
        ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=2", *sound, "-c:v", codec, path)
        with av.open(str(path)) as container:
            assert container.duration > 4.9e6
        check_readable(path, FRAMES, in_order(path, 0))

    def test_the_clock_of_an_avi_is_not_its_frames(self, folder):
        """From a webm, whose clock has milliseconds: the header counts 2,000 steps of it, of which 50 hold a frame."""
        source = ffmpeg(*PICTURES, "-frames:v", FRAMES, "-c:v", "libvpx", "-auto-alt-ref", "0", folder / "plain.webm")
        check_readable(ffmpeg("-i", source, "-c", "copy", folder / "clock.avi"), FRAMES)


CODINGS = {
    "mpeg4.mp4": ("-c:v", "mpeg4", "-g", "10"),
    "h264.mkv": ("-c:v", "libx264", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-g", "10", "-lag-in-frames", "0"),
    "mjpeg.avi": ("-c:v", "mjpeg"),
}


class TestDamage:
    """B.6: it does no harm between the frames that are asked for."""

    def test_what_is_left_of_a_ruin_is_not_the_whole_film(self, folder):
        """Frames that are counted as they come out close the gaps: fifteen of fifty would be a film of 0.6 s."""
        path = ffmpeg(*PICTURES, "-frames:v", FRAMES, "-c:v", "mpeg4", "-bf", "2", "-g", "10", folder / "ruin.avi")
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        content = bytearray(path.read_bytes())
        for begin, size in packets[15:]:
            content[begin : begin + size] = bytes(size)
        path.write_bytes(content)
        ask = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name))
        for clip in (video.probe(path), check_clip(ask, folder, 16), take_frames(ask, folder, 16, 8).clip):
            assert clip.status == video.UNREADABLE
            assert clip.detail.startswith(f"only 15 frames come out of {len(packets)} packets")

    @pytest.mark.parametrize("name", CODINGS)
    def test_one_packet_of_fifty(self, folder, name, monkeypatch):
        path = ffmpeg(*PICTURES, "-frames:v", FRAMES, *CODINGS[name], folder / f"damaged_{name}")
        whole = in_order(path)
        with av.open(str(path)) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][25]
            begin, end = packet.pos + 8 * name.endswith(("mkv", "webm")), packet.pos + packet.size
        content = bytearray(path.read_bytes())
        content[begin:end] = bytes(end - begin)
        path.write_bytes(content)
        # Sixteen of fifty: 0, 3, 6, ... without 25.
        taken = take_frames(
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name)), folder, 16, 8
        ).clip
        words = "1 of 50 packets cannot be decoded, the first at frame 25 (1.00 s): Invalid data found when processing input"
        for clip in (video.probe(path, decode=True), filtered(folder / path.name), taken):
            assert (clip.status, clip.frames) == (OK, FRAMES)
            # Extraction tells of the damage if the packet was on its way.
            assert clip.detail == words or (clip is taken and name in ("h264.mkv", "mjpeg.avi"))
        # Of a long video only what was met is counted, and a count that fails takes no frame away.
        monkeypatch.setattr(frames, "COUNTED_SECONDS", 1.0)
        long = take_frames(
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name)), folder, 16, 8
        ).clip
        assert long.status == OK
        met = words.replace("1 of 50 packets", "1 packets on the way")
        assert long.detail == met or name in ("h264.mkv", "mjpeg.avi")
        scanned = video.scan(path)
        np.testing.assert_array_equal(decode.decode_frames(path, [24], scanned)[0], whole[24])
        np.testing.assert_array_equal(decode.decode_frames(path, [30], scanned)[0], whole[30])
        with pytest.raises(containers.VideoError, match=r"positions \[25\] \(frame 25 \(1\.00 s\): .*Invalid data"):
            decode.decode_frames(path, [24, 25, 26], scanned)
        # The other decoder may leave the frame out without a word, so that the next would be taken for it.
        assert decode._decode_with_decord(path, [24, 25, 26], scanned) is None
        # Fifty of fifty: the filter and extraction refuse it alike.
        ask = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name))
        assert (
            check_clip(ask, folder, FRAMES).status
            == take_frames(ask, folder, FRAMES, 8).clip.status
            == video.UNREADABLE
        )
        assert filtered(folder / path.name, FRAMES).status == video.UNREADABLE

    @pytest.mark.parametrize("number", [12, 50])
    def test_in_an_avi_that_was_copied_from_another_container(self, folder, number):
        """Its header's frame rate is that of the first container's clock, and only counting tells which frame is which."""
        ffmpeg(*PICTURES, "-frames:v", 4 * FRAMES, *H264, "-bf", "3", "-g", 50, folder / "reordered.mp4")
        copied = ("-c", "copy", "-bsf:v", "h264_mp4toannexb")
        path = ffmpeg("-i", folder / "reordered.mp4", *copied, folder / "copied.avi")
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 600
            packet = [packet for packet in container.demux(video=0) if packet.size][number]
        content = bytearray(path.read_bytes())
        content[packet.pos + 8 : packet.pos + 8 + packet.size] = bytes(packet.size)
        path.write_bytes(content)
        clip = filtered(folder / path.name)
        assert (clip.status, clip.fps) == (OK, pytest.approx(25))
        # The decoder gives up what depends on the damaged packet, up to the next key frame.
        assert 4 * FRAMES - 50 <= clip.frames < 4 * FRAMES
        assert clip.duration == pytest.approx(clip.frames / 25)
        assert clip.detail.startswith("1 of 200 packets cannot be decoded, the first at frame ")


class TestWhatIsSaid:
    """B.7"""

    @pytest.mark.parametrize("junk", [bytes(1000), b"hello world, some words after the end", b"\0\0\0\2ab  "])
    def test_an_mp4_may_be_followed_by_anything(self, folder, tmp_path, junk):
        (tmp_path / "longer.mp4").write_bytes((folder / "film.mp4").read_bytes() + junk)
        check_row(tmp_path / "longer.mp4", OK)

    def test_frames_that_were_promised_and_are_not_there(self, folder):
        path = ffmpeg("-i", folder / "film.mp4", "-c", "copy", "-movflags", "+faststart", folder / "promise.mp4")
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"mdat") - 4])
        check_row(path, video.TRUNCATED, "0 of 50 frames")

    @pytest.mark.parametrize(
        ("suffix", "words"), [("avi", "0 of 50 frames"), ("mkv", "ends within its header"), ("flv", "seconds")]
    )
    def test_a_header_alone(self, folder, suffix, words):
        path = ffmpeg(*PICTURES, "-frames:v", FRAMES, *H264, "-bf", "0", folder / f"header.{suffix}")
        content = bytearray(path.read_bytes())
        if suffix == "avi":  # the sizes of an AVI are right, and nothing is in it
            del content[content.index(b"movi") + 4 :]
            content[4:8] = struct.pack("<I", len(content) - 8)
            content[-8:-4] = struct.pack("<I", 4)
        else:
            first = {"mkv": b"\x1f\x43\xb6\x75", "flv": b"\x17\x01"}[suffix]  # a cluster; a key frame
            del content[content.index(first) - (11 if suffix == "flv" else 0) :]
        path.write_bytes(content)
        check_row(path, video.TRUNCATED, words)

    @pytest.mark.parametrize("codec", ["libx264", "libx265"])
    def test_a_raw_stream_has_no_times(self, folder, codec):
        path = folder / f"{codec}.{'h264' if codec == 'libx264' else 'hevc'}"
        check_row(ffmpeg(*PICTURES, "-frames:v", 5, "-c:v", codec, path), video.UNREADABLE, "no time stamps")

    @pytest.mark.parametrize("frame_rule", ["uniform", "segments"])
    def test_a_part_may_begin_while_the_last_frame_is_shown(self, folder, frame_rule):
        ask = dataclasses.replace(
            ASK, clip=dataclasses.replace(ASK.clip, path="film.mp4", start=1.97, end=9.0, frame_rule=frame_rule)
        )
        taken = take_frames(ask, folder, 4, 8)  # the last frame is shown from 1.96 to 2.00 s
        assert (taken.clip.status, taken.indices.tolist()) == (OK, [FRAMES - 1] * 4)
        over = take_frames(dataclasses.replace(ask, clip=dataclasses.replace(ask.clip, start=2.0)), folder, 4, 8)
        assert (over.clip.status, over.clip.detail) == (
            video.TOO_SHORT, "the part to look at starts at 2 s, the last frame ends at 2.00 s"
        )  # fmt: skip

    @pytest.mark.parametrize("turn", [0, 90, 180, 270])
    @pytest.mark.parametrize("flip", [(), ("-display_hflip",), ("-display_vflip",)])
    def test_pictures_are_turned_and_mirrored_as_ffmpeg_does(self, folder, turn, flip):
        path, shown = folder / f"turned{turn}{''.join(flip)}.mp4", folder / "shown.png"
        ffmpeg("-display_rotation", turn, *flip, "-i", folder / "film.mp4", "-c", "copy", path)
        ffmpeg("-i", path, "-frames:v", 1, shown)
        picture = decode.decode_frames(path, [0], video.scan(path))[0]
        np.testing.assert_array_equal(picture, np.asarray(Image.open(shown).convert("RGB")))


def refusing(method, below, number):
    """A method of `Path` that fails with an error of the system below a path."""

    def refuse(self, *args, **kwargs):
        if str(self).startswith(str(below)):
            raise OSError(number, os.strerror(number), str(self))
        return method(self, *args, **kwargs)

    return refuse


def frame_folder(path, count=5):
    path.mkdir()
    for number in range(1, count + 1):
        Image.new("RGB", (16, 16), (40 * number, 0, 0)).save(path / f"{number:05d}.jpg")
    return path


class TestARowNotACrash:
    """B.8"""

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ESTALE, errno.EIO])
    @pytest.mark.parametrize("name", ["a.mp4", "frames"])
    def test_what_may_not_be_read(self, folder, tmp_path, monkeypatch, number, name):
        """Root may read all, so the system's answer is given for it."""
        path = frame_folder(tmp_path / name) if name == "frames" else tmp_path / name
        if name != "frames":
            path.write_bytes((folder / "film.mp4").read_bytes())
        for refused in ("stat", "open") if name != "frames" else ("stat",):
            with monkeypatch.context() as patched:
                patched.setattr(Path, refused, refusing(getattr(Path, refused), path, number))
                check_row(path, video.UNREADABLE, os.strerror(number))

    def test_a_folder_that_may_not_be_listed(self, tmp_path, monkeypatch):
        path = frame_folder(tmp_path / "frames")
        monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir, path, errno.EACCES))
        check_row(path, video.UNREADABLE, "Permission denied")

    def test_a_name_that_no_system_takes(self, tmp_path):
        check_row(tmp_path / ("x" * 300), video.UNREADABLE, "File name too long")

    def test_links_to_nothing_and_to_themselves(self, tmp_path):
        (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nothing")
        check_row(tmp_path / "dangling.mp4", video.MISSING, "a link to a file that is not there")
        (tmp_path / "circle.mp4").symlink_to(tmp_path / "circle.mp4")
        clip = video.probe(tmp_path / "circle.mp4")
        assert (clip.status, "symbolic links" in clip.detail) == (video.UNREADABLE, True)

    @pytest.mark.parametrize(("target", "status"), [("nothing", video.TRUNCATED), ("00003.jpg", video.UNREADABLE)])
    def test_links_in_a_frame_folder(self, tmp_path, target, status):
        path = frame_folder(tmp_path / "frames")
        (path / "00003.jpg").unlink()
        (path / "00003.jpg").symlink_to(path / target)
        check_row(path, status, "00003.jpg")

    def test_a_pipe_in_a_frame_folder(self, tmp_path):
        path = frame_folder(tmp_path / "frames")
        (path / "00003.jpg").unlink()
        os.mkfifo(path / "00003.jpg")
        check_row(path, video.NOT_A_VIDEO, "00003.jpg: neither a file nor a folder")

    @pytest.mark.parametrize("damage", ["bomb", "text", "postscript"])
    def test_a_bad_picture(self, tmp_path, damage):
        path = frame_folder(tmp_path / "frames")
        content = bytearray((path / "00003.jpg").read_bytes())
        place = content.index(b"\xff\xc0") + 5  # height and width in the frame header
        content[place : place + 4] = struct.pack(">2H", 60_000, 60_000)
        bad = {
            "bomb": bytes(content),
            "text": b"<html>",
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        }
        (path / "00003.jpg").write_bytes(bad[damage])
        clip = take_frames(
            dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path="frames")), tmp_path, 5, 8
        ).clip
        assert (clip.status, clip.detail[:9]) == (video.UNREADABLE, "00003.jpg")
        assert video.probe(path, decode=True).status == video.UNREADABLE

    def test_hidden_files_are_no_pictures(self, tmp_path):
        path = frame_folder(tmp_path / "frames")
        (path / "._00001.jpg").write_bytes(b"\0\x05\x16\x07 what macOS leaves")
        check_readable(path, 5)

    @pytest.mark.parametrize("frame_rule", ["uniform", "segments"])
    @pytest.mark.parametrize(
        ("start", "end", "status"),
        [
            (0.0, 1e308, OK),
            (0.0, float("inf"), OK),
            (-1e308, 1.0, OK),
            (-float("inf"), float("inf"), OK),
            (1e308, 1e308, video.TOO_SHORT),
            (float("inf"), float("inf"), video.TOO_SHORT),
            (float("nan"), 1.0, video.TOO_SHORT),
            (0.0, float("nan"), video.TOO_SHORT),
        ],
    )
    def test_bounds_without_measure(self, folder, frame_rule, start, end, status):
        ask = dataclasses.replace(
            ASK, clip=dataclasses.replace(ASK.clip, path="film.mp4", start=start, end=end, frame_rule=frame_rule)
        )
        assert take_frames(ask, folder, 4, 8).clip.status == status


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "live": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfilm.mp4\n",
    "concat": "ffconcat version 1.0\nfile film.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>film.mp4</BaseURL></MPD>\n',
}


class TestOnlyTheFileItself:
    """B.9: no file but the one that was named is opened, and none for ever."""

    @pytest.mark.parametrize("kind", PLAYLISTS)
    @pytest.mark.parametrize("control", ["", "\x01", "\0"])
    @pytest.mark.parametrize("suffix", ["mp4", "m3u8", "ffconcat"])
    def test_playlists(self, folder, kind, control, suffix):
        path = folder / f"list.{suffix}"
        first, rest = PLAYLISTS[kind].split("\n", 1)
        path.write_bytes(f"{first}\n#{control}\n{rest}".encode())
        clip = video.probe(path, decode=True)
        assert clip.status in ((video.NOT_A_VIDEO, video.UNREADABLE) if control == "\0" else (video.NOT_A_VIDEO,))
        assert (
            take_frames(
                dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path=path.name)), folder, 4, 8
            ).clip.status
            == clip.status
        )

    def test_a_pattern_is_a_name(self, tmp_path):
        frame_folder(tmp_path / "frames")
        Image.new("RGB", (16, 16)).save(tmp_path / "frames" / "%05d.jpg")
        check_row(tmp_path / "frames" / "%05d.jpg", video.NOT_A_VIDEO)

    def test_an_address_is_a_name(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        for name in ("concat:film.mp4|film.mp4", "http://127.0.0.1/film.mp4", "subfile,,start,0,end,0,,:film.mp4"):
            assert video.probe(name).status == video.MISSING

    def test_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.mp4")
        check_row(tmp_path / "pipe.mp4", video.NOT_A_VIDEO, "neither a file nor a folder")

    def test_time_is_limited(self, folder, monkeypatch):
        path = folder / "film.mp4"
        scanned = video.scan(path)
        monkeypatch.setattr(containers, "TIME_LIMIT", -10.0)
        check_row(path, video.TIMED_OUT, "not done within -10 s")
        with pytest.raises(containers.VideoError, match=r"timed_out: not done within -8 s"):
            decode.decode_frames(path, [0, 20], scanned)
        with pytest.raises(containers.VideoError, match="timed_out"):
            decode._decode_with_decord(path, [0], scanned)

    def test_time_is_limited_before_the_file_is_opened_too(self, tmp_path, monkeypatch):
        """A gigabyte of the smallest boxes would take ten minutes. Without any time the walk must end, however fast the machine."""
        boxes = struct.pack(">I4s8s", 16, b"ftyp", b"isom") + struct.pack(">I4s", 8, b"free") * 400_000
        (tmp_path / "boxes.mp4").write_bytes(boxes)
        monkeypatch.setattr(containers, "TIME_LIMIT", 0.0)
        clip = video.scan(tmp_path / "boxes.mp4").clip
        assert (clip.status, clip.detail) == (video.TIMED_OUT, "not done within 0 s")

    def test_a_frame_has_a_size(self, folder, monkeypatch):
        monkeypatch.setattr(containers, "MAX_PIXELS", 128 * 96 - 1)
        check_row(folder / "film.mp4", video.UNREADABLE, "frames of 12288 pixels; allowed: 12287")


def test_a_stream_that_begins_later_ends_nothing():
    """PyAV 18 raises IndexError when it flushes a stream that an MPEG-TS announced after the beginning."""

    class Container:
        def demux(self, *_):
            yield from "abc"
            raise IndexError("list index out of range")

    assert list(containers.packets_of(Container(), containers.Deadline())) == ["a", "b", "c"]


def test_a_container_that_cannot_be_sought_is_read_in_order(folder, monkeypatch):
    """As a damaged MPEG-TS: the system refuses the seek."""
    path = folder / "film.mp4"
    scanned, whole = video.scan(path), in_order(path)
    opened = containers.open_video

    class Container:
        def __init__(self, container):
            self.demux, self.streams = container.demux, container.streams

        def seek(self, *_, **__):
            raise av.PermissionError(errno.EPERM, "Operation not permitted")

    @contextlib.contextmanager
    def unseekable(path):
        with opened(path) as container:
            yield Container(container)

    monkeypatch.setattr(decode, "open_video", unseekable)
    for index in (0, 30, 49):
        np.testing.assert_array_equal(decode._decode_with_av(path, [index], scanned)[index], whole[index])


def test_a_shard_has_a_row_for_everything(folder, tmp_path):
    """Whatever the annotation names: the shard is written, the good clip is in it."""
    root = tmp_path / "root"
    root.mkdir()
    second = frame_folder(root / "frames") / "00002.jpg"
    second.unlink()
    second.symlink_to("00002.jpg")
    (root / "good.mp4").write_bytes((folder / "film.mp4").read_bytes())
    (root / "list.mp4").write_text(PLAYLISTS["live"])
    (root / "circle.mp4").symlink_to("circle.mp4")
    os.mkfifo(root / "pipe.mp4")
    names = ["good.mp4", "list.mp4", "circle.mp4", "pipe.mp4", "frames", "good.mp4/inside.mp4", "x" * 300 + ".mp4"]
    asked = [dataclasses.replace(ASK, id=name, clip=dataclasses.replace(ASK.clip, path=name)) for name in names]
    asked.append(
        dataclasses.replace(ASK, id="far", clip=dataclasses.replace(ASK.clip, path="good.mp4", start=1e308, end=1e308))
    )
    write_jsonl(tmp_path / "q.jsonl", asked)
    counts = extract_frames(
        [tmp_path / "q.jsonl"], root, tmp_path / "s.parquet", tmp_path / "s.clips.jsonl", FrameSpec(4, 8)
    )
    clips = {clip.key: clip.status for clip in read_jsonl(tmp_path / "s.clips.jsonl", ClipStatus)}
    assert len(clips) == sum(counts.values()) == len(asked)
    assert [name for name, status in clips.items() if status == OK] == ["good.mp4"]
    assert set(clips.values()) <= set(video.STATUSES)
