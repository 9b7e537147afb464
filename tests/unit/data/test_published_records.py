"""Records in the wording of their annotation files, character by character, and what the readers make of each.

Keys, marks, instructions and paths are the published ones (the repository stands beside each); questions and options are
examples where a quotation would not show more.
"""

import json

import pandas
import pytest

from vidreason.data import coldstart, mlvu, mmvu, mvbench, nextqa, video_mme
from vidreason.data.registry import question_prompt
from vidreason.records import NO_OPTION, ClipRef, Question


def test_llava_video_178k():
    """lmms-lab/LLaVA-Video-178K, 0_30_s_nextqa_mc_qa_processed.json."""
    text = r"""{"id": "1006-8968804598", "conversations": [{"from": "human", "value": "<image>\nQuestion?\nA. eating.\nB. rowing.\nC. reading.\nD. resting.\nE. training.\nPlease provide your answer by stating the letter followed by the full option."}, {"from": "gpt", "value": "E. training."}], "data_source": "0_30_s_nextqa", "video": "NextQA/NExTVideo/1006/8968804598.mp4"}"""
    options = ("eating.", "rowing.", "reading.", "resting.", "training.")
    expected = Question(
        "1006-8968804598",
        "nextqa",
        "multiple_choice",
        "Question?",
        ClipRef("NextQA/NExTVideo/1006/8968804598.mp4"),
        options,
        "E",
    )
    assert nextqa.parse_record(json.loads(text)) == expected
    assert question_prompt(expected) == (
        "Question?\nOptions:\nA. eating.\nB. rowing.\nC. reading.\nD. resting.\nE. training."
    )


@pytest.mark.parametrize("identity", ['"problem_id": 1, ', ""], ids=["with problem_id", "without"])
def test_tinyllava_video_r1_training_data(identity):
    """Zhang199/TinyLLaVA-Video-R1-training-data, nextqa_0-30s.jsonl; not every line has a problem_id."""
    text = (
        "{" + identity + r'"problem": "What animal is shown?\nOptions:\nA. owl.\nB. dog.\nC. cat.\nD. cow.\nE. hen.", '
        r'"data_type": "video", "solution": "<answer>C</answer>", "video_filename": "./NextQA/NExTVideo/0001/2834146886.mp4"}'
    )
    options = ("owl.", "dog.", "cat.", "cow.", "hen.")
    video = "NextQA/NExTVideo/0001/2834146886.mp4"
    expected = Question(
        "0001-2834146886", "nextqa", "multiple_choice", "What animal is shown?", ClipRef(video), options, "C"
    )
    assert nextqa.parse_record(json.loads(text)) == expected


def test_cold_start():
    """The same repository, nextqa-coldstart-16.json."""
    text = r"""{"video": "NextQA/NExTVideo/0001/2834146886.mp4", "conversations": [{"from": "human", "value": "<image>\nWhat animal is shown?\nOptions:\nA. owl.\nB. dog."}, {"from": "gpt", "value": "<think> It barks. </think> <answer> B </answer>"}]}"""
    question = coldstart.parse_record(json.loads(text), 0)
    assert (question.options, question.gold) == (("owl.", "dog."), "B")
    assert question.demonstration == "<think> It barks. </think> <answer> B </answer>"


def test_video_mme():
    """lmms-lab/Video-MME: all strings but `options`, a list (through pandas a NumPy array)."""
    row = {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Humanity & History",
        "url": "https://www.youtube.com/watch?v=fFjv93ACGo8",
        "videoID": "fFjv93ACGo8",
        "question_id": "001-1",
        "task_type": "Counting Problem",
        "question": "How many cups are there?",
        "options": ["A. Two.", "B. 3.5 or so.", "C. Four.", "D. None of the above."],
        "answer": "C",
    }
    options = ("Two.", "3.5 or so.", "Four.", "None of the above.")
    video, asked = "data/fFjv93ACGo8.mp4", "How many cups are there?"
    expected = Question(
        "001-1",
        "video_mme",
        "multiple_choice",
        asked,
        ClipRef(video),
        options,
        "C",
        category="Counting Problem",
        group="short",
    )
    assert video_mme.parse_record(row) == expected
    frame = pandas.DataFrame([row])
    assert video_mme.parse_record(frame.to_dict("records")[0]) == expected


