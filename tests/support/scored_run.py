"""A small run written by hand: questions, predictions and world truth of two benchmarks, for the tests of the results.

Every number that the tests expect follows from the tables in this file, not from the code under test.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vidreason.artifacts.files import json_line, write_jsonl
from vidreason.config.settings import Scoring
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.records import ClipRef, ClipStatus, Completion, Prediction, Question
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms

SETTINGS = {"parser": "strict", "unparsed": "wrong", "max_missing_fraction": 0.0}
BENCHMARKS = ("video_mme", "mlvu")
CAPTION = "red ball goes left, blue box stays put"
ARMS: dict[str, dict[str, Any]] = {
    "base": {"label": "Base", "style": "option", "method": "given", "weights": "unused"},
    "coldstart": {"label": "Cold start", "style": "reason", "method": "sft", "parent": "base"},
    "r1": {"label": "R1 <ours> & co", "style": "reason", "method": "grpo", "parent": "coldstart"},
    "r1_shuffled": {
        "label": "R1, shuffled",
        "style": "reason",
        "method": "control",
        "parent": "r1",
        "view": "shuffled",
    },
}
RIGHT = {
    # Of the 8 questions of each benchmark, by number; even numbers are temporal.
    ("base", "video_mme"): {0, 1, 2},
    ("base", "mlvu"): {1, 3},
    ("coldstart", "video_mme"): {1},
    ("coldstart", "mlvu"): {1, 5},
    ("r1", "video_mme"): {0, 1, 2, 3, 4, 5},
    ("r1", "mlvu"): {0, 1, 2, 3, 5, 7},
    ("r1_shuffled", "video_mme"): {1, 3, 5},
    ("r1_shuffled", "mlvu"): {1, 3, 5, 7},
}


def questions_of(benchmark: str) -> list[Question]:
    """Eight questions on four videos, two tasks of unequal size, four options, gold letters A B C D A B C D."""
    return [
        Question(
            id=f"{benchmark}-{number}",
            dataset=benchmark,
            task="multiple_choice",
            text="Which thing comes <first>?",
            clip=ClipRef(f"clips/{number // 2}.mp4"),
            options=("ball", "box", "kite & string", "ring"),
            gold="ABCD"[number % 4],
            category="order" if number < 6 else "count",
            group=("short", "long")[number // 4],
        )
        for number in range(8)
    ]


def completion_of(arm: str, question: Question, right: bool) -> str:
    """What the arm says: a letter, or a think text (true to the clip for even numbers of r1) and an answer block."""
    letter = question.gold if right else "ABCD"[("ABCD".index(question.gold) + 1) % 4]
    if ARMS[arm]["style"] == "option":
        return letter
    number = int(question.id.split("-")[1])
    caption = CAPTION if arm == "r1" and number % 2 == 0 else "green ring stays put"
    return f"<think>{caption}. so the answer is <b>it</b></think> <answer>{letter}</answer>"


def predictions_of(arm: str, benchmark: str) -> list[Prediction]:
    """The arm's predictions for one benchmark."""
    return [
        Prediction(
            question_id=question.id,
            status="ok",
            prompt_sha256="0" * 64,
            completion=Completion(
                completion_of(arm, question, number in RIGHT[arm, benchmark]),
                tokens=1 if ARMS[arm]["style"] == "option" else 20,
                finished=True,
            ),
            question_sha256=question.sha256,
        )
        for number, question in enumerate(questions_of(benchmark))
    ]


def change(predictions: list[Prediction], number: int, **fields: Any) -> list[Prediction]:
    """The same predictions with one of them changed; `text` is that of its completion."""
    if "text" in fields:
        fields["completion"] = replace(predictions[number].completion, text=fields.pop("text"))
    return [
        replace(prediction, **fields) if place == number else prediction for place, prediction in enumerate(predictions)
    ]


def write_truth(path: Path) -> Path:
    """World truth of both benchmarks: even questions need the order of the frames."""
    rows = [
        {
            "dataset": benchmark,
            "question": question.id,
            "temporal": number % 2 == 0,
            "caption": CAPTION,
            "task": "first" if number % 2 == 0 else "colour",
        }
        for benchmark in BENCHMARKS
        for number, question in enumerate(questions_of(benchmark))
    ]
    write_jsonl(path, rows)
    return path


