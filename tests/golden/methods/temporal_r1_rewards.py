"""Compare rewards and evaluation of Temporal-R1 with the golden data."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from tests.golden.folder import Item, same, worst
from tests.golden.methods.base import MethodCheck, Methods, Mutation, Mutations, number_of
from vidreason.config.settings import Rewards
from vidreason.records import ClipRef, Completion, Grade, Question
from vidreason.rl.rewards import RewardFunction
from vidreason.rl.rollout_group import RolloutGroup
from vidreason.tasks import grounding, temporal_r1
from vidreason.tasks.base import grade, task_of

EXACT_RULE = 1e-12
SECONDS = 1e-9
"""Tolerance where the golden truth is a share of the video and ours is in seconds: one multiplication more."""
REWARDS = {
    "combine": "sum",
    "penalize_wrong": False,
    "reading": "temporal_r1",
    "terms": {"tiou": {"weight": 0.5}, "format": {"weight": 0.5}},
    "functions": {},
}


def _question(start: float, end: float, duration: float | None) -> Question:
    """A query whose gold segment is given in seconds."""
    return Question("q", "charades_sta", "grounding", "", ClipRef("v.mp4"), segments=((start, end),), duration=duration)


def _published(case: dict[str, Any], length: float) -> float:
    """The overlap that the reward pays, from the text on."""
    return temporal_r1.reward_tiou(temporal_r1.read_reward(case["completion"]).interval, case["ground_truth"], length)


def check_temporal_r1_rewards(methods: Methods) -> Iterator[Item]:
    """Overlap, format and score of every text; odd truths; the score as the configuration's sum of two terms."""
    published = methods.temporal_r1.json("rewards")
    cases = published["cases"]
    found = {
        case["id"]: (
            _published(case, number_of(case["video_length"])),
            float(temporal_r1.well_formed(case["completion"])),
        )
        for case in cases
    }
    yield worst(
        "temporal_r1: overlap",
        ((case["note"], found[case["id"]][0], case["tiou_reward"]) for case in cases),
        EXACT_RULE,
    )
    yield same(
        "temporal_r1: format", ((case["note"], found[case["id"]][1], float(case["format_reward"])) for case in cases)
    )
    yield worst(
        "temporal_r1: score",
        ((case["note"], sum(found[case["id"]]) / 2, case["score"]) for case in cases),
        EXACT_RULE,
    )
    yield worst(
        "temporal_r1: overlap where the truth is odd",
        (
            (case["note"], _published(case, number_of(case["video_length"])), case["tiou_reward"])
            for case in published["odd_truths"]
        ),
        EXACT_RULE,
    )
    yield worst(
        "temporal_r1: temporal_iou",
        _overlaps(published["temporal_iou"], "tiou"),
        EXACT_RULE,
    )
    yield worst("temporal_r1: score of the terms tiou and format", list(_by_terms(cases)), SECONDS)


def _overlaps(cases: list[dict[str, Any]], key: str) -> Iterator[tuple[str, float, float]]:
    """Overlaps of pairs of intervals; 0 is wanted where the published code stops at a division by zero."""
    for case in cases:
        one, other = tuple(case["a"]), tuple(case["b"])
        wanted = 0.0 if case[key] == "ZeroDivisionError" else number_of(case[key])
        yield f"{one} {other}", temporal_r1.overlap(one, other), wanted


