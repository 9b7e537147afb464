"""Predictions and rollouts: the same bytes however the work is shared, a row for every question, seeded sampling."""

import csv
import dataclasses
import re

import pytest
import torch

from tests.support import micro
from tests.support.answering import ASKED, CLIPS, GENERATION, GREEDY, answers, lines, rollouts, shard_of, world_in
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import read_jsonl
from vidreason.config.settings import EvaluationGeneration, Scoring
from vidreason.engine.batches import evaluation_batches
from vidreason.engine.generation import Decoding
from vidreason.engine.prompts import query_text
from vidreason.evaluation.predict import evaluation_decoding, predict
from vidreason.evaluation.score import ScoreFiles, Subject, score
from vidreason.evaluation.scored_answers import read_scored
from vidreason.media.frame_store import FrameStore
from vidreason.models.families import load_checkpoint
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.models.tinyllava.template import prompt_text
from vidreason.records import OK, PROMPT_TOO_LONG, Completion, Grade, Prediction, Rollout
from vidreason.tasks.option_edits import OptionEdit

LENGTHS = {question.id: 50 + number % 3 for number, question in enumerate(ASKED)}
WORDS = " ball" * 200


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return world_in(tmp_path_factory.mktemp("world"))


def long_world(folder, limit=150):
    """A question about `b` whose prompt is longer than the model's limit; another of the same clip is not."""
    asked = [
        dataclasses.replace(question, text=question.text + WORDS) if question is about("b")[0] else question
        for question in ASKED
    ]
    config = folder / "checkpoint" / "config.json"
    there = world_in(folder, asked)
    config.write_text(
        config.read_text().replace('"tokenizer_model_max_length": 512', f'"tokenizer_model_max_length": {limit}')
    )
    return there


def about(clip):
    return [question for question in ASKED if question.clip.path == f"{clip}.mp4"]


