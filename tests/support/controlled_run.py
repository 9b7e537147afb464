"""A small run with controls, written by hand: which questions every arm answers right, asked in which way."""

from pathlib import Path
from typing import Any

from tests.support.scored_run import BENCHMARKS, SETTINGS, questions_of
from vidreason.artifacts.csv_files import write_csv
from vidreason.artifacts.files import write_jsonl
from vidreason.config.settings import Scoring
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.records import Completion, Prediction, Question
from vidreason.results.result_inputs import ResultInputs
from vidreason.results.scored_runs import read_arms
from vidreason.tasks.option_edits import OptionEdit

ARMS: dict[str, dict[str, Any]] = {
    "base": {"label": "Base", "style": "option", "method": "given"},
    "coldstart": {"label": "Cold start", "style": "reason", "method": "sft", "parent": "base"},
    "r1": {"label": "R1", "style": "reason", "method": "grpo", "parent": "coldstart"},
}
CHANGES: dict[str, dict[str, str]] = {
    "thinks": {"style": "reason"},
    "direct": {"style": "option"},
    "gray": {"view": "gray"},
    "permuted": {"options": "permuted"},
    "no_gold": {"options": "without_gold"},
}
for _arm, _control in [
    ("base", "thinks"),
    *((arm, name) for arm in ("coldstart", "r1") for name in CHANGES if name != "thinks"),
]:
    ARMS[f"{_arm}_{_control}"] = {
        **{"label": f"{ARMS[_arm]['label']}, {_control}", "style": ARMS[_arm]["style"], "method": "control"},
        **{"parent": _arm, "view": "ordered"},
        **CHANGES[_control],
    }
RIGHT: dict[str, set[int]] = {
    # Of the 8 questions of each benchmark, two a video.
    "base": {0, 1, 2, 3},
    "base_thinks": {0},
    "coldstart": {0},
    "coldstart_direct": {0, 1},
    "coldstart_gray": {1},
    "coldstart_permuted": {2},
    "coldstart_no_gold": {0, 3},
    "r1": {0, 1, 2, 3, 4, 6},
    "r1_direct": {0, 1, 2, 4},
    "r1_gray": {1, 4},
    "r1_permuted": {0, 1, 2, 3, 4, 6},
    "r1_no_gold": {3, 7},
}


def answer_of(arm: str, question: Question, right: bool) -> Prediction:
    """The right letter of the question as it was asked, or the next one."""
    letter = question.gold if right else "ABCD"[("ABCD".index(question.gold) + 1) % 4]
    thinks = ARMS[arm]["style"] == "reason"
    text = f"<think>it is so</think> <answer>{letter}</answer>" if thinks else letter
    completion = Completion(text, tokens=10 if thinks else 2, finished=True)
    return Prediction(question.id, "ok", "0" * 64, completion, question.sha256)


def write_controlled_run(
    root: Path,
    right: dict[str, set[int]] = RIGHT,
    seeds: tuple[int, ...] = (0,),
    leaks: tuple[tuple[str, str], ...] = (),
) -> ResultInputs:
    """Score every arm on both benchmarks.

    Args:
        root: Folder to write to.
        right: Arm -> numbers of the questions that it answers right, in every seed and benchmark.
        seeds: Seeds of the arms.
        leaks: (benchmark, clip) of what was found among the training clips.
    """
    scores, scored = [], []
    for arm in right:
        for seed in seeds:
            for benchmark in BENCHMARKS:
                edit = OptionEdit(ARMS[arm].get("options", "published"), 0)
                asked = [edit.of(question) for question in questions_of(benchmark)]
                answers = [answer_of(arm, question, number in right[arm]) for number, question in enumerate(asked)]
                folder = root / arm / f"seed{seed}"
                files = ScoreFiles(
                    root / f"{benchmark}.jsonl",
                    [folder / f"{benchmark}.shard.jsonl"],
                    folder / f"{benchmark}.scored.jsonl",
                    folder / f"{benchmark}.score.json",
                )
                write_jsonl(files.questions, questions_of(benchmark))
                write_jsonl(files.predictions[0], answers)
                subject = Subject(benchmark, arm, ARMS[arm]["style"], seed)
                score(subject, files, Scoring.model_validate(SETTINGS), options=edit)
                scores.append(files.score)
                scored.append(files.scored)
    found = root / "leaks.csv"
    write_csv(found, ["benchmark", "clip", "data"], [[*leak, "nextqa"] for leak in leaks])
    arms = read_arms({arm: ARMS[arm] for arm in right})
    return ResultInputs(arms, BENCHMARKS, scores=scores, scored=scored, leaks=found)
