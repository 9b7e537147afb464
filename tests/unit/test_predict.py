"""Predictions and rollouts: the same bytes however the work is shared, a row for every question, seeded sampling."""

import csv

import pytest

from tests.unit import micro
from vidreason.evaluation.predict import evaluation_batches, evaluation_decoding, predict, sample_rollouts
from vidreason.files import read_jsonl, sha256_text
from vidreason.generation import Decoding
from vidreason.inputs import query_text
from vidreason.model.prompts import prompt_text
from vidreason.records import OK, Prediction, Rollout

CLIPS = {**dict.fromkeys("abcdefg", OK), "gone": "missing", "short": "truncated"}
ASKED = [
    micro.question(10 * number + n, clip, "ABC"[n], "mmvu")
    for number, clip in enumerate(reversed(CLIPS))
    for n in range(2 if clip != "a" else 3)
]
GREEDY = {"decoding": "greedy", "max_new_tokens": 6, "batch_size": 4}
ROLLOUTS = {"rollouts": 3, "temperature": 1.0, "top_k": 50, "max_new_tokens": 6, "batch_size": 4}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return {
        "weights": micro.checkpoint(folder / "checkpoint"),
        "questions": micro.write_questions(folder / "questions.jsonl", ASKED),
        "frames": [micro.write_frames(folder / "shard0.parquet", CLIPS)],
    }


def answers(world, folder, shards=1, settings=GREEDY, view="ordered", seed=0):
    paths = [folder / f"shard{shard}.jsonl" for shard in range(shards)]
    for shard, path in enumerate(paths):
        predict(
            **world, settings=settings, answer="option", view=view, seed=seed, shard=shard, shards=shards, out=path,
            timing=path.with_suffix(".timing.csv"),
        )  # fmt: skip
    return paths


def rollouts(world, folder, shards=1, seed=0):
    paths = [folder / f"rollouts{shard}.jsonl" for shard in range(shards)]
    for shard, path in enumerate(paths):
        sample_rollouts(
            **world,
            settings=ROLLOUTS,
            protocol="upstream",
            answer="reason",
            seed=seed,
            shard=shard,
            shards=shards,
            out=path,
        )
    return paths


def lines(paths):
    return sorted(line for path in paths for line in path.read_bytes().splitlines())


