"""Frames in tables: the right ones, without loss, the same however the work is cut."""

import dataclasses
import subprocess
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support import micro
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.artifacts.integrity import ChangedError
from vidreason.artifacts.provenance import write_sidecar
from vidreason.media import decode
from vidreason.media.decode import decode_frames
from vidreason.media.extract_frames import FrameSpec, check_clip, extract_frames, frame_indices, take_frames
from vidreason.media.frame_rules import segment_indices, uniform_indices
from vidreason.media.frame_store import FrameStore, clips_path_of
from vidreason.media.probe import EMPTY_FILE, MISSING, TOO_SHORT, Scan, scan
from vidreason.media.resize import resize_frames
from vidreason.records import OK, ClipRef, ClipStatus, Question
from vidreason.world.encode import encode, ffmpeg_binary, timing, with_surroundings
from vidreason.world.scenes import make_scene, render

COUNT, SIZE = 16, 32
ASK = Question("q", "mvbench", "multiple_choice", "What?", ClipRef("a.mp4"), ("x", "y"), "A")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A few clips: plain, variable, bounded in a file and in a folder, and two that cannot be used."""
    folder = tmp_path_factory.mktemp("clips")
    encode(make_scene(1), folder / "a.mp4", timing(8, "mp4"), "mp4")
    encode(make_scene(2), folder / "v.mp4", timing(8, "variable"), "variable")
    encode(make_scene(3), folder / "b.mp4", BOUNDED, "mp4", around=make_scene(4))
    encode(make_scene(5), folder / "pictures", BOUNDED_FOLDER, "frames", around=make_scene(6))
    (folder / "empty.mp4").write_bytes(b"")
    return folder


BOUNDED = with_surroundings(timing(8, "mp4"), 4.0, 3.0)
BOUNDED_FOLDER = with_surroundings(timing(16, "frames"), 5.0, 4.0)


def bounded(video, clip):
    start, end = (round(bound, 3) for bound in clip.bounds)
    return dataclasses.replace(
        ASK, clip=dataclasses.replace(ASK.clip, path=video, start=start, end=end, frame_rule="segments")
    )


def questions():
    return [
        dataclasses.replace(ASK, id="1"),
        dataclasses.replace(ASK, id="2", text="Again?"),
        dataclasses.replace(ASK, id="3", clip=dataclasses.replace(ASK.clip, path="v.mp4")),
        dataclasses.replace(bounded("b.mp4", BOUNDED), id="4"),
        dataclasses.replace(bounded("pictures", BOUNDED_FOLDER), id="5"),
        dataclasses.replace(ASK, id="6", clip=dataclasses.replace(ASK.clip, path="empty.mp4")),
        dataclasses.replace(ASK, id="7", clip=dataclasses.replace(ASK.clip, path="absent.mp4")),
    ]


def extract(root, folder, shards=1, threads=2):
    asked = folder / "questions.jsonl"
    write_jsonl(asked, questions())
    for shard in range(shards):
        extract_frames(
            [asked], root, folder / f"shard{shard}.parquet", folder / f"shard{shard}.clips.jsonl",
            FrameSpec(COUNT, SIZE, shard, shards), threads,
        )  # fmt: skip
    return FrameStore([folder / f"shard{shard}.parquet" for shard in range(shards)])


def story(seed):
    return resize_frames(np.array([render(make_scene(seed), step, 64) for step in range(16)]), SIZE)


def test_every_clip_has_a_row_with_its_status(root, tmp_path):
    store = extract(root, tmp_path)
    statuses = {key: clip.status for key, clip in store.clips.items()}
    assert statuses.pop("empty.mp4") == EMPTY_FILE
    assert statuses.pop("absent.mp4") == MISSING
    assert set(statuses.values()) == {OK}
    assert len(statuses) == 4
    with pytest.raises(KeyError, match="no frames: empty_file"):
        store.pixels("empty.mp4")
    with pytest.raises(KeyError, match="extract its frames first"):
        store.pixels("never asked")


@pytest.mark.parametrize(("number", "seed"), [(0, 1), (2, 2), (3, 3), (4, 5)])
def test_sixteen_frames_show_the_sixteen_steps(root, tmp_path, number, seed):
    """Plain, variable-rate, bounded file and bounded folder: each shows steps 0..15 of its own scene, in order."""
    pixels = extract(root, tmp_path).pixels(questions()[number].clip.key)
    assert pixels.shape == (COUNT, SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    distance = np.abs(pixels.astype(float)[:, None] - story(seed)[None]).mean(axis=(2, 3, 4))
    # Encoding moves a frame by less than 3 gray levels on average; steps that look different are further apart.
    assert np.diagonal(distance).max() < 3.0


def test_stored_pixels_are_the_decoded_and_resized_ones(root, tmp_path):
    stored = extract(root, tmp_path).frames("a.mp4")
    scanned = scan(root / "a.mp4")
    indices = uniform_indices(len(scanned.times), COUNT)
    decoded = np.array(decode_frames(root / "a.mp4", indices.tolist(), scanned))
    np.testing.assert_array_equal(stored.pixels, resize_frames(decoded, SIZE))
    np.testing.assert_array_equal(stored.indices, indices)
    np.testing.assert_array_equal(stored.timestamps, scanned.times[indices])


@pytest.mark.parametrize("name", ["film.mp4", "film.avi", "folder"])
def test_large_pictures_are_not_held_together(tmp_path, monkeypatch, name):
    """A small file may hold frames of 178 million pixels; sixteen of them, in every thread, would end the job."""
    (tmp_path / "folder").mkdir()
    codec = {"film.mp4": ["-c:v", "libx264"], "film.avi": ["-c:v", "mpeg4", "-bf", "2"]}
    target = tmp_path / ("folder/%05d.jpg" if name == "folder" else name)
    words = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-frames:v", "20", *codec.get(name, [])]
    subprocess.run([ffmpeg_binary(), "-v", "error", *words, str(target)], check=True)
    pictures = []

    def watched(make):
        def made(source):
            assert sum(picture() is not None for picture in pictures) <= 1
            picture = make(source)
            pictures.append(weakref.ref(picture))
            return picture

        return made

    for maker in ("_upright", "read_picture"):
        monkeypatch.setattr(decode, maker, watched(getattr(decode, maker)))
    question = Question("q", "nextqa", "multiple_choice", "?", ClipRef(name), ("a", "b"), "A")
    taken, judged = take_frames(question, tmp_path, COUNT, SIZE), check_clip(question, tmp_path, COUNT)
    assert (taken.clip.status, judged.status, len(taken.pixels), len(pictures)) == (OK, OK, COUNT, 2 * COUNT)


def test_shards_and_threads_change_nothing(root, tmp_path):
    stores = []
    for shards, threads in ((1, 1), (1, 3), (3, 2)):
        folder = tmp_path / f"{shards}-{threads}"
        stores.append(extract(root, folder, shards, threads))
    first = (tmp_path / "1-1" / "shard0.parquet").read_bytes()
    assert first == (tmp_path / "1-3" / "shard0.parquet").read_bytes()
    assert stores[0].clips == {key: stores[2].clips[key] for key in stores[0].clips}
    for key, clip in stores[0].clips.items():
        if clip.status == OK:
            np.testing.assert_array_equal(stores[0].pixels(key), stores[2].pixels(key))


def test_a_short_video_repeats_frames(tmp_path):
    from PIL import Image

    (tmp_path / "few").mkdir()
    for number in range(1, 4):
        Image.new("RGB", (8, 8), (80 * number, 0, 0)).save(tmp_path / "few" / f"{number:05d}.jpg")
    taken = take_frames(dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, path="few")), tmp_path, COUNT, SIZE)
    assert taken.clip.status == OK
    np.testing.assert_array_equal(taken.indices, uniform_indices(3, COUNT))
    assert taken.pixels.shape == (COUNT, SIZE, SIZE, 3)


def test_rules_are_those_of_mvbench(root):
    folder, file = scan(root / "pictures"), scan(root / "b.mp4")
    frames = len(folder.times)
    ask = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, frame_rule="segments"))
    found = frame_indices(ask, folder, COUNT)
    np.testing.assert_array_equal(found, segment_indices(frames, 3.0, COUNT, first=1) - 1)
    found = frame_indices(dataclasses.replace(ask, clip=dataclasses.replace(ask.clip, start=4.0, end=9.0)), file, COUNT)
    np.testing.assert_array_equal(found, segment_indices(len(file.times) - 1, file.clip.fps, COUNT, bound=(4.0, 9.0)))


def test_bounds_of_a_variable_rate_go_by_time_stamps():
    """Ten frames a second for 5 s, then one a second: the average rate would look far too early."""
    times = np.concatenate([np.arange(50) / 10, 5.0 + np.arange(30)])
    scanned = Scan(ClipStatus("a.mp4", OK, duration=35.0, fps=80 / 35, frames=80), times)
    ask = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, frame_rule="segments", start=10.0, end=20.0))
    found = times[frame_indices(ask, scanned, COUNT)]
    assert found.min() >= 10.0
    assert found.max() <= 20.0


def test_bounds_beyond_the_end_are_a_counted_row(root):
    ask = dataclasses.replace(ASK, clip=dataclasses.replace(ASK.clip, frame_rule="segments", start=100.0, end=120.0))
    taken = take_frames(ask, root, COUNT, SIZE)
    assert taken.clip.status == TOO_SHORT
    assert "starts at 100 s" in taken.clip.detail
    late = take_frames(dataclasses.replace(ask, clip=dataclasses.replace(ask.clip, start=7.0)), root, COUNT, SIZE)
    assert late.clip.status == OK


def test_two_rules_for_one_clip_are_refused(root, tmp_path):
    write_jsonl(
        tmp_path / "q.jsonl",
        [ASK, dataclasses.replace(ASK, id="r", clip=dataclasses.replace(ASK.clip, frame_rule="segments"))],
    )
    with pytest.raises(ValueError, match=r"'q' and 'r' ask for clip 'a.mp4' by different rules"):
        extract_frames(
            [tmp_path / "q.jsonl"], root, tmp_path / "f.parquet", tmp_path / "f.clips.jsonl", FrameSpec(4, 8)
        )


def test_a_store_refuses_what_was_changed(root, tmp_path):
    extract(root, tmp_path)
    path = tmp_path / "shard0.parquet"
    table = pq.read_table(path)
    pixels = table["pixels"].to_pylist()
    pixels[0] = bytes(len(pixels[0]))
    changed = table.set_column(table.schema.get_field_index("pixels"), table.schema.field("pixels"), [pixels])
    clip = table["clip"][0].as_py()
    with pq.ParquetWriter(path, table.schema) as writer:
        for begin in range(0, len(table), COUNT):
            writer.write_table(changed.slice(begin, COUNT))
    with pytest.raises(ValueError, match="is not what was stored"):
        FrameStore([path]).pixels(clip)
    listed = read_jsonl(tmp_path / "shard0.clips.jsonl", ClipStatus)
    write_jsonl(tmp_path / "shard0.clips.jsonl", [*listed, ClipStatus("more", OK)])
    with pytest.raises(ValueError, match=r"disagree, for example on \['more'\]"):
        FrameStore([path])


def rewritten(path, change):
    """The table of two clips with other rows, as a program that knows no better would write it; `change` gets its columns."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    change(columns)
    first = columns["clip"].index("b.mp4")
    with pq.ParquetWriter(path, table.schema) as writer:
        for rows in (slice(None, first), slice(first, None)):
            writer.write_table(pa.Table.from_pydict({k: v[rows] for k, v in columns.items()}, schema=table.schema))


