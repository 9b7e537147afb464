"""A checkpoint is asked about a video of one's own: the evaluation's answer, streamed; what cannot be used is refused in a sentence."""

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support import micro
from vidreason.artifacts.digests import sha256_text
from vidreason.artifacts.files import read_jsonl, write_jsonl
from vidreason.config.settings import EvaluationGeneration
from vidreason.engine import ask
from vidreason.engine.ask import AskError, Reasoner, load, question_of
from vidreason.engine.batch_inference import Shard
from vidreason.engine.generation import Decoding
from vidreason.evaluation.predict import predict
from vidreason.media.extract_frames import FrameSpec, extract_frames
from vidreason.models.tinyllava.modeling import TinyLlavaVideo
from vidreason.records import IMAGE, ClipRef, Prediction, Question
from vidreason.world.encode import encode, timing
from vidreason.world.questions import make_questions
from vidreason.world.scenes import make_scene

BASE = Path(__file__).parents[3] / "config/demo_base/checkpoint"
SHORT = Decoding(72, 0.0)
CATEGORIES = ("colour", "existence", "direction", "last", "first")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Clips of two scenes, as mp4 and webm, and three questions about the first in the form of a benchmark."""
    folder = tmp_path_factory.mktemp("clips")
    for number, kind in enumerate(("mp4", "webm")):
        encode(make_scene(number), folder / f"clip.{kind}", timing(4.0, kind), kind)
    scene, rng = make_scene(0), np.random.default_rng(0)
    questions = [
        Question(f"q{number}", "video_mme", "multiple_choice", made.text, ClipRef("clip.mp4"), made.options, made.gold)
        for number, made in enumerate(make_questions(scene, CATEGORIES, 3, rng))
    ]
    return folder, questions


@pytest.fixture(scope="module")
def reasoner():
    return load(BASE)


def sentence(error) -> str:
    """The message, which is one line."""
    assert "\n" not in str(error.value)
    return str(error.value)


class TestEvaluation:
    @pytest.mark.parametrize("style", ["reason", "option"])
    def test_the_answer_is_that_of_the_evaluation(self, world, reasoner, tmp_path, style):
        folder, questions = world
        write_jsonl(tmp_path / "questions.jsonl", questions)
        tables = [tmp_path / "shard0.parquet"]
        extract_frames(
            [tmp_path / "questions.jsonl"], folder, tables[0], tmp_path / "shard0.clips.jsonl", FrameSpec(16, 32)
        )
        shard = Shard(BASE, tmp_path / "questions.jsonl", tables, 0, 0, 1, tmp_path / "state", "0" * 64)
        settings = {"decoding": "greedy", "max_new_tokens": 72, "batch_size": 8, "precision": "fp32"}
        generation = EvaluationGeneration.model_validate(settings)
        predict(shard, generation, style, "ordered", tmp_path / "out.jsonl", tmp_path / "timing.csv")
        predicted = {row.question_id: row for row in read_jsonl(tmp_path / "out.jsonl", Prediction)}
        assert len(predicted) == len(questions) == 3
        for question in questions:
            reply = reasoner.ask(folder / "clip.mp4", question.text, question.options, style, SHORT)
            assert reply.completion == predicted[question.id].completion
            assert sha256_text(reply.prompt) == predicted[question.id].prompt_sha256

    def test_a_benchmarks_own_prompt_is_used_for_its_questions(self, world, reasoner):
        folder, questions = world
        as_mlvu = dataclasses.replace(questions[0], dataset="mlvu")
        video = reasoner.encode(folder / "clip.mp4")
        assert "\n(A) " in reasoner.answer(video, as_mlvu, decoding=SHORT).prompt
        assert "Options:\nA. " in reasoner.answer(video, questions[0], decoding=SHORT).prompt

    def test_the_limit_of_an_answer_is_what_the_model_has_room_for(self, world, reasoner, monkeypatch):
        """Without an end of sequence the demo's model of 512 positions writes until they are used up."""
        folder, questions = world
        monkeypatch.setattr(type(reasoner.model), "end_id", property(lambda model: -1))
        reply = reasoner.ask(folder / "clip.mp4", questions[0].text, questions[0].options)
        length = len(reasoner.model.text_ids(reply.prompt)) + reasoner.model.video_positions - 1
        assert reply.completion.tokens == 512 - length
        assert not reply.completion.finished


