"""The world in published layouts: readers find what was written, frames show it, and nothing is shared or left to chance."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.worlds import world_settings
from vidreason.artifacts.files import read_json, read_json_lines
from vidreason.data import mvbench
from vidreason.data.registry import read_questions
from vidreason.media.extract_frames import take_frames
from vidreason.media.frame_rules import segment_indices, uniform_indices
from vidreason.media.probe import probe
from vidreason.media.resize import resize_frames
from vidreason.records import OK
from vidreason.world.encode import KINDS, RATES, STEPS, can_write_all_kinds, encode, ffmpeg_binary, picture_at, timing
from vidreason.world.layouts import READER_KINDS, write_nextqa
from vidreason.world.scenes import make_scene, render
from vidreason.world.splits import (
    DATASETS,
    FIVE_TYPES,
    LATER_SPLITS,
    MOMENTS,
    MVBENCH_CATEGORIES,
    RANGE,
    SPLITS,
    draw_items,
    scene_seed,
)
from vidreason.world.write import write_world

SETTINGS = {
    "videos": {
        "nextqa": 12,
        "coldstart": 4,
        "video_mme": 12,
        "mvbench": 11,
        "mlvu": 7,
        "mmvu": 5,
        **dict.fromkeys(MOMENTS, 8),
        FIVE_TYPES: 20,
    },
    "too_long_fraction": 0.3,
    "variable_fraction": 0.3,
}
SEED = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "world"
    return root, write_world(root, world_settings(SETTINGS), SEED)


def scene_of(dataset, video, root):
    """The scene that a video shows, found among those that were drawn by what happens in it."""
    rows = [row for row in read_json_lines(root / "truth.jsonl") if (row["dataset"], row["video"]) == (dataset, video)]
    items = draw_items(dataset, world_settings(SETTINGS), SEED)
    return next(
        item.scene for item in items if [dataclasses.asdict(act) for act in item.scene.acts] == rows[0]["facts"]
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_readers_find_every_question_and_the_truth_knows_it(world, dataset):
    root, summary = world
    questions = read_questions(dataset, root / dataset)
    truth = {row["question"]: row for row in read_json_lines(root / "truth.jsonl") if row["dataset"] == dataset}
    assert summary["counts"][dataset]["questions"] == len(questions) == len(truth) > 0
    for question in questions:
        row = truth[question.id]
        assert row["video"] == question.clip.path
        assert isinstance(row["temporal"], bool)
        assert len(row["facts"]) == len(row["caption"].split(" " if row["task"] == "text" else ","))


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name != "nextqa"])
def test_sixteen_frames_of_every_clip_show_its_sixteen_steps(world, dataset):
    """Also in webm, avi, frame folders and between bounds.

    Halved chroma and quantisation move a frame by less than 3 gray levels on average; 4 x 4 cells of flat colour
    differ by far more where a step is missed.
    """
    root, _ = world
    for question in read_questions(dataset, root / dataset):
        taken = take_frames(question, root / dataset, STEPS, 32)
        assert taken.clip.status == OK, (question.clip.key, taken.clip)
        scene = scene_of(dataset, question.clip.path, root)
        story = resize_frames(np.array([picture_at(scene, step, 64) for step in range(STEPS)]), 32)
        assert np.abs(taken.pixels.astype(float) - story).mean(axis=(1, 2, 3)).max() < 3.0, question.clip.key


def test_without_bounds_another_scene_is_seen(world):
    root, _ = world
    honoured = {question.id: question for question in read_questions("mvbench", root / "mvbench")}
    ignored = {question.id: question for question in read_questions("mvbench", root / "mvbench", protocol="upstream")}
    (name,) = (key for key in honoured if key.startswith("action_sequence"))
    one, other = (take_frames(found[name], root / "mvbench", STEPS, 32).pixels for found in (honoured, ignored))
    assert honoured[name].clip.start > 2
    assert np.abs(one.astype(float) - other).mean() > 5


def test_every_reader_and_both_kinds_of_bounds_occur(world):
    root, _ = world
    tasks = [mvbench.CATEGORIES[task] for task in MVBENCH_CATEGORIES]
    assert {task.reader for task in tasks} == set(READER_KINDS)
    assert {task.reader for task in tasks if task.bounded} == {"video", "frames"}
    kinds = {
        probe(root / "mvbench" / question.clip.path).codec for question in read_questions("mvbench", root / "mvbench")
    }
    assert kinds == {"h264", "vp9", "mpeg4", "frames"}


def test_video_mme_has_every_suffix_and_duration(world):
    questions = read_questions("video_mme", world[0] / "video_mme")
    assert {Path(question.clip.path).suffix for question in questions} == {".mp4", ".MP4", ".mkv"}
    assert {question.group for question in questions} == {"short", "medium", "long"}


def test_mmvu_has_an_open_question_that_is_not_asked(world):
    root, _ = world
    records = read_json(root / "mmvu" / "validation.json")
    kinds = [record["question_type"] for record in records]
    assert kinds.count("open-ended") == 1
    assert len(read_questions("mmvu", root / "mmvu")) == len(records) - 1
    assert records[0]["video"].startswith("https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/")


def test_nextqa_durations_give_the_filter_work(world):
    root, _ = world
    questions = read_questions("nextqa", root / "nextqa")
    clips = [probe(root / "nextqa" / video) for video in sorted({question.clip.path for question in questions})]
    durations = [clip.duration for clip in clips if clip.status == OK]
    assert min(durations) < 30 < max(durations) <= 46
    assert sorted(clip.status for clip in clips if clip.status != OK) == ["empty_file", "truncated"]
    gaps = [clip for clip in clips if clip.status == OK and clip.frames == 3 * STEPS and clip.fps not in RATES]
    assert gaps, "no clip with a variable frame rate"


def test_the_same_seed_writes_the_same_bytes_whatever_the_threads(world, tmp_path):
    root, _ = world
    again = tmp_path / "again"
    write_world(again, world_settings(SETTINGS), SEED, threads=1)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    different = [str(path) for path in files if (root / path).read_bytes() != (again / path).read_bytes()]
    assert different == []


def test_a_world_without_the_further_data_sets_is_the_same_in_all_others(world, tmp_path):
    root, _ = world
    without = {**SETTINGS, "videos": {**SETTINGS["videos"], **dict.fromkeys(LATER_SPLITS, 0)}}
    write_world(tmp_path / "less", world_settings(without), SEED)
    for name in DATASETS:
        ours, less = (sorted((folder / name).rglob("*.*")) for folder in (root, tmp_path / "less"))
        if name in LATER_SPLITS:
            assert ours
            assert not less
        else:
            assert [path.relative_to(root) for path in ours] == [path.relative_to(tmp_path / "less") for path in less]
            assert [path.read_bytes() for path in ours if path.is_file()] == [
                path.read_bytes() for path in less if path.is_file()
            ]


def test_another_seed_draws_another_world():
    settings = world_settings(SETTINGS)
    one, other = (draw_items("mlvu", settings, seed) for seed in (3, 4))
    assert [item.scene.caption for item in one] != [item.scene.caption for item in other]


def test_no_two_data_sets_share_a_seed():
    ranges = [
        (scene_seed(seed, split, 0), scene_seed(seed, split, RANGE - 1))
        for seed in (0, 1, 7)
        for split in (*SPLITS, *LATER_SPLITS)
    ]
    for (low, high), (other_low, other_high) in itertools.combinations(ranges, 2):
        assert high < other_low or other_high < low
    with pytest.raises(ValueError, match="allowed: 0 <= number < 1000000"):
        scene_seed(0, "nextqa", RANGE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [5.0, 11.3, 29.0, 45.0])
def test_both_rules_see_every_step_once(kind, seconds):
    clip = timing(seconds, kind)
    steps = np.arange(clip.frames) // clip.per_step
    np.testing.assert_array_equal(steps[uniform_indices(clip.frames, STEPS)], range(STEPS))
    np.testing.assert_array_equal(steps[segment_indices(clip.frames - 1, clip.fps, STEPS)], range(STEPS))
    longest = 16 if kind == "frames" else 1.5
    assert abs(clip.duration - seconds) <= max(longest, 0.1 * seconds)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "frames"])
def test_flat_colours_survive(tmp_path, kind):
    """The middle of a thing keeps its colour to 10 of 255 gray levels: YUV in 8 bits rounds by 2 to 4, quantisation adds some."""
    scene = make_scene(21)
    path, clip = tmp_path / f"{kind}.{KINDS[kind]['format'].replace('matroska', 'mkv')}", timing(8, kind)
    encode(scene, path, clip, kind)
    from vidreason.media.decode import decode_frames
    from vidreason.media.probe import scan

    scanned = scan(path)
    found = np.array(decode_frames(path, uniform_indices(clip.frames, STEPS).tolist(), scanned), float)
    for step in range(STEPS):
        drawn = render(scene, step, 64).astype(float)
        flat = np.zeros((64, 64), bool)
        flat[4:-4, 4:-4] = True
        for down, right in itertools.product((-4, 0, 4), repeat=2):
            flat &= (np.roll(drawn, (down, right), (0, 1)) == drawn).all(-1)
        assert np.abs(found[step] - drawn)[flat].max() <= 10


def test_wrong_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vidoes\s+Extra inputs are not permitted"):
        world_settings({"vidoes": {}})
    with pytest.raises(ValueError, match=r"videos.mvbnch\s+Extra inputs are not permitted"):
        world_settings({"videos": {"mvbnch": 3}})
    with pytest.raises(ValueError, match=r"broken: unknown kinds \['odd'\]; allowed: zero_byte"):
        write_nextqa(tmp_path, [], broken=("odd",))
    with pytest.raises(ValueError, match="unknown kind of video 'gif'"):
        timing(5, "gif")
    assert not (tmp_path / "w").exists()


def test_the_summary_tells_settings_seed_and_counts(world):
    root, summary = world
    assert json.loads((root / "world.json").read_text())["seed"] == SEED
    assert summary["counts"]["video_mme"]["videos"] == 12
    assert "threads" not in summary["settings"]


@pytest.mark.parametrize("lacking", ["libx264", "-fps_mode"])
def test_an_old_or_bare_ffmpeg_is_passed_over(tmp_path, monkeypatch, lacking):
    said = [*(kind["vcodec"] for kind in KINDS.values() if "vcodec" in kind), "-fps_mode"]
    binary = tmp_path / "ffmpeg"
    for words, fit in ((said, True), ([word for word in said if word != lacking], False)):
        binary.write_text(f"#!/bin/sh\necho ' {' '.join(words)} '\n")
        binary.chmod(0o755)
        assert can_write_all_kinds(str(binary)) is fit
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "imageio_ffmpeg" in ffmpeg_binary.__wrapped__()
