"""Several answers to every question: seeded, the same bytes however the work is shared, and graded as any answer is."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import micro
from tests.support.answering import ASKED, CLIPS, SAMPLING, answers, lines, samples, shard_of, world_in
from tests.support.scored_run import SETTINGS, questions_of
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.config.settings import Scoring
from vidreason.engine.batches import limited
from vidreason.evaluation.sample_answers import sample_answers
from vidreason.evaluation.score import Subject
from vidreason.evaluation.score_samples import ScoredSamples, read_samples, score_samples
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.records import OK, Completion, Prediction, SampledAnswers

SUBJECT = Subject("video_mme", "r1", "reason", 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return world_in(tmp_path_factory.mktemp("world"))


class TestSampling:
    def test_one_line_a_question_with_all_answers(self, world, tmp_path):
        rows = {row.question_id: row for row in read_jsonl(samples(world, tmp_path)[0], SampledAnswers)}
        assert set(rows) == {question.id for question in ASKED}
        for question in ASKED:
            row = rows[question.id]
            assert row.status == CLIPS[question.clip.path.removesuffix(".mp4")]
            assert len(row.completions) == (3 if row.status == OK else 0)
            assert row.question_sha256 == question.sha256
        texts = [{one.text for one in row.completions} for row in rows.values() if row.status == OK]
        assert max(map(len, texts)) > 1

    @pytest.mark.parametrize("limit", [None, 7])
    def test_any_number_of_shards_gives_the_same_bytes(self, world, tmp_path, limit):
        settings = SAMPLING.model_copy(update={"questions": limit})
        one, three = (samples(world, tmp_path / str(n), n, settings) for n in (1, 3))
        assert lines(one) == lines(three)
        assert samples(world, tmp_path / "again", 1, settings)[0].read_bytes() == one[0].read_bytes()

    def test_another_seed_gives_other_answers(self, world, tmp_path):
        zero, one = (samples(world, tmp_path / str(seed), seed=seed)[0].read_bytes() for seed in (0, 1))
        assert zero != one

    def test_a_clip_is_encoded_once_for_all_answers(self, world, tmp_path, monkeypatch):
        encoded = []
        encode = TinyLlavaVideo.encode_frames
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda self, pixels: encoded.append(len(pixels)) or encode(self, pixels)
        )
        samples(world, tmp_path)
        assert sum(encoded) == sum(status == OK for status in CLIPS.values())

    def test_a_limit_keeps_whole_videos(self, world, tmp_path):
        settings = SAMPLING.model_copy(update={"questions": 5})
        asked = {row.question_id for row in read_jsonl(samples(world, tmp_path, 1, settings)[0], SampledAnswers)}
        assert asked == {question.id for question in limited(ASKED, 5)}
        videos = {question.clip.path for question in ASKED if question.id in asked}
        assert asked == {question.id for question in ASKED if question.clip.path in videos}
        assert 5 <= len(asked) <= 7

    def test_times_and_tokens_live_apart(self, world, tmp_path):
        (path,) = samples(world, tmp_path)
        with path.with_suffix(".timing.csv").open(newline="") as stream:
            tokens = sum(int(row["tokens"]) for row in csv.DictReader(stream))
        rows = read_jsonl(path, SampledAnswers)
        assert tokens == sum(one.tokens for row in rows for one in row.completions) > 0

    def test_the_prompt_is_that_of_the_evaluation(self, world, tmp_path):
        predicted = {row.question_id: row.prompt_sha256 for row in read_jsonl(answers(world, tmp_path)[0], Prediction)}

        out = tmp_path / "samples.jsonl"
        shard = shard_of(world, tmp_path / "other")
        sample_answers(shard, SAMPLING, "fp32", "option", "ordered", out, tmp_path / "timing.csv")
        assert {row.question_id: row.prompt_sha256 for row in read_jsonl(out, SampledAnswers)} == predicted


class TestLimited:
    def test_a_greater_limit_adds_to_a_smaller_one(self):
        kept = [{question.id for question in limited(ASKED, limit)} for limit in range(1, len(ASKED) + 1)]
        assert all(less <= more for less, more in itertools.pairwise(kept))
        assert kept[0]
        assert len(kept[-1]) == len(ASKED)

    def test_the_order_of_the_questions_stays_and_decides_nothing(self):
        assert limited(ASKED[::-1], 5) == limited(ASKED, 5)[::-1]
        assert limited(ASKED, None) == limited(ASKED, 10_000) == ASKED

    def test_videos_do_not_come_by_name(self):
        many = [micro.question(number, f"clip{number:03d}") for number in range(200)]
        numbers = [int(question.id[1:]) for question in limited(many, 100)]
        assert len(numbers) == 100
        assert 70 < sum(numbers) / len(numbers) < 130


def sampled(letters_of, questions=None):
    """A line for each question of the hand-written benchmark; `letters_of(number)` are its answers, None for a text without any."""
    return [
        SampledAnswers(
            question.id,
            OK,
            "0" * 64,
            tuple(
                Completion(f"<think>.</think> <answer>{letter}</answer>" if letter else "no idea", 5, True)
                for letter in letters_of(number)
            ),
            question.sha256,
        )
        for number, question in enumerate(questions or questions_of("video_mme"))
    ]


def graded(folder: Path, rows, limit=None, **settings) -> list[ScoredSamples]:
    """Grade some lines in two shards."""
    questions, shards = folder / "questions.jsonl", [folder / "shard0.jsonl", folder / "shard1.jsonl"]
    write_jsonl(questions, questions_of("video_mme"))
    write_jsonl(shards[0], rows[::2])
    write_jsonl(shards[1], rows[1::2])
    out = folder / "video_mme.jsonl"
    score_samples(SUBJECT, questions, shards, out, Scoring(**{**SETTINGS, **settings}), limit)
    return read_samples(out)


class TestGrading:
    def test_every_answer_is_graded_and_counted(self, tmp_path):
        """Gold letters are A B C D A B C D."""
        rows = graded(tmp_path, sampled(lambda number: ["A", "A", "B", None]))
        first, second, third = rows[:3]
        assert (first.correct, first.parsed) == ((True, True, False, False), ("A", "A", "B", None))
        assert (first.mean, first.pass_at(1), first.pass_at(4), first.majority_at(4)) == (0.5, 0.5, 1.0, 1.0)
        assert (second.correct, second.majority_at(4)) == ((False, False, True, False), 0.0)
        assert (third.pass_at(4), third.majority_at(4), third.mean) == (0.0, 0.0, 0.0)
        assert first.tokens == (5, 5, 5, 5)

    def test_a_question_that_was_not_answered_counts_as_wrong(self, tmp_path):
        rows = sampled(lambda number: "AB")
        rows[0] = replace(rows[0], status="missing", completions=())
        first = graded(tmp_path, rows)[0]
        assert (first.status, first.pass_at(2), first.majority_at(2), first.mean) == ("missing", 0.0, 0.0, 0.0)

    def test_random_letters_are_drawn_for_every_answer_and_never_win(self, tmp_path):
        rows = graded(tmp_path, sampled(lambda number: [None] * 40), unparsed="random")
        right = [sum(row.correct) for row in rows]
        assert all(0 < count < 25 for count in right)
        assert len(set(right)) > 1
        assert all(row.majority_at(40) == 0 for row in rows)

    def test_only_the_limited_questions_are_needed(self, tmp_path):
        few = limited(questions_of("video_mme"), 3)
        assert len(few) == 4  # two videos of two questions
        rows = graded(tmp_path, sampled(lambda number: "AB", few), limit=3)
        assert sorted(row.question_id for row in rows) == sorted(question.id for question in few)
        with pytest.raises(ValueError, match=r"4 of 8 questions have no line of sampled answers: 'video_mme-"):
            graded(tmp_path, sampled(lambda number: "AB", few))
        with pytest.raises(
            ValueError, match=r"line of sampled answers for 'video_mme-\d', which is no question of this"
        ):
            graded(tmp_path, sampled(lambda number: "AB"), limit=3)

    def test_different_numbers_of_answers_are_refused(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"seed 0, benchmark video_mme: questions have 2 \('.*'\), 3 \('.*'\) sampled answers"
        ):
            graded(tmp_path, sampled(lambda number: "ABC"[: 2 + (number == 3)]))
        with pytest.raises(
            ValueError, match=r"questions have 0 \('.*'\) sampled answers; allowed: one number, above 0"
        ):
            graded(tmp_path, sampled(lambda number: ""))

    def test_a_question_that_has_changed_since_is_refused(self, tmp_path):
        rows = sampled(lambda number: "AB")
        rows[3] = replace(rows[3], question_sha256="1" * 64)
        with pytest.raises(
            ValueError, match=r"'video_mme-3' was made for another form of this question.* sample again"
        ):
            graded(tmp_path, rows)

    def test_a_line_with_columns_of_different_lengths_is_refused(self, tmp_path):
        graded(tmp_path, sampled(lambda number: "AB"))
        path = tmp_path / "video_mme.jsonl"
        path.write_text(path.read_text().replace('"correct": [true, false]', '"correct": [true]', 1))
        with pytest.raises(
            ValueError, match=r"video_mme.jsonl:1: question 'video_mme-0' has .*'correct': 1.*; score again"
        ):
            read_samples(path)
