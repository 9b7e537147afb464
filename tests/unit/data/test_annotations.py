"""Annotation files as people have them: byte-order marks, keys given twice, odd names, marks of the template."""

import codecs
import copy
import json
import shutil
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.filtering import filter_rules
from tests.unit.data.test_nextqa import COLD, CONVERSATION, PROBLEM, changed
from vidreason.artifacts.files import read_json, read_json_lines, read_jsonl, write_jsonl
from vidreason.data import coldstart, nextqa, video_mme
from vidreason.data.filter_questions import FilterFiles, filter_questions
from vidreason.data.registry import Source, read_questions
from vidreason.models.tinyllava import template as prompts
from vidreason.models.tinyllava.checkpoint import read_config
from vidreason.models.tinyllava.checkpoint_files import copy_tokenizer
from vidreason.models.tinyllava.tokenizer import load_tokenizer
from vidreason.models.tinyllava.weights import CheckpointError
from vidreason.records import NO_OPTION, Question
from vidreason.tasks.chat_tokens import mark_in

ROOT = Path(__file__).parents[3]
PLAIN = {"video": "v.mp4", "question": "Which?", "candidates": ["x", "y"], "answer": "x"}
MMVU = {
    "id": "validation_0",
    "video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/Art/0.mp4",
    "question_type": "multiple-choice",
    "metadata": {"subject": "Art"},
    "question": "Which law?",
    "choices": {"A": "Ohm", "B": "Hooke"},
    "answer": "B",
}
ROW = {
    "videoID": "v", "duration": "short", "question_id": "001-1", "task_type": "Counting", "question": "How many?",
    "options": ["A. Two.", "B. Three."], "answer": "A",
}  # fmt: skip
SOUND = {
    "mvbench": ("json/moving_count.json", PLAIN),
    "mlvu": ("MLVU/json/4_count.json", PLAIN),
    "mmvu": ("validation.json", MMVU),
    "nextqa": ("0_30_s_nextqa_mc_qa_processed.json", CONVERSATION),
    "coldstart": ("nextqa-coldstart-16.json", COLD),
}


def put(root, dataset, content):
    """Write an annotation file: records, a text or bytes."""
    path = root / SOUND[dataset][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SOUND)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_and_the_line_ends_of_windows_are_read(tmp_path, dataset, encoding):
    record = SOUND[dataset][1]
    put(tmp_path, dataset, [record])
    plain = read_questions(dataset, tmp_path)
    put(tmp_path, dataset, json.dumps([record], indent=2).replace("\n", "\r\n").encode(encoding))
    assert read_questions(dataset, tmp_path) == plain


def test_json_lines_with_a_byte_order_mark_at_the_start_and_where_two_files_meet(tmp_path):
    lines = [json.dumps({**PROBLEM, "problem_id": number, "video_filename": f"a/{number}.mp4"}) for number in (1, 2)]
    content = codecs.BOM_UTF8 + "\r\n".join(lines).encode() + b"\r\n\r\n"
    (tmp_path / "b.jsonl").write_bytes(content)
    assert [question.id for question in nextqa.read(Source(tmp_path, "b.jsonl"))] == ["a-1-0", "a-2-0"]
    (tmp_path / "b.jsonl").write_bytes(codecs.BOM_UTF8 + b"\n" + codecs.BOM_UTF8 + lines[0].encode())
    assert len(nextqa.read(Source(tmp_path, "b.jsonl"))) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_lines_of_other_encodings(tmp_path, encoding):
    lines = [json.dumps({**PROBLEM, "problem_id": number, "video_filename": f"a/{number}.mp4"}) for number in (1, 2)]
    content = "\r\n".join(lines).encode(encoding)
    (tmp_path / "b.jsonl").write_bytes(content)
    assert [question.id for question in nextqa.read(Source(tmp_path, "b.jsonl"))] == ["a-1-0", "a-2-0"]
    (tmp_path / "b.jsonl").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"b\.jsonl:2: not JSON"):
        nextqa.read(Source(tmp_path, "b.jsonl"))
    half = content.replace("Options".encode(encoding)[-2:], b"\x00\xd8" if encoding != "utf-16-be" else b"\xd8\x00", 1)
    if encoding != "utf-32":
        (tmp_path / "b.jsonl").write_bytes(half)
        with pytest.raises(ValueError, match=r"b\.jsonl:1: not JSON"):
            nextqa.read(Source(tmp_path, "b.jsonl"))