class TestBatches:
    def test_a_shard_takes_whole_batches_of_one_global_order(self):
        whole = evaluation_batches(ASKED, LENGTHS, 4, 0, 1)
        assert sorted(question.id for batch in whole for question in batch) == sorted(LENGTHS)
        dealt = [evaluation_batches(ASKED, LENGTHS, 4, shard, 3) for shard in range(3)]
        assert [dealt[number % 3][number // 3] for number in range(len(whole))] == whole

    def test_the_order_of_the_file_does_not_matter(self):
        assert evaluation_batches(ASKED[::-1], LENGTHS, 4, 1, 2) == evaluation_batches(ASKED, LENGTHS, 4, 1, 2)

    @pytest.mark.parametrize("size", [3, 4, 5, 16])
    def test_questions_about_a_clip_share_a_batch(self, size):
        batches = evaluation_batches(ASKED, LENGTHS, size, 0, 1)
        assert all(len(batch) <= size for batch in batches)
        met = [clip for batch in batches for clip in {question.clip.key for question in batch}]
        assert len(met) == len(set(met))

    def test_only_a_clip_with_more_questions_than_a_batch_is_divided(self):
        many = [micro.question(number, "a") for number in range(7)] + [micro.question(9, "b")]
        batches = evaluation_batches(many, dict.fromkeys((question.id for question in many), 1), 3, 0, 1)
        assert [[question.clip.key[0] for question in batch] for batch in batches] == [
            list("aaa"),
            list("aaa"),
            list("ab"),
        ]

    def test_the_longest_come_first_and_similar_lengths_together(self):
        many = [micro.question(number, f"clip{number}") for number in range(12)]
        lengths = {question.id: 100 + (7 * number) % 12 for number, question in enumerate(many)}
        batches = evaluation_batches(many, lengths, 4, 0, 1)
        assert [[lengths[question.id] for question in batch] for batch in batches] == [
            [111, 110, 109, 108], [107, 106, 105, 104], [103, 102, 101, 100],
        ]  # fmt: skip

    def test_batches_are_filled_with_what_still_fits(self):
        """Clips with 3, 3, 2, 1 and 1 questions in batches of 4: three batches, not four."""
        many = [
            micro.question(10 * clip + n, f"{clip}") for clip, count in enumerate((3, 3, 2, 1, 1)) for n in range(count)
        ]
        lengths = {question.id: 100 - int(question.clip.path[0]) for question in many}
        batches = evaluation_batches(many, lengths, 4, 0, 1)
        assert [[int(question.clip.key[0]) for question in batch] for batch in batches] == [
            [0, 0, 0, 3],
            [1, 1, 1, 4],
            [2, 2],
        ]

    def test_what_cannot_be_answered_comes_last(self):
        lengths = {**LENGTHS, **dict.fromkeys((question.id for question in about("c")), 0)}
        batches = evaluation_batches(ASKED, lengths, 4, 0, 1)
        assert batches[-1][-2:] == about("c")

    def test_more_shards_than_batches(self):
        assert evaluation_batches(ASKED[:2], LENGTHS, 4, 1, 2) == []

    @pytest.mark.parametrize("shard", [-1, 2])
    def test_a_shard_outside_is_refused(self, shard):
        with pytest.raises(ValueError, match=f"shard {shard} of 2: shards are numbered 0 to 1"):
            evaluation_batches(ASKED, LENGTHS, 4, shard, 2)


class TestPredict:
    @pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
    def test_answers_are_computed_in_the_precision_asked_for(self, world, tmp_path, monkeypatch, precision, dtype):
        seen = set()
        encode = TinyLlavaVideo.encode_frames
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda model, pixels: seen.add(model.dtype) or encode(model, pixels)
        )
        (path,) = answers(world, tmp_path, settings={**GREEDY, "precision": precision})
        assert seen == {dtype}
        assert len(lines([path])) == len(ASKED)

    @pytest.mark.parametrize("settings", [GREEDY, {**GREEDY, "decoding": "upstream"}])
    def test_one_shard_and_three_give_the_same_bytes(self, world, tmp_path, settings):
        one = answers(world, tmp_path / "one", 1, settings)
        three = answers(world, tmp_path / "three", 3, settings)
        assert lines(one) == lines(three)
        assert len(lines(one)) == len(ASKED)
        assert answers(world, tmp_path / "again", 1, settings)[0].read_bytes() == one[0].read_bytes()

    @pytest.mark.parametrize("view", ["ordered", "shuffled"])
    def test_reading_ahead_changes_no_byte(self, world, tmp_path, view):
        here = answers(world, tmp_path / "here", view=view)[0].read_bytes()
        assert answers(world, tmp_path / "ahead", view=view, workers=2)[0].read_bytes() == here

    @pytest.mark.parametrize("shards", [1, 3])
    def test_a_clip_is_encoded_once_in_the_whole_evaluation(self, world, tmp_path, monkeypatch, shards):
        encoded = []
        encode = TinyLlavaVideo.encode_frames
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda self, pixels: encoded.append(len(pixels)) or encode(self, pixels)
        )
        answers(world, tmp_path, shards)
        assert sum(encoded) == sum(status == OK for status in CLIPS.values())

    def test_every_question_has_a_row_with_its_facts(self, world, tmp_path):
        rows = {row.question_id: row for row in read_jsonl(answers(world, tmp_path)[0], Prediction)}
        assert set(rows) == {question.id for question in ASKED}
        for question in ASKED:
            row = rows[question.id]
            assert row.question_sha256 == question.sha256
            text = prompt_text(query_text(question, "option", training=False))
            assert row.prompt_sha256 == sha256_text(text)
            assert row.status == CLIPS[question.clip.path.removesuffix(".mp4")]
            if row.status == OK:
                assert 1 <= row.completion.tokens <= 6
            else:
                assert row.completion == Completion("", 0, False)

    def test_a_missing_clip_changes_no_other_answer(self, world, tmp_path):
        """It leaves the batch, whose other rows say the same."""
        frames = [micro.write_frames(tmp_path / "frames.parquet", {**CLIPS, "g": "truncated"})]
        with_it = {row.question_id: row for row in read_jsonl(answers(world, tmp_path / "with")[0], Prediction)}
        about_g = {question.id for question in about("g")}
        without = read_jsonl(answers({**world, "frames": frames}, tmp_path / "out")[0], Prediction)
        for row in without:
            if row.question_id not in about_g:
                assert row == with_it[row.question_id]
        assert {row.status for row in without if row.question_id in about_g} == {"truncated"}

    def test_a_clip_that_nobody_extracted_is_named(self, world, tmp_path):
        frames = [micro.write_frames(tmp_path / "frames.parquet", {"a": OK})]
        with pytest.raises(KeyError, match=r"clip 'short.mp4' of question 'q0' is in none of the 1 frame tables"):
            answers({**world, "frames": frames}, tmp_path / "out")

    @pytest.mark.parametrize("workers", [0, 1])
    def test_frames_that_are_not_what_was_stored_stop_it(self, world, tmp_path, monkeypatch, workers):
        monkeypatch.setattr("vidreason.media.frame_store.sha256_bytes", lambda data: "0" * 64)
        with pytest.raises(ValueError, match=r"frame 0 of clip '\w.mp4' is not what was stored"):
            answers(world, tmp_path, workers=workers)

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
        assert evaluation_decoding(EvaluationGeneration(**{**GREEDY, "decoding": "upstream"})) == Decoding(
            6, temperature=1.0, top_k=50
        )
        assert evaluation_decoding(EvaluationGeneration(**GREEDY)) == Decoding(6, temperature=0.0)
        with pytest.raises(ValueError, match=r"decoding\n.*should be 'greedy' or 'upstream'"):
            EvaluationGeneration(**{**GREEDY, "decoding": "beam"})

    def test_views_change_the_answers(self, world, tmp_path):
        told = {
            view: answers(world, tmp_path / view, view=view)[0].read_bytes() for view in ("ordered", "shuffled", "gray")
        }
        assert len(set(told.values())) == 3
        uniform = [row for row in read_jsonl(tmp_path / "gray" / "shard0.jsonl", Prediction) if row.status == OK]
        # All clips look alike and all questions read alike, so all answers are alike.
        assert len({row.completion for row in uniform}) == 1

    def test_text_alone_is_asked_as_the_template_writes_it_and_no_frame_is_read(self, world, tmp_path, monkeypatch):
        """The answers are those of transformers' language model to a prompt that is put together by hand."""
        monkeypatch.setattr(FrameStore, "pixels", lambda *_: pytest.fail("a frame was read"))
        rows = {row.question_id: row for row in read_jsonl(answers(world, tmp_path, view="none")[0], Prediction)}
        model = load_checkpoint(world["weights"], torch.float32).eval()
        head = (
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        )
        for question in ASKED:
            row, status = rows[question.id], CLIPS[question.clip.path.removesuffix(".mp4")]
            options = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", question.options, strict=False))
            told = "Answer with the option's letter from the given choices directly."
            text = f"{head}USER: {question.text}\n{options}\n{told} ASSISTANT:"
            assert (row.status, row.prompt_sha256) == (status, sha256_text(text)), (
                "what cannot be read stays unanswered"
            )
            if status == OK:
                ids = torch.tensor([model.tokenizer(text).input_ids])
                said = model.language_model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False,
                    eos_token_id=model.end_id, pad_token_id=model.end_id,
                )  # fmt: skip
                own = model.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip()
                assert row.completion.text == own

    @pytest.mark.parametrize("edit", ["permuted", "without_gold"])
    def test_changed_options_are_those_that_are_asked_and_scored(self, world, tmp_path, edit):
        options = OptionEdit(edit, 3)
        (path,) = answers(world, tmp_path, options=options)
        rows = {row.question_id: row for row in read_jsonl(path, Prediction)}
        edited = {question.id: options.of(question) for question in ASKED}
        assert any(edited[question.id] != question for question in ASKED)
        for name, question in edited.items():
            text = prompt_text(query_text(question, "option", training=False))
            assert (rows[name].question_sha256, rows[name].prompt_sha256) == (question.sha256, sha256_text(text))
        files = ScoreFiles(world["questions"], [path], tmp_path / "scored.jsonl", tmp_path / "score.json")
        lenient = Scoring(parser="strict", unparsed="wrong", max_missing_fraction=1.0)
        score(Subject("mmvu", "arm", "option", 0), files, lenient, options=options)
        for row in read_scored(files.scored):
            assert row.question == edited[row.question.id]
        with pytest.raises(ValueError, match="was made for another form of this question"):
            score(Subject("mmvu", "arm", "option", 0), files, lenient)

    def test_times_live_apart(self, world, tmp_path):
        (path,) = answers(world, tmp_path)
        with path.with_suffix(".timing.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert sum(int(row["questions"]) for row in rows) == len(ASKED)
        assert [int(row["batch"]) for row in rows] == list(range(len(rows)))
        assert sum(int(row["tokens"]) for row in rows) == sum(
            row.completion.tokens for row in read_jsonl(path, Prediction)
        )
        assert "seconds" not in path.read_text()

    def test_the_log_ends_with_what_was_done_and_how_fast(self, world, tmp_path, capsys):
        (path,) = answers(world, tmp_path)
        tokens = sum(row.completion.tokens for row in read_jsonl(path, Prediction))
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"predict: {len(ASKED)} questions, {tokens} tokens in ")
        assert last.endswith("tokens/s)")