def test_a_table_whose_number_of_frames_is_no_number_is_named(tmp_path):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"b.mp4": OK})
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"frames": "four"}), path)
    with pytest.raises(ValueError, match=r"shard0\.parquet: its number of frames a clip is b'four'"):
        FrameStore([path])


def drop_last(columns):
    for column in columns.values():
        column.pop()


def repeat_first(columns):
    for column in columns.values():
        column.insert(0, column[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda columns: columns["position"].__setitem__(1, 0),
            r"clip 'a.mp4' are numbered 0, 0, 2, 3; needed are 0, 1, 2, 3",
        ),
        (lambda columns: columns["position"].__setitem__(1, None), "are numbered 0, None, 2, 3"),
        (lambda columns: columns["position"].reverse(), "are numbered 3, 2, 1, 0"),
        (
            drop_last,
            r"clip 'b.mp4' are numbered 0, 1, 2; needed are 0, 1, 2, 3, all of one clip, and the table declares 4 frames a clip",
        ),
        (repeat_first, r"are numbered 0, 0, 1 \.\.\. 3"),
        (lambda columns: columns["clip"].__setitem__(1, "c.mp4"), "clip 'a.mp4', 'c.mp4' are numbered"),
    ],
)
def test_a_table_knows_how_many_frames_a_clip_has_and_their_order(tmp_path, change, words):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK, "b": OK})
    assert FrameStore([path]).count == micro.FRAMES == 4
    rewritten(path, change)
    with pytest.raises(ValueError, match=rf"{words}.*Remove the table to have it extracted again"):
        FrameStore([path])


