"""NExT-GQA, ReXTime, TempCompass, Video-R1 and Temporal-R1 in their published layouts, with their defects."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.hub import annotation_replicas as published
from vidreason.data import nextgqa, rextime, tempcompass, temporal_r1, video_r1
from vidreason.data.moments import CLIPPED
from vidreason.data.registry import Source, question_prompt, read_questions
from vidreason.records import NO_OPTION

# --- NExT-GQA --------------------------------------------------------------------------------------------------------


def test_nextgqa_is_read_from_its_table_and_its_segments(tmp_path):
    source = Source(published.write(tmp_path, published.nextgqa()), "val.csv")
    first, second, third = nextgqa.read_val(source)
    assert (first.id, first.gold, first.category, first.duration) == ("2435100236_7", "B", "CW", 64.0)
    assert first.text == "why did the man, in red, bend down"
    assert first.segments == ((20.9, 22.7), (23.8, 26.0), (58.5, 63.6))
    assert first.clip.path == "1101/2435100236.mp4"
    assert second.gold == "D", "of two options with the text of the answer, the last one is right"
    assert third.segments == ((42.9, 47.0),)
    assert source.repairs == {CLIPPED: 1}
    assert [(row.id, row.reason) for row in source.dropped] == [("6413546610_2", "no_segment")]
    assert nextgqa.files_of(source, nextgqa.VAL) == [
        tmp_path / name for name in ("val.csv", "gsub_val.json", "map_vid_vidorID.json")
    ]


def test_both_forms_of_nextgqa_give_the_same_questions(tmp_path):
    published.write(tmp_path, {**published.nextgqa(), **published.nextgqa_flat()})
    table, flat = (nextgqa.read_val(Source(tmp_path, name)) for name in ("val.csv", "nextgqa_val.json"))
    assert flat == [table[0], table[2]]


def test_an_answer_that_is_no_option_counts_in_the_test_split_alone(tmp_path):
    for split in ("val", "test"):
        tree = published.nextgqa(split)
        tree[f"{split}.csv"] = tree[f"{split}.csv"].replace(",barks,1,", ",howls,1,")
        published.write(tmp_path, tree)
    source = Source(tmp_path)
    assert [one.gold for one in nextgqa.read_test(source)] == ["B", "D", NO_OPTION]
    source = Source(tmp_path)
    assert len(nextgqa.read_val(source)) == 2
    assert [row.reason for row in source.dropped] == ["no_gold", "no_segment"]


def test_videos_of_nextgqa_without_a_map_are_in_one_folder(tmp_path):
    tree = published.nextgqa()
    del tree["map_vid_vidorID.json"]
    published.write(tmp_path, {**tree, "videos/2435100236.mkv": ""})
    assert nextgqa.read_val(Source(tmp_path))[0].clip.path == "videos/2435100236.mkv"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "gsub_val.json",
            None,
            r"val\.csv: the segments are not beside it; allowed: val\.csv with gsub_val\.json and ",
        ),
        ("gsub_val.json", [], r"gsub_val\.json: expected an object by video, found list"),
        (
            "gsub_val.json",
            {"2435100236": []},
            r"gsub_val\.json: video '2435100236': expected a JSON object, found list",
        ),
        ("val.csv", "video_id,question\n1,what\n", r"val\.csv: columns \['answer', 'qid'"),
        (
            "map_vid_vidorID.json",
            {"2435100236": "../x"},
            r"record 1: the path of 2435100236 '\.\./x' is no path inside",
        ),
    ],
)
def test_a_malformed_file_of_nextgqa_is_named(tmp_path, name, content, words):
    tree = published.nextgqa()
    published.write(tmp_path, {key: value for key, value in {**tree, name: content}.items() if value is not None})
    with pytest.raises(ValueError, match=words):
        nextgqa.read_val(Source(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": ["(A) x", "(C) y"]}, r"the options must begin with \(A\), \(B\), \.\."),
        ({"options": ["x", "y"]}, r"the options must begin with"),
        ({"answer": "(F)"}, r"the answer '\(F\)' names no option"),
        ({"glue": [[1]]}, r"a segment is '\[1\]'"),
    ],
)
def test_a_malformed_flat_record_is_named(tmp_path, changes, words):
    tree = published.nextgqa_flat()
    tree["nextgqa_val.json"][1] |= changes
    with pytest.raises(ValueError, match=rf"nextgqa_val\.json: record 2: {words}"):
        nextgqa.read_val(Source(published.write(tmp_path, tree)))


# --- ReXTime ---------------------------------------------------------------------------------------------------------


def test_rextime_is_read_with_its_defects(tmp_path):
    source = Source(published.write(tmp_path, published.rextime()))
    first, second = rextime.read(source)
    assert (first.id, first.gold, first.group, first.category) == ("qvh_val242", "A", "qvh", "sequential")
    assert (first.clip.path, first.segments) == ("videos/3I9-kvemtSU_510.0_660.0.mp4", ((0.0, 28.0),))
    assert (second.group, second.gold, second.segments) == ("anet", "D", ((5.0, 129.96),))
    assert [(row.id, row.reason) for row in source.dropped] == [("anet_val868", "empty_segment")]
    assert question_prompt(first).endswith("Options:\nA. they eat\nB. they run\nC. they sing\nD. they sleep")


def test_rextimes_file_without_options_says_where_they_are(tmp_path):
    record = {
        "qid": "qvh_val1",
        "query": "Why?",
        "duration": 150,
        "vid": "a_1.0_2.0",
        "relevant_windows": [[0, 28]],
        "ans": "A",
    }
    (tmp_path / "rextime_val.jsonl").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"record 1: no key \['options'\]; .* the hub's rextime_val\.json"):
        read_questions("rextime", tmp_path)
    (tmp_path / "rextime_val.jsonl").write_text(json.dumps({**record, "options": ["x", "y"]}))
    assert read_questions("rextime", tmp_path)[0].text == "Why?"


# --- TempCompass -----------------------------------------------------------------------------------------------------


def test_tempcompass_is_read_as_choices(tmp_path):
    questions = read_questions("tempcompass", published.write(tmp_path, published.tempcompass()))
    assert Counter(one.group for one in questions) == {"multi-choice": 3, "yes_no": 2, "caption_matching": 3}
    assert len({one.id for one in questions}) == 8
    by_id = {one.id: one for one in questions}
    first = by_id["multi-choice/1034419626/action/0"]
    assert (first.text, first.options, first.gold) == ("What is she doing?", ("diving", "rowing", "climbing"), "B")
    assert question_prompt(first) == "What is she doing?\nA. diving\nB. rowing\nC. climbing"
    joined = by_id["yes_no/1034419626_11090/order/0"]
    assert (joined.options, joined.gold, joined.category) == (("yes", "no"), "B", "order")
    assert joined.clip.path == "videos/1034419626_11090.mp4"
    captions = [by_id[f"caption_matching/1034419626/speed/{number}"] for number in range(3)]
    assert [one.gold for one in captions] == ["B", "A", "B"]
    assert {one.options for one in captions} == {("The boat moves slowly.", "The boat moves fast.")}
    assert {one.text for one in captions} == {"Which describes the video better?"}


LABELLED = {
    "question": "Which?\n"
    + "\n".join(f"Sentence {letter}: {letter}{letter}" for letter in "ABCDEFGHIJ")
    + "\nOption 1: x",
    "answer": "Option 1: x",
}


@pytest.mark.parametrize(
    ("kind", "item", "words"),
    [
        ("yes_no", {"question": "Is it?", "answer": "Yes"}, "the answer is 'Yes'; allowed: yes, no"),
        ("multi-choice", {"question": "What?\nA. x\nB. y", "answer": "C. z"}, "the answer 'C. z' names no option"),
        ("multi-choice", {"question": "What?", "answer": "A. z"}, r"no line begins with 'A\. '"),
        ("caption_matching", {"question": "Which?\nOption 1: x", "answer": "Option 1: x"}, "two or more labelled"),
        ("caption_matching", {"question": "Q\nOption 1: x\nOption 2: y", "answer": "Option 2: x"}, "is not one of the"),
        ("yes_no", {"question": "Is it?"}, r"yes_no\.json: video '1', 'action': no key \['answer'\]"),
        ("yes_no", "Is it?", r"yes_no\.json: video '1', 'action': expected a JSON object, found str"),
        ("yes_no", None, r"video '1', 'action': expected a JSON object, found NoneType"),
        ("caption_matching", LABELLED, r"record 1: 11 options; allowed: 1 to 10"),
    ],
)
def test_a_malformed_question_of_tempcompass_is_refused(tmp_path, kind, item, words):
    published.write(tmp_path, {f"{kind}.json": {"1": {"action": [item]}}})
    with pytest.raises(ValueError, match=words):
        read_questions("tempcompass", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": ["action"]}, r"record 2: dim is .*\(list\); expected a text"),
        ({"video_id": None}, "record 2: video_id is 'None'"),
    ],
)
def test_a_malformed_row_of_a_table_of_tempcompass_is_refused(tmp_path, change, words):
    row = {"video_id": "1", "dim": "action", "question": "Is it?", "answer": "yes"}
    lines = [json.dumps(one) for one in (row, {**row, **change})]
    (tmp_path / "yes_no.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"yes_no\.jsonl: {words}"):
        tempcompass.records_of(tmp_path / "yes_no.jsonl")


def test_tempcompass_without_files_says_where_they_were_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"no questions; looked for questions/multi-choice\.json, "):
        read_questions("tempcompass", tmp_path)
    (tmp_path / "yes_no.json").write_text("[]")
    with pytest.raises(ValueError, match=r"yes_no\.json: expected an object by video, found list"):
        read_questions("tempcompass", tmp_path)


# --- Video-R1 --------------------------------------------------------------------------------------------------------


def test_video_r1_has_five_types_about_images_and_videos(tmp_path):
    source = Source(published.write(tmp_path, published.video_r1()))
    questions = video_r1.read_rl(source)
    assert [(one.id, one.task, one.clip.kind, one.gold) for one in questions] == [
        ("1", "multiple_choice", "video", "B"),
        ("2", "numerical", "image", "3"),
        ("3", "ocr", "image", "Exit Only"),
        ("4", "free_form", "video", "A ball falls into a box."),
        ("5", "regression", "video", "12.5"),
        ("5-record6", "regression", "video", "7"),
    ]
    first = questions[0]
    assert (first.options, first.category, first.group) == (
        ("it rises", "it falls"), "multiple choice", "LLaVA-Video-178K/30_60_s_youtube_v0_1",
    )  # fmt: skip
    assert {one.clip.path for one in questions} == {"LLaVA-Video-178K/a/one.mp4", "Math/a/one.png"}
    assert question_prompt(first) == "What does the ball do? Options:\nA. it rises\nB. it falls"
    assert question_prompt(questions[1]) == "How many balls are there?"
    rows = {row.id: row for row in source.dropped}
    assert {key: row.reason for key, row in rows.items()} == {
        "": "unknown_type",
        "8": "unusable_answer",
        "9": "unusable_answer",
        "10": "unusable_text",
        "11": "unusable_answer",
    }
    assert rows[""].detail.startswith("problem_type is 'math-proof'; allowed: 'multiple choice', 'numerical', 'OCR'")
    assert rows["8"].detail.endswith("(" + str(tmp_path / "Video-R1-260k.json") + ": record 8)")
    assert rows["8"].category == "regression"


def test_the_cold_start_of_video_r1_has_its_thoughts(tmp_path):
    source = Source(published.write(tmp_path, published.video_r1(cot=True)))
    questions = video_r1.read_cot(source)
    assert [one.id for one in questions] == ["1", "2", "4", "5", "5-record6"]
    assert questions[0].demonstration == "<think>I see it: B.</think>\n<answer>B</answer>"
    assert {row.id: row.reason for row in source.dropped}["3"] == "no_thought"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_type": "audio"}, "data_type is 'audio'; allowed: image, video"),
        ({"path": "../x.mp4"}, r"the path '\.\./x\.mp4' is no path inside"),
        ({"path": ""}, "no key 'path' or 'video_filename'; the record has"),
        ({"solution": None}, r"solution is 'None' \(NoneType\)"),
    ],
)
def test_a_malformed_record_of_video_r1_stops_the_run(tmp_path, changes, words):
    tree = published.video_r1()
    tree["Video-R1-260k.json"][1] |= changes
    with pytest.raises(ValueError, match=rf"Video-R1-260k\.json: record 2: {words}"):
        video_r1.read_rl(Source(published.write(tmp_path, tree)))


def test_options_without_letters_and_solutions_without_tags_are_read(tmp_path):
    tree = published.video_r1()
    tree["Video-R1-260k.json"] = [{**tree["Video-R1-260k.json"][0], "options": ["up", "down"], "solution": " B "}]
    (question,) = video_r1.read_rl(Source(published.write(tmp_path, tree)))
    assert (question.options, question.gold) == (("up", "down"), "B")


# --- Temporal-R1 -----------------------------------------------------------------------------------------------------


def test_truths_of_temporal_r1_are_fractions(tmp_path):
    source = Source(published.write(tmp_path, published.temporal_r1()), "train.json")
    (question,) = temporal_r1.read(source)
    assert (question.id, question.segments, question.duration) == ("AO9RW-0", ((3.0, 12.0),), 30.0)
    assert question_prompt(question) == "Find: a person closes the door."
    ((row),) = source.dropped
    assert (row.id, row.reason) == ("AO9RW-1", "outside_video")


@pytest.mark.parametrize("solution", [[0.1], "0.1-0.4", {"start": 0.1}, [0.1, None]])
def test_a_malformed_truth_of_temporal_r1_is_refused(tmp_path, solution):
    tree = published.temporal_r1()
    tree["train.json"][0]["solution"] = solution
    with pytest.raises(ValueError, match=r"train\.json: record 1: solution is "):
        temporal_r1.read(Source(published.write(tmp_path, tree), "train.json"))


def test_every_kind_of_tempcompass_has_a_name_in_both_layouts():
    assert {name for kind in tempcompass.KINDS for name in tempcompass.names_of(kind)} >= {
        "questions/yes_no.json", "multi-choice/test-00000-of-00001.parquet",
    }  # fmt: skip


def test_an_id_that_looks_like_a_repeated_one_stops_nothing(tmp_path):
    record = {
        "problem": "How many?", "data_type": "image", "problem_type": "numerical", "solution": "3", "path": "a.png",
    }  # fmt: skip
    records = [{**record, "problem_id": name} for name in ("5-record2", "5", "5")]
    records[1:1] = [{**record, "problem_id": "5-record4"}]
    published.write(tmp_path, {"Video-R1-260k.json": records})
    assert [one.id for one in video_r1.read_rl(Source(tmp_path))] == [
        "5-record2",
        "5-record4",
        "5",
        "5-record4-record4",
    ]


# --- What the published code made of records ---------------------------------------------------------------------------

GOLDEN = Path(__file__).parents[2] / "golden_methods"


def test_questions_of_video_r1_are_presented_as_by_the_published_code(tmp_path):
    """Its block ends with a line break after the last option; here the instruction begins with one."""
    golden = json.loads((GOLDEN / "video_r1/prompts.json").read_text())["records"]
    solutions = {"multiple choice": "A", "numerical": "3", "regression": "3"}
    records = [
        {
            **one["record"],
            "path": "a.mp4",
            "solution": f"<answer>{solutions.get(one['record']['problem_type'], 'x')}</answer>",
        }
        for one in golden
    ]
    questions = video_r1.read_rl(Source(published.write(tmp_path, {"Video-R1-260k.json": records})))
    blocks = [question_prompt(one) + "\n" * bool(one.options) for one in questions]
    assert blocks == [one["question_block"] for one in golden]


def test_truths_of_temporal_r1_are_those_of_the_published_code(tmp_path):
    items = json.loads((GOLDEN / "temporal_r1/data.json").read_text())["items"]
    records = [item["record"] for item in items]
    questions = temporal_r1.read(Source(published.write(tmp_path, {"a.json": records}), "a.json"))
    assert [one.text for one in questions] == [record["problem"] for record in records]
    fractions = [[bound / one.duration for bound in one.segments[0]] for one in questions]
    assert fractions == [pytest.approx(item["ground_truth"]) for item in items]