class TestReply:
    @pytest.mark.parametrize(
        ("style", "text", "answer", "option"),
        [
            ("reason", "<think> so </think> <answer> B </answer>", "B", "blue"),
            ("reason", "B", None, None),
            ("option", "B", "B", "blue"),
        ],
    )
    def test_what_is_read_is_what_the_evaluation_reads(self, style, text, answer, option):
        question = question_of("Which?", ["red", "blue"])
        reply = ask.Reply(question, style, ask.Completion(text), "", "", ask._read(text, question, style))
        assert (reply.answer, reply.option, str(reply)) == (answer, option, text)

    @pytest.mark.parametrize(
        ("style", "text", "answer"),
        [
            ("reason", "<think> a </think> <answer> a red ball </answer>", "a red ball"),
            ("reason", "a red ball", None),
            ("option", " a red ball ", "a red ball"),
            ("option", "  ", None),
        ],
    )
    def test_an_answer_in_words_is_the_answer_block(self, style, text, answer):
        question = question_of("What falls?")
        assert question.task == "free_form"
        assert ask._read(text, question, style) == answer
        assert ask.Reply(question, style, ask.Completion(text), "", "", answer).option is None


class TestStream:
    def test_the_pieces_make_up_the_text(self, world, reasoner):
        folder, questions = world
        pieces = []
        reply = reasoner.ask(folder / "clip.mp4", questions[0].text, questions[0].options, listener=pieces.append)
        assert "".join(pieces) == reply.text
        assert len(pieces) > 10

    def test_the_first_text_comes_within_three_seconds(self, world, reasoner):
        """Of processor time, so that a busy machine fails nothing: decoding, encoding and prefill of a model of the demo's size."""
        folder, questions = world
        at = []
        start = time.process_time()
        reasoner.ask(
            folder / "clip.webm",
            questions[0].text,
            questions[0].options,
            listener=lambda _: at.append(time.process_time()),
        )
        threads = torch.get_num_threads()
        print(f"first text after {at[0] - start:.2f} s of {threads} processors, last after {at[-1] - start:.2f} s")
        assert at[0] - start < 3.0 * threads
        assert at[0] - start < at[-1] - start, "and not with all the rest"

    def test_a_character_is_said_when_all_its_bytes_are_there(self):
        model, text = micro.model(), "so é 🙂 ball"
        ids = micro.tokenizer()(text).input_ids
        assert len(ids) > len(text.split())
        pieces = []
        stream = ask._Pieces(model, pieces.append)
        for token in ids:
            stream.add(torch.tensor([token]))
        assert stream.finish(model.end_id).text == text
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece for piece in pieces)

    def test_a_broken_character_at_the_end_is_said_at_last(self):
        model = micro.model()
        ids = [*micro.tokenizer()("so").input_ids, micro.tokenizer()("é").input_ids[0]]
        pieces = []
        stream = ask._Pieces(model, pieces.append)
        for token in ids:
            stream.add(torch.tensor([token]))
        assert "\ufffd" not in "".join(pieces)
        assert stream.finish(model.end_id).text == "".join(pieces)

    def test_a_seed_samples_and_repeats(self, world, reasoner):
        folder, questions = world
        video = reasoner.encode(folder / "clip.mp4")

        def texts(seed):
            return [reasoner.ask(video, each.text, each.options, seed=seed).text for each in questions]

        greedy, first = texts(None), texts(1)
        assert texts(1) == first
        assert greedy == texts(None)
        assert any(other != first for other in (texts(2), texts(3)))

    def test_sampling_without_a_seed_is_refused(self, world, reasoner):
        with pytest.raises(ValueError, match="sampling needs one seed"):
            reasoner.ask(world[0] / "clip.mp4", "Who?", ["a", "b"], decoding=Decoding(4, 1.0))