def test_a_clip_twice_and_shards_of_other_lengths_are_refused(root, tmp_path, monkeypatch):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK, "b": OK})
    extract(root, tmp_path / "other")
    with pytest.raises(
        ValueError, match=r"needed are 0, 1, 2, 3, all of one clip, and the table declares 16 frames a clip"
    ):
        FrameStore([path, tmp_path / "other/shard0.parquet"])
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        for begin in (0, 4, 0):
            writer.write_table(table.slice(begin, 4))
    with pytest.raises(ValueError, match=r"clip 'a.mp4' is in it twice"):
        FrameStore([path])


@pytest.mark.parametrize(
    ("column", "value"),
    [("height", SIZE), ("width", None), ("index", None), ("timestamp", None), ("pixels", b""), ("sha256", None)],
)
def test_a_frame_of_another_size_and_missing_values_are_no_frames(tmp_path, column, value):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK, "b": OK})
    rewritten(path, lambda columns: columns[column].__setitem__(1, value))
    store = FrameStore([path])
    with pytest.raises(ValueError, match=r"shard0.parquet: frame 1 of clip 'a.mp4' is not what was stored"):
        store.pixels("a.mp4")
    assert store.pixels("b.mp4").shape == (4, micro.SIZE, micro.SIZE, 3)


def test_another_table_is_no_frame_table(tmp_path):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK})
    pq.write_table(pq.read_table(path).drop_columns("position"), path)
    with pytest.raises(ValueError, match=r"shard0.parquet: not a frame table: its columns are"):
        FrameStore([path])


@pytest.mark.parametrize("name", ["shard0.parquet", "shard0.clips.jsonl"])
def test_a_table_or_list_that_was_changed_since_it_was_made_is_refused(tmp_path, name):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK})
    for file in (path, clips_path_of(path)):
        write_sidecar(file, [], {}, ["vidreason.artifacts.files"])
    FrameStore([path])
    with (tmp_path / name).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(ChangedError, match=rf"{name}: changed since it was made"):
        FrameStore([path])


def test_a_wrong_shard_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match="shard 2 of 2"):
        FrameSpec(4, 8, shard=2, shards=2)


@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: b"x" * 99]
)
def test_a_damaged_table_is_named(tmp_path, damage):
    path = micro.write_frames(tmp_path / "shard0.parquet", {"a": OK})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"shard0\.parquet: not a whole frame table .*; extract it again"):
        FrameStore([path])