def test_a_checkpoints_config_with_a_byte_order_mark_is_read_and_a_key_given_twice_is_refused(tmp_path):
    content = '{"model_type": "tinyllava", "text_config": {"hidden_size": 16, "hidden_size": 32}}'
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json: text_config: the key 'hidden_size' comes twice"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('\ufeff{"model_type": "llama"}', encoding="utf-8")
    assert read_json(tmp_path / "config.json") == {"model_type": "llama"}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"])
def test_a_checkpoints_tokenizer_with_a_byte_order_mark_is_read_and_imported_without_it(tmp_path, name):
    whole = shutil.copytree(ROOT / "tests/golden/checkpoint", tmp_path / "given")
    expected = load_tokenizer(whole)("a red ball").input_ids
    (whole / name).write_bytes(codecs.BOM_UTF8 + (whole / name).read_bytes())
    assert load_tokenizer(whole)("a red ball").input_ids == expected
    copied = tmp_path / "copied"
    copied.mkdir()
    copy_tokenizer(whole, copied)
    assert (copied / name).read_bytes() == (ROOT / "tests/golden/checkpoint" / name).read_bytes()


@pytest.mark.parametrize("dataset", SOUND)
def test_a_key_given_twice_is_refused_with_its_record(tmp_path, dataset):
    record = json.dumps(SOUND[dataset][1])
    twice = record.replace('"video": ', '"video": "other.mp4", "video": ')
    path = put(tmp_path, dataset, f"[{record}, {twice}]")
    with pytest.raises(ValueError, match=rf"{path.name}: record 2 .*: the key 'video' comes twice in one object"):
        read_questions(dataset, tmp_path)


def test_a_key_given_twice_deep_inside_is_found(tmp_path):
    twice = json.dumps(MMVU).replace('"A": "Ohm"', '"A": "Ohm", "A": "Watt"')
    put(tmp_path, "mmvu", f"[{json.dumps(MMVU)}, {twice}]")
    with pytest.raises(ValueError, match=r"validation.json: record 2 .*, choices: the key 'A' comes twice"):
        read_questions("mmvu", tmp_path)
    # The first object is lost to Python; the key that lost it is named.
    (tmp_path / "a.json").write_text('{"a": {"x": 1, "x": 2}, "a": {}}')
    with pytest.raises(ValueError, match=r"a.json: the key 'a' comes twice"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n\n{"b": {"x": 1, "x": 2}}\n')
    with pytest.raises(ValueError, match=r"b.jsonl:3: b: the key 'x' comes twice"):
        read_json_lines(tmp_path / "b.jsonl")


# --- Records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SOUND)
@pytest.mark.parametrize(
    ("bad", "words"),
    [([], "expected a JSON object, found list"), (None, "expected a JSON object, found NoneType"), ({}, "no key")],
)
def test_a_record_of_another_kind_is_named_by_file_and_number(tmp_path, dataset, bad, words):
    path = put(tmp_path, dataset, [SOUND[dataset][1], bad])
    with pytest.raises(ValueError, match=rf"{path.name}: record 2: {words}.*\(records are counted from 1\)"):
        read_questions(dataset, tmp_path)


def test_every_file_counts_its_own_records(tmp_path):
    for name in ("1_plotQA", "2_needle", "4_count"):
        records = [PLAIN, PLAIN, {**PLAIN, "video": ""} if name == "4_count" else PLAIN]
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=r"4_count.json: record 3: the video '' is no path inside the data set"):
        read_questions("mlvu", tmp_path)


