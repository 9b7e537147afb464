"""Compare rewards, groups and evaluation of Video-R1 with the golden data."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.golden.folder import Item, same, worst
from tests.golden.methods.base import MethodCheck, Methods, Mutation, Mutations, number_of
from vidreason.config.settings import Rewards
from vidreason.records import ClipRef, Completion, Grade, Question
from vidreason.rl import terms
from vidreason.rl.advantages import group_advantages, group_std
from vidreason.rl.rewards import RewardFunction
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.rl.terms import video_r1 as bonuses
from vidreason.tasks import video_r1
from vidreason.tasks.base import grade
from vidreason.tasks.markup import first_answer

Case = Mapping[str, Any]
KINDS = {
    "multiple choice": "multiple_choice",
    "numerical": "numerical",
    "OCR": "ocr",
    "free-form": "free_form",
    "regression": "regression",
}
"""Video-R1's kinds of questions -> answer types."""
TEXT, ROUGE, FLOAT32 = 1e-12, 1e-9, 1e-6
ADVANTAGES, EQUAL_REWARDS = 1e-5, 2e-3
"""Advantages; and those of a group whose rewards are all equal, as its float32 mean may be off by one bit."""
THRESHOLD, MIN_RIGHT = 0.8, 2
"""What the published code has where the article has 1.0 and 1."""


def question_of(kind: str, solution: str) -> Question:
    """A question with a published solution, which stands in its tags; one without tags is as good as none."""
    gold = first_answer(solution) or ""
    return Question("case", "golden", KINDS[kind], "Which?", ClipRef("clip.mp4"), tuple("abcdefghij"), gold)


def check_video_r1_rewards(methods: Methods) -> Iterator[Item]:
    """Accuracy by kind, format, and the filter of demonstrations."""
    published = methods.video_r1.json("rewards")
    cases = published["cases"]
    known = [case for case in cases if case["problem_type"] in KINDS]
    for kind, task in KINDS.items():
        own = [(case, _training(case)) for case in known if case["problem_type"] == kind]
        tolerance = ROUGE if task == "free_form" else TEXT
        found = [(_label(case), given.value, case["accuracy"]) for case, given in own]
        yield worst(f"video_r1: reward of {task}", found, tolerance)
        yield same(
            f"video_r1: format of {task}",
            [(_label(case), float(given.well_formed), case["format"]) for case, given in own],
        )
        kept = [
            (_label(case), video_r1.becomes_demonstration(given.value), case["cot_select"])
            for case, given in own
            if "cot_select" in case
        ]
        yield same(f"video_r1: demonstrations of {task} that are kept", kept)
    others = [case for case in cases if case["problem_type"] not in KINDS]
    yield same("video_r1: kinds without a reward", [(_label(case), 0.0, case["accuracy"]) for case in others])
    thoughts = [(_label(case), _process(case), case["cot_process"]) for case in known if "cot_process" in case]
    yield same("video_r1: thoughts of demonstrations", thoughts)
    mixed = [
        (f"call {number}, answer {place}", given, wanted)
        for number, call in enumerate(published["mixed_kinds_in_one_call"])
        for place, (given, wanted) in enumerate(zip(_first_kind(call), call["accuracy"], strict=True))
    ]
    yield worst("video_r1: a call of several kinds, graded by the first", mixed, TEXT)


def _label(case: Case) -> str:
    return f"case {case['id']}, {case['note']}"


def _training(case: Case) -> Grade:
    return grade(case["completion"], question_of(case["problem_type"], case["solution"]), "video_r1")


def _process(case: Case) -> str | None:
    thought = video_r1.demonstration_thought(case["completion"])
    return None if thought is None else f"<think>{thought}</think>"


def _first_kind(call: Case) -> list[float]:
    """The rewards if every question were of the first one's kind, which is what the published code does."""
    kind = call["problem_types"][0]
    return [
        grade(f"<answer>{answer}</answer>", question_of(kind, f"<answer>{truth}</answer>"), "video_r1").value
        for answer, truth in zip(call["answers"], call["truths"], strict=True)
    ]