class TestTooLong:
    """A prompt that the model has no room for is never cut."""

    def test_it_is_a_row_with_its_own_status(self, world, tmp_path, capsys):
        rows = {row.question_id: row for row in read_jsonl(answers(long_world(tmp_path), tmp_path)[0], Prediction)}
        first, second = about("b")
        row = rows[first.id]
        assert (row.status, row.completion) == (PROMPT_TOO_LONG, Completion("", 0, False))
        assert rows[second.id].status == OK
        assert len(rows) == len(ASKED)
        told = capsys.readouterr().err
        assert f"1 of {len(ASKED)} questions are not answered (prompt_too_long)" in told
        assert "room for prompts of 150 positions" in told
        assert f"'{first.id}' (" in told

    def test_the_others_say_what_they_say_without_it(self, world, tmp_path):
        with_it = {row.question_id: row for row in read_jsonl(answers(world, tmp_path / "with")[0], Prediction)}
        for row in read_jsonl(answers(long_world(tmp_path), tmp_path)[0], Prediction):
            if row.status == OK:
                assert row == with_it[row.question_id]

    def test_it_has_no_rollouts_but_a_reason(self, world, tmp_path):
        rows = read_jsonl(rollouts(long_world(tmp_path), tmp_path)[0], Rollout)
        first, second = about("b")
        assert [row for row in rows if row.question_id == first.id] == [
            Rollout(
                first.id,
                0,
                Completion("", 0, False),
                Grade(0.0, False, parts={"well_formed": 0.0}),
                dataclasses.replace(first, text=first.text + WORDS).sha256,
                PROMPT_TOO_LONG,
            )
        ]
        assert sum(row.question_id == second.id for row in rows) == GENERATION.rollouts

    def test_answers_that_leave_no_room_at_all_are_refused(self, world, tmp_path):
        with pytest.raises(ValueError, match=r"max_new_tokens is 99999: .* no room is left for a prompt"):
            answers(world, tmp_path, settings={**GREEDY, "max_new_tokens": 99999})