@pytest.mark.parametrize("dataset", ["mvbench", "mlvu"])
@pytest.mark.parametrize(
    ("candidates", "answer", "expected"),
    [
        (["x ", "y"], "x ", "A"),  # as published, to the last blank
        (["x ", "y"], "x", NO_OPTION),
        (["X", "y"], "x", NO_OPTION),
        ([1, 2.5, "3"], 2.5, "B"),
        ([1, 2, 3], "3", "C"),
        (["", "y"], "", "A"),
        (["", ""], "", "B"),
        (["only"], "only", "A"),
        (["only"], "other", NO_OPTION),
        (list("abcdefghij"), "j", "J"),
    ],
)
def test_the_answer_is_the_last_candidate_that_equals_it(tmp_path, dataset, candidates, answer, expected):
    put(tmp_path, dataset, [{**PLAIN, "candidates": candidates, "answer": answer}])
    (question,) = read_questions(dataset, tmp_path)
    assert question.gold == expected
    assert question.options == tuple(map(str, candidates))


@pytest.mark.parametrize("dataset", ["mvbench", "mlvu"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"candidates": []}, "0 options; allowed: 1 to 10"),
        ({"candidates": list("abcdefghijk"), "answer": "k"}, "11 options; allowed: 1 to 10"),
        ({"candidates": ["x", None]}, r"candidates\[1\] is 'None'"),
        ({"candidates": ["x", ["y"]]}, r"candidates\[1\] is"),
        ({"candidates": [float("nan"), 1]}, r"candidates\[0\] is 'nan' \(float\)"),
        ({"candidates": [float("inf"), 1]}, r"candidates\[0\] is 'inf' \(float\)"),
        ({"answer": None}, "answer is 'None'"),
        ({"question": "\ud800"}, "question is"),
        ({"video": "/v.mp4"}, "is no path inside the data set"),
        ({"video": "."}, "is no path inside the data set"),
        ({"video": "../v.mp4"}, "is no path inside the data set"),
    ],
)
def test_what_is_no_question_is_refused_with_its_record(tmp_path, dataset, changes, words):
    path = put(tmp_path, dataset, [PLAIN, PLAIN, {**PLAIN, **changes}])
    with pytest.raises(ValueError, match=rf"{path.name}: record 3: .*{words}"):
        read_questions(dataset, tmp_path)


@pytest.mark.parametrize(
    ("dataset", "changes"), [("mvbench", {"question": ""}), ("mlvu", {"question": " "}), ("mmvu", {"question": ""})]
)
def test_a_benchmarks_empty_question_counts(tmp_path, dataset, changes):
    put(tmp_path, dataset, [{**SOUND[dataset][1], **changes}])
    assert len(read_questions(dataset, tmp_path)) == 1


def test_an_empty_question_of_video_mme_counts_and_one_option_is_enough(tmp_path):
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir()
    rows = [{**ROW, "question": ""}, {**ROW, "question_id": "001-2", "options": ["A. Two."]}]
    pandas.DataFrame(rows).to_parquet(table)
    assert [question.letters for question in read_questions("video_mme", tmp_path)] == ["AB", "A"]


def test_a_letter_that_is_not_given_is_no_option_unless_all_are_withheld(tmp_path):
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir()
    empty = {**ROW, "question_id": "001-2", "question": "", "options": ["", "", "", ""], "answer": ""}
    pandas.DataFrame([ROW, empty]).to_parquet(table)
    assert [question.gold for question in read_questions("video_mme", tmp_path)] == ["A", NO_OPTION]
    assert read_questions("video_mme", tmp_path)[1].options == ("", "", "", "")
    put(tmp_path, "mmvu", [MMVU, {**MMVU, "id": "validation_1", "answer": ""}])
    assert [question.gold for question in read_questions("mmvu", tmp_path)] == ["B", NO_OPTION]
    pandas.DataFrame([empty, {**empty, "question_id": "001-3"}]).to_parquet(table)
    put(tmp_path, "mmvu", [{**MMVU, "answer": " "}])
    for dataset in ("video_mme", "mmvu"):
        with pytest.raises(ValueError, match=r"every answer is empty. Is it a test set whose answers are withheld"):
            read_questions(dataset, tmp_path)