def check_video_r1_groups(methods: Methods) -> Iterator[Item]:
    """Bonus, length reward, total and advantages of whole groups."""
    cases = list(enumerate(methods.video_r1.json("groups")["cases"]))
    parts: dict[str, list[tuple[str, float, float]]] = {
        name: [] for name in ("accuracy", "format", "shuffled accuracy", "rewards", "mean", "std")
    }
    flags, lengths, advantages = [], [], {ADVANTAGES: [], EQUAL_REWARDS: []}
    for number, case in cases:
        label = f"group {number}, {case['note']}"
        group = _group(case)
        lengths.append((label, [completion.tokens for completion in group.completions], case["mask_lengths"]))
        table = RewardFunction(_rewards(case), "paper")([group])
        total = torch.tensor(table.total, dtype=torch.float32)
        count = len(total)
        by_term = {"accuracy": table.columns["accuracy"], "format": table.columns["format"], "rewards": table.total}
        wanted = dict(zip(("accuracy", "format"), zip(*case["rewards_per_func"], strict=True), strict=True))
        wanted |= {"rewards": case["rewards"], "mean": case["mean"], "std": case["std"]}
        by_term |= {"mean": total.view(-1, count).mean(dim=1).numpy(), "std": group_std(total, count).numpy()}
        if group.contrast is not None:
            by_term["shuffled accuracy"] = np.array([given.value for given in group.contrast.grades])
            wanted["shuffled accuracy"] = [row[0] for row in case["shuffled_rewards_per_func"]]
        for name, values in by_term.items():
            parts[name] += _pairs(label, values, wanted[name])
        helped = bonuses.order_helped(group, THRESHOLD)
        flags.append((label, 0.5 if helped is None else float(helped), case["temporal_flag"]))
        tolerance = EQUAL_REWARDS if len(set(case["rewards"])) == 1 else ADVANTAGES
        advantages[tolerance] += _pairs(label, group_advantages(total, count).numpy(), case["advantages"])
    yield same("video_r1 groups: lengths of completions", lengths)
    for name, pairs in parts.items():
        yield worst(f"video_r1 groups: {name}", pairs, FLOAT32)
    yield same("video_r1 groups: whether the order helped", flags)
    yield worst("video_r1 groups: advantages", advantages[ADVANTAGES], ADVANTAGES)
    if advantages[EQUAL_REWARDS]:
        yield worst("video_r1 groups: advantages of equal rewards", advantages[EQUAL_REWARDS], EQUAL_REWARDS)


def _pairs(label: str, found: Sequence[float] | np.ndarray, wanted: Sequence[float]) -> list[tuple[str, float, float]]:
    return [(label, float(one), number_of(other)) for one, other in zip(found, wanted, strict=True)]


def _group(case: Case) -> RolloutGroup:
    """The ordered answers, with the shuffled ones where the published code samples and grades them."""
    question = question_of(case["problem_type"], case["solution"])
    width = max(case["given_lengths"])  # an answer without an end token is counted with its padding
    tokens = [length if ends else width for length, ends in zip(case["given_lengths"], case["has_eos"], strict=True)]
    contrast = None
    if case["temporal"] and case["data_type"] == "video":
        contrast = _graded(question, case["shuffled"], [0] * len(case["shuffled"]), "shuffled", None)
    return _graded(question, case["ordered"], tokens, "ordered", contrast)


def _graded(
    question: Question, texts: Sequence[str], tokens: Sequence[int], view: str, contrast: RolloutGroup | None
) -> RolloutGroup:
    completions = tuple(Completion(text, length, True) for text, length in zip(texts, tokens, strict=True))
    grades = tuple(grade(text, question, "video_r1") for text in texts)
    return RolloutGroup(question, completions, grades, view, contrast)


def _rewards(case: Case) -> Rewards:
    """The settings that stand for the published reward, of which two parts can be turned off."""
    own: dict[str, dict[str, Any]] = {"accuracy": {}, "format": {}}
    if case["temporal"]:
        own["temporal"] = {"weight": 0.3, "threshold": THRESHOLD}
    if case["len_control"]:
        own["length_band"] = {"weight": 0.2, "tokens": [320, 512], "min_right": MIN_RIGHT}
    return Rewards(combine="sum", penalize_wrong=True, terms=own)


def check_video_r1_evaluation(methods: Methods) -> Iterator[Item]:
    """What the evaluation reads, its rewards, and its two means."""
    cases = {case["id"]: case for case in methods.video_r1.json("rewards")["cases"]}
    published = methods.video_r1.json("eval")["evaluation"]
    read, rewards, correct, thoughts, means = [], [], [], [], []
    for name, dataset in published["datasets"].items():
        scores = []
        for sample in dataset["samples"]:
            case = cases[sample["case"]]
            label = f"{name}, {_label(case)}"
            question = question_of(case["problem_type"], case["solution"])
            given = grade(case["completion"], question, "video_r1_eval")
            scores.append((question.task, given.value))
            read.append((label, video_r1.evaluation_answer(case["completion"]), sample["prediction"]))
            rewards.append((label, given.value, sample["reward"]))
            correct.append((label, given.correct, sample["correct"]))
            thoughts.append((label, _process(case) or "", sample.get("process") or ""))
        means += [(name, video_r1.means_of(scores), final) for final in dataset["final_acc"]]
    unreadable = published["unreadable_batch"]
    scores = [("multiple_choice", float(reward)) for reward in unreadable["rewards"]]
    means += [("unreadable batch", video_r1.means_of(scores), final) for final in unreadable["final_acc"]]
    yield same("video_r1 evaluation: answers", read)
    yield worst("video_r1 evaluation: rewards", rewards, FLOAT32)
    yield same("video_r1 evaluation: right answers", correct)
    yield same("video_r1 evaluation: thoughts", thoughts)
    yield from _means(means)
    relative = [
        (
            f"{pair['pred']} for {pair['truth']}",
            number_of(pair["pred"]),
            number_of(pair["truth"]),
            number_of(pair["mra"]),
        )
        for pair in published["mra"]
    ]
    found = [(label, video_r1.mean_relative_accuracy(given, truth), wanted) for label, given, truth, wanted in relative]
    yield worst("video_r1 evaluation: mean relative accuracy", found, FLOAT32)


