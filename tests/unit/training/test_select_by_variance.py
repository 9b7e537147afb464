"""Variance-aware selection: what is kept, what is dropped and why, and what is refused."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.support.filtering import selection_rule
from tests.support.scored_run import as_lines
from vidreason.artifacts.count_tables import read_histogram
from vidreason.artifacts.files import read_jsonl
from vidreason.config.selection import SelectionRule
from vidreason.records import PROMPT_TOO_LONG, ClipRef, ClipStatus, Completion, Grade, Question, Rollout
from vidreason.rl.selection import variance
from vidreason.training.select_by_variance import SelectionFiles, select_by_variance

UNASKED = {"broken": "truncated", "long": PROMPT_TOO_LONG}
CORRECT = {"never": 0, "rarely": 1, "half": 4, "often": 7, "always": 8}


def question(name: str) -> Question:
    """A question about a clip of its own."""
    return Question(name, "nextqa", "multiple_choice", "why?", ClipRef(f"{name}.mp4"), ("rain", "sun"), "A")


def rollouts(name: str, correct: int, size: int = 8) -> list[Rollout]:
    """A whole group, the right answers last."""
    return [
        Rollout(
            name,
            index,
            Completion("<answer>A</answer>", 5, True),
            Grade(float(index >= size - correct), index >= size - correct, parts={"well_formed": 0.0}),
            question(name).sha256,
        )
        for index in range(size)
    ]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Five sampled questions in two shards, one whose clip is broken."""
    names = [*CORRECT, "broken"]
    (tmp_path / "questions.jsonl").write_text(as_lines([question(name) for name in names]))
    groups = [rollout for name, correct in CORRECT.items() for rollout in rollouts(name, correct)]
    (tmp_path / "shard0.jsonl").write_text(as_lines(groups[1::2]))
    (tmp_path / "shard1.jsonl").write_text(as_lines(groups[::2]))
    statuses = {name: "truncated" if name == "broken" else "ok" for name in names}
    (tmp_path / "clips.jsonl").write_text(
        as_lines([ClipStatus(f"{name}.mp4", status) for name, status in statuses.items()])
    )
    return {
        "rollouts": [tmp_path / "shard0.jsonl", tmp_path / "shard1.jsonl"],
        "questions": tmp_path / "questions.jsonl",
        "clips": [tmp_path / "clips.jsonl"],
        "keep_min": 1,
        "keep_max": 7,
        "limit": None,
        "seed": 3,
        "selected": tmp_path / "out" / "selected.jsonl",
        "dropped": tmp_path / "out" / "dropped.csv",
        "histogram": tmp_path / "out" / "histogram.csv",
    }


def select(*, seed: int, group_size: int | None = None, **values: Any) -> None:
    """Select with settings by name."""
    rule = selection_rule(**{key: values.pop(key) for key in list(values) if key in SelectionRule.model_fields})
    reading = values.pop("reading", None)
    select_by_variance(SelectionFiles(**values), rule, seed, group_size, reading)


def kept(files: dict[str, Any]) -> list[str]:
    """Ids of the selected questions."""
    return [one.id for one in read_jsonl(files["selected"], Question)]


def reasons(files: dict[str, Any]) -> dict[str, str]:
    """Question id -> reason, of the dropped."""
    with files["dropped"].open(newline="") as stream:
        return {row["question"]: row["reason"] for row in csv.DictReader(stream)}


def bins(files: dict[str, Any]) -> list[tuple[float, int, int]]:
    """Upper end, questions and kept questions of every bin of the histogram."""
    return [(one.high, one.questions, one.kept) for one in read_histogram(files["histogram"])]