def test_one_option_is_a_question_of_the_training_data_too(tmp_path):
    asked = changed(CONVERSATION, human="<image>\nWhy?\nA. rain.", gpt="A. rain.")
    put(tmp_path, "nextqa", [asked])
    (question,) = read_questions("nextqa", tmp_path)
    assert (question.options, question.gold) == (("rain.",), "A")


@pytest.mark.parametrize(
    "choices",
    [
        {"AB": "x", "C": "y"}, {"A": "x", "BC": "y"}, {"": "x", "A": "y"}, {"A": "x", "C": "y"}, {"a": "x", "b": "y"},
        {"B": "x", "A": "y"}, {"B": "x", "C": "y"}, {}, ["x", "y"], "AB", None, dict.fromkeys("ABCDEFGHIJK", "x"),
    ],
)  # fmt: skip
def test_choices_of_mmvu_are_lettered_one_by_one_from_a_on(tmp_path, choices):
    put(tmp_path, "mmvu", [MMVU, {**MMVU, "id": "validation_1", "choices": choices, "answer": "A"}])
    with pytest.raises(ValueError, match=r"validation.json: record 2: choices must be an object with the keys A, B, "):
        read_questions("mmvu", tmp_path)


def test_a_missing_id_or_subject_of_mmvu_is_no_word(tmp_path):
    put(tmp_path, "mmvu", [{**MMVU, "id": None, "metadata": {"subject": None}}])
    (question,) = read_questions("mmvu", tmp_path)
    assert (question.id, question.group) == ("validation_0", "")


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.sampled_from([10**400, "<image>", "A. x", "B", "\ud800", "a/b.mp4", "../x", "", "Why?\nA. x\nB. y"]),
)  # fmt: skip
KEYS = st.one_of(st.text(max_size=3), st.sampled_from("ABCDE"))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=12), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=6,
)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def with_value(value, path, other):
    """A JSON value with another one at a place."""
    if not path:
        return other
    value = copy.copy(value)
    value[path[0]] = with_value(value[path[0]], path[1:], other)
    return value


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_stands_in_a_record_it_is_read_or_refused_by_name(tmp_path, data):
    dataset = data.draw(st.sampled_from(sorted(SOUND)))
    record = SOUND[dataset][1]
    record = with_value(record, data.draw(st.sampled_from(list(places(record)))), data.draw(VALUES))
    path = put(tmp_path, dataset, [record])
    refused, questions = "", []
    try:
        questions = read_questions(dataset, tmp_path)
    except ValueError as error:
        refused = str(error)
    write_jsonl(tmp_path / "written.jsonl", questions)
    assert read_jsonl(tmp_path / "written.jsonl", Question) == questions
    assert all("\n" not in f"{one.id}{one.clip.path}{one.category}{one.group}" for one in questions)
    if dataset == "nextqa" and not questions and not refused:  # an answer whose words are none of the options
        nextqa.read(source := Source(tmp_path, path.name))
        assert [row.reason for row in source.dropped] == [nextqa.NO_GOLD]
    elif not questions:
        # An open-ended question of MMVU alone, or an answer that is not given, are no fault of the record.
        assert any(f"{path.name}: {words}" in refused for words in ("record 1: ", "no multiple-choice", "every answer"))