def score_one(
    root: Path, arm: str, benchmark: str, predictions: list[Prediction], seed: int = 0, **changes: Any
) -> tuple[Path, Path]:
    """Write the inputs of one score in two shards, score, and return (score.json, scored.jsonl)."""
    folder = root / "score" / arm / f"seed{seed}"
    questions = root / "questions" / f"{benchmark}.jsonl"
    write_jsonl(questions, questions_of(benchmark))
    shards = [root / "predict" / arm / f"seed{seed}" / benchmark / f"shard{shard}.jsonl" for shard in (0, 1)]
    write_jsonl(shards[0], predictions[::2])
    write_jsonl(shards[1], predictions[1::2])
    given = {
        "settings": SETTINGS,
        "style": ARMS[arm]["style"],
        "truth": write_truth(root / "make_world" / "truth.jsonl"),
        "known_missing": None,
    } | changes
    files = ScoreFiles(
        questions, shards, folder / f"{benchmark}.scored.jsonl", folder / f"{benchmark}.score.json", given["truth"]
    )
    score(Subject(benchmark, arm, given["style"], seed), files, Scoring(**given["settings"]), given["known_missing"])
    return files.score, files.scored


def write_run(root: Path, seeds: tuple[int, ...] = (0,)) -> ResultInputs:
    """Score every arm on both benchmarks."""
    done = [
        score_one(root, arm, benchmark, predictions_of(arm, benchmark), seed)
        for arm in ARMS
        for seed in seeds
        for benchmark in BENCHMARKS
    ]
    return ResultInputs(read_arms(ARMS), BENCHMARKS, scores=[one for one, _ in done], scored=[two for _, two in done])


def write_selection(root: Path) -> dict[str, Path]:
    """What a selection with four rollouts writes."""
    folder = root / "select_by_variance" / "coldstart" / "seed0"
    folder.mkdir(parents=True)
    histogram, dropped = folder / "histogram.csv", folder / "dropped.csv"
    bins = ((0, 5, 0), (1, 7, 7), (2, 4, 4), (3, 2, 2), (4, 1, 0))
    histogram.write_text(
        "task,measure,low,high,rollouts,questions,kept\n"
        + "".join(f"multiple_choice,correct,{k},{k},4,{questions},{kept}\n" for k, questions, kept in bins)
    )
    dropped.write_text(
        "question,task,video,reason,rollouts,correct,mean,spread\n"
        + "".join(f"q{number},multiple_choice,v.mp4,always_wrong,4,0,0.000000,0.000000\n" for number in range(5))
        + "q5,multiple_choice,v.mp4,always_right,4,4,1.000000,0.000000\nq6,multiple_choice,bad.mp4,truncated,0,,,\n"
    )
    selected = folder / "selected.jsonl"
    kept = [Question(f"k{n}", "nextqa", "multiple_choice", "?", ClipRef("v.mp4"), ("a", "b"), "A") for n in range(13)]
    write_jsonl(selected, kept)
    return {"histogram": histogram, "dropped": dropped, "selected": selected}


def write_clips(root: Path) -> list[Path]:
    """Clips of the training set in two shards, three of them broken, and of a benchmark."""
    folder = root / "extract_frames"
    shards = {
        folder / "nextqa" / "shard0.clips.jsonl": [
            ClipStatus("a.mp4", "ok", 6.0, 25.0, 150, "h264"),
            ClipStatus("zero.mp4", "empty_file", detail="0 bytes"),
        ],
        folder / "nextqa" / "shard1.clips.jsonl": [
            ClipStatus("cut.webm", "truncated", 9.0, detail="<script>alert(1)</script> 40 of 90 frames"),
            ClipStatus("noise.mp4", "unreadable", detail="moov atom not found"),
        ],
        folder / "mlvu" / "shard0.clips.jsonl": [ClipStatus("clips/0.mp4", "ok", 12.0, 25.0, 300, "h264")],
    }
    for path, clips in shards.items():
        write_jsonl(path, clips)
    return list(shards)


def as_lines(records: list[Any]) -> str:
    """Records as JSON lines, for files that a test writes itself."""
    return "".join(map(json_line, records))
