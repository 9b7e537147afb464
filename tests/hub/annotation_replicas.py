"""Small annotation files in the layouts of data sets about time, and of Video-R1, with the defects that the published files have.

The words are this project's own. `expected` of each function says what a reader must make of them.
"""

import json
from pathlib import Path
from typing import Any

Tree = dict[str, Any]
"""Path below the root -> its content: a text as it stands, anything else as JSON."""


def write(root: Path, tree: Tree) -> Path:
    """Write files below a folder; returns the folder."""
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (root / name).write_text(text, encoding="utf-8")
    return root


CHARADES_LINES = (
    "3MZRA 24.3 30.4##person turns a lamp off.",
    "3MZRA 0.0 6.9##a person folds a towel.",
    "AO9RW 2.2 31.0##a person closes the door.",  # ends 0.04 s beyond the video, as a sixth of the published ones do
    "AO9RW 5.0 32.4##person walks out of the room.",  # 1.44 s beyond: still clipped
)
CHARADES_DURATIONS = {"3MZRA": 30.96, "AO9RW": 30.96, "ZZZZZ": 12.5}


def charades(split: str = "test") -> Tree:
    """Charades-STA: lines of text, one sentence each, and `charades.json`, which knows more videos than are asked about."""
    videos = {
        name: {"subset": split, "duration": seconds, "actions": [["c092", 11.9, 21.2]]}
        for name, seconds in CHARADES_DURATIONS.items()
    }
    return {f"charades_sta_{split}.txt": "\n".join(CHARADES_LINES) + "\n", "charades.json": videos}


def charades_regrouped() -> Tree:
    """The same sentences by video, with durations."""
    grouped: dict[str, Any] = {}
    for video, start, end, text in _moments():
        entry = grouped.setdefault(video, {"duration": CHARADES_DURATIONS[video], "timestamps": [], "sentences": []})
        entry["timestamps"].append([start, end])
        entry["sentences"].append(text)
    return {"test.json": grouped}


def charades_flat() -> Tree:
    """The same sentences as flat records, without durations."""
    records = [
        {"video": f"{video}.mp4", "caption": text, "timestamp": [start, end]} for video, start, end, text in _moments()
    ]
    return {"test.json": records, "durations.json": CHARADES_DURATIONS}


def _moments() -> list[tuple[str, float, float, str]]:
    rows = (line.partition("##") for line in CHARADES_LINES)
    heads = [(head.split(), text) for head, _, text in rows]
    return [(video, float(start), float(end), text) for (video, start, end), text in heads]


def activitynet(name: str = "train.json") -> Tree:
    """ActivityNet Captions: sentences that begin with blanks, segments without length, ends beyond the video by a hundredth."""
    return {
        name: {
            "v_N8ppHQNikw8": {
                "duration": 66.22,
                "timestamps": [[10.93, 25.83], [34.77, 34.77], [61.29, 60.71], [34.77, 66.23]],
                "sentences": ["A boy digs in the sand.", " He stops.", " A girl laughs.", "  Both run away."],
            },
            "v_zLbSEo5xhVY": {
                "duration": 160.23,
                "timestamps": [[0, 160.24]],
                "sentences": ["A man paints a fence."],
            },
        }
    }


NEXTGQA_HEAD = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"


def nextgqa(split: str = "val") -> Tree:
    """NExT-GQA: answers that are texts, several segments a question, an end beyond a duration in whole seconds, videos without
    questions and questions without segments."""
    rows = (
        '2435100236,1906,640,480,"why did the man, in red, bend down",pick up a hat,7,CW,tie a shoe,pick up a hat,wave,sit,run\n'
        "2435100236,1906,640,480,what did he do afterwards,wave,8,TN,tie a shoe,wave,jump,wave,run\n"  # the answer twice
        "6413546610,1410,640,480,how does the dog react,barks,1,CH,sleeps,barks,eats,digs,swims\n"
        "6413546610,1410,640,480,what is the girl doing,reading,2,TC,singing,cooking,reading,skating,drawing\n"
    )
    segments = {
        "2435100236": {
            "duration": 64,
            "location": {"7": [[20.9, 22.7], [23.8, 26.0], [58.5, 63.6]], "8": [[1.0, 5.6]]},
            "fps": 29.97,
        },
        "6413546610": {"duration": 47, "location": {"1": [[42.9, 47.3]]}, "fps": 29.97},
        "2830899474": {"duration": 20, "location": {}, "fps": 29.97},
    }
    paths = {"2435100236": "1101/2435100236", "6413546610": "0000/6413546610", "2830899474": "0000/2830899474"}
    return {f"{split}.csv": NEXTGQA_HEAD + rows, f"gsub_{split}.json": segments, "map_vid_vidorID.json": paths}


def nextgqa_flat(split: str = "val") -> Tree:
    """Two of the same questions as flat records."""
    return {
        f"nextgqa_{split}.json": [
            {
                "id": "2435100236_7", "video": "1101/2435100236.mp4", "question": "why did the man, in red, bend down",
                "options": ["(A) tie a shoe", "(B) pick up a hat", "(C) wave", "(D) sit", "(E) run"], "duration": 64,
                "glue": [[20.9, 22.7], [23.8, 26.0], [58.5, 63.6]], "type": "CW", "answer": "(B)",
            },
            {
                "id": "6413546610_1", "video": "0000/6413546610.mp4", "question": "how does the dog react",
                "options": ["(A) sleeps", "(B) barks", "(C) eats", "(D) digs", "(E) swims"], "duration": 47,
                "glue": [[42.9, 47.3]], "type": "CH", "answer": "(B)",
            },
        ]
    }  # fmt: skip