def test_keeps_what_varies_and_accounts_for_the_rest(files: dict[str, Any]) -> None:
    select(**files)
    assert kept(files) == ["rarely", "half", "often"]
    assert reasons(files) == {"never": "always_wrong", "always": "always_right", "broken": "truncated"}
    lines = files["histogram"].read_text().splitlines()
    assert lines[0] == "task,measure,low,high,rollouts,questions,kept"
    counts = {0: "1,0", 1: "1,1", 4: "1,1", 7: "1,1", 8: "1,0"}
    assert lines[1:] == [f"multiple_choice,correct,{k},{k},8,{counts.get(k, '0,0')}" for k in range(9)]
    assert files["dropped"].read_text().splitlines() == [
        "question,task,video,reason,rollouts,correct,mean,spread",
        "never,multiple_choice,never.mp4,always_wrong,8,0,0.000000,0.000000",
        "always,multiple_choice,always.mp4,always_right,8,8,1.000000,0.000000",
        "broken,multiple_choice,broken.mp4,truncated,0,,,",
    ]


def test_a_question_that_was_not_answered_is_dropped_with_its_reason(files: dict[str, Any]) -> None:
    names = [*CORRECT, "broken", "long"]
    files["questions"].write_text(as_lines([question(name) for name in names]))
    with files["clips"][0].open("a") as stream:
        stream.write(as_lines([ClipStatus("long.mp4", "ok")]))
    unasked = [
        Rollout(
            name,
            0,
            Completion("", 0, False),
            Grade(0.0, False, parts={"well_formed": 0.0}),
            question(name).sha256,
            status,
        )
        for name, status in UNASKED.items()
    ]
    with files["rollouts"][1].open("a") as stream:
        stream.write(as_lines(unasked))
    select(**files | {"group_size": 8})
    assert kept(files) == ["rarely", "half", "often"]
    assert reasons(files) == {"never": "always_wrong", "always": "always_right", **UNASKED}
    assert "long,multiple_choice,long.mp4,prompt_too_long,0,,," in files["dropped"].read_text()
    assert bins(files)[0] == (0, 1, 0), "what was not asked is not wrong each time"


def test_rollouts_of_a_question_that_was_not_answered_are_refused(files: dict[str, Any]) -> None:
    with files["rollouts"][1].open("a") as stream:
        stream.write(
            as_lines(
                [
                    Rollout(
                        "half",
                        8,
                        Completion("", 0, False),
                        Grade(0.0, False, parts={"well_formed": 0.0}),
                        question("half").sha256,
                        PROMPT_TOO_LONG,
                    )
                ]
            )
        )
    with pytest.raises(ValueError, match=r"\['half'\] have rollouts and a reason why they were not answered"):
        select(**files)


def test_narrower_bounds_name_their_own_reasons(files: dict[str, Any]) -> None:
    select(**files | {"keep_min": 2, "keep_max": 6})
    assert kept(files) == ["half"]
    assert reasons(files) == {
        "never": "always_wrong",
        "rarely": "too_hard",
        "often": "too_easy",
        "always": "always_right",
        "broken": "truncated",
    }


def test_limit_takes_the_greatest_variance_first(files: dict[str, Any]) -> None:
    select(**files | {"limit": 1})
    assert kept(files) == ["half"]
    assert reasons(files)["rarely"] == reasons(files)["often"] == "over_the_limit"
    assert bins(files)[1] == (1, 1, 0), "over the limit is not kept"


def test_ties_depend_on_the_seed_only(files: dict[str, Any]) -> None:
    assert variance(1, 8) == variance(7, 8) == 7 / 64
    seen = set()
    for seed in range(12):
        select(**files | {"limit": 2, "seed": seed})
        first = kept(files)
        select(**files | {"limit": 2, "seed": seed, "rollouts": files["rollouts"][::-1]})
        assert kept(files) == first, "the order of the shards does not matter"
        seen.add(tuple(first))
    assert seen == {("rarely", "half"), ("half", "often")}


def test_bytes_do_not_depend_on_the_shards(files: dict[str, Any], tmp_path: Path) -> None:
    select(**files)
    before = [files[name].read_bytes() for name in ("selected", "dropped", "histogram")]
    together = tmp_path / "one.jsonl"
    together.write_text("".join(path.read_text() for path in files["rollouts"]))
    select(**files | {"rollouts": [together]})
    assert [files[name].read_bytes() for name in ("selected", "dropped", "histogram")] == before


