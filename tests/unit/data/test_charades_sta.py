"""Charades-STA: its three forms give the same questions; its ends beyond the video, and its durations."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import annotation_replicas as published
from vidreason.data import charades_sta
from vidreason.data.moments import CLIPPED
from vidreason.data.registry import Source, read_questions


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        (published.charades(), None),
        (published.charades_regrouped(), "test.json"),
        (published.charades_flat(), "test.json"),
    ],
)
def test_three_forms_give_the_same_questions(tmp_path, tree, name):
    published.write(tmp_path, tree)
    source = Source(tmp_path, name)
    questions = charades_sta.read_test(source)
    assert [(one.id, one.text, one.segments, one.duration) for one in questions] == [
        ("3MZRA-0", "person turns a lamp off.", ((24.3, 30.4),), 30.96),
        ("3MZRA-1", "a person folds a towel.", ((0.0, 6.9),), 30.96),
        ("AO9RW-0", "a person closes the door.", ((2.2, 30.96),), 30.96),
        ("AO9RW-1", "person walks out of the room.", ((5.0, 30.96),), 30.96),
    ]
    assert (questions[0].dataset, questions[0].clip.path) == ("charades_sta", "Charades_v1_480/3MZRA.mp4")
    assert (source.repairs, source.dropped) == ({CLIPPED: 2}, [])


def test_the_hubs_table_of_half_precision(tmp_path):
    published.write(tmp_path, {"durations.json": {"3MZRA": 30.96}})
    times = pa.array([np.array([24.3, 30.4], dtype=np.float16)], pa.list_(pa.float16()))
    (tmp_path / "data").mkdir()
    pq.write_table(
        pa.table({"video": ["3MZRA.mp4"], "caption": ["person runs."], "timestamp": times}),
        tmp_path / "data/test-00000-of-00001.parquet",
    )
    (question,) = read_questions("charades_sta", tmp_path)
    assert question.segments == ((24.296875, 30.40625),)


def test_the_training_split_is_a_data_set_of_its_own(tmp_path):
    published.write(tmp_path, published.charades("train"))
    assert {one.dataset for one in read_questions("charades_sta_train", tmp_path)} == {"charades_sta_train"}
    assert charades_sta.files_of(Source(tmp_path), charades_sta.TRAIN) == [
        tmp_path / "charades_sta_train.txt", tmp_path / "charades.json",
    ]  # fmt: skip


def test_a_video_without_a_duration_is_set_aside(tmp_path):
    published.write(tmp_path, {**published.charades(), "charades.json": {"3MZRA": 30.96}})
    source = Source(tmp_path)
    assert {one.duration for one in charades_sta.read_test(source)} == {30.96}
    assert [(row.id, row.reason) for row in source.dropped] == [("AO9RW-0", "no_duration"), ("AO9RW-1", "no_duration")]


def test_lines_without_a_file_of_durations_are_refused(tmp_path):
    published.write(tmp_path, {**published.charades()})
    (tmp_path / "charades.json").unlink()
    with pytest.raises(
        ValueError, match=r"charades_sta_test\.txt gives no durations, .* charades\.json, durations\.json"
    ):
        read_questions("charades_sta", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "expected an object of videos, found list"),
        ({"AO9RW": "31"}, "the duration of 'AO9RW' is '31'"),
        ({"AO9RW": {"subset": "test"}}, "the duration of 'AO9RW' is 'None'"),
    ],
)
def test_a_malformed_file_of_durations_is_named(tmp_path, content, words):
    published.write(tmp_path, {**published.charades(), "charades.json": content})
    with pytest.raises(ValueError, match=rf"charades\.json: {words}"):
        read_questions("charades_sta", tmp_path)


def test_a_text_of_another_encoding_is_named(tmp_path):
    published.write(tmp_path, published.charades())
    (tmp_path / "charades_sta_test.txt").write_bytes("3MZRA 0 1##é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"charades_sta_test\.txt: not a text in UTF-8"):
        read_questions("charades_sta", tmp_path)
    (tmp_path / "charades_sta_test.txt").write_bytes(b"\xef\xbb\xbf3MZRA 0.0 1.0##a.\r\n")
    assert [one.text for one in read_questions("charades_sta", tmp_path)] == ["a."]
    assert json.loads((tmp_path / "charades.json").read_text())["ZZZZZ"]["duration"] == 12.5