class TestVideo:
    def test_a_video_is_encoded_once_for_many_questions(self, world, reasoner, monkeypatch):
        calls = []
        encode_frames = TinyLlavaVideo.encode_frames
        monkeypatch.setattr(
            TinyLlavaVideo, "encode_frames", lambda model, pixels: calls.append(1) or encode_frames(model, pixels)
        )
        folder, questions = world
        video = reasoner.encode(folder / "clip.mp4")
        replies = [reasoner.ask(video, each.text, each.options).text for each in questions]
        assert len(calls) == 1
        assert replies == [reasoner.ask(folder / "clip.mp4", each.text, each.options).text for each in questions]
        assert len(calls) == 1 + len(questions)

    def test_webm_a_single_frame_and_a_picture_can_be_asked_about(self, world, reasoner, tmp_path):
        _first_frame(world[0] / "clip.mp4", tmp_path / "single.mp4")
        Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / "still.png")
        for path, frames in ((world[0] / "clip.webm", 16), (tmp_path / "single.mp4", 1), (tmp_path / "still.png", 1)):
            video = reasoner.encode(path)
            assert len(set(video.frames.indices.tolist())) == frames, path
            assert video.frames.pixels.shape == (16, 32, 32, 3)
            assert reasoner.ask(video, "Which colour is the bar?", ["red", "blue"], decoding=SHORT).text
        assert reasoner.encode(tmp_path / "still.png").clip.kind == IMAGE

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path, clip: None, r"cannot be used \(missing\): no such file"),
            (lambda path, clip: path.write_bytes(clip.read_bytes()[:-900]), r"cannot be used \(truncated\): "),
            (lambda path, clip: path.write_bytes(b""), r"cannot be used \(empty_file\): the file has 0 bytes"),
            (lambda path, clip: path.write_text("<html>not here"), "neither a video nor a picture: the file is text"),
            (lambda path, clip: path.write_bytes(bytes(range(256)) * 9), r"cannot be used \(unreadable\): "),
        ],
    )
    def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(self, world, reasoner, tmp_path, make, message):
        make(path := tmp_path / "bad.mp4", world[0] / "clip.mp4")
        with pytest.raises(AskError, match=message) as error:
            reasoner.ask(path, "Who?", ["a", "b"])
        assert sentence(error).startswith(f"{path}: ")

    @pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif"])
    def test_a_picture_of_every_kind_is_a_still(self, reasoner, tmp_path, kind):
        Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / f"still.{kind}")
        video = reasoner.encode(tmp_path / f"still.{kind}")
        assert (video.clip.kind, video.frames.clip.codec) == (IMAGE, "image")
        assert (np.abs(video.frames.pixels.astype(int) - 200) < 3).all()

    def test_half_a_picture_is_refused_as_a_picture(self, reasoner, tmp_path):
        noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.png")
        (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
        with pytest.raises(AskError, match=r"half.png: cannot be used as a picture \(truncated\): ") as error:
            reasoner.encode(tmp_path / "half.png")
        sentence(error)


def _first_frame(source: Path, target: Path) -> None:
    """A video of the first frame of another."""
    import av

    with av.open(str(source)) as video:
        frame = next(video.decode(video=0))
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        for packet in (*stream.encode(frame.reformat(format="yuv420p")), *stream.encode(None)):
            out.mux(packet)


class TestQuestion:
    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            (" \n", ["a", "b"], "the question has no text; allowed: at least one word"),
            ("Who?", list("abcdefghijk"), "11 options; allowed: 1 to 10"),
            ("Who?", ["a", " ", "c"], "option 2 of 3 has no text; allowed: at least one word"),
        ],
    )
    def test_what_cannot_be_asked_is_refused_in_a_sentence(self, text, options, message):
        with pytest.raises(AskError, match=message) as error:
            question_of(text, options)
        sentence(error)

    def test_ten_options_can_be_asked(self):
        assert question_of("Who?", list("abcdefghij")).letters == "ABCDEFGHIJ"

    def test_an_unknown_style_is_refused(self, world, reasoner):
        with pytest.raises(ValueError, match="answer style is 'loud'; allowed: reason, option"):
            reasoner.ask(world[0] / "clip.mp4", "Who?", ["a"], "loud")

    def test_a_question_without_room_is_refused(self, world, reasoner):
        with pytest.raises(AskError, match=r"the question is too long: its prompt has \d+ positions") as error:
            reasoner.ask(world[0] / "clip.mp4", "ball " * 600, ["a", "b"])
        sentence(error)


class TestLoad:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"precision": "fp8"}, "precision is 'fp8'; allowed: fp32, bf16"),
            ({"frames": 0}, "frames is 0; allowed: at least 1"),
        ],
    )
    def test_settings_out_of_range_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            load(BASE, **options)

    def test_weights_of_another_family_are_refused_in_a_sentence(self, tmp_path):
        shutil.copytree(BASE, tmp_path / "other")
        config = tmp_path / "other/config.json"
        config.write_text(config.read_text().replace('"tinyllava"', '"llava_onevision"'))
        with pytest.raises(ValueError, match="model_type is 'llava_onevision'; expected 'tinyllava'") as error:
            load(tmp_path / "other")
        sentence(error)

    def test_three_lines_do_it(self, world):
        import vidreason

        model = vidreason.load(BASE)
        assert isinstance(model, Reasoner)
        reply = model.ask(world[0] / "clip.mp4", world[1][0].text, options=list(world[1][0].options))
        assert str(reply) == reply.text != ""