# --- Answers that repeat an option -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "usable"),
    [
        ("E. training.", True),
        ("E. Training", True),
        ("E.  training. ", True),
        ("E", True),
        ("(E) training.", True),
        ("E. swimming.", False),
        ("E. training. They wear kit.", False),
        ("A dog.", False),
    ],
)
@pytest.mark.parametrize("form", ["conversations", "problems"])
def test_an_answer_whose_words_are_no_option_is_dropped_and_counted(tmp_path, form, answer, usable):
    if form == "conversations":
        path = put(tmp_path, "nextqa", [CONVERSATION, changed(CONVERSATION, gpt=answer, video="a/b.mp4")])
    else:
        path = tmp_path / "b.jsonl"
        other = {**PROBLEM, "problem_id": 2, "solution": f"<answer>{answer}</answer>", "video_filename": "a/b.mp4"}
        path.write_text("\n".join(map(json.dumps, (PROBLEM, other))))
    source = Source(tmp_path, path.name)
    assert len(nextqa.read(source)) == 1 + usable
    assert [(row.id, row.reason) for row in source.dropped] == [("a-b-0", nextqa.NO_GOLD)] * (not usable)
    assert all(row.detail.endswith(f"({path}: record 2)") for row in source.dropped)


def test_a_dropped_answer_is_a_row_of_the_table(tmp_path):
    put(tmp_path, "nextqa", [changed(CONVERSATION, gpt="E. swimming."), CONVERSATION])
    written = [tmp_path / name for name in ("train", "validation", "dropped", "clips")]
    with pytest.raises(ValueError, match=r"dropped: \{'missing': 1, 'no_gold': 1\}"):
        filter_questions("nextqa", Source(tmp_path), filter_rules(), FilterFiles(*written), seed=0, expected=2)


def test_the_cold_start_does_not_imitate_a_wrong_text(tmp_path):
    wrong = changed(COLD, gpt="<think> They wear kit. </think> <answer> E. swimming. </answer>")
    put(tmp_path, "coldstart", [COLD, wrong])
    with pytest.raises(ValueError, match=r"nextqa-coldstart-16.json: record 2: the words of the answer 'E. swimming.'"):
        coldstart.read(tmp_path)


# --- Ids -------------------------------------------------------------------------------------------------------------


def test_ids_of_videos_with_one_name_are_numbered_together(tmp_path):
    videos = ["N/1/a.mp4", "M/1/a.mp4", "N/1/a.webm", "a.mp4", "a.webm", "./N/1/a.mp4", "M/1-a/0.mp4", "N//2/./b.mp4"]
    records = [
        changed(CONVERSATION, video=video, human=f"<image>\nWhy {number}?\nA. x\nB. y", gpt="A")
        for number, video in enumerate(videos)
    ]
    put(tmp_path, "nextqa", records)
    found = nextqa.read(Source(tmp_path))
    assert [question.id for question in found] == [
        "1-a-0", "1-a-1", "1-a-2", "-a-0", "-a-1", "1-a-3", "1-a-0-0", "2-b-0",
    ]  # fmt: skip
    assert found[5].clip.path == found[0].clip.path == "N/1/a.mp4", "one video has one name"
    assert found[7].clip.path == "N/2/b.mp4"
    put(tmp_path, "coldstart", [changed(COLD, video=video) for video in videos])
    cold = coldstart.read(tmp_path)
    assert len({question.id for question in cold}) == len(videos)
    assert cold[5].clip.path == "N/1/a.mp4"


def test_bounds_that_differ_in_a_millisecond_are_two_clips(tmp_path):
    path = tmp_path / "json/action_sequence.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{**PLAIN, "start": 1234.561, "end": 1240}, {**PLAIN, "start": 1234.564, "end": 1240}]))
    one, other = read_questions("mvbench", tmp_path)
    assert one.clip.key.endswith("#1234.561-1240")
    assert one.clip.key != other.clip.key


# --- Marks of the template -------------------------------------------------------------------------------------------

MARKS = ["<image>", "<|endoftext|>", "<|im_end|>", "<|image_pad|>", " ASSISTANT: ", "USER: ", "</s>"]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_in_an_annotated_thought_is_found_when_the_file_is_read(tmp_path, mark):
    thought = changed(COLD, gpt=f"<think> They{mark}wear kit. </think> <answer> E </answer>")
    put(tmp_path, "coldstart", [COLD, thought])
    with pytest.raises(
        ValueError, match=r"nextqa-coldstart-16.json: record 2: the thought holds .*, a mark of the chat"
    ):
        coldstart.read(tmp_path)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("dataset", ["nextqa", "coldstart"])