@pytest.mark.parametrize(
    ("task", "text", "video", "bounds"),
    [
        (
            "action_sequence",
            '{"video": "ZS9XR.mp4", "question": "What happened after?", "candidates": ["Ate.", "Sat."], "answer": "Sat.", "start": 11.1, "end": 17.2}',
            "video/star/Charades_v1_480/ZS9XR.mp4",
            (11.1, 17.2),
        ),
        (
            "episodic_reasoning",
            '{"video": "friends_frames/friends_s01e01_seg02_clip_00", "question": "Why?", "candidates": ["a", "b", "c", "d", "e"], "answer": "e", "start": 0, "end": 12.4}',
            "video/tvqa/frames_fps3_hq/friends_frames/friends_s01e01_seg02_clip_00",
            (0.0, 12.4),
        ),
        (
            "fine_grained_pose",
            '{"video": "S001C001P001R001A001_rgb.avi", "question": "Which pose?", "candidates": ["a", "b"], "answer": "a"}',
            "video/nturgbd/S001C001P001R001A001_rgb.avi",
            (None, None),
        ),
        (
            "action_antonym",
            '{"video": "166583.webm", "question": "Which?", "candidates": ["a", "b", "not sure"], "answer": "not sure"}',
            "video/ssv2_video/166583.webm",
            (None, None),
        ),
        (
            "moving_direction",
            '{"video": "video_10009.mp4", "question": "Which way?", "candidates": ["a", "b"], "answer": "c"}',
            "video/clevrer/video_validation/video_10009.mp4",
            (None, None),
        ),
    ],
)
def test_mvbench(task, text, video, bounds):
    """OpenGVLab/MVBench, json/<task>.json: the answer is a text, bounds only where the task has them."""
    record = json.loads(text)
    question = mvbench.parse_record(record, task)
    assert (question.clip.path, (question.clip.start, question.clip.end)) == (video, bounds)
    assert question.options == tuple(record["candidates"])
    places = [letter for letter, option in zip("ABCDE", question.options, strict=False) if option == record["answer"]]
    assert question.gold == (places[0] if places else NO_OPTION)


def test_mlvu():
    """MLVU/MVLU, MLVU/json/2_needle.json: the task calls itself findNeedle; two answers are none of the candidates."""
    text = '{"video": "needle_32.mp4", "duration": 467.98, "question": "What does the hand hold?", "candidates": ["Pen", "Cup", "Key", "Fan"], "question_type": "findNeedle", "answer": "Key"}'
    question = mlvu.parse_record(json.loads(text), "needle", 3)
    options = ("Pen", "Cup", "Key", "Fan")
    video, asked = "video/2_needle/needle_32.mp4", "What does the hand hold?"
    assert question == Question(
        "needle-3", "mlvu", "multiple_choice", asked, ClipRef(video), options, "C", category="needle"
    )
    assert question_prompt(question) == "What does the hand hold?\n(A) Pen\n(B) Cup\n(C) Key\n(D) Fan"
    assert mlvu.parse_record({**json.loads(text), "answer": "Keys"}, "needle").gold == NO_OPTION


def test_mmvu():
    """yale-nlp/MMVU, validation.json: videos are named by URL, choices may be empty, open-ended records are not asked."""
    text = '{"id": "validation_0", "video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/Art/0.mp4", "youtube_url": "https://www.youtube.com/watch?v=x", "question_type": "multiple-choice", "metadata": {"subject": "Art", "textbook": "", "rationale": "", "knowledge": []}, "question": "Which style?", "choices": {"A": "Gothic", "B": "Baroque", "C": "", "D": "Cubism", "E": "Rococo"}, "answer": "B"}'
    question = mmvu.parse_record(json.loads(text))
    assert question == Question(
        "validation_0",
        "mmvu",
        "multiple_choice",
        "Which style?",
        ClipRef("videos/Art/0.mp4"),
        ("Gothic", "Baroque", "", "Cubism", "Rococo"),
        "B",
        group="Art",
    )
    assert question_prompt(question) == "Which style?\nA. Gothic\nB. Baroque\nC. \nD. Cubism\nE. Rococo"
    assert mmvu.parse_record({**json.loads(text), "question_type": "open-ended", "choices": {}, "answer": "x"}) is None
