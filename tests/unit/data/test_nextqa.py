"""NextQA and the cold start: both published forms, the filter, and what is said about bad records."""

import copy
import csv
import dataclasses
import functools
import json
import subprocess

import pytest

from tests.support.filtering import filter_rules
from tests.support.worlds import world_settings
from vidreason.artifacts.files import read_jsonl
from vidreason.data import coldstart, nextqa, registry
from vidreason.data.filter_questions import FilterFiles, _held_out, check_clips, filter_questions
from vidreason.data.registry import Source, dataset_of, question_prompt, read_questions
from vidreason.records import OK, TOO_LONG, ClipRef, ClipStatus, Question
from vidreason.world.encode import ffmpeg_binary, timing
from vidreason.world.layouts import Job, encode_all, write_coldstart, write_nextqa
from vidreason.world.scenes import make_scene
from vidreason.world.splits import draw_items

CONVERSATION = {
    "id": "1006-8968804598",
    "conversations": [
        {
            "from": "human",
            "value": "<image>\nWhat are they doing?\nA. eating.\nB. running.\nC. reading.\nD. sleeping.\nE. training.\n"
            "Please provide your answer by stating the letter followed by the full option.",
        },
        {"from": "gpt", "value": "E. training."},
    ],
    "data_source": "0_30_s_nextqa",
    "video": "NextQA/NExTVideo/1006/8968804598.mp4",
}
PROBLEM = {
    "problem_id": 1,
    "problem": "What are they doing?\nOptions:\nA. eating.\nB. running.\nC. reading.\nD. sleeping.\nE. training.",
    "data_type": "video",
    "solution": "<answer>E</answer>",
    "video_filename": "./NextQA/NExTVideo/1006/8968804598.mp4",
}
COLD = {
    "video": "NextQA/NExTVideo/1006/8968804598.mp4",
    "conversations": [
        {"from": "human", "value": f"<image>\n{PROBLEM['problem']}"},
        {"from": "gpt", "value": "<think> They wear kit. </think> <answer> E </answer>"},
    ],
}


def changed(record, **changes):
    """A copy with other texts: `human`, `gpt`, or keys of the record."""
    record = copy.deepcopy(record)
    for key, value in changes.items():
        if key in ("human", "gpt"):
            record["conversations"][("human", "gpt").index(key)]["value"] = value
        else:
            record[key] = value
    return record


def test_both_published_forms_give_the_same_question():
    one, other = nextqa.parse_record(CONVERSATION), nextqa.parse_record(PROBLEM)
    assert one == other
    assert one.options == ("eating.", "running.", "reading.", "sleeping.", "training.")
    assert (one.gold, one.clip.path, one.id) == ("E", "NextQA/NExTVideo/1006/8968804598.mp4", "1006-8968804598")
    assert question_prompt(one) == PROBLEM["problem"]


def test_both_published_files_give_the_same_questions(tmp_path):
    records = [CONVERSATION, changed(CONVERSATION, human="<image>\nWho?\nA. he.\nB. she.", gpt="A. he.")]
    problems = [
        PROBLEM,
        {**PROBLEM, "problem_id": 2, "problem": "Who?\nOptions:\nA. he.\nB. she.", "solution": "<answer>A</answer>"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(records))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    one, other = (nextqa.read(Source(tmp_path, name)) for name in ("a.json", "b.jsonl"))
    assert one == other
    assert [question.id for question in one] == ["1006-8968804598-0", "1006-8968804598-1"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed(CONVERSATION, gpt="F. nothing."), "'F. nothing.' names no option; allowed letters: ABCDE"),
        (changed(CONVERSATION, gpt="training"), "names no option"),
        (changed(CONVERSATION, gpt="A. training."), "the letter of one option and the words of another"),
        (changed(CONVERSATION, human="<image>\nA. eating.\nB. running.", gpt="A. eating."), "the question is empty"),
        (changed(CONVERSATION, human="<image>\nWhy?", gpt="A"), "no line begins with 'A. '"),
        (changed(CONVERSATION, human="<image>\nWhy?\nA. x\nB. y\nD. z", gpt="A"), "expected option 'C'"),
        (changed(CONVERSATION, conversations=[]), "expected one turn of 'human' and one of 'gpt'"),
        ({"video": "v.mp4"}, r"no key \['conversations'\]"),
        ({**PROBLEM, "solution": "<answer>H</answer>"}, "'H' names no option"),
        ("text", "expected a JSON object, found str"),
    ],
)
def test_a_bad_record_is_named_by_number(tmp_path, record, words):
    (tmp_path / "a.json").write_text(json.dumps([CONVERSATION, record]))
    with pytest.raises(ValueError, match=f"a.json: record 2: .*{words}"):
        nextqa.read(Source(tmp_path, "a.json"))


