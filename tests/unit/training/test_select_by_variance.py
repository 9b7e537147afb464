"""Variance-aware selection: what is kept, what is dropped and why, and what is refused."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.support.scored_run import as_lines
from vidreason.artifacts.files import read_jsonl
from vidreason.config.settings import ArmSelection
from vidreason.records import PROMPT_TOO_LONG, ClipRef, ClipStatus, Completion, Grade, Question, Rollout
from vidreason.rl.selection import variance
from vidreason.training.select_by_variance import SelectionFiles, select_by_variance

RULE = ("strategy", "keep_min", "keep_max", "limit")
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
    rule = {"strategy": "informative", **{key: values.pop(key) for key in list(values) if key in RULE}}
    select_by_variance(SelectionFiles(**values), ArmSelection.model_validate(rule), seed, group_size)


def kept(files: dict[str, Any]) -> list[str]:
    """Ids of the selected questions."""
    return [one.id for one in read_jsonl(files["selected"], Question)]


def reasons(files: dict[str, Any]) -> dict[str, str]:
    """Question id -> reason, of the dropped."""
    with files["dropped"].open(newline="") as stream:
        return {row["question"]: row["reason"] for row in csv.DictReader(stream)}


def test_keeps_what_varies_and_accounts_for_the_rest(files: dict[str, Any]) -> None:
    select(**files)
    assert kept(files) == ["rarely", "half", "often"]
    assert reasons(files) == {"never": "always_wrong", "always": "always_right", "broken": "truncated"}
    lines = files["histogram"].read_text().splitlines()
    assert lines[0] == "correct,questions,kept"
    assert lines[1:] == ["0,1,0", "1,1,1", "2,0,0", "3,0,0", "4,1,1", "5,0,0", "6,0,0", "7,1,1", "8,1,0"]
    assert "never,never.mp4,always_wrong,0,8,0.000000" in files["dropped"].read_text()
    assert "broken,broken.mp4,truncated,,0," in files["dropped"].read_text()


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
    assert "long,long.mp4,prompt_too_long,,0," in files["dropped"].read_text()
    assert files["histogram"].read_text().splitlines()[1] == "0,1,0", "what was not asked is not wrong each time"


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
    assert files["histogram"].read_text().splitlines()[2] == "1,1,0", "over the limit is not kept"


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
    assert files["histogram"].read_text() == "correct,questions,kept\n"
