"""Temporal grounding: three published forms, the published defects, and what is refused."""

import json
import math

import pytest

from tests.hub import annotation_replicas as published
from vidreason.artifacts.csv_files import read_csv
from vidreason.artifacts.files import read_jsonl
from vidreason.data import activitynet, moments
from vidreason.data.registry import Source, question_prompt, read_questions, write_questions
from vidreason.records import Question
from vidreason.tasks.grounding import Grounding

MOMENT = {"video": "v.mp4", "duration": 10.0, "timestamp": [2.0, 4.0], "caption": "A dog runs."}


def moments_of(tmp_path, *records, **source):
    (tmp_path / "train.json").write_text(json.dumps(records))
    return activitynet.read_train(Source(tmp_path, **source))


def test_activitynet_is_read_with_its_defects(tmp_path, capsys):
    published.write(tmp_path, published.activitynet("val_2.json"))
    source = Source(tmp_path)
    assert write_questions("activitynet_tvg", source, tmp_path / "q.jsonl", 5, tmp_path / "dropped.csv") == 3
    first, second, third = read_jsonl(tmp_path / "q.jsonl", Question)
    assert (first.id, first.text, first.segments, first.duration) == (
        "v_N8ppHQNikw8-0", "A boy digs in the sand.", ((10.93, 25.83),), 66.22,
    )  # fmt: skip
    assert (second.id, second.text, second.segments) == ("v_N8ppHQNikw8-3", "Both run away.", ((34.77, 66.22),))
    assert third.segments == ((0.0, 160.23),)
    assert question_prompt(first) == "When in the video does this happen: A boy digs in the sand."
    rows = read_csv(tmp_path / "dropped.csv")
    assert [(row["question"], row["reason"], row["duration"]) for row in rows] == [
        ("v_N8ppHQNikw8-1", "empty_segment", "66.220"),
        ("v_N8ppHQNikw8-2", "empty_segment", "66.220"),
    ]
    assert rows[1]["detail"] == (f"the segment 61.29 to 60.71 s has no length ({tmp_path / 'val_2.json'}: record 3)")
    assert "3 questions; 2 with an end beyond the video, clipped to it\n" in capsys.readouterr().err


def test_train_and_test_are_two_data_sets(tmp_path):
    published.write(tmp_path, published.activitynet("train.json"))
    assert {one.dataset for one in read_questions("activitynet_tvg_train", tmp_path)} == {"activitynet_tvg_train"}
    with pytest.raises(ValueError, match=r"no annotation file; looked for .*val_2\.json"):
        read_questions("activitynet_tvg", tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"timestamp": [4.0, 4.0]}, "empty_segment", "the segment 4 to 4 s has no length"),
        ({"timestamp": [4.0, 2.0]}, "empty_segment", "the segment 4 to 2 s has no length"),
        ({"timestamp": [10.0, 10.5]}, "outside_video", "the segment 10 to 10.5 s lies outside a video of 10 s"),
        ({"timestamp": [-0.5, 4.0]}, "outside_video", "the segment -0.5 to 4 s lies outside"),
        ({"timestamp": [2.0, 11.51]}, "outside_video", "the segment 2 to 11.51 s lies outside"),
        ({"duration": None}, "no_duration", "no duration is annotated for 'videos/v.mp4'"),
        ({"caption": "  "}, "no_text", "the caption is empty"),
        ({"caption": None}, "no_text", "the caption is empty"),
    ],
)
def test_what_cannot_be_used_is_set_aside_with_its_record(tmp_path, changes, reason, words):
    (tmp_path / "train.json").write_text(json.dumps([MOMENT, {**MOMENT, **changes}]))
    source = Source(tmp_path)
    (kept,) = activitynet.read_train(source)
    assert kept.id == "v-0"
    (row,) = source.dropped
    assert (row.id, row.video, row.reason) == ("v-1", "videos/v.mp4", reason)
    assert row.detail.startswith(words)
    assert row.detail.endswith(f"({tmp_path / 'train.json'}: record 2)")


def test_an_end_just_beyond_the_video_is_clipped_and_counted(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([{**MOMENT, "timestamp": [2.0, 11.5]}, MOMENT]))
    source = Source(tmp_path)
    assert [one.segments for one in activitynet.read_train(source)] == [((2.0, 10.0),), ((2.0, 4.0),)]
    assert source.repairs == {moments.CLIPPED: 1}
    assert not source.dropped