def test_a_repeated_problem_id_is_refused(tmp_path):
    other = {**PROBLEM, "problem": "Who?\nA. he.\nB. she.", "solution": "<answer>A</answer>"}
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps(problem) for problem in (PROBLEM, other)))
    with pytest.raises(ValueError, match="record 2: problem_id 1 was already used by record 1"):
        nextqa.read(Source(tmp_path, "b.jsonl"))


def test_a_broken_line_and_a_web_page_are_named(tmp_path):
    (tmp_path / "b.jsonl").write_text(json.dumps(PROBLEM) + '\n{"problem": ')
    with pytest.raises(ValueError, match=r"b.jsonl:2: not JSON"):
        nextqa.read(Source(tmp_path, "b.jsonl"))
    (tmp_path / "a.json").write_text("<html>")
    with pytest.raises(ValueError, match="is it a web page"):
        nextqa.read(Source(tmp_path, "a.json"))
    with pytest.raises(ValueError, match=r"no annotation file; looked for .*0_30_s_nextqa_mc_qa_processed.json"):
        nextqa.read(Source(tmp_path / "nowhere"))


def test_videos_are_found_below_the_bucket_or_below_the_root(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([CONVERSATION]))
    assert nextqa.read(Source(tmp_path, "a.json"))[0].clip.path == CONVERSATION["video"]
    inside = tmp_path / "0_30_s_nextqa" / CONVERSATION["video"]
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"")
    assert nextqa.read(Source(tmp_path, "a.json"))[0].clip.path == f"0_30_s_nextqa/{CONVERSATION['video']}"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small NextQA with three broken files and some long videos."""
    folder = tmp_path_factory.mktemp("nextqa")
    settings = world_settings({"videos": {"nextqa": 24}, "too_long_fraction": 0.3})
    items = draw_items("nextqa", settings, 5)
    write_nextqa(folder, items, 5, ("zero_byte", "truncated_webm", "corrupted"), 0.3)
    return folder, items


@pytest.mark.parametrize("seed", range(6))
def test_the_three_broken_files_are_found_whatever_the_seed(tmp_path, seed):
    items = draw_items("nextqa", world_settings({"videos": {"nextqa": 3}, "too_long_fraction": 1.0}), seed)
    write_nextqa(tmp_path, items, seed, ("zero_byte", "truncated_webm", "corrupted"))
    clips = check_clips(nextqa.read(Source(tmp_path)), tmp_path, filter_rules())
    assert [clip.status for clip in clips.values()] == ["empty_file", "truncated", "unreadable"]


def run_filter(root, out, **changes):
    settings = {"max_seconds": 30, "validation_fraction": 0.2, "seed": 1, **changes}
    paths = [out / name for name in ("train.jsonl", "validation.jsonl", "dropped.csv", "clips.jsonl")]
    rules = filter_rules(
        max_seconds=settings["max_seconds"],
        validation_fraction=settings["validation_fraction"],
        questions_limit=settings.get("limit"),
    )
    counts = filter_questions("nextqa", Source(root), rules, FilterFiles(*paths), seed=settings["seed"])
    with paths[2].open(newline="") as stream:
        dropped = list(csv.DictReader(stream))
    return (
        counts,
        read_jsonl(paths[0], Question),
        read_jsonl(paths[1], Question),
        dropped,
        read_jsonl(paths[3], ClipStatus),
    )


def test_the_filter_keeps_counts_and_explains(published, tmp_path):
    root, items = published
    counts, train, validation, dropped, clips = run_filter(root, tmp_path)
    long = [clip for clip in clips if clip.status == TOO_LONG]
    assert {clip.status for clip in clips} == {OK, "empty_file", "truncated", "unreadable", TOO_LONG}
    assert all(clip.duration >= 31 for clip in long)
    assert all(0 < clip.duration < 31 for clip in clips if clip.status == OK)
    assert len(clips) == len(items)
    assert counts.read == sum(len(item.questions) for item in items) == len(train) + len(validation) + len(dropped)
    assert counts.dropped == {
        reason: sum(row["reason"] == reason for row in dropped) for reason in {row["reason"] for row in dropped}
    }
    assert {row["reason"] for row in dropped} == {"empty_file", "truncated", "unreadable", "too_long"}
    assert all(row["detail"] for row in dropped)


@pytest.mark.parametrize(("duration", "kept"), [("whole_seconds", 4), ("exact", 2)])
def test_a_fraction_of_a_second_is_dropped_or_counts(tmp_path, duration, kept):
    """900 frames at 30000/1001 a second last 30.03 s: the publisher's whole seconds call that 30."""
    lengths = {"a": (900, "30"), "b": (749, "25"), "c": (900, "30000/1001"), "d": (772, "25"), "e": (775, "25")}
    records = []
    for name, (frames, rate) in lengths.items():
        path = tmp_path / "NextQA/NExTVideo/1" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = ["-f", "lavfi", "-i", f"color=size=32x32:rate={rate}", "-frames:v", str(frames)]
        subprocess.run([ffmpeg_binary(), "-v", "error", *source, str(path)], check=True)
        records.append({**CONVERSATION, "video": str(path.relative_to(tmp_path))})
    (tmp_path / "0_30_s_nextqa_mc_qa_processed.json").write_text(json.dumps(records))
    paths = [tmp_path / name for name in ("train.jsonl", "validation.jsonl", "dropped.csv", "clips.jsonl")]
    table = tmp_path / "durations.csv"
    counts = filter_questions(
        "nextqa", Source(tmp_path), filter_rules(duration=duration), FilterFiles(*paths, durations=table), seed=1
    )
    assert (counts.train, counts.dropped) == (kept, {TOO_LONG: 5 - kept})
    with table.open() as stream:
        rows = [
            [row[key] for key in ("longer_than", "up_to", "videos", "questions_kept")] for row in csv.DictReader(stream)
        ]
    beyond = str(int(duration == "whole_seconds"))
    assert rows == [
        ["0", "30", "2", "2"],
        ["30", "30.5", "1", beyond],
        ["30.5", "31", "2", beyond],
        ["31", "", "0", "0"],
    ]