class TestMemory:
    @pytest.mark.parametrize(
        "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory")]
    )
    def test_the_error_names_the_batch_and_the_key(self, world, tmp_path, monkeypatch, error):
        def refuse(*_):
            raise error

        monkeypatch.setattr("vidreason.engine.batch_inference.generate", refuse)
        told = r"Batch 0 of 5 has 3 questions about 1 clips with 1 answers .* to 6 tokens\. Lower evaluation\.generation\.batch_size, now 4"
        with pytest.raises(MemoryError, match=told) as caught:
            answers(world, tmp_path / "predict")
        assert caught.value.__cause__ is error
        with pytest.raises(MemoryError, match=r"with 3 answers .* Lower selection\.generation\.batch_size, now 4"):
            rollouts(world, tmp_path / "rollouts")


class TestResume:
    def test_what_is_done_is_not_done_again(self, world, tmp_path, monkeypatch, capsys):
        whole = answers(world, tmp_path / "whole")[0].read_bytes()
        calls = interrupt(monkeypatch, after=2)
        with pytest.raises(KeyboardInterrupt):
            answers(world, tmp_path / "out")
        assert not (tmp_path / "out" / "shard0.jsonl").exists()
        calls.clear()
        capsys.readouterr()
        assert answers(world, tmp_path / "out")[0].read_bytes() == whole
        assert len(calls) == 2
        told = capsys.readouterr().err
        assert "2 of 5 batches are answered already" in told
        assert "; 7 questions were answered before" in told
        assert re.search(rf"^.*predict:  37%\|.*\| 7/{len(ASKED)} ", told, re.MULTILINE), (
            "the bar begins at what is done"
        )

    def test_other_settings_begin_afresh(self, world, tmp_path, monkeypatch, capsys):
        interrupt(monkeypatch, after=2)
        with pytest.raises(KeyboardInterrupt):
            answers(world, tmp_path / "out", identity="a" * 64)
        other = {**GREEDY, "max_new_tokens": 3}
        again = answers(world, tmp_path / "out", settings=other, identity="b" * 64)[0].read_bytes()
        assert again == answers(world, tmp_path / "fresh", settings=other)[0].read_bytes()
        assert "2 batches were answered under other settings" in capsys.readouterr().err

    def test_a_journal_of_other_questions_is_refused(self, world, tmp_path):
        """It cannot come about unless the file is edited: the identity covers the questions."""
        answers(world, tmp_path)
        with pytest.raises(ValueError, match=r"\.jsonl: batch 1 is not batch 1 of this shard.*Remove it"):
            answers(world, tmp_path, settings={**GREEDY, "batch_size": 3})

    def test_a_finished_shard_computes_nothing_again(self, world, tmp_path, monkeypatch):
        """Killed after its last answer and before its results stood."""
        (path,) = answers(world, tmp_path)
        whole = path.read_bytes()
        path.unlink()
        calls = interrupt(monkeypatch, after=0)
        assert answers(world, tmp_path)[0].read_bytes() == whole
        assert calls == []

    def test_the_journal_stays_until_the_caller_removes_it(self, world, tmp_path):
        """The caller writes more after it; `predict` cannot know when all of it stands."""
        shard = shard_of(world, tmp_path)
        predict(
            shard,
            EvaluationGeneration.model_validate(GREEDY),
            "option",
            "ordered",
            tmp_path / "out.jsonl",
            tmp_path / "timing.csv",
        )
        assert list(shard.state.iterdir())