def rextime() -> Tree:
    """ReXTime: videos of two sources, a window without length, one that ends a hundredth beyond the video."""
    base = {"options": ["they eat", "they run", "they sing", "they sleep"], "category": "sequential"}
    return {
        "rextime_val.json": [
            {
                "qid": "qvh_val242", "vid": "3I9-kvemtSU_510.0_660.0", "duration": 150, "span": [0, 28], "ans": "A",
                "question": "What did both do before they laughed?", "source": "qvhighlights_val", **base,
            },
            {
                "qid": "anet_val1315", "vid": "v_aMTi498qnPc", "duration": 129.96, "span": [5, 130], "ans": "D",
                "question": "What did she do afterwards?", "source": "ActivityNet_val_2", **base,
            },
            {
                "qid": "anet_val868", "vid": "v_bMTi498qnPc", "duration": 15.49, "span": [1, 1], "ans": "B",
                "question": "Why did he stop?", "source": "ActivityNet_val_2", **base,
            },
        ]
    }  # fmt: skip


def tempcompass() -> Tree:
    """TempCompass: options inside the question, reversed and joined videos, labels of three kinds, and captions to be written."""
    return {
        "questions/multi-choice.json": {
            "1034419626": {
                "action": [
                    {"question": "What is she doing?\nA. diving\nB. rowing\nC. climbing", "answer": "B. rowing"},
                    {"question": "Which one fits?\nA. diving\nB. rowing", "answer": "A. diving"},
                ]
            },
            "1034419626_reverse": {
                "direction": [{"question": "Where does it go?\nA. up\nB. down\nC. left\nD. right", "answer": "D. right"}]
            },
        },
        "questions/yes_no.json": {
            "1034419626": {"action": [{"question": "Is she rowing?", "answer": "yes"}]},
            "1034419626_11090": {"order": [{"question": "Does the cat come first?", "answer": "no"}]},
        },
        "questions/caption_matching.json": {
            "1034419626": {
                "speed": [
                    _matching("Option", "1", "2", 1), _matching("Sentence", "A", "B", 0), _matching("Caption", "A", "B", 1),
                ]
            }
        },
        "questions/captioning.json": {
            "1034419626": {"speed": [{"question": "Information A: {..}", "answer": "B. slow"}]}
        },
    }  # fmt: skip


def _matching(label: str, one: str, other: str, right: int) -> dict[str, str]:
    sentences = [f"{label} {one}: The boat moves slowly.", f"{label} {other}: The boat moves fast."]
    return {"question": "\n".join(["Which describes the video better?", *sentences]), "answer": sentences[right]}


def temporal_r1() -> Tree:
    """Temporal-R1: ready prompts, truths as fractions of the video; one truth given in seconds."""
    return {
        "train.json": [
            {
                "dataset": "charades_train", "video": "AO9RW.mp4", "problem": "Find: a person closes the door.",
                "solution": [0.1, 0.4], "video_length": 30.0,
            },
            {
                "dataset": "charades_train", "video": "AO9RW.mp4", "problem": "Find: a person sits down.",
                "solution": [3.0, 12.0], "video_length": 30.0,
            },
        ]
    }  # fmt: skip


def video_r1(cot: bool = False) -> Tree:
    """Video-R1: five types about images and videos, a type given as a list, a path under another key, problem numbers that repeat,
    and records that cannot be used."""
    base = {
        "data_type": "video",
        "path": "./LLaVA-Video-178K/a/one.mp4",
        "data_source": "LLaVA-Video-178K/30_60_s_youtube_v0_1",
    }
    image = {"data_type": "image", "path": "./Math/a/one.png", "data_source": "Math"}
    letters = ["A. it rises", "B. it falls"]

    def row(number: int, kind: object, problem: str, solution: str, **other: Any) -> dict[str, Any]:
        answer = f"<answer>{solution}</answer>"
        record = {
            "problem_id": number,
            "problem": problem,
            "problem_type": kind,
            "options": [],
            "solution": answer,
            **base,
            **other,
        }
        return {**record, "process": f"<think>I see it: {solution}.</think>"} if cot else record

    records = [
        row(1, "multiple choice", "What does the ball do? ", "B", options=letters),
        row(2, "numerical", "How many balls are there?", "3", **image),
        row(3, "OCR", "What does the sign say?", "Exit Only", **image),
        row(4, "free-form", "Describe the scene.", "A ball falls into a box."),
        row(5, ["regression", "object size"], "How wide is the box, in cm?", "12.5"),
        row(5, "regression", "How high is the box, in cm?", "7"),
        row(7, "math-proof", "Prove it.", "see above"),
        row(8, "regression", "How far does it move?", "0"),
        row(9, "multiple choice", "Which?", "C", options=letters),
        row(10, "free-form", "Say <image> twice.", "yes"),
        row(11, "OCR", "What does the label say?", ""),
    ]
    records[3]["video_filename"] = records[3].pop("path")
    if cot:
        records[2]["process"] = "<think>never closed"
    return {"Video-R1-COT-165k.json" if cot else "Video-R1-260k.json": records}