def test_validation_is_split_by_video_and_seed(published, tmp_path):
    root, _ = published
    _, train, validation, *_ = run_filter(root, tmp_path)
    assert validation
    assert not {question.clip.path for question in train} & {question.clip.path for question in validation}
    assert run_filter(root, tmp_path)[1:3] == (train, validation)
    assert run_filter(root, tmp_path, seed=2)[2] != validation
    assert run_filter(root, tmp_path, validation_fraction=0)[2] == []
    _, last, *_ = run_filter(root, tmp_path, validation_fraction=0.99)
    assert len({question.clip.path for question in last}) == 1, "rounded up, the share would leave nothing to train on"
    counts, limited, _, dropped, _ = run_filter(root, tmp_path, limit=5)
    assert len(limited) == 5
    assert {question.id for question in limited} <= {question.id for question in train}
    cut = {row["question"] for row in dropped if row["reason"] == "over_the_limit"}
    assert cut == {question.id for question in train} - {question.id for question in limited}
    assert counts.dropped["over_the_limit"] == len(cut) == len(train) - 5
    assert counts.read == counts.train + counts.validation + sum(counts.dropped.values())


def test_repeated_records_are_dropped_and_counted(tmp_path):
    encode_all([Job(make_scene(1), tmp_path / CONVERSATION["video"], timing(5, "mp4"), "mp4")], 1)
    (tmp_path / "0_30_s_nextqa_mc_qa_processed.json").write_text(json.dumps([CONVERSATION, CONVERSATION]))
    counts, train, _, dropped, _ = run_filter(tmp_path, tmp_path)
    assert len(train) == 1
    assert counts.dropped == {nextqa.DUPLICATE: 1}
    assert dropped[0]["detail"].startswith("repeats an earlier question (")


def test_nothing_left_is_an_error(published, tmp_path):
    with pytest.raises(ValueError, match=r"none of the .* questions is left to train on; dropped: .*too_long"):
        run_filter(published[0], tmp_path, max_seconds=0.5)


def test_the_cold_start_is_read_and_checked(tmp_path):
    items = draw_items("coldstart", world_settings({"videos": {"coldstart": 3}}), 5)
    write_coldstart(tmp_path, items)
    found = read_questions("coldstart", tmp_path)
    assert [question.gold for question in found] == [item.questions[0].gold for item in items]
    assert found[0].demonstration == f"<think> {items[0].think} </think> <answer> {found[0].gold} </answer>"
    assert question_prompt(found[0]).startswith(f"{items[0].questions[0].text}\nOptions:\nA. ")