def interrupt(monkeypatch, after):
    """Let generation stop, once, after so many batches; return the list of its calls."""
    from vidreason.engine import batch_inference

    calls, stopped, real = [], [], batch_inference.generate

    def generate(*parts):
        if len(calls) == after and after and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        calls.append(len(parts[1]))
        return real(*parts)

    monkeypatch.setattr(batch_inference, "generate", generate)
    return calls


class TestRollouts:
    def test_one_shard_and_three_give_the_same_bytes(self, world, tmp_path):
        one, three = rollouts(world, tmp_path / "one"), rollouts(world, tmp_path / "three", 3)
        assert lines(one) == lines(three)
        assert rollouts(world, tmp_path / "other", seed=1)[0].read_bytes() != one[0].read_bytes()
        assert lines(rollouts(world, tmp_path / "ahead", workers=2)) == lines(one)

    def test_every_question_has_its_rollouts_or_a_reason(self, world, tmp_path):
        rows = read_jsonl(rollouts(world, tmp_path)[0], Rollout)
        status = {question.id: CLIPS[question.clip.path.removesuffix(".mp4")] for question in ASKED}
        assert sorted((row.question_id, row.index, row.status) for row in rows) == sorted(
            (name, g, told) for name, told in status.items() for g in range(3 if told == OK else 1)
        )
        asked = [row for row in rows if row.status == OK]
        assert all(1 <= row.completion.tokens <= 6 for row in asked)
        assert len({row.completion.text for row in asked}) > len(asked) / 2  # rollouts of a question differ
        assert not any(
            row.completion.tokens or row.completion.text or row.grade.correct or row.completion.finished
            for row in rows
            if row.status != OK
        )

    def test_all_settings_of_the_sampling_count(self, world, tmp_path):
        """The smallest nucleus holds one token: the most likely one, which is all that the smallest top_k leaves too."""
        told = []
        for number, changes in enumerate(({}, {"top_k": 1}, {"top_p": 1e-6})):
            sampling = GENERATION.sampling.model_copy(update=changes)
            generation = GENERATION.model_copy(update={"sampling": sampling})
            (path,) = rollouts(world, tmp_path / str(number), generation=generation)
            told.append([row.completion for row in read_jsonl(path, Rollout)])
        assert told[0] != told[1] == told[2]

    def test_rollouts_are_judged(self, world, tmp_path, monkeypatch):
        said = iter(["<think> x </think> <answer> A </answer>", "B", "<answer>C</answer>"] * 100)
        monkeypatch.setattr(
            "vidreason.engine.generation.Completions.texts",
            lambda self, tokenizer: [next(said) for _ in range(len(self.ids))],
        )
        gold = {question.id: question.gold for question in ASKED}
        for row in read_jsonl(rollouts(world, tmp_path)[0], Rollout):
            if row.status == OK:
                assert row.grade.correct == ("ABC"[row.index] == gold[row.question_id])
                assert row.grade.parts["well_formed"] == (row.index == 0)