def _by_terms(cases: list[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """The score as an arm of the configuration gets it, for the cases whose truth is a segment of a video."""
    reward = RewardFunction(Rewards.model_validate(REWARDS), "paper")
    for case in cases:
        length, (start, end) = number_of(case["video_length"]), case["ground_truth"]
        if not (math.isfinite(length) and length > 0 and 0 <= start < end <= 1):
            continue
        question = _question(start * length, end * length, length)
        text = case["completion"]
        given = grade(text, question, reward.rule)
        group = RolloutGroup(question, (Completion(text, 1, True),), (given,))
        yield case["note"], float(reward([group]).total[0]), case["score"]


def check_temporal_r1_evaluation(methods: Methods) -> Iterator[Item]:
    """The interval that the evaluation takes from a text, and the means over the rows of its script."""
    published, texts = methods.temporal_r1.json("eval"), methods.temporal_r1.json("rewards")["cases"]
    completions = {case["id"]: case["completion"] for case in texts}
    yield same(
        "temporal_r1 evaluation: extract_timestamps",
        (
            (str(case["case"]), temporal_r1.extract_timestamps(completions[case["case"]]), case["value"])
            for case in published["extract_timestamps"]
        ),
    )
    yield same(
        "temporal_r1 evaluation: extract_time",
        ((case["text"], _time(case["text"]), _wanted_time(case)) for case in published["extract_time"]),
    )
    yield worst(
        "temporal_r1 evaluation: iou",
        _overlaps(published["iou"], "iou"),
        EXACT_RULE,
    )
    scripts = [script for script in published["scripts"] if "error" not in script]
    for key, name in (("mIoU", "miou"), ("R@0.3", "r1_03"), ("R@0.5", "r1_05"), ("R@0.7", "r1_07")):
        metric = next(one for one in task_of("grounding").metrics if one.name == name)
        yield worst(
            f"temporal_r1 evaluation: {key}",
            (
                (script["note"], 100 * float(np.mean([metric.value(row) for row in _rows(script)])), script[key])
                for script in scripts
            ),
            SECONDS,
        )


def _time(text: str) -> Any:
    try:
        return temporal_r1.extract_time(text)
    except ValueError:
        return "ValueError"


def _wanted_time(case: dict[str, Any]) -> Any:
    """The published result in our form: an interval, None, or the name of the exception."""
    value = case["value"]
    if isinstance(value, dict):
        return value["error"]
    return tuple(value[0]) if value else None


def _rows(script: dict[str, Any]) -> list[Grade]:
    """The grades of a script's rows; rows of equal video, caption and time are one, and the last counts."""
    rows: dict[str, Grade] = {}
    for record, text in zip(script["docs"], script["predictions"], strict=True):
        start, end = record["timestamp"]
        interval = temporal_r1.extract_time(text)
        read = temporal_r1.Read(interval) if interval else temporal_r1.Read(None, "no_interval")
        rows[str(record)] = grounding.graded(read, _question(start, end, None))
    return list(rows.values())


def _hull_alone(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Overlap without the clause that leaves disjoint and reversed intervals at 0."""
    whole = max(one[1], other[1]) - min(one[0], other[0])
    return (min(one[1], other[1]) - max(one[0], other[0])) / whole if 0 < whole < math.inf else 0.0


CHECKS: tuple[MethodCheck, ...] = (check_temporal_r1_rewards, check_temporal_r1_evaluation)
MUTATIONS: Mutations = {
    "disjoint intervals are not left at 0": Mutation(
        lambda: mock.patch.object(temporal_r1, "overlap", _hull_alone),
        ("temporal_r1: overlap", "temporal_r1: temporal_iou"),
        check_temporal_r1_rewards,
    ),
    "the truth is divided by the length too": Mutation(
        lambda: mock.patch.object(temporal_r1, "reward_tiou", _both_divided),
        ("temporal_r1: overlap", "temporal_r1: score"),
        check_temporal_r1_rewards,
    ),
    "format without the order of the keys": Mutation(
        lambda: mock.patch.object(
            temporal_r1, "well_formed", lambda text: temporal_r1.read_reward(text).interval is not None
        ),
        ("temporal_r1: format", "temporal_r1: score"),
        check_temporal_r1_rewards,
    ),
    "thresholds not reached by equality": Mutation(
        lambda: mock.patch.object(grounding.Grounding, "metrics", _above()),
        ("temporal_r1 evaluation: R@0.3", "temporal_r1 evaluation: R@0.5", "temporal_r1 evaluation: R@0.7"),
        check_temporal_r1_evaluation,
    ),
}


def _both_divided(interval: Any, truth: Any, length: float, reward: Any = temporal_r1.reward_tiou) -> float:
    numbers = all(isinstance(time, float | int) for time in truth)
    return float(reward(interval, [time / length for time in truth] if numbers and length else truth, length))


def _above() -> tuple[Any, ...]:
    """The metrics with `>` in place of `>=`."""
    first, *others = grounding.Grounding.metrics
    levels = (0.3, 0.5, 0.7)
    return (
        first,
        *(
            dataclasses.replace(metric, value=lambda given, level=level: float(given.parts.get("tiou", 0.0) > level))
            for metric, level in zip(others, levels, strict=True)
        ),
    )