def test_incomplete_group_is_refused(files: dict[str, Any]) -> None:
    files["rollouts"][0].write_text("".join(files["rollouts"][0].read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"1 questions do not have 8 rollouts: \{'always': 7\}"):
        select(**files)
    assert not files["selected"].exists()


def test_lost_shard_is_refused_when_the_group_size_is_known(files: dict[str, Any]) -> None:
    files["rollouts"].pop()
    with pytest.raises(ValueError, match="do not have 8 rollouts"):
        select(**files | {"group_size": 8})


def test_duplicate_rollout_is_refused(files: dict[str, Any]) -> None:
    files["rollouts"].append(files["rollouts"][0])
    with pytest.raises(ValueError, match="rollout 1 of question 'never' comes twice"):
        select(**files)


def test_unknown_question_is_refused(files: dict[str, Any]) -> None:
    with files["rollouts"][0].open("a") as stream:
        stream.write(as_lines(rollouts("stranger", 3)))
    with pytest.raises(ValueError, match=r"shard0.jsonl: rollout of question 'stranger'"):
        select(**files)


def test_readable_clip_without_rollouts_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "clips.jsonl").write_text(as_lines([ClipStatus("broken.mp4", "ok")]))
    with pytest.raises(ValueError, match=r"1 questions have frames but no rollouts: \['broken'\]"):
        select(**files)


def test_without_clips_the_reason_is_no_rollouts(files: dict[str, Any]) -> None:
    select(**files | {"clips": ()})
    assert reasons(files)["broken"] == "no_rollouts"


@pytest.mark.parametrize(("keep_min", "keep_max"), [(5, 4), (1, 9)])
def test_impossible_bounds_are_refused(files: dict[str, Any], keep_min: int, keep_max: int) -> None:
    with pytest.raises(ValueError, match="0 <= keep_min <= keep_max <= 8"):
        select(**files | {"keep_min": keep_min, "keep_max": keep_max})


def test_nothing_left_says_what_to_do(files: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"none of 6 questions is left .*raise the temperature"):
        select(**files | {"keep_min": 2, "keep_max": 3})


def test_question_id_given_twice_is_refused(files: dict[str, Any]) -> None:
    with files["questions"].open("a") as stream:
        stream.write(as_lines([question("half")]))
    with pytest.raises(ValueError, match=r"more than once: \['half'\]"):
        select(**files)


@pytest.mark.parametrize("change", [{"limit": 0}, {"keep_min": -1}])
def test_numbers_without_a_meaning_are_refused(files: dict[str, Any], change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="should be greater than or equal to"):
        select(**files | change)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_selection_is_as_large_as_the_informative_one(files: dict[str, Any], seed: int) -> None:
    select(**files | {"strategy": "random", "seed": seed})
    drawn = kept(files)
    assert len(drawn) == 3
    assert set(drawn) <= set(CORRECT)
    assert drawn == [name for name in CORRECT if name in drawn], "in the order of the questions"
    assert reasons(files) == {"broken": "truncated", **dict.fromkeys(set(CORRECT) - set(drawn), "not_drawn")}
    select(**files | {"strategy": "random", "seed": seed, "rollouts": files["rollouts"][::-1]})
    assert kept(files) == drawn


def test_random_selections_of_other_seeds_differ_and_a_limit_holds(files: dict[str, Any]) -> None:
    found = set()
    for seed in range(8):
        select(**files | {"strategy": "random", "seed": seed, "limit": 2})
        found.add(tuple(kept(files)))
    assert {len(names) for names in found} == {2}
    assert len(found) > 2


def test_all_keeps_every_question_with_frames_and_reads_no_rollout(files: dict[str, Any]) -> None:
    for path in files["rollouts"]:
        path.unlink()
    select(**files | {"strategy": "all", "rollouts": []})
    assert kept(files) == list(CORRECT)
    assert reasons(files) == {"broken": "truncated"}
    assert files["histogram"].read_text() == "task,measure,low,high,rollouts,questions,kept\n"


def write_group(question: Question, grades: list[Grade], text: str = "") -> str:
    """Rollouts of a question with these grades."""
    return as_lines(
        [
            Rollout(question.id, place, Completion(text, 5, True), one, question.sha256)
            for place, one in enumerate(grades)
        ]
    )