@pytest.mark.parametrize(("old", "key"), [("What are", "question"), ("running", "option B")])
def test_a_mark_in_a_question_to_learn_is_found_when_the_file_is_read(tmp_path, dataset, mark, old, key):
    record = copy.deepcopy(SOUND[dataset][1])
    record["conversations"][0]["value"] = record["conversations"][0]["value"].replace(old, f"{mark}{old}")
    path = put(tmp_path, dataset, [record])
    with pytest.raises(ValueError, match=rf"{path.name}: record 1: the {key} holds"):
        read_questions(dataset, tmp_path)


def test_every_mark_of_the_template_is_known():
    for mark in (prompts.IMAGE, prompts.END, prompts.SEPARATOR, prompts.USER, prompts.ASSISTANT):
        assert mark_in(f"x {mark} y")
    assert mark_in("The user: an assistant, a < b |> c, <think>, an image") is None


# --- Names -----------------------------------------------------------------------------------------------------------

CONTROL = ["\r", "\n", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u200f", "\u202e", "\u2066", "\ufeff", "\ud800"]


def test_a_video_of_video_mme_whose_name_no_system_takes_is_refused_by_name(tmp_path):
    """The name has 253 bytes, with its suffix 257: looking for the file would be an error of the system's."""
    (tmp_path / "data").mkdir()
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir()
    pandas.DataFrame([ROW, {**ROW, "question_id": "001-2", "videoID": "x" * 253}]).to_parquet(table)
    with pytest.raises(ValueError, match=r"parquet: record 2: the video 'data/xx.*' is no path inside the data set"):
        read_questions("video_mme", tmp_path)


@pytest.mark.parametrize("letter", CONTROL, ids=ascii)
@pytest.mark.parametrize("dataset", SOUND)
def test_a_control_character_in_a_videos_path_is_refused(tmp_path, dataset, letter):
    path = put(tmp_path, dataset, [{**SOUND[dataset][1], "video": f"a{letter}b.mp4"}])
    with pytest.raises(ValueError, match=rf"{path.name}: record 1: .*video"):
        read_questions(dataset, tmp_path)


@pytest.mark.parametrize("letter", [*CONTROL[:3], "\u2028", "\u200f", "\ud800"], ids=ascii)
@pytest.mark.parametrize("key", ["id", "subject"])
def test_a_control_character_in_an_id_or_a_group_is_refused(tmp_path, letter, key):
    name = f"a{letter}b"
    changes = {"id": name} if key == "id" else {"metadata": {"subject": name}}
    put(tmp_path, "mmvu", [MMVU, {**MMVU, "id": "validation_1", **changes}])
    with pytest.raises(ValueError, match=r"validation.json: record 2: .*(id|group|subject)"):
        read_questions("mmvu", tmp_path)


@pytest.mark.parametrize("key", ["videoID", "question_id", "task_type"])
def test_a_control_character_in_a_table_is_refused(tmp_path, key):
    table = tmp_path / video_mme.TABLE
    table.parent.mkdir()
    pandas.DataFrame([ROW, {**ROW, "question_id": "001-2", key: "a\rb"}]).to_parquet(table)
    with pytest.raises(ValueError, match=r"parquet: record 2: the (id|video|category) '.*a\\rb.*' holds U\+000D"):
        read_questions("video_mme", tmp_path)


def test_names_of_other_scripts_are_names(tmp_path):
    for video in ("видео/猫 の.mp4", "دانش\u200cآموز.mp4", "👨\u200d👩\u200d👧.mp4", "=SUM(A1).mp4", "a b,c;d.mp4"):
        put(tmp_path, "mlvu", [{**PLAIN, "video": video}])
        assert read_questions("mlvu", tmp_path)[0].clip.path.endswith(video)
