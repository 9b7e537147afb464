"""The strategies of a selection: what each keeps, in which order limits apply, and the random control of the same size."""

import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.support.filtering import selection_rule
from vidreason.records import Grade
from vidreason.rl import selection
from vidreason.rl.selection import Candidate, dropped_questions, variance, worth


def right(name: str, correct: int, video: str = "", task: str = "multiple_choice", single: bool = False) -> Candidate:
    """A question with eight answers that are right or wrong."""
    return Candidate(name, task, video or name, True, (1.0,) * correct + (0.0,) * (8 - correct), correct, single)


def worth_of(name: str, *values: float) -> Candidate:
    """A question whose eight answers are worth two values in turn."""
    return Candidate(name, "grounding", name, False, values * (8 // len(values)), 0)


MIXED = [
    right("never", 0),
    right("rarely", 1),
    right("half", 4),
    right("often", 7),
    right("always", 8),
    right("lone", 4, single=True),
    worth_of("flat", 0.5),
    worth_of("close", 0.5, 0.501),
    worth_of("apart", 0.0, 1.0),
    worth_of("low", 0.0, 0.3),
]


def kept(candidates: list[Candidate], seed: int = 0, **changes: object) -> list[str]:
    """Ids of what is kept, in order."""
    dropped = dropped_questions(candidates, selection_rule(**changes), seed)
    return [one.id for one in candidates if one.id not in dropped]


def test_informative_bounds_counts_and_spreads() -> None:
    assert dropped_questions(MIXED, selection_rule(), 0) == {
        "never": "always_wrong",
        "always": "always_right",
        "lone": "one_option",
        "flat": "no_spread",
        "close": "little_spread",
    }
    narrow = dropped_questions(MIXED, selection_rule(keep_min=2, keep_max=6, min_spread=0.2), 0)
    assert (narrow["rarely"], narrow["often"], narrow["low"]) == ("too_hard", "too_easy", "little_spread")


def test_top_ranks_all_answer_types_together_and_never_keeps_what_cannot_teach() -> None:
    assert kept(MIXED, strategy="top", limit=2) == ["half", "apart"], (
        "p(1-p) of a half and values 0 and 1 are equally spread"
    )
    assert kept(MIXED, strategy="top", limit=100) == ["rarely", "half", "often", "close", "apart", "low"]
    dropped = dropped_questions(MIXED, selection_rule(strategy="top", limit=100), 0)
    assert (dropped["never"], dropped["always"], dropped["flat"]) == ("always_wrong", "always_right", "no_spread")


def test_band_bounds_the_mean_worth() -> None:
    dropped = dropped_questions(MIXED, selection_rule(strategy="band", band=(0.15, 0.6)), 0)
    assert dropped == {
        "never": "always_wrong", "rarely": "too_hard", "often": "too_easy", "always": "always_right", "lone": "one_option",
        "flat": "no_spread",
    }  # fmt: skip
    assert kept(MIXED, strategy="band", band=(0.125, 0.125)) == ["rarely"], "both ends belong to the band"


def test_the_statistic_ranks_by_deviation_or_range() -> None:
    steady = Candidate("steady", "ocr", "a", False, (0.0,) * 4 + (0.6,) * 4, 0)
    outlier = Candidate("outlier", "ocr", "b", False, (0.5,) * 7 + (1.0,), 0)
    wide = Candidate("wide", "ocr", "c", False, (0.4,) * 7 + (1.1 - 0.05,), 0)
    assert kept([steady, outlier, wide], limit=1, statistic="std") == ["steady"]
    assert kept([steady, outlier, wide], limit=1, statistic="range") == ["wide"]


def test_limits_are_read_from_the_top_of_one_ranking() -> None:
    asked = [
        right("e", 0, "e"),
        right("d", 1, "d", "numerical"),
        right("c", 2, "c"),
        right("b", 3, "a", "numerical"),
        right("a", 4, "a"),
    ]
    limits = {"per_video": 1, "per_task": {"multiple_choice": 1}, "limit": 2}
    assert dropped_questions(asked, selection_rule(keep_min=0, **limits), 0) == {
        "e": "over_the_limit", "c": "over_the_budget", "b": "same_video",
    }  # fmt: skip
    budget = selection_rule(per_video=1, per_task={"multiple_choice": None, "numerical": 1})
    assert dropped_questions(asked[1:], budget, 0) == {"b": "same_video"}, "what is dropped uses up no budget"


def test_ties_are_drawn_with_the_seed_and_not_by_place() -> None:
    asked = [right(name, 4) for name in "abcdef"]
    draws = {tuple(sorted(kept(asked, seed, limit=2))) for seed in range(20)}
    assert len(draws) > 5
    for seed in range(5):
        assert set(kept(asked, seed, limit=2)) == set(kept(asked[::-1], seed, limit=2))


def test_a_random_selection_has_the_size_of_the_informative_one_for_every_answer_type() -> None:
    asked = [right(f"m{n}", n % 9, f"v{n % 12}") for n in range(36)]
    asked += [worth_of(f"g{n}", 0.0, (n % 4) / 4) for n in range(20)]
    tasks = {one.id: one.task for one in asked}
    videos = {one.id: one.video for one in asked}
    drawn = set()
    narrow = {"keep_min": 3, "keep_max": 5, "min_spread": 0.2}
    for limits in (
        {},
        narrow,
        {"limit": 9},
        {"per_task": {"grounding": 3}},
        {"per_video": 1},
        {"per_video": 1, "limit": 15},
    ):
        chosen = kept(asked, 3, **limits)
        for seed in range(4):
            names = kept(asked, seed, strategy="random", **limits)
            if not limits or seed == 3:
                assert Counter(map(tasks.get, names)) == Counter(map(tasks.get, chosen)), limits
            assert len(names) == len(chosen)
            assert max(Counter(map(videos.get, names)).values()) <= limits.get("per_video", 99)
            drawn.add(tuple(names))
    assert len(drawn) > 15
    assert {"m0", "m8", "m9"} & {name for names in drawn for name in names}, "also what informative drops"


def test_a_random_draw_is_possible_where_answer_types_compete_for_videos() -> None:
    """Numbers are asked about 20 videos, ten of which are the only ones with intervals."""
    asked = [worth_of(f"g{n}", 0.0, 1.0) for n in range(10)]
    asked += [right(f"n{n}", 3, f"g{n}", "numerical") for n in range(20)]
    assert len(kept(asked, per_video=1)) == 20
    for seed in range(5):
        assert len(kept(asked, seed, strategy="random", per_video=1)) == 20


@pytest.mark.parametrize("per_video", [1, 2])
def test_every_random_draw_has_the_size_of_the_informative_selection(
    per_video: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many questions about few videos, of which informative fills every place: types that were drawn last give others' places back."""
    exchanges: list[int] = []
    exchange = selection._Draw._exchange

    def counted(draw: selection._Draw, *parts: Any) -> None:
        exchanges.append(len(parts[-1]))
        exchange(draw, *parts)

    monkeypatch.setattr(selection._Draw, "_exchange", counted)
    tasks = ("numerical", "multiple_choice", "ocr", "regression", "free_form")
    for seed in range(300):
        draw = random.Random(seed)
        videos = draw.randint(3, 12)
        places = [(draw.choice(tasks), draw.randrange(videos)) for _ in range(draw.randint(1, 4) * videos)]
        asked = [right(f"q{number}", draw.choice((4, 4, 0)), f"v{v}", task) for number, (task, v) in enumerate(places)]
        known = {one.id: one for one in asked}
        chosen, drawn = (kept(asked, seed, strategy=name, per_video=per_video) for name in ("informative", "random"))
        assert Counter(known[name].task for name in drawn) == Counter(known[name].task for name in chosen), seed
        assert max(Counter(known[name].video for name in drawn).values(), default=0) <= per_video
        assert drawn == kept(asked, seed, strategy="random", per_video=per_video)
    assert len(exchanges) > 20
    assert max(exchanges) > 1, "one exchange makes room for another"


def test_a_draw_that_fills_every_video_takes_no_time() -> None:
    """Four answer types about 3,000 videos, one question of each kept: the places that a type took first may be another's only ones."""
    tasks = ("numerical", "multiple_choice", "ocr", "regression")
    asked = [right(f"{task}{n}", 4, f"v{n}", task) for n in range(3000) for task in tasks if (n + len(task)) % 5 < 2]
    began = time.perf_counter()
    names = kept(asked, 1, strategy="random", per_video=1)
    assert time.perf_counter() - began < 5
    assert (
        len(names)
        == len({name.lstrip("abcdefghijklmnopqrstuvwxyz_") for name in names})
        == len({one.video for one in asked})
    )
    assert len(set(names) & set(kept(asked, 1, per_video=1))) < 0.9 * len(names)


def test_bounds_that_contradict_the_number_of_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= keep_min <= keep_max <= 8"):
        dropped_questions(MIXED, selection_rule(keep_max=9), 0)


def test_the_worth_of_a_grounded_choice_is_both_halves() -> None:
    assert worth(Grade(1.0, True, parts={"tiou": 0.2}), discrete=False) == pytest.approx(0.6)
    assert worth(Grade(0.3, False, parts={"tiou": 0.3}), discrete=False) == pytest.approx(0.3)
    assert worth(Grade(0.7, True), discrete=False) == pytest.approx(0.7)
    assert worth(Grade(0.7, True), discrete=True) == 1.0
    assert variance(1, 8) == variance(7, 8) == 7 / 64