def test_where_nothing_is_left_the_first_reason_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"none of its records is a question .*record 1: the segment 4 to 2 s has no"):
        moments_of(tmp_path, {**MOMENT, "timestamp": [4.0, 2.0]}, {**MOMENT, "caption": ""})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timestamp": [2.0]}, r"a segment is '\[2\.0\]'; expected \[start, end\]"),
        ({"timestamp": "2-4"}, r"a segment is '2-4'; expected \[start, end\]"),
        ({"timestamp": ["2", 4.0]}, r"start is '2' \(str\); expected a number of seconds"),
        ({"timestamp": [True, 4.0]}, r"start is 'True' \(bool\)"),
        ({"timestamp": [2.0, math.inf]}, "end is 'inf'|Infinity"),
        ({"timestamp": [2, 10**400]}, r"end is '1000+' \(int\); expected a number of seconds"),
        ({"video": "other/v.mp4"}, "the videos 'v' and 'other/v' have one name, by which videos are found and counted"),
        ({"duration": 0}, "duration is 0; allowed: more than 0 seconds"),
        ({"duration": "ten"}, r"duration is 'ten' \(str\)"),
        ({"video": "../v.mp4"}, r"the video '\.\./v\.mp4' is no path inside"),
        ({"caption": ["x"]}, r"caption is .* \(list\); expected a text"),
        ({"caption": "Say <image>"}, "the question holds '<image>', a mark of the chat template"),
    ],
)
def test_a_malformed_record_is_refused_with_its_number(tmp_path, changes, words):
    with pytest.raises(ValueError, match=rf"train\.json.*{words}") as caught:
        moments_of(tmp_path, MOMENT, {**MOMENT, **changes})
    assert "record 2: " in str(caught.value) or "Infinity" in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"duration": 5.0, "timestamps": [[0, 1]], "sentences": []}, "must be lists of the same length"),
        ({"duration": 5.0, "timestamps": {}, "sentences": []}, "must be lists of the same length"),
        ({"timestamps": [], "sentences": []}, r"no key \['duration'\]"),
        ([], "expected a JSON object, found list"),
    ],
)
def test_a_malformed_video_is_refused_by_name(tmp_path, entry, words):
    (tmp_path / "train.json").write_text(json.dumps({"v_a": entry}))
    with pytest.raises(ValueError, match=rf"train\.json: video 'v_a': .*{words}"):
        activitynet.read_train(Source(tmp_path))


@pytest.mark.parametrize(
    ("line", "seen"), [("AO9RW 2.2##x.", "AO9RW 2.2##x."), ("AO9RW 2.2 3,1##x.", "3,1"), ("AO9RW 2.2 3.1 x.", "3.1 x.")]
)
def test_a_malformed_line_is_refused_with_its_number(tmp_path, line, seen):
    (tmp_path / "a.txt").write_text(f"AO9RW 0.0 1.0##y.\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"a\.txt: line 3: .*{seen}.*; allowed: VIDEO START END##SENTENCE"):
        moments.moment_records(tmp_path / "a.txt")


def test_a_sentence_may_hold_other_line_breaks(tmp_path):
    """Those that `str.splitlines` knows and no editor counts."""
    (tmp_path / "a.txt").write_text("AO9RW 0.0 1.0##one\u2028two\x0bthree\x85\r\nAO9RW 1.0 2.0##four\n", newline="")
    assert [one["caption"] for one in moments.moment_records(tmp_path / "a.txt")] == [
        "one\u2028two\x0bthree\x85",
        "four",
    ]


def test_a_negative_zero_is_zero(tmp_path):
    """The answer that SFT learns begins with the start, and an answer with a minus sign is none."""
    (question,) = moments_of(tmp_path, {**MOMENT, "timestamp": [-0.0, 4.0]})
    assert Grounding().answer(question) == "0.0 to 4.0"


def test_videos_are_found_in_other_folders_and_with_other_suffixes(tmp_path):
    for name in ("videos/a.webm", "b.mkv", "videos/c_1.0_2.0.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    located = moments.video_finder(tmp_path, ("videos", "."))
    assert [located(name) for name in ("a", "b", "c_1.0_2.0", "absent")] == [
        "videos/a.webm", "b.mkv", "videos/c_1.0_2.0.mp4", "videos/absent.mp4",
    ]  # fmt: skip