def test_answer_types_are_counted_apart_and_intervals_by_their_spread(tmp_path: Path) -> None:
    """Four answers each: a number (right or wrong), an interval, and a letter with an interval."""
    times = {"segments": ((1.0, 2.0),), "duration": 9.0}
    asked = [
        Question("number", "any", "numerical", "How many?", ClipRef("a.mp4"), gold="3"),
        Question("same", "any", "grounding", "When?", ClipRef("b.mp4"), **times),
        Question("some", "any", "grounding", "When?", ClipRef("c.mp4"), **times),
        Question("letter", "any", "grounded_choice", "Which?", ClipRef("d.mp4"), ("x", "y"), "A", **times),
        Question("times", "any", "grounded_choice", "Which?", ClipRef("e.mp4"), ("x",), "A", **times),
        Question("cancel", "any", "grounded_choice", "Which?", ClipRef("f.mp4"), ("x", "y"), "A", **times),
    ]
    overlaps = {
        "same": [(0.4, False, 0.4)] * 4,
        "some": [(value, False, value) for value in (0.0, 0.2, 0.4, 0.6)],
        "letter": [(float(right), right, 0.5) for right in (True, False, True, False)],
        "times": [(1.0, True, value) for value in (0.0, 0.0, 1.0, 1.0)],
        "cancel": [(float(right), right, float(not right)) for right in (True, False, True, False)],
    }
    groups = {
        name: [Grade(value, right, parts={"tiou": tiou}) for value, right, tiou in rows]
        for name, rows in overlaps.items()
    }
    groups["number"] = [Grade(1.0, True), Grade(1.0, True), Grade(0.0, False), Grade(1.0, True)]
    (tmp_path / "q.jsonl").write_text(as_lines(asked))
    (tmp_path / "r.jsonl").write_text("".join(write_group(one, groups[one.id]) for one in asked))
    files = {
        "rollouts": [tmp_path / "r.jsonl"], "questions": tmp_path / "q.jsonl", "clips": (), "keep_max": 3, "seed": 0,
        **{name: tmp_path / name for name in ("selected", "dropped", "histogram")},
    }  # fmt: skip
    select(**files)
    assert kept(files) == ["number", "some", "letter", "times"]
    assert reasons(files) == {"same": "no_spread", "cancel": "no_spread"}, "the sum of both rewards does not vary"
    rows = {
        (one.task, one.measure, one.high): (one.questions, one.kept) for one in read_histogram(tmp_path / "histogram")
    }
    assert {key: counts for key, counts in rows.items() if counts[0]} == {
        ("grounded_choice", "std", 0.0): (1, 0),
        ("grounded_choice", "std", 0.25): (2, 2),
        ("grounding", "std", 0.0): (1, 0),
        ("grounding", "std", 0.25): (1, 1),
        ("numerical", "correct", 3.0): (1, 1),
    }
    select(**files | {"statistic": "range", "min_spread": 0.28})
    assert reasons(files) == {
        "same": "no_spread", "cancel": "no_spread", "letter": "little_spread", "times": "little_spread",
    }, "0.6 and 0.5 wide"  # fmt: skip
    assert "some" in kept(files)


def test_stored_completions_are_graded_again_by_the_reading_of_the_rewards(files: dict[str, Any]) -> None:
    ask = question("half")
    files["questions"].write_text(as_lines([ask]))
    texts = ["<think>x</think><answer>A</answer>", "Answer: A", "<answer>B</answer>", "A"]
    stored = [Grade(1.0, True)] * 4
    files["rollouts"][0].write_text(
        as_lines(
            [
                Rollout("half", place, Completion(text, 5, True), stored[place], ask.sha256)
                for place, text in enumerate(texts)
            ]
        )
    )
    files |= {"rollouts": files["rollouts"][:1], "clips": (), "keep_max": 4, "keep_min": 0}
    for reading, right in ((None, 4), ("tagged", 1), ("anywhere", 3)):
        select(**files | {"reading": reading})
        assert [high for high, questions, _ in bins(files) if questions] == [right], reading