class TestBatches:
    def test_a_shard_takes_whole_batches_of_one_global_order(self):
        whole = evaluation_batches(ASKED, 4, 0, 1)
        assert [len(batch) for batch in whole] == [4, 4, 4, 4, 3]
        flat = [question for batch in whole for question in batch]
        assert flat == sorted(ASKED, key=lambda question: (question.clip, question.id))
        dealt = [evaluation_batches(ASKED, 4, shard, 3) for shard in range(3)]
        assert [dealt[number % 3][number // 3] for number in range(5)] == whole

    def test_the_order_of_the_file_does_not_matter(self):
        assert evaluation_batches(ASKED[::-1], 4, 1, 2) == evaluation_batches(ASKED, 4, 1, 2)

    def test_more_shards_than_batches(self):
        assert evaluation_batches(ASKED[:3], 4, 1, 2) == []

    @pytest.mark.parametrize("shard", [-1, 2])
    def test_a_shard_outside_is_refused(self, shard):
        with pytest.raises(ValueError, match=f"shard {shard} of 2: shards are numbered 0 to 1"):
            evaluation_batches(ASKED, 4, shard, 2)


class TestPredict:
    @pytest.mark.parametrize("settings", [GREEDY, {**GREEDY, "decoding": "upstream"}])
    def test_one_shard_and_three_give_the_same_bytes(self, world, tmp_path, settings):
        one = answers(world, tmp_path / "one", 1, settings)
        three = answers(world, tmp_path / "three", 3, settings)
        assert lines(one) == lines(three)
        assert len(lines(one)) == len(ASKED)
        assert answers(world, tmp_path / "again", 1, settings)[0].read_bytes() == one[0].read_bytes()

    def test_every_question_has_a_row_with_its_facts(self, world, tmp_path):
        rows = {row.question: row for row in read_jsonl(answers(world, tmp_path)[0], Prediction)}
        assert set(rows) == {question.id for question in ASKED}
        for question in ASKED:
            row = rows[question.id]
            assert (row.video, row.answer, row.options) == (question.video, question.answer, 3)
            text = prompt_text(query_text(question, "option", training=False))
            assert row.prompt_sha256 == sha256_text(text)
            assert row.status == CLIPS[question.video.removesuffix(".mp4")]
            if row.status == OK:
                assert 1 <= row.tokens <= 6
                assert row.finish in ("stop", "length")
            else:
                assert (row.completion, row.tokens, row.finish) == ("", 0, "")

    def test_a_missing_clip_changes_no_other_answer(self, world, tmp_path):
        """It stands in the same batch as readable ones."""
        frames = [micro.write_frames(tmp_path / "frames.parquet", {**CLIPS, "b": "truncated"})]
        with_it = {row.question: row for row in read_jsonl(answers(world, tmp_path / "with")[0], Prediction)}
        without = {
            row.question: row
            for row in read_jsonl(answers({**world, "frames": frames}, tmp_path / "out")[0], Prediction)
        }
        for question, row in without.items():
            # Clips after the lost one show other noise in this table of frames.
            if row.video == "a.mp4":
                assert row == with_it[question]
        assert {row.status for row in without.values() if row.video == "b.mp4"} == {"truncated"}

    def test_upstream_sampling_is_seeded(self, world, tmp_path):
        settings = {**GREEDY, "decoding": "upstream"}
        once, again, other = (
            answers(world, tmp_path / str(number), settings=settings, seed=seed)[0].read_bytes()
            for number, seed in enumerate((0, 0, 1))
        )
        assert once == again
        assert once != other
        greedy = [answers(world, tmp_path / f"greedy{seed}", seed=seed)[0].read_bytes() for seed in (0, 1)]
        assert greedy[0] == greedy[1] != once

    def test_upstream_sampling_is_that_of_its_scripts(self):
        assert evaluation_decoding({**GREEDY, "decoding": "upstream"}) == Decoding(6, temperature=1.0, top_k=50)
        assert evaluation_decoding(GREEDY) == Decoding(6, temperature=0.0)
        with pytest.raises(ValueError, match=r"evaluation\.decoding: 'beam'; allowed: 'greedy', 'upstream'"):
            evaluation_decoding({**GREEDY, "decoding": "beam"})

    def test_views_change_the_answers(self, world, tmp_path):
        told = {
            view: answers(world, tmp_path / view, view=view)[0].read_bytes()
            for view in ("ordered", "shuffled", "blind")
        }
        assert len(set(told.values())) == 3
        blind = [row for row in read_jsonl(tmp_path / "blind" / "shard0.jsonl", Prediction) if row.status == OK]
        # All clips look alike and all questions read alike, so all answers are alike.
        assert len({row.completion for row in blind}) == 1

    def test_times_live_apart(self, world, tmp_path):
        (path,) = answers(world, tmp_path)
        with path.with_suffix(".timing.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [int(row["questions"]) for row in rows] == [4, 4, 4, 4, 3]
        assert sum(int(row["tokens"]) for row in rows) == sum(row.tokens for row in read_jsonl(path, Prediction))
        assert "seconds" not in path.read_text()


class TestRollouts:
    def test_one_shard_and_three_give_the_same_bytes(self, world, tmp_path):
        one, three = rollouts(world, tmp_path / "one"), rollouts(world, tmp_path / "three", 3)
        assert lines(one) == lines(three)
        assert rollouts(world, tmp_path / "other", seed=1)[0].read_bytes() != one[0].read_bytes()

    def test_every_readable_question_has_its_rollouts(self, world, tmp_path):
        rows = read_jsonl(rollouts(world, tmp_path)[0], Rollout)
        readable = [question.id for question in ASKED if CLIPS[question.video.removesuffix(".mp4")] == OK]
        assert sorted((row.question, row.index) for row in rows) == sorted(
            (name, g) for name in readable for g in range(3)
        )
        assert all(1 <= row.tokens <= 6 for row in rows)
        assert len({row.completion for row in rows}) > len(rows) / 2  # rollouts of a question differ

    def test_rollouts_are_judged(self, world, tmp_path, monkeypatch):
        said = iter(["<think> x </think> <answer> A </answer>", "B", "<answer>C</answer>"] * 100)
        monkeypatch.setattr(
            "vidreason.generation.Completions.texts", lambda self, tokenizer: [next(said) for _ in range(len(self.ids))]
        )
        gold = {question.id: question.answer for question in ASKED}
        for row in read_jsonl(rollouts(world, tmp_path)[0], Rollout):
            assert row.correct == ("ABC"[row.index] == gold[row.question])
            assert row.well_formed == (row.index == 0)