def _means(means: Sequence[tuple[str, tuple[float, float], Case]]) -> Iterator[Item]:
    """The means of all but regression, which may be not-a-number, and of regression."""
    for place, key in enumerate(("mean_acc", "mean_mra")):
        pairs = [(name, found[place], number_of(final[key])) for name, found, final in means]
        yield same(
            f"video_r1 evaluation: whether {key} is a number",
            [(name, math.isnan(found), math.isnan(wanted)) for name, found, wanted in pairs],
        )
        numbers = [pair for pair in pairs if not math.isnan(pair[1]) and not math.isnan(pair[2])]
        yield worst(f"video_r1 evaluation: {key}", numbers, FLOAT32)


CHECKS: tuple[MethodCheck, ...] = (check_video_r1_rewards, check_video_r1_groups, check_video_r1_evaluation)

_length_band, _temporal, _helped = bonuses.length_band, bonuses.temporal, bonuses.order_helped


def _term(name: str, factory: terms.Factory) -> AbstractContextManager[Any]:
    """The context in which a term is made by another factory."""
    return mock.patch.dict(terms._factories, {name: factory})


def _to_shuffled(threshold: float = 1.0, right_above: float = 0.1) -> terms.Term:
    """The bonus by what the shuffled answers are worth, in the places of the ordered ones."""

    def bonus(group: RolloutGroup) -> np.ndarray:
        if group.contrast is None or not _helped(group, threshold):
            return np.zeros(len(group.grades))
        shuffled = [float(given.value > right_above) for given in group.contrast.grades]
        return np.resize(np.array(shuffled), len(group.grades))

    return bonus


def _swapped_views(group: RolloutGroup, threshold: float) -> bool | None:
    """Whether the shuffled answers are as good as the ordered ones."""
    other = group.contrast
    if other is None:
        return None
    return _helped(RolloutGroup(other.question, other.completions, other.grades, contrast=group), threshold)


def _band(below: int, above: int) -> AbstractContextManager[Any]:
    """A length reward whose bounds are moved."""

    def moved(tokens: list[int], min_right: int, right_above: float = 0.1) -> terms.Term:
        return _length_band([tokens[0] + below, tokens[1] + above], min_right, right_above)

    return _term("length_band", moved)


_REWARDS = ("video_r1 groups: rewards", "video_r1 groups: advantages")
_FLAGS = ("video_r1 groups: whether the order helped",)


def _of_groups(plant: Any, noticed: tuple[str, ...] = _REWARDS) -> Mutation:
    return Mutation(plant, noticed, check_video_r1_groups)


MUTATIONS: Mutations = {
    "bonus on shuffled answers": _of_groups(lambda: _term("temporal", _to_shuffled)),
    "threshold swapped: the article's for the code's": _of_groups(
        lambda: mock.patch.object(bonuses, "order_helped", lambda group, threshold: _helped(group, 1.0)),
        (*_REWARDS, *_FLAGS),
    ),
    "threshold swapped: at the ordered answers": _of_groups(
        lambda: mock.patch.object(bonuses, "order_helped", lambda group, threshold: _helped(group, 1 / threshold)),
        (*_REWARDS, *_FLAGS),
    ),
    "shuffled answers compared the wrong way round": _of_groups(
        lambda: mock.patch.object(bonuses, "order_helped", _swapped_views), (*_REWARDS, *_FLAGS)
    ),
    "length band without its lower bound": _of_groups(lambda: _band(1, 0)),
    "length band without its upper bound": _of_groups(lambda: _band(0, -1)),
    "length band one longer": _of_groups(lambda: _band(0, 1)),
    "length band one shorter at its beginning": _of_groups(lambda: _band(-1, 0)),
    "length reward where one answer alone is right": _of_groups(
        lambda: _term("length_band", lambda tokens, min_right: _length_band(tokens, 1))
    ),
    "a grade of a tenth counts as right": _of_groups(
        lambda: mock.patch.object(bonuses, "_right", lambda grades, above: [given.value > 0.09 for given in grades])
    ),
    "the format of a completion whose ends are cut": Mutation(
        lambda: mock.patch.object(
            video_r1, "has_loose_form", lambda text, check=video_r1.has_loose_form: check(text.strip())
        ),
        ("video_r1: format of multiple_choice",),
        check_video_r1_rewards,
    ),
    "untagged answers rewarded in training": Mutation(
        lambda: mock.patch.object(video_r1, "training_answer", video_r1.evaluation_answer),
        ("video_r1: reward of multiple_choice", "video_r1: reward of numerical", "video_r1: reward of ocr"),
        check_video_r1_rewards,
    ),
    "relative accuracy in double precision": Mutation(
        lambda: mock.patch.object(np, "float32", np.float64),
        ("video_r1 evaluation: mean relative accuracy",),
        check_video_r1_evaluation,
    ),
}