def test_a_suffix_in_the_published_text_is_not_part_of_the_options():
    suffix = "Output the thinking process in <think> </think> and final answer (option) in <answer> </answer> tags."
    human = f"{COLD['conversations'][0]['value']} {suffix}"
    assert coldstart.parse_record(changed(COLD, human=human), 0) == coldstart.parse_record(COLD, 0)


@pytest.mark.parametrize(
    ("completion", "words"),
    [
        ("E", "every tag must stand exactly once"),
        ("<think>a</think><think>b</think><answer>E</answer>", "every tag must stand exactly once"),
        ("<answer>E</answer><think>a</think>", "followed by <answer>"),
        ("<think>  </think><answer>E</answer>", "the think block is empty"),
        ("<think>a</think><answer>G</answer>", "names no option"),
        ("<think>a</think><answer></answer>", "names no option"),
    ],
)
def test_a_bad_completion_is_named(tmp_path, completion, words):
    (tmp_path / "c.json").write_text(json.dumps([COLD, changed(COLD, gpt=completion)]))
    with pytest.raises(ValueError, match=f"c.json: record 2: .*{words}"):
        coldstart.read(tmp_path, "c.json")


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (1, "before its commit d8ee1c8, when the file had 3.98 MB and more questions"),
        (5496, "have a file of 2.25 MB. Fewer questions than that: was it cut short"),
    ],
)
def test_a_count_other_than_the_papers_names_the_revision_it_looks_like(tmp_path, expected, words):
    other = changed(CONVERSATION, human=CONVERSATION["conversations"][0]["value"].replace("What are", "Where are"))
    (tmp_path / "0_30_s_nextqa_mc_qa_processed.json").write_text(json.dumps([CONVERSATION, other]))
    files = FilterFiles(*(tmp_path / name for name in ("train", "validation", "dropped", "clips")))
    with pytest.raises(ValueError, match=words) as caught:
        filter_questions("nextqa", Source(tmp_path), filter_rules(), files, seed=0, expected=expected)
    assert f"2 questions, expected are {expected}" in str(caught.value)
    assert "0_30_s_nextqa_mc_qa_processed.json has 0.00 MB" in str(caught.value)
    assert "set datasets.nextqa.questions to 2, or to null" in str(caught.value)
    assert not (tmp_path / "train").exists()


def test_what_is_trained_on_is_checked_whatever_the_reader_does(tmp_path, monkeypatch):
    (tmp_path / "0_30_s_nextqa_mc_qa_processed.json").write_text(json.dumps([CONVERSATION]))
    questions = nextqa.read(Source(tmp_path))
    bad = [dataclasses.replace(question, gold="J") for question in questions]
    changed_set = dataclasses.replace(dataset_of("nextqa"), read=lambda source: bad)
    monkeypatch.setitem(registry._datasets, "nextqa", changed_set)
    files = FilterFiles(*(tmp_path / name for name in ("train", "validation", "dropped", "clips")))
    with pytest.raises(ValueError, match=r"nextqa: question '.*': the answer 'J' is not one of the letters"):
        filter_questions("nextqa", Source(tmp_path), filter_rules(), files, seed=0)


def test_the_split_does_not_depend_on_which_form_is_read(tmp_path):
    """The conversations name a video below the bucket's folder, the other file below the root."""
    make = functools.partial(Question, "1", "nextqa", "multiple_choice", "Why?")
    names = [f"NextQA/NExTVideo/1/{number}.mp4" for number in range(20)]
    forms = [[make(ClipRef(f"{folder}{name}")) for name in names] for folder in ("", "0_30_s_nextqa/")]
    video_name = dataset_of("nextqa").video_name

    def held_out(form, seed):
        return {path.removeprefix("0_30_s_nextqa/") for path in _held_out(form, 0.2, seed, video_name)[0]}

    assert held_out(forms[0], 3) == held_out(forms[1], 3) != held_out(forms[0], 4)
    assert _held_out(forms[0], 0.2, 3, str)[0] != {
        path.removeprefix("0_30_s_nextqa/") for path in _held_out(forms[1], 0.2, 3, str)[0]
    }


def test_the_cold_starts_videos_are_found_below_the_bucket(tmp_path):
    video = tmp_path / "0_30_s_nextqa" / COLD["video"]
    video.parent.mkdir(parents=True)
    video.write_bytes(b"")
    (tmp_path / "nextqa-coldstart-16.json").write_text(json.dumps([COLD]))
    assert coldstart.read(tmp_path)[0].clip.path == f"0_30_s_nextqa/{COLD['video']}"
